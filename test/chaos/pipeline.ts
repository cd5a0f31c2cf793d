/** The whole pipeline on one database: repositories that live, and every role as a process of its own. */
import { randomBytes } from 'node:crypto'
import { cpSync } from 'node:fs'
import type pg from 'pg'
import type { Context } from '../../src/core/app/context.ts'
import { registerRepo } from '../../src/core/app/manage/repos.ts'
import { reap } from '../../src/core/app/queue/reap.ts'
import { stopLeading, tickScheduler } from '../../src/core/app/queue/tick-scheduler.ts'
import { work } from '../../src/core/app/queue/work.ts'
import { openPool } from '../../src/core/db/connect.ts'
import { contextOn, type Wishes } from '../helpers/context.ts'
import { admin, freshDatabase, servers } from '../helpers/database.ts'
import { makeRepo, repoAt, type TestRepo, tempFolder } from '../helpers/git-repo.ts'
import { violations } from '../helpers/oracle.ts'
import { onServer } from '../helpers/servers.ts'
import type { Wire } from './wire.ts'
import { type Process, startProcess } from './world.ts'

export interface Upstream {
  repo: TestRepo
  repoId: number
  /** Every commit it ever had. */
  ever: Set<string>
}

export interface Pipeline {
  dsn: string
  db: pg.Pool
  /** People push to the first one; the others stand still, so their polls find nothing. */
  repos: Upstream[]
  query: <T = Record<string, unknown>>(sql: string, values?: unknown[]) => Promise<T[]>
  drop: () => Promise<void>
}

const SETTINGS = { 'scm.git.page_size': 3, 'scm.worker.parallelism': 3 }
const STILL = 2

/** All that runs, by role. One call is one round of it. */
export const ROLES = {
  scheduler: (ctx: Context) => tickScheduler(ctx, { dryRun: false, keepLeading: true }),
  worker: (ctx: Context) => work(ctx, { once: false, drain: true, jobTypes: [], pool: null }),
  reaper: (ctx: Context) => reap(ctx, { dryRun: false, policy: 'to_failed', retryDelaySeconds: 0 }),
}
export type Role = keyof typeof ROLES

/** Repositories that were synced once, on a database that is copied for every story. */
export async function makePipelines(): Promise<{ copy: () => Promise<Pipeline>; drop: () => Promise<void> }> {
  const [server] = servers()
  const url = server!.url
  const { pool, dsn, drop } = await freshDatabase(url)
  // More crashes than attempts is another story: here every job has to come to its end.
  await pool.query('alter table ing_task alter column max_attempts set default 50')
  const repos: Upstream[] = []
  for (let i = 0; i <= STILL; i++) {
    const repo = makeRepo('--bare', '--template=')
    for (let n = 0; n < 4; n++) repo.commit(`old ${n}`, { date: 1_700_000_000 + n * 60 })
    const { repo_id: repoId } = await registerRepo(contextOn(pool), {
      repo: `git:${repo.dir}`,
      projectKey: null,
    })
    repos.push({ repo, repoId, ever: new Set(repo.all()) })
  }
  const first = contextOn(pool, { settings: SETTINGS })
  await ROLES.scheduler(first)
  await ROLES.worker(first)
  await stopLeading(first)
  await pool.end()

  const template = new URL(dsn.replace(/^postgresql:\/\/\//, 'postgresql://x/')).pathname.slice(1)
  return {
    copy: async () => {
      const name = `t_${randomBytes(6).toString('hex')}`
      await admin(url, `create database ${name} strategy file_copy template ${template}`)
      const copyDsn = onServer(url, name)
      const db = openPool({ dsn: copyDsn, max: 3, applicationName: 'test', statementTimeoutMs: 60_000 })
      const own = repos.map(({ repo, repoId, ever }) => {
        const dir = tempFolder()
        cpSync(repo.dir, dir, { recursive: true })
        return { repo: repoAt(dir, null), repoId, ever: new Set(ever) }
      })
      for (const { repo, repoId } of own)
        await db.query('update scm.repos set url = $2 where repo_id = $1', [repoId, repo.dir])
      return {
        dsn: copyDsn,
        db,
        repos: own,
        query: async <T>(sql: string, values: unknown[] = []) => (await db.query(sql, values)).rows as T[],
        drop: async () => {
          await db.end()
          await admin(url, `drop database ${name} with (force)`)
        },
      }
    },
    drop: async () => {
      await drop().catch(() => {}) // its pool is closed already
      await admin(url, `drop database if exists ${template} with (force)`)
    },
  }
}

export function startRole(p: Pipeline, wire: Wire | null = null, wishes: Wishes = {}): Process {
  return startProcess(p, wire, { ...wishes, settings: { ...SETTINGS, ...wishes.settings } })
}

/** A fresh process does one round and ends. */
export async function once<R extends Role>(
  p: Pipeline,
  role: R,
  wishes: Wishes = {},
): Promise<Awaited<ReturnType<(typeof ROLES)[R]>>> {
  const fresh = startRole(p, null, wishes)
  try {
    return (await ROLES[role](fresh.ctx)) as Awaited<ReturnType<(typeof ROLES)[R]>>
  } finally {
    await fresh.end()
  }
}

let made = 0

/** One push: main goes back by two commits and on by more, one branch comes, the last one goes, one commit comes late. */
export function moveOn({ repo, ever }: Upstream, commits = 5): void {
  const n = ++made
  const commit = (ref: string, from: string, date: number) => {
    const text = `commit ${n} ${date}\n`
    return `commit ${ref}\ncommitter C <c@example.com> ${date} +0000\ndata ${text.length}\n${text}${from === '' ? '' : `from ${from}\n`}\n`
  }
  const from = repo.git('rev-parse', 'refs/heads/main~2')
  const gone = repo.git('for-each-ref', '--format=%(refname)', 'refs/heads/b*')
  const date = 1_710_000_000 + n * 600
  const stream = [
    ...Array.from({ length: commits }, (_, i) => commit('refs/heads/main', i === 0 ? from : '', date + i)),
    commit(`refs/heads/b${n}`, from, date - 5_000_000),
    ...(gone === '' ? [] : gone.split('\n').map((ref) => `reset ${ref}\nfrom ${'0'.repeat(40)}\n\n`)),
  ]
  repo.feed(stream.join(''), 'fast-import', '--quiet', '--force')
  for (const sha of repo.all()) ever.add(sha)
}

const AGING = ['public.ing_task', 'public.ing_task_run', 'scm.sync_locks', 'scm.leaders', 'logbook.kv']
const agingSql = new Map<string, string>()

/**
 * Two hours pass: every lease, lock, term, backoff and pause is over, every cursor old. The rows are moved into the
 * past, unseen by triggers, as if only the clock had gone on.
 */
export async function hoursPass(p: Pick<Pipeline, 'dsn' | 'query'>): Promise<void> {
  let sql = agingSql.get(p.dsn)
  if (sql === undefined) {
    const columns = await p.query<{ of: string; name: string }>(
      `select table_schema || '.' || table_name as of, column_name as name from information_schema.columns
        where table_schema || '.' || table_name = any($1) and data_type = 'timestamp with time zone' and column_name not like 'window%'`,
      [AGING],
    )
    const moves = AGING.map((table) => {
      const set = columns
        .filter((c) => c.of === table)
        .map((c) => `${c.name} = ${c.name} - interval '2 hours'`)
      return `update ${table} set ${set.join(', ')}`
    })
    const pauses = `update logbook.kv set value_json = value_json || jsonb_build_object(
         'paused_at', (value_json->>'paused_at')::numeric - 7200, 'paused_until', (value_json->>'paused_until')::numeric - 7200)
       where namespace = 'scm.sync_pauses'`
    sql = ['begin', 'set local session_replication_role = replica', ...moves, pauses, 'commit'].join(';\n')
    agingSql.set(p.dsn, sql)
  }
  await p.query(sql)
}

const OPEN = `select status, repo_id from ing_task where status in ('pending', 'reserved', 'running', 'failed')`
const MOST_ROUNDS = 8

/**
 * Fresh processes, round after round, until nothing is open and every repository was planned and read once more; as
 * operators would find the system a while later.
 */
export async function settle(p: Pipeline): Promise<string[]> {
  const waiting = new Set(p.repos.map((r) => r.repoId))
  let seen: unknown
  for (let round = 0; round < MOST_ROUNDS; round++) {
    await hoursPass(p)
    const fresh = startRole(p)
    const reaped = await ROLES.reaper(fresh.ctx)
    const tick = await ROLES.scheduler(fresh.ctx)
    const done = await ROLES.worker(fresh.ctx)
    await fresh.end()
    for (const job of tick.enqueued_jobs) waiting.delete(job.repo_id)
    const open = await p.query(OPEN)
    if (waiting.size === 0 && open.length === 0) return []
    seen = { waiting: [...waiting], open, reaped: reaped.total_processed, tick: tick.jobs_enqueued, done }
  }
  return [`after ${MOST_ROUNDS} rounds it has not settled: ${JSON.stringify(seen)}`]
}

/** Whatever is wrong with a settled pipeline: with a repository and its rows, with the ledger, with the queue. */
export async function wrongs(p: Pipeline): Promise<string[]> {
  const found = await Promise.all(
    p.repos.map(({ repo, repoId, ever }) => violations({ db: p.db, repo, repoId, ever })),
  )
  const [queue] = await p.query<{ locks: number; keys: number; lanes: number; doubled: number }>(
    `select (select count(*)::int from scm.sync_locks) as locks,
            (select count(*)::int from ing_task where active_key is not null) as keys,
            (select count(*)::int from scm.lanes) as lanes,
            (select count(*)::int from (select from ing_task_run where status_code = 'SUCCEEDED' group by task_id having count(*) > 1) d) as doubled`,
  )
  const clean = { locks: 0, keys: 0, lanes: 0, doubled: 0 }
  return [
    ...found.flat(),
    ...(JSON.stringify(queue) === JSON.stringify(clean)
      ? []
      : [`the queue is left with ${JSON.stringify(queue)}`]),
  ]
}
