import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type pg from 'pg'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { makePaces } from '../../src/core/app/paces.ts'
import { reap } from '../../src/core/app/queue/reap.ts'
import { tickScheduler } from '../../src/core/app/queue/tick-scheduler.ts'
import { work } from '../../src/core/app/queue/work.ts'
import { askedWindow } from '../../src/core/app/sync/asked-window.ts'
import { makeHolder } from '../../src/core/app/sync/holder.ts'
import { accessTo } from '../../src/core/app/sync/open-source.ts'
import { backfillChunks } from '../../src/core/app/sync/plan-backfill.ts'
import { longestTurnMs, requestBudget } from '../../src/core/app/sync/request-budget.ts'
import { CONFIG, type Config } from '../../src/core/contracts/config.ts'
import { type Group, isKey, isTable } from '../../src/core/contracts/config-key.ts'
import { bulkReason, bulkRevisionReason } from '../../src/core/domain/bulk.ts'
import type { Repo } from '../../src/core/domain/repo.ts'
import { loadConfig } from '../../src/core/runtime/config.ts'
import { dataDir, embeddedDir, poolOf, reachDatabase } from '../../src/core/runtime/database.ts'
import { gitlabOf } from '../../src/core/runtime/gitlab.ts'
import { openLog } from '../../src/core/runtime/log.ts'
import { svnOf } from '../../src/core/runtime/svn.ts'
import { whereItListens } from '../../src/shell/executor/where-it-listens.ts'
import { ended, run, start } from '../helpers/cli.ts'
import { contextOn } from '../helpers/context.ts'
import { embeddedUrl, freshDatabase, type TestDatabase } from '../helpers/database.ts'
import { type GitLab, startGitLab } from '../helpers/gitlab/server.ts'
import { openScene, type Scene } from '../helpers/scene.ts'
import { makeRows } from './rows.ts'

/**
 * Every key takes effect. For each, either a case: what is seen without it, and what is seen once it is set; or the test
 * that shows it, by file and title. There is no third.
 */
const SHOWN_BY: Record<string, [file: string, title: string]> = {
  'scm.executor.app_name': [
    'commands/executor-door.test.ts',
    '3.5 names the executor too: another name is refused, and so is none',
  ],
  'scm.executor.protocol': ['commands/executor-door.test.ts', 'the form of a callback'],
  'scm.executor.parallelism': [
    'commands/executor-triggers.test.ts',
    'a third job waits for one of two places, and is no place for another',
  ],
  'scm.executor.log_retention_days': [
    'commands/executor-triggers.test.ts',
    'an end that no admin took for a month is given up',
  ],
  'project.project_key': ['core/app/queue/breakers.test.ts', 'another project has other breakers'],
  'scm.health.queue_stall_seconds': ['runbook/ledger-rules.test.ts', 'A21: a queue that nobody works off'],
  'scm.health.heartbeat_grace_seconds': [
    'runbook/ledger-rules.test.ts',
    'A22: a run without a heartbeat is found, taken over, and its late owner writes nothing',
  ],
  'scm.health.retry_storm_runs': ['runbook/ledger-rules.test.ts', 'A23: a job that is tried again and again'],
  'scm.health.retry_storm_seconds': [
    'runbook/ledger-rules.test.ts',
    'A23: a job that is tried again and again',
  ],
  'scm.health.cursor_stall_seconds': [
    'runbook/ledger-rules.test.ts',
    'A24: a cursor that stands still, by repository and kind',
  ],
  'scm.scheduler.max_backfill_window_hours': [
    'core/app/queue/tick-scheduler.test.ts',
    'it reads no further back than it may, and takes no place that a sync wants',
  ],
  'scm.scheduler.scan_interval_seconds': ['commands/scheduler.test.ts', 'several schedulers'],
  'scm.worker.poll_interval': [
    'core/app/queue/work.test.ts',
    'idle workers are woken by an enqueue; without a notification the poll finds the job',
  ],
  'scm.worker.pools.*.parallelism': [
    'core/app/queue/work.test.ts',
    'a pool has its own parallelism; what is said for this process goes first',
  ],
  'scm.gitlab.commits_via': [
    'core/app/gitlab-sync.test.ts',
    'the same tables as through the API, and switching to and fro moves nothing',
  ],
  'scm.circuit_breaker.open_duration_seconds': [
    'core/app/queue/breakers.test.ts',
    'open with repairs: one an interval, and syncs stay where they are',
  ],
  'scm.circuit_breaker.backfill_only_mode': [
    'core/app/queue/breakers.test.ts',
    'open with repairs: one an interval, and syncs stay where they are',
  ],
}

interface Effect {
  /** Set beside it in both looks: keys that switch on what the key is about, or make it measurable. */
  with?: Record<string, unknown>
  set: unknown
  see: (config: Config, settings: Record<string, unknown>) => unknown
  before: unknown
  now: unknown
}

const folder = mkdtempSync(join(tmpdir(), 'effects-'))
const { signal } = new AbortController()
const SECRET = join(folder, 'secret')
writeFileSync(SECRET, 'from-file\n', { mode: 0o600 })
const ENV = { FROM_ENV: 'by-env' }

/** `*` stands for an entry called `one`. */
function configOf(settings: Record<string, unknown>): Config {
  const fixed = Object.entries(settings).filter(([path]) => !path.includes('*') && !/_(env|file)$/.test(path))
  const tables = Object.entries(settings).filter(([path]) => path.includes('*') || /_(env|file)$/.test(path))
  const lines = tables.map(([path, value]) => `${path.replace('*', 'one')} = ${JSON.stringify(value)}`)
  const file = join(folder, 'config.toml')
  writeFileSync(file, lines.join('\n'), { mode: 0o600 })
  return loadConfig({ env: ENV, flags: Object.fromEntries(fixed), file, cwd: folder, configHome: null })
    .config
}

const repoOf = (kind: Repo['kind'], host = 'host.example.com'): Repo => ({
  repoId: 1,
  kind,
  locator: `https://${host}/a`,
  projectKey: null,
  instanceKey: host,
  tenantId: 'one',
  enabled: true,
  settings: {},
})

let due: TestDatabase
let synced: Scene
let rows: TestDatabase
let gitlab: GitLab

beforeAll(async () => {
  due = await freshDatabase(embeddedUrl())
  // Two repositories on each of ten hosts, ten of tenant a before ten without one; two of tenant b last.
  await due.pool.query(`insert into scm.repos (repo_type, url, instance_key, tenant_id)
    select 'git', 'https://h' || n % 10 || '/' || n, 'h' || n % 10, case when n < 10 then 'a' when n < 12 then 'b' else 't' || n end
      from generate_series(0, 19) n`)
  synced = await openScene(embeddedUrl())
  synced.repo.commit('one')
  await synced.incremental()
  await synced.query(`update scm.repos set instance_key = 'host', tenant_id = 'team'`)
  rows = await freshDatabase(embeddedUrl())
  await makeRows(rows.pool)
  await rows.pool.query(`delete from logbook.kv where namespace = 'scm.sync_health';
    update ing_task_run set started_at = now() - interval '100 seconds' where status_code = 'RUNNING';
    update ing_task t set last_run_id = r.id, updated_at = clock_timestamp() from ing_task_run r
     where r.task_id = t.id and r.status_code = 'RUNNING' and t.status = 'running'`)
  gitlab = await startGitLab()
  gitlab.project({ path: 'acme/app' })
})
afterAll(async () => {
  await gitlab?.stop()
  await synced?.drop()
  await rows?.drop()
  await due?.drop()
  rmSync(folder, { recursive: true, force: true })
})

const contextFor = (db: pg.Pool, config: Config) => ({ ...contextOn(db), config, paces: makePaces(config) })
const DRY = { dryRun: true, keepLeading: false }
const scan = (config: Config, db = due.pool) => tickScheduler(contextFor(db, config), DRY)
const jobsMade = async (config: Config) => (await scan(config)).enqueued_jobs.length
/** Tenants in the order of their jobs. */
async function turns(config: Config) {
  const { enqueued_jobs: jobs } = await scan(config)
  return jobs.map((j) => j.payload_json.tenant_id).join(' ')
}

/** Runs of the synced repository, ten minutes ago, the oldest first: f fails, t by a timeout, g is good, l was limited in a fifth of its requests. */
async function after<T>(runs: string, age: string, look: () => Promise<T>): Promise<T> {
  const stats = `'{"total_requests": 10, "total_429_hits": 2}'::jsonb`
  await synced.query(
    `delete from ing_task_run where task_id >= 1000; update ing_task_run set started_at = now() - interval '1 day'`,
  )
  await synced.query(
    `insert into ing_task_run (task_id, plan_id, slice_id, attempt_no, fence, worker_id, repo_id, job_type, mode, provenance_code,
            operation_code, expr_hash, status_code, started_at, finished_at, stats, error_summary_json)
     select 1000 + n, n, n, 1, nextval('scm.fence'), 'w', $1::bigint, 'commits', 'incremental', 'git', 'HARVEST', repeat('0', 64),
            case when substr($2, n, 1) in ('f', 't') then 'FAILED' else 'SUCCEEDED' end, now() - interval '10 minutes', now(), case substr($2, n, 1) when 'l' then ${stats} else '{}' end,
            case substr($2, n, 1) when 't' then '{"error_category": "timeout"}'::jsonb when 'f' then '{"error_category": "network"}' end
       from generate_series(1, length($2)) n`,
    [synced.repoId, runs],
  )
  await synced.query(`update logbook.kv set updated_at = now() - $1::interval where namespace = 'scm.sync'`, [
    age,
  ])
  return look()
}
const verdict = (runs: string) => (config: Config) =>
  after(runs, '2 hours', async () => {
    const { enqueued_jobs: jobs, skipped_jobs } = await scan(config, synced.db)
    return jobs.length > 0 ? 'due' : skipped_jobs[0]?.wait_seconds
  })
/** State of the breaker after these runs. It has been closed for long, and its averages are those of calm weather. */
const circuit = (runs: string) => (config: Config) =>
  after(runs, '2 hours', async () => {
    const row = {
      state: 'closed',
      closed_at: 1,
      smoothed_failure_rate: 0,
      smoothed_rate_limit_rate: 0,
      smoothed_timeout_rate: 0,
    }
    await synced.query(
      `insert into logbook.kv values ('scm.sync_health', 'default:global', $1)
      on conflict (namespace, key) do update set value_json = excluded.value_json`,
      [row],
    )
    const { circuit_state: state } = await scan(config, synced.db)
    await synced.query(`delete from logbook.kv where namespace = 'scm.sync_health'`)
    return state
  })
const SHARP = { 'scm.circuit_breaker.enable_smoothing': false }
/** The breaker's row after one scan that found it like this. */
const breakerAfter =
  (row: (now: number) => object, runs = '') =>
  (config: Config) =>
    after(runs, '0 s', async () => {
      const now = Date.now() / 1000
      await synced.query(`insert into logbook.kv values ('scm.sync_health', 'default:global', $1)`, [
        JSON.stringify(row(now)),
      ])
      await tickScheduler(contextFor(synced.db, config), { ...DRY, dryRun: false })
      await synced.query(`delete from ing_task where status = 'pending'`)
      const [found] = await synced.query<{ value: Record<string, unknown> }>(
        `delete from logbook.kv where namespace = 'scm.sync_health' returning value_json as value`,
      )
      return found?.value
    })
const PROBING = (now: number) => ({ state: 'half_open', half_open_at: now - 1200 })
const credits = (row: (now: number) => object) => async (config: Config) =>
  (await breakerAfter(row)(config))?.credits

/** Chunks of the repair that a scan makes after 30 hours, with these runs since. */
const repairs = (runs: string, breaker?: object) => (config: Config) =>
  after(runs, '30 hours', async () => {
    if (breaker)
      await synced.query(`insert into logbook.kv values ('scm.sync_health', 'default:global', $1)`, [
        JSON.stringify(breaker),
      ])
    await tickScheduler(contextFor(synced.db, config), { ...DRY, dryRun: false })
    const [made] = await synced.query<{ n: number }>(
      `select count(*)::int as n from ing_task where mode = 'backfill' and status = 'pending'`,
    )
    await synced.query(`delete from ing_task where status = 'pending'`)
    await synced.query(`delete from ing_plan where operation_code = 'BACKFILL'`)
    await synced.query(`delete from logbook.kv where namespace = 'scm.sync_health'`)
    return made?.n
  })
const modes = (age: string) => (config: Config) =>
  after('', age, async () => (await scan(config, synced.db)).enqueued_jobs.map((j) => j.mode))

/** Jobs of the synced repository that a worker takes. */
async function worked(config: Config, pool: string | null = null) {
  await synced.query(
    `update logbook.kv set updated_at = now() - interval '2 hours' where namespace = 'scm.sync'`,
  )
  await synced.query('delete from ing_task_run where task_id >= 1000')
  await tickScheduler(synced.ctx(), { ...DRY, dryRun: false })
  const ask = { once: false, drain: true, jobTypes: [], pool }
  return (await work(contextFor(synced.db, config), ask)).jobs_worked
}
const POOL = {
  with: { 'scm.worker.pools.*.parallelism': 1 },
  see: (config: Config) => worked(config, 'one'),
  before: 1,
  now: 0,
}

const reaped = async (config: Config) => {
  const { jobs, runs, locks } = await reap(contextFor(rows.pool, config), {
    dryRun: true,
    policy: 'to_failed',
    retryDelaySeconds: 0,
  })
  return [jobs.processed, runs.processed, locks.processed]
}

/** Renewals tried within 61 s of a database that fails, and whether the lease was given up. */
async function renewals(config: Config, seconds: number) {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
  try {
    let tried = 0
    const query = async () => {
      tried += 1
      throw new Error('gone')
    }
    const ctx = { ...contextFor(due.pool, config), db: { query } as unknown as pg.Pool }
    const held = { jobId: 1, fence: 1, askedAt: performance.now(), leaseSeconds: 300 }
    const lease = makeHolder(ctx).keep(held as never)
    await vi.advanceTimersByTimeAsync(seconds * 1000)
    lease.stop()
    return lease.signal.aborted ? `given up after ${tried}` : tried
  } finally {
    vi.useRealTimers()
  }
}

const paceOf = (config: Config) => makePaces(config)(repoOf('gitlab'))
const NOTHING = { limited: 0, unannounced: 0, timeouts: 0, tooLarge: 0, broken: 0, came: false }
function met(config: Config, times: number, what: Partial<typeof NOTHING>) {
  const pace = paceOf(config)
  for (let n = 0; n < times; n++) pace.met({ ...NOTHING, ...what })
  return pace
}

const chunks = (config: Config, window: Parameters<typeof backfillChunks>[1]) => {
  try {
    return backfillChunks(contextFor(due.pool, config), window).length
  } catch (error) {
    return (error as Error).message
  }
}
const DAY = { since: new Date('2025-01-01'), until: new Date('2025-01-02') }

const access = (config: Config, repo: Repo) => accessTo(contextFor(due.pool, config), repo, signal)

/** What GitLab sees of one sync that is opened, and how that ends. */
async function opened(config: Config, plan: Parameters<GitLab['fault']>[0] = () => null) {
  const unhook = gitlab.fault(plan)
  const before = gitlab.requests.length
  try {
    const git = contextOn(due.pool).sources.git as never
    const source = gitlabOf(config, { git, maxWaitMs: 60_000, reread: () => config })
    const typed = config.scm.gitlab.url === null ? `${gitlab.url}/acme/app` : 'acme/app'
    const repo = { ...repoOf('gitlab'), locator: source.locate(typed) }
    const reading = await source.open({ ...access(config, repo), budget: null })
    const seen = gitlab.requests.slice(before)
    const given = seen.at(-1)?.headers['private-token']
    return { requests: seen.length, token: given ?? 'none', waited: (reading.usage?.().waitedMs ?? 0) > 0 }
  } catch (error) {
    return {
      requests: gitlab.requests.length - before,
      error: (error as Error).message.replace(/^.*?: /, ''),
    }
  } finally {
    unhook()
  }
}
const token = async (config: Config) => (await opened(config)).token
const lengthOf = (secret: string) => `[${secret.length} characters]`
const HOME = () => ({ 'scm.gitlab.url': gitlab.url })
const ONE = () => ({ 'scm.gitlab.instances.*.url': gitlab.url })
const QUICK = { 'scm.http.backoff_base_seconds': 0 }

/** Requests to one instance that are under way at the same time, at most. */
async function together(config: Config) {
  let [inside, most] = [0, 0]
  const unhook = gitlab.beforeEach(async () => {
    most = Math.max(most, ++inside)
    await new Promise((resolve) => setTimeout(resolve, 10))
    inside--
  })
  const git = contextOn(due.pool).sources.git as never
  const source = gitlabOf(config, { git, maxWaitMs: 60_000, reread: () => config })
  const repo = { ...repoOf('gitlab'), locator: source.locate('acme/app') }
  await Promise.all(Array.from({ length: 6 }, () => source.open({ ...access(config, repo), budget: null })))
  unhook()
  return most
}

let hosts = 0
/** Turns that are granted at once, of ten. */
async function granted(config: Config) {
  const budget = requestBudget({ db: due.pool, config }, repoOf('gitlab', `g${hosts++}.example.com`), signal)
  let n = 0
  for (; n < 10; n++) if (((await budget?.take()) ?? 0) > 0) break
  return n
}
/** Seconds until the next turn, once the burst of one is used up. */
async function nextTurn(config: Config) {
  const budget = requestBudget({ db: due.pool, config }, repoOf('gitlab', `g${hosts++}.example.com`), signal)
  await budget?.take()
  return Math.ceil(((await budget?.take()) ?? 0) / 1000)
}
const BUCKET = {
  'scm.gitlab.postgres_rate_limit_enabled': true,
  'scm.gitlab.postgres_rate_limit_burst': 1,
  'scm.gitlab.postgres_rate_limit_rate': 0.1,
}
const TENANTS = {
  'scm.gitlab.tenant_rate_limit_enabled': true,
  'scm.gitlab.tenant_rate_limit_burst': 1,
  'scm.gitlab.tenant_rate_limit_rate': 0.1,
}

/** An svn that tells what it was given, or never ends. */
async function svnCalled(config: Config, script: string) {
  const bin = mkdtempSync(join(folder, 'bin-'))
  writeFileSync(join(bin, 'svn'), `#!/bin/sh\n${script}\n`)
  chmodSync(join(bin, 'svn'), 0o755)
  const source = svnOf(config, { path: `${bin}:${process.env.PATH}` })
  const repo = { ...repoOf('svn'), locator: source.locate('https://svn.example.com/a') }
  const cacheDir = folder
  return source.open({ ...access(config, repo), cacheDir }).then(
    () => 'opened',
    (error) => (error as Error).message,
  )
}
const svnArguments = async (config: Config) =>
  /trust-server-cert\S*/.exec(await svnCalled(config, 'echo "svn: E000000: $*" >&2; exit 1'))?.[0] ?? 'none'

const ASKED = { 'scm.executor.admin_addresses': ['http://xxl.example.com/xxl-job-admin'] }
const whereAsked = (config: Config) => {
  try {
    return whereItListens(config.scm.executor).host
  } catch (error) {
    return (error as Error).message
  }
}

const COMMIT = { additions: 30, deletions: 0, pathCount: 5 } as never
const bulk = (config: Config) => bulkReason(COMMIT, config.scm.bulk_thresholds)

async function seconds(config: Config) {
  const ask = { wish: {}, updateWatermark: false }
  const { window } = await askedWindow(
    contextFor(due.pool, config),
    repoOf('git'),
    ask,
    async () => ({}) as never,
  )
  return 'since' in window ? (window.until.getTime() - window.since.getTime()) / 3_600_000 : null
}

const EFFECTS: Record<string, Effect | (() => Effect)> = {
  'postgres.dsn': {
    set: 'postgresql://b/x',
    with: {},
    see: async (c) => c.postgres.dsn && (await reachDatabase(c, { say: () => {}, signal })).dsn,
    before: null,
    now: 'postgresql://b/x',
  },
  'postgres.statement_timeout_ms': {
    set: 1000,
    see: (c) => queryTimeout(c),
    before: 155_000,
    now: 6_000,
  },
  'postgres.embedded_dir': {
    set: '/pg',
    with: { 'storage.data_dir': '/d' },
    see: embeddedDir,
    before: '/d/pg17',
    now: '/pg',
  },
  'storage.data_dir': { set: '/d', see: (c) => dataDir(c) === '/d', before: false, now: true },
  'log.level': {
    set: 'debug',
    see: (c) => openLog({ level: c.log.level, redact: (t) => t, base: {} }).isLevelEnabled('debug'),
    before: false,
    now: true,
  },
  'scm.preset': { set: 'small', see: jobsMade, before: 10, now: 5 },
  'scm.sync.enabled': {
    set: false,
    see: (c) => jobsMade(c).catch((e) => e.message),
    before: 10,
    now: 'syncing is switched off, so no jobs are made',
  },

  'scm.git.tier': { set: 'patch', see: (c) => access(c, repoOf('git')).tier, before: 'none', now: 'patch' },
  'scm.git.page_size': { set: 7, see: (c) => access(c, repoOf('git')).pageSize, before: 1000, now: 7 },
  'scm.git.username': {
    set: 'me',
    with: { 'scm.git.password': 'p', 'scm.git.credential_host': 'host.example.com' },
    see: (c) => access(c, repoOf('git')).credentials?.username,
    before: 'oauth2',
    now: 'me',
  },
  'scm.git.password': {
    set: 'p',
    with: { 'scm.git.credential_host': 'host.example.com' },
    see: (c) => access(c, repoOf('git')).credentials?.password,
    before: undefined,
    now: 'p',
  },
  'scm.git.password_file': {
    set: SECRET,
    with: { 'scm.git.credential_host': 'host.example.com' },
    see: (c) => access(c, repoOf('git')).credentials?.password,
    before: undefined,
    now: 'from-file',
  },
  'scm.git.credential_host': {
    set: 'host.example.com',
    with: { 'scm.git.password': 'p' },
    see: (c) => access(c, repoOf('git')).credentials?.host,
    before: undefined,
    now: 'host.example.com',
  },

  'scm.backfill.repair_window_hours': { set: 6, see: seconds, before: 24, now: 6 },
  'scm.backfill.chunk_hours': { set: 1, see: (c) => chunks(c, DAY), before: 6, now: 24 },
  'scm.backfill.chunk_revisions': {
    set: 10,
    see: (c) => chunks(c, { startRev: 1, endRev: 200 }),
    before: 2,
    now: 20,
  },
  'scm.backfill.max_total_window_seconds': {
    set: 3600,
    see: (c) => chunks(c, DAY),
    before: 6,
    now: 'the window is 86400 s long, more than the 3600 allowed',
  },
  'scm.backfill.max_chunks_per_request': {
    set: 5,
    see: (c) => chunks(c, DAY),
    before: 6,
    now: expect.stringMatching(/6 chunks.*5/),
  },

  'scm.scheduler.global_concurrency': { set: 4, see: jobsMade, before: 10, now: 4 },
  'scm.scheduler.max_running': {
    set: 1,
    see: async (c) => (await scan(c, rows.pool)).enqueued_jobs.length > 0,
    before: true,
    now: false,
  },
  'scm.scheduler.per_instance_concurrency': {
    set: 1,
    with: { 'scm.scheduler.global_concurrency': 30, 'scm.scheduler.per_tenant_concurrency': 30 },
    see: jobsMade,
    before: 20,
    now: 10,
  },
  'scm.scheduler.per_tenant_concurrency': {
    set: 2,
    with: { 'scm.scheduler.global_concurrency': 30 },
    see: jobsMade,
    before: 15,
    now: 12,
  },
  'scm.scheduler.max_enqueue_per_scan': { set: 3, see: jobsMade, before: 10, now: 3 },
  'scm.scheduler.enable_tenant_fairness': {
    set: true,
    with: { 'scm.scheduler.global_concurrency': 3 },
    see: turns,
    before: 'a a a',
    now: 'a b t12',
  },
  'scm.scheduler.tenant_fairness_max_per_round': {
    set: 2,
    with: { 'scm.scheduler.global_concurrency': 4, 'scm.scheduler.enable_tenant_fairness': true },
    see: turns,
    before: 'a b t12 t13',
    now: 'a a b b',
  },
  'scm.scheduler.mvp_mode_enabled': {
    set: true,
    with: { 'scm.scheduler.mvp_job_type_allowlist': ['mrs'] },
    see: jobsMade,
    before: 10,
    now: 0,
  },
  'scm.scheduler.mvp_job_type_allowlist': {
    set: ['mrs'],
    with: { 'scm.scheduler.mvp_mode_enabled': true },
    see: jobsMade,
    before: 10,
    now: 0,
  },
  'scm.scheduler.cursor_age_threshold_seconds': {
    set: 60,
    see: modes('30 minutes'),
    before: [],
    now: ['incremental'],
  },
  'scm.scheduler.backfill_repair_window_hours': {
    set: 48,
    see: modes('30 hours'),
    before: ['incremental', 'backfill'],
    now: ['incremental'],
  },
  'scm.scheduler.error_budget_threshold': { set: 0.2, see: verdict('gggf'), before: 'due', now: 300 },
  'scm.scheduler.error_budget_window_size': { set: 3, see: verdict('gggggggff'), before: 'due', now: 300 },
  'scm.scheduler.pause_duration_seconds': { set: 60, see: verdict('ffff'), before: 300, now: 60 },
  'scm.scheduler.rate_limit_hit_threshold': {
    set: 0.5,
    see: (c) =>
      after('llll', '2 hours', async () => {
        const [job] = (await scan(c, synced.db)).enqueued_jobs
        return job?.priority
      }),
    before: 188,
    now: 138,
  },

  'scm.worker.lease_seconds': { set: 600, see: (c) => queryTimeout(c), before: 155_000, now: 305_000 },
  'scm.worker.renew_interval_seconds': { set: 20, see: (c) => renewals(c, 59), before: 0, now: 2 },
  'scm.worker.max_renew_failures': {
    set: 1,
    see: (c) => renewals(c, 61),
    before: 1,
    now: 'given up after 1',
  },
  'scm.worker.parallelism': { set: 100, see: (c) => poolSize(c) > 200, before: false, now: true },
  'scm.worker.batch_size': {
    set: 20,
    see: (c) => access(c, repoOf('gitlab')).pageSize,
    before: 50,
    now: 20,
  },

  'scm.worker.instance_allowlist': { set: ['other'], see: (c) => worked(c), before: 1, now: 0 },
  'scm.worker.tenant_allowlist': { set: ['other'], see: (c) => worked(c), before: 1, now: 0 },
  'scm.worker.pools.*.job_types': { ...POOL, set: ['mrs'] },
  'scm.worker.pools.*.instance_allowlist': { ...POOL, set: ['other'] },
  'scm.worker.pools.*.tenant_allowlist': { ...POOL, set: ['other'] },

  'scm.reaper.job_grace_seconds': { set: 1000, see: reaped, before: [2, 1, 1], now: [1, 1, 1] },
  'scm.reaper.lock_grace_seconds': { set: 86_400, see: reaped, before: [2, 1, 1], now: [2, 1, 0] },
  'scm.reaper.run_max_seconds': { set: 50, see: reaped, before: [2, 1, 1], now: [3, 1, 1] },

  'scm.degradation.min_batch_size': {
    set: 25,
    see: (c) => met(c, 9, { limited: 1 }).batchSize,
    before: 10,
    now: 25,
  },
  'scm.degradation.max_batch_size': {
    set: 120,
    with: { 'scm.worker.batch_size': 500 },
    see: (c) => met(c, 99, { came: true }).batchSize,
    before: 500,
    now: 120,
  },
  'scm.degradation.default_batch_size': {
    set: 30,
    see: (c) => paceOf(c).batchSize,
    before: 50,
    now: 30,
  },
  'scm.degradation.batch_shrink_factor': {
    set: 0.8,
    see: (c) => met(c, 1, { limited: 1 }).batchSize,
    before: 25,
    now: 40,
  },
  'scm.degradation.batch_grow_factor': {
    set: 2,
    with: { 'scm.worker.batch_size': 500 },
    see: (c) => met(c, 5, { came: true }).batchSize,
    before: 120,
    now: 200,
  },
  'scm.degradation.rate_limit_threshold': {
    set: 1,
    see: (c) => met(c, 1, { limited: 1 }).details,
    before: true,
    now: false,
  },
  'scm.degradation.timeout_threshold': {
    set: 1,
    see: (c) => met(c, 1, { timeouts: 1 }).pauseSeconds > 0,
    before: false,
    now: true,
  },
  'scm.degradation.content_too_large_threshold': {
    set: 1,
    see: (c) => met(c, 1, { tooLarge: 1 }).details,
    before: true,
    now: false,
  },
  'scm.degradation.base_sleep_seconds': {
    set: 4,
    see: (c) => met(c, 1, { limited: 1, unannounced: 1 }).restSeconds,
    before: 1,
    now: 4,
  },
  'scm.degradation.max_sleep_seconds': {
    set: 10,
    see: (c) => met(c, 12, { limited: 1, unannounced: 1 }).restSeconds,
    before: 300,
    now: 10,
  },
  'scm.degradation.recovery_success_count': {
    set: 2,
    with: { 'scm.worker.batch_size': 500 },
    see: (c) => met(c, 2, { came: true }).batchSize,
    before: 100,
    now: 120,
  },
  'scm.circuit_breaker.failure_rate_threshold': {
    set: 0.6,
    with: SHARP,
    see: circuit('gggggfffff'),
    before: 'open',
    now: 'closed',
  },
  'scm.circuit_breaker.rate_limit_threshold': {
    set: 0.5,
    with: SHARP,
    see: circuit('lllll'),
    before: 'open',
    now: 'closed',
  },
  'scm.circuit_breaker.timeout_rate_threshold': {
    set: 0.5,
    with: SHARP,
    see: circuit('ggggttgg'),
    before: 'open',
    now: 'closed',
  },
  'scm.circuit_breaker.min_samples': {
    set: 3,
    with: SHARP,
    see: circuit('fff'),
    before: 'closed',
    now: 'open',
  },
  'scm.circuit_breaker.enable_smoothing': {
    set: false,
    see: circuit('ggggffff'),
    before: 'closed',
    now: 'open',
  },
  'scm.circuit_breaker.smoothing_alpha': {
    set: 0.9,
    see: circuit('ggggffff'),
    before: 'closed',
    now: 'open',
  },
  'scm.circuit_breaker.window_count': {
    set: 10,
    with: SHARP,
    see: circuit('ffffffgggggggggg'),
    before: 'open',
    now: 'closed',
  },
  'scm.circuit_breaker.window_minutes': {
    set: 5,
    with: SHARP,
    see: circuit('ffffff'),
    before: 'open',
    now: 'closed',
  },
  'scm.circuit_breaker.half_open_max_requests': {
    set: 2,
    with: { 'scm.circuit_breaker.probe_budget_per_interval': 3 },
    see: credits(PROBING),
    before: 3,
    now: 2,
  },
  'scm.circuit_breaker.probe_budget_per_interval': { set: 1, see: credits(PROBING), before: 2, now: 1 },
  'scm.circuit_breaker.recovery_success_count': {
    set: 1,
    see: async (c) => (await breakerAfter(PROBING, 'g')(c))?.state,
    before: 'half_open',
    now: 'closed',
  },
  'scm.circuit_breaker.probe_job_types_allowlist': {
    set: ['mrs'],
    see: async (c) => (await breakerAfter(PROBING)(c))?.probe_job_types,
    before: ['commits'],
    now: ['mrs'],
  },
  'scm.circuit_breaker.backfill_interval_seconds': {
    set: 300,
    see: credits((now) => ({
      state: 'open',
      opened_by: 'scheduler',
      opened_at: now,
      repair_granted_at: now - 400,
      credits: 0,
    })),
    before: 0,
    now: 1,
  },
  'scm.circuit_breaker.degraded_forward_window_seconds': {
    set: 3600,
    see: repairs('', {
      state: 'open',
      opened_by: 'scheduler',
      opened_at: Date.now() / 1000,
      repair_granted_at: 1,
    }),
    before: 360,
    now: 30,
  },
  'scm.degradation.max_forward_window_seconds': { set: 21_600, see: repairs(''), before: 1, now: 5 },
  'scm.degradation.default_forward_window_seconds': { set: 7200, see: repairs('gggf'), before: 60, now: 30 },
  'scm.degradation.window_shrink_factor': { set: 1, see: repairs('gggf'), before: 60, now: 30 },
  'scm.degradation.min_forward_window_seconds': { set: 3600, see: repairs('gggf'), before: 60, now: 30 },
  'scm.degradation.window_grow_factor': { set: 2, see: repairs('gggggf'), before: 40, now: 30 },
  'scm.circuit_breaker.degraded_batch_size': {
    set: 3,
    see: (c) => {
      const { pageSize } = accessTo(contextFor(due.pool, c), repoOf('gitlab'), signal, {
        circuit: 'half_open',
      })
      return pageSize
    },
    before: 10,
    now: 3,
  },

  'scm.gitlab.url': () => ({
    set: gitlab.url,
    see: async (c) => (await opened(c)).error ?? 'opened',
    before: expect.stringMatching(/is no GitLab of the configuration/),
    now: 'opened',
  }),
  'scm.gitlab.token': () => ({
    set: 'abc',
    with: HOME(),
    see: token,
    before: 'none',
    now: lengthOf('abc'),
  }),
  'scm.gitlab.token_env': () => ({
    set: 'FROM_ENV',
    with: HOME(),
    see: token,
    before: 'none',
    now: lengthOf('by-env'),
  }),
  'scm.gitlab.token_file': () => ({
    set: SECRET,
    with: HOME(),
    see: token,
    before: 'none',
    now: lengthOf('from-file'),
  }),
  'scm.gitlab.instances.*.url': () => ({
    with: {
      'scm.gitlab.instances.*.url': 'https://other.example.com',
      'scm.gitlab.instances.*.token': 'abcd',
    },
    set: gitlab.url,
    see: async (c) => {
      const { token, error } = await opened(c)
      return token ?? error
    },
    before: expect.stringMatching(/is no GitLab of the configuration/),
    now: lengthOf('abcd'),
  }),
  'scm.gitlab.instances.*.token': () => ({
    set: 'abcd',
    with: ONE(),
    see: token,
    before: 'none',
    now: lengthOf('abcd'),
  }),
  'scm.gitlab.instances.*.token_env': () => ({
    set: 'FROM_ENV',
    with: ONE(),
    see: token,
    before: 'none',
    now: lengthOf('by-env'),
  }),
  'scm.gitlab.instances.*.token_file': () => ({
    set: SECRET,
    with: ONE(),
    see: token,
    before: 'none',
    now: lengthOf('from-file'),
  }),
  'scm.gitlab.tenants.*.token': () => ({
    set: 'abcd',
    with: HOME(),
    see: token,
    before: 'none',
    now: lengthOf('abcd'),
  }),
  'scm.gitlab.tenants.*.token_env': () => ({
    set: 'FROM_ENV',
    with: HOME(),
    see: token,
    before: 'none',
    now: lengthOf('by-env'),
  }),
  'scm.gitlab.tenants.*.token_file': () => ({
    set: SECRET,
    with: HOME(),
    see: token,
    before: 'none',
    now: lengthOf('from-file'),
  }),
  'scm.gitlab.tier': {
    set: 'numstat',
    see: (c) => access(c, repoOf('gitlab')).tier,
    before: 'none',
    now: 'numstat',
  },
  'scm.gitlab.max_concurrency': () => ({ set: 1, with: HOME(), see: together, before: 2, now: 1 }),
  'scm.gitlab.postgres_rate_limit_enabled': {
    set: true,
    with: { ...BUCKET, 'scm.gitlab.postgres_rate_limit_enabled': false },
    see: granted,
    before: 10,
    now: 1,
  },
  'scm.gitlab.postgres_rate_limit_rate': { set: 0.5, with: BUCKET, see: nextTurn, before: 10, now: 2 },
  'scm.gitlab.postgres_rate_limit_burst': { set: 3, with: BUCKET, see: granted, before: 1, now: 3 },
  'scm.gitlab.postgres_rate_limit_max_wait': {
    set: 5,
    with: BUCKET,
    see: longestTurnMs,
    before: 60_000,
    now: 5_000,
  },
  'scm.gitlab.tenant_rate_limit_enabled': {
    set: true,
    with: { ...TENANTS, 'scm.gitlab.tenant_rate_limit_enabled': false },
    see: granted,
    before: 10,
    now: 1,
  },
  'scm.gitlab.tenant_rate_limit_rate': { set: 0.5, with: TENANTS, see: nextTurn, before: 10, now: 2 },
  'scm.gitlab.tenant_rate_limit_burst': { set: 3, with: TENANTS, see: granted, before: 1, now: 3 },
  'scm.gitlab.tenant_rate_limit_max_wait': {
    set: 5,
    with: TENANTS,
    see: longestTurnMs,
    before: 30_000,
    now: 5_000,
  },

  'scm.http.timeout_seconds': () => ({
    set: 0.1,
    with: { ...HOME(), 'scm.http.timeout_seconds': 0.3, 'scm.http.max_attempts': 1 },
    see: async (c) => (await opened(c, () => ({ hang: true }))).error,
    before: 'no end of the answer after 0.3 s',
    now: 'no end of the answer after 0.1 s',
  }),
  'scm.http.max_attempts': () => ({
    set: 2,
    with: { ...HOME(), ...QUICK },
    see: async (c) => (await opened(c, () => ({ status: 503 }))).requests,
    before: 3,
    now: 2,
  }),
  'scm.http.backoff_base_seconds': () => ({
    set: 0,
    with: { ...HOME(), 'scm.http.backoff_base_seconds': 0.2 },
    see: async (c) => {
      let n = 0
      return (await opened(c, () => (n++ < 2 ? { status: 503 } : null))).waited
    },
    before: true,
    now: false,
  }),
  'scm.http.backoff_max_seconds': { set: 5, see: longestTurnMs, before: 60_000, now: 5_000 },

  'scm.svn.tier': {
    set: 'patch',
    see: (c) => access(c, repoOf('svn')).tier,
    before: 'paths',
    now: 'patch',
  },
  'scm.svn.username': {
    set: 'me',
    with: { 'scm.svn.password': 'p' },
    see: (c) => access(c, repoOf('svn')).credentials?.username,
    before: undefined,
    now: 'me',
  },
  'scm.svn.password': {
    set: 'p',
    with: { 'scm.svn.username': 'me' },
    see: (c) => access(c, repoOf('svn')).credentials?.password,
    before: undefined,
    now: 'p',
  },
  'scm.svn.password_env': {
    set: 'FROM_ENV',
    with: { 'scm.svn.username': 'me' },
    see: (c) => access(c, repoOf('svn')).credentials?.password,
    before: undefined,
    now: 'by-env',
  },
  'scm.svn.password_file': {
    set: SECRET,
    with: { 'scm.svn.username': 'me' },
    see: (c) => access(c, repoOf('svn')).credentials?.password,
    before: undefined,
    now: 'from-file',
  },
  'scm.svn.batch_size': { set: 7, see: (c) => access(c, repoOf('svn')).pageSize, before: 100, now: 7 },
  'scm.svn.trust_server_cert': {
    set: true,
    see: svnArguments,
    before: 'none',
    now: 'trust-server-cert-failures=unknown-ca',
  },
  'scm.svn.command_timeout': {
    set: 1,
    with: { 'scm.svn.command_timeout': 2 },
    see: (c) => svnCalled(c, 'exec sleep 60'),
    before: expect.stringMatching(/no end after 2 s/),
    now: expect.stringMatching(/no end after 1 s/),
  },

  'scm.executor.admin_addresses': {
    set: ['http://xxl.example.com/xxl-job-admin'],
    see: whereAsked,
    before: 'no XXL-Job admin is named',
    now: '127.0.0.1',
  },
  'scm.executor.listen': {
    set: 'localhost:9999',
    with: ASKED,
    see: whereAsked,
    before: '127.0.0.1',
    now: 'localhost',
  },
  'scm.executor.address': {
    set: 'http://sync.example.com:9999/',
    with: { ...ASKED, 'scm.executor.listen': '0.0.0.0:9999', 'scm.executor.access_token': 'abcdef' },
    see: whereAsked,
    before: 'under what address is it registered, listening on 0.0.0.0?',
    now: '0.0.0.0',
  },
  'scm.executor.access_token': {
    set: 'abcdef',
    with: { ...ASKED, 'scm.executor.listen': 'sync.example.com:9999' },
    see: whereAsked,
    before: 'to listen on sync.example.com the executor needs an access token',
    now: 'sync.example.com',
  },
  'scm.executor.access_token_file': {
    set: SECRET,
    with: { ...ASKED, 'scm.executor.listen': 'sync.example.com:9999' },
    see: whereAsked,
    before: 'to listen on sync.example.com the executor needs an access token',
    now: 'sync.example.com',
  },
  'scm.bulk_thresholds.git_total_changes': { set: 29, see: bulk, before: null, now: 'total_changes:30>29' },
  'scm.bulk_thresholds.git_files_changed': { set: 4, see: bulk, before: null, now: 'files_changed:5>4' },
  'scm.bulk_thresholds.diff_size_bytes': {
    set: 1000,
    see: (c) =>
      bulkReason({ patch: { format: 'diff', sizeBytes: 1_000_000 } } as never, c.scm.bulk_thresholds),
    before: null,
    now: 'diff_size:0.95MB>0.00MB',
  },
  'scm.bulk_thresholds.svn_changed_paths': {
    set: 4,
    see: (c) => bulkRevisionReason({ pathCount: 5 } as never, c.scm.bulk_thresholds),
    before: null,
    now: 'changed_paths:5>4',
  },
}

function poolSize(config: Config) {
  return poolOptions(config).max
}
function queryTimeout(config: Config) {
  return poolOptions(config).query_timeout
}
function poolOptions(config: Config) {
  const pool = poolOf(config, 'postgresql://nobody@127.0.0.1:1/none')
  void pool.end()
  return pool.options as unknown as { max: number; query_timeout: number }
}

/** Shown by whole commands, in a test of their own below. */
const BY_COMMANDS = [
  'scm.git.timeout_seconds',
  'scm.incremental.loop_interval_seconds',
  'scm.incremental.max_iterations',
  'scm.reaper.interval_seconds',
]

const KEYS = everyKey(CONFIG)

function everyKey(group: Group, path = ''): string[] {
  return Object.entries(group.properties).flatMap(([name, child]) => {
    const here = path === '' ? name : `${path}.${name}`
    if (isKey(child)) return [here]
    return isTable(child) ? everyKey(child.entry, `${here}.*`) : everyKey(child, here)
  })
}

test('every key has one proof, and only keys have one', () => {
  const proven = [...Object.keys(EFFECTS), ...Object.keys(SHOWN_BY), ...BY_COMMANDS]
  expect(proven.toSorted()).toEqual(KEYS.toSorted())
})

test.each(Object.entries(SHOWN_BY))('%s is shown by %j', (_key, [file, title]) => {
  const text = readFileSync(new URL(`../${file}`, import.meta.url), 'utf8')
  expect(
    ['test', 'once', 'describe'].some((by) => text.includes(`${by}('${title}'`)),
    title,
  ).toBe(true)
})

describe('changing a key changes what the program does', () => {
  test.each(Object.keys(EFFECTS))('%s', async (key) => {
    const given = EFFECTS[key] as Effect | (() => Effect)
    const effect = typeof given === 'function' ? given() : given
    const look = async (settings: Record<string, unknown>) => effect.see(configOf(settings), settings)
    expect(await look({ ...effect.with })).toEqual(effect.before)
    expect(await look({ ...effect.with, [key]: effect.set })).toEqual(effect.now)
  })
})

test('loops rest and end as the file and the environment say', async () => {
  const file = join(folder, 'loops.toml')
  writeFileSync(file, '[scm.incremental]\nloop_interval_seconds = 1\nmax_iterations = 2\n')
  const env = { POSTGRES_DSN: synced.ctx().config.postgres.dsn ?? (await dsnOf(synced.db)) }
  const incremental = run(
    ['runner', 'incremental', '--repo', `git:${synced.repoId}`, '--loop', '--json', '-c', file],
    { env },
  )
  const reaper = start(['reaper', '--loop', '--json'], { env: { ...env, SCM_REAPER_INTERVAL_SECONDS: '1' } })
  const reaperEnded = ended(reaper)
  let lines = 0
  reaper.stdout?.on('data', (text) => {
    lines += String(text).split('\n').length - 1
    if (lines >= 2) reaper.kill('SIGTERM')
  })
  expect((await incremental).json()).toMatchObject([{ iteration: 1 }, { iteration: 2 }])
  expect(await reaperEnded).toMatchObject({ code: 0 })
  expect(lines).toBeGreaterThanOrEqual(2)
})

test('a git server that never answers is waited for as long as the environment says', async () => {
  const silent = createServer(() => {})
  await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve))
  const repo = `git:http://127.0.0.1:${(silent.address() as AddressInfo).port}/x.git`
  const env = { POSTGRES_DSN: await dsnOf(synced.db), SCM_GIT_TIMEOUT_SECONDS: '1' }
  await run(['repos', 'add', repo], { env })
  const given = await run(['runner', 'incremental', '--repo', repo, '--json'], { env })
  expect(given.json()).toMatchObject([{ kind: 'timeout', exit_code: 2 }])
  silent.closeAllConnections()
  silent.close()
})

async function dsnOf(db: pg.Pool): Promise<string> {
  const { rows: found } = await db.query('select current_database() as name')
  return embeddedUrl().replace('DATABASE', found[0].name)
}
