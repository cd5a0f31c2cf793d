/** How much of what there is: figures of the whole queue, each in time that does not grow with what is finished. */
import { type Db, row, rows } from '../connect.ts'
import { fromNow } from '../queue/schedule.ts'

export interface Unfinished {
  instance: string
  tenant: string
  jobType: string
  status: 'pending' | 'reserved' | 'running' | 'failed' | 'dead'
  jobs: number
  /** Seconds since the oldest of them became due and nothing but a worker was missing; null: none is. */
  overdue: number | null
  /** Failed ones that wait for their next try, and the seconds until the last of them is due. */
  backingOff: number
  backoff: number | null
}

/** Keys `<repo_id>:<job_type>` that a live pause or a live lock keeps from being worked. */
export const BLOCKED = `select key from logbook.kv where namespace = 'scm.sync_pauses' and scm.paused_until(value_json) is not null
 union select repo_id || ':' || job_type from scm.sync_locks where locked_at + make_interval(secs => lease_seconds) >= now()`

/** A job that only waits for a worker. */
export const OVERDUE = `t.status in ('pending', 'failed') and t.scheduled_at <= now()
   and (t.status = 'pending' or t.attempts < t.max_attempts)`

const COLUMNS = 'instance_key, tenant_id, job_type, status, repo_id, scheduled_at, attempts, max_attempts'

/** What is not completed or cancelled. Each half by its own partial index: finished jobs are a hundred times as many. */
export const unfinishedJobs = (db: Db) =>
  rows<Unfinished>(
    db,
    'figures_unfinished',
    `with blocked as materialized (${BLOCKED}),
     t as (select ${COLUMNS} from ing_task where status in ('pending', 'reserved', 'failed', 'dead')
           union all select ${COLUMNS} from ing_task where status = 'running')
     select t.instance_key as instance, t.tenant_id as tenant, t.job_type as "jobType", t.status, count(*) as jobs,
            -${fromNow(`extract(epoch from min(t.scheduled_at) filter (where ${OVERDUE} and b.key is null))`)} as overdue,
            count(*) filter (where t.status = 'failed' and t.scheduled_at > now()) as "backingOff",
            ${fromNow(`extract(epoch from max(t.scheduled_at) filter (where t.status = 'failed' and t.scheduled_at > now()))`)} as backoff
       from t left join blocked b on b.key = t.repo_id || ':' || t.job_type
      group by 1, 2, 3, 4 order by 1, 2, 3, 4`,
  )

/** Up to here finished jobs are counted (about 15 ms); beyond, a month of retention would be seconds. */
const COUNTED_TO = 100_000

export interface Finished {
  completed: number
  cancelled: number
  /** `completed` is the planner's estimate. */
  estimated: boolean
}

/** Completed and cancelled jobs. The estimate is the density of the last vacuum or analyze times the table's size now. */
export async function finishedJobs(db: Db, unfinished: number): Promise<Finished> {
  const found = await row<{ completed: number; cancelled: number; all: number }>(
    db,
    'figures_finished',
    // A table that was never analyzed has no density: then all are counted, until autovacuum has come, a minute later.
    `with density as materialized (
       select nullif(greatest(0, reltuples), 0) / relpages as per_page from pg_class where oid = 'ing_task'::regclass and relpages > 0)
     select (select count(*) from (select from ing_task where status = 'completed'
                                   limit case when (select per_page from density) is not null then $1::bigint + 1 end) x) as completed,
            (select count(*) from ing_task where status = 'cancelled') as cancelled,
            coalesce((select per_page from density) * pg_relation_size('ing_task') / current_setting('block_size')::int, 0)::bigint as all`,
    [COUNTED_TO],
  )
  const { completed, cancelled, all } = found as { completed: number; cancelled: number; all: number }
  const estimate = all - unfinished - cancelled
  return completed === COUNTED_TO + 1 && estimate > 0
    ? { completed: Math.max(completed, estimate), cancelled, estimated: true }
    : { completed, cancelled, estimated: false }
}

/** Seconds since the oldest sign of life of a run that has not ended; null when nothing runs. */
export async function oldestHeartbeat(db: Db): Promise<number | null> {
  const found = await row<{ age: number | null }>(
    db,
    'figures_heartbeat',
    `select extract(epoch from now() - min(last_heartbeat))::float8 as age from ing_task_run where status_code = 'RUNNING'`,
  )
  return found?.age ?? null
}

export async function lockCounts(db: Db): Promise<{ active: number; expired: number }> {
  const found = await row<{ active: number; expired: number }>(
    db,
    'figures_locks',
    `select count(*) filter (where locked_at + make_interval(secs => lease_seconds) >= now()) as active,
            count(*) filter (where locked_at + make_interval(secs => lease_seconds) < now()) as expired from scm.sync_locks`,
  )
  return found ?? { active: 0, expired: 0 }
}

/** Operators' cursors, whoever they belong to. */
export async function cursorCount(db: Db): Promise<number> {
  const found = await row<{ n: number }>(
    db,
    'figures_cursors',
    `select count(*) as n from logbook.kv where namespace = 'scm.sync' and key like '%\\_cursor:%'`,
  )
  return found?.n ?? 0
}

export interface Lag {
  repoId: number
  repoType: string
  url: string
  projectKey: string | null
  jobType: string
  /** Seconds since the cursor was last written; null when the repository has none. */
  cursorAge: number | null
  /** The same, or since the registration. */
  lag: number
}

/** Every enabled repository with every job type its kind has, the furthest behind first. */
export const lags = (
  db: Db,
  kinds: { kind: string; jobType: string; cursorKey: string }[],
  limit: number | null,
) =>
  rows<Lag>(
    db,
    'figures_lags',
    `select r.repo_id as "repoId", r.repo_type as "repoType", r.url, r.project_key as "projectKey", k.job_type as "jobType",
            extract(epoch from now() - kv.updated_at)::float8 as "cursorAge",
            greatest(0, extract(epoch from now() - coalesce(kv.updated_at, r.created_at)))::float8 as lag
       from scm.repos r
       join unnest($1::text[], $2::text[], $3::text[]) as k(kind, job_type, cursor_key) on k.kind = r.repo_type
       left join logbook.kv on kv.namespace = 'scm.sync' and kv.key = k.cursor_key || r.repo_id
      where r.enabled order by lag desc, r.repo_id, k.job_type limit $4`,
    [kinds.map((k) => k.kind), kinds.map((k) => k.jobType), kinds.map((k) => k.cursorKey), limit],
  )
