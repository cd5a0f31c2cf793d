import { randomUUID } from 'node:crypto'
import { tmpdir } from 'node:os'
import { connect } from './server.mjs'

const INSTANCES = 20
const TENANTS = 15
const FROM = '2026-01-01T00:00:00.000Z'

/** Repositories that were synced before: registered, with one ref and both cursors at the same place. */
export async function seedRepos(dsn, count) {
  const db = await connect(dsn)
  const { rows } = await db.query(
    `with repo as (
       insert into scm.repos (repo_type, url, project_key, instance_key, tenant_id)
       select 'git', '/srv/' || n || '.git', 'tenant' || n % ${TENANTS} || '/project',
              'host' || n / ${TENANTS} % ${INSTANCES}, 'tenant' || n % ${TENANTS}
         from generate_series(1, $1::int) n returning *),
     ref as (
       insert into scm.git_refs (repo_id, ref_name, kind, sha, run_id)
       select repo_id, 'refs/heads/main', 'branch', repeat('a', 40), 0 from repo),
     kv as (
       insert into logbook.kv (namespace, key, value_json)
       select 'scm.sync', 'git_cursor:' || repo_id, jsonb_build_object('watermark', $2::text, 'run_id', '0', 'updated_at', $2::text) from repo),
     cursor as (
       insert into ing_cursor (provenance_code, operation_code, cursor_key, cursor_type_code, cursor_value, normalized_instant, version)
       select 'git:' || repo_id, 'HARVEST', 'commits', 'TIME', $2::text, $2::text::timestamptz, 1 from repo)
     select repo_id::int as "repoId", repo_type as kind, url as locator, project_key as "projectKey",
            instance_key as "instanceKey", tenant_id as "tenantId", enabled from repo order by repo_id`,
    [count, FROM],
  )
  await db.query('analyze')
  await db.end()
  return rows
}

/** What the scheduler would make for each of them. */
export function plansFor(engine, repos) {
  const cursor = { watermark: engine.timeMark(new Date(FROM)), refetchSince: null, edit: null }
  const wanted = { status: 'pending', triggerType: 'SCHEDULE', priority: 100, why: {} }
  const now = new Date()
  return repos.map((repo) => engine.incrementalPlan(repo, 'commits', cursor, now, wanted))
}

/** One statement for all of them. */
export function insert(engine, ctx, plans) {
  return engine.insertPlans(ctx.db, { id: 1, correlationId: 'bench' }, plans)
}

/** The program's own context with every limit out of the way (they are still counted), and a source that answers at once. */
export function contextOn(engine, dsn, { parallelism = 8, opened = () => {}, settings = {}, signal } = {}) {
  const { config } = engine.loadConfig({
    env: {},
    flags: {
      'scm.worker.parallelism': parallelism,
      'scm.scheduler.max_running': 100_000,
      'scm.scheduler.per_instance_concurrency': 100_000,
      'scm.scheduler.per_tenant_concurrency': 100_000,
      'scm.scheduler.global_concurrency': 1_000_000,
      'scm.scheduler.max_enqueue_per_scan': 1_000_000,
      ...settings,
    },
    file: null,
    cwd: tmpdir(),
    configHome: null,
  })
  const silent = { info() {}, debug() {}, warn() {}, error() {}, child: () => silent }
  return {
    db: engine.poolOf(config, dsn),
    config,
    configSnapshot: {},
    paces: engine.makePaces(config),
    trigger: engine.ownTrigger('bench'),
    sources: { git: nothingNew(opened) },
    log: silent,
    now: () => new Date(),
    newId: randomUUID,
    signal: signal ?? new AbortController().signal,
    worker: `${engine.workerName()}`,
    cacheDir: tmpdir(),
    progress: () => {},
  }
}

/** An idle poll: one empty page, and no ref has moved. Without git, whose start would be most of what is measured. */
function nothingNew(opened) {
  return {
    kind: 'git',
    jobs: { commits: 'heads' },
    locate: (typed) => typed,
    survey: async () => [],
    open: async () => {
      opened()
      return {
        pages: async function* (ask) {
          const pinned = ask.known
          const refs = Object.entries(pinned).map(([name, sha]) => ({ name, kind: 'branch', sha }))
          const landing = { heads: { refs, moves: [], unreachable: [] } }
          yield { facts: {}, token: '0:', pinned, done: 0, total: 0, landing }
        },
      }
    },
  }
}

export const WIDE = { running: 100_000, perInstance: 100_000, perTenant: 100_000 }

export function claim(engine, pool, count, more = {}) {
  return engine.claimJobs(pool, {
    project: 'default',
    count,
    worker: 'bench',
    leaseSeconds: 300,
    jobTypes: null,
    instances: null,
    tenants: null,
    limits: WIDE,
    ...more,
  })
}

/** running → completed for all of them at once: job, run, slice, plan, lock. */
export async function complete(engine, pool, jobs) {
  const ends = jobs.map((held) => ({ held, stats: { synced_count: 0 }, cursorAfter: null }))
  const ended = await engine.completeJobs(pool, ends)
  if (ended.size !== jobs.length) throw new Error(`${jobs.length - ended.size} jobs were lost meanwhile`)
}

/** Throws unless every one of the jobs is completed, once, with its run, slice and plan, and nothing is locked any more. */
export async function verify(dsn, count) {
  const db = await connect(dsn)
  const { rows } = await db.query(
    `select (select count(*)::int from ing_task) as jobs, (select count(*)::int from ing_task where status = 'completed') as completed,
            (select count(*)::int from ing_task_run) as runs, (select count(*)::int from ing_task_run where status_code = 'SUCCEEDED') as succeeded,
            (select count(distinct task_id)::int from ing_task_run) as worked,
            (select count(*)::int from ing_plan_slice where status_code = 'SUCCEEDED') as slices,
            (select count(*)::int from ing_plan where status_code = 'COMPLETED') as plans,
            (select count(*)::int from scm.sync_locks) as locks`,
  )
  await db.end()
  const { locks, ...counts } = rows[0]
  if (locks !== 0 || Object.values(counts).some((n) => n !== count)) {
    throw new Error(`the ledger of ${count} jobs does not add up: ${JSON.stringify(rows[0])}`)
  }
}
