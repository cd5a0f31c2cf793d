/** What is wrong by the rows: each check finds the offenders, counts all of them and names at most ten. */
import { type Db, row } from '../connect.ts'
import { BLOCKED, OVERDUE } from './figures.ts'

export interface Finding {
  count: number
  details: Record<string, unknown>[]
}

async function find(db: Db, name: string, offenders: string, values: unknown[] = []): Promise<Finding> {
  const found = await row<Finding>(
    db,
    `health_${name}`,
    `with found as materialized (${offenders})
     select (select count(*) from found) as count, coalesce((select jsonb_agg(to_jsonb(f)) from (select * from found limit 10) f), '[]') as details`,
    values,
  )
  return found as Finding
}

/** Running, and the lease has been over for longer than the grace. */
export const expiredRunningJobs = (db: Db, graceSeconds: number) =>
  find(
    db,
    'expired_running_jobs',
    `select id as job_id, repo_id, job_type, lease_owner as locked_by, lease_until from ing_task
      where status = 'running' and lease_until < now() - make_interval(secs => $1) order by lease_until`,
    [graceSeconds],
  )

/** Locks nobody works under. A lock and its job are written together, so there is no moment between the two. */
export const orphanLocks = (db: Db) =>
  find(
    db,
    'orphan_locks',
    `select lock_id, repo_id, job_type, locked_by, locked_at from scm.sync_locks l
      where not exists (select from ing_task t where t.status = 'running' and t.repo_id = l.repo_id and t.job_type = l.job_type)
      order by locked_at`,
  )

/** Where no repository has a tenant, nobody limits by it. */
export const gitlabJobsWithoutDimensions = (db: Db) =>
  find(
    db,
    'missing_dimensions',
    `select job_id, repo_id, job_type, instance_key, tenant_id from (
       select id as job_id, repo_id, job_type, instance_key, tenant_id, provenance_code from ing_task where status = 'pending'
       union all
       select id, repo_id, job_type, instance_key, tenant_id, provenance_code from ing_task where status = 'running') t
      where provenance_code like 'gitlab:%'
        and (instance_key = '' or (tenant_id = '' and exists (select from scm.repos where tenant_id <> '')))
      order by job_id`,
  )

/** Not the scheduler's own: it remembers by them that it has to try once more. */
export const expiredPauses = (db: Db) =>
  find(
    db,
    'expired_pauses',
    `select key, value_json->>'reason_code' as reason_code from logbook.kv where namespace = 'scm.sync_pauses'
        and scm.pause_end(value_json) <= now() and value_json->>'reason_code' is distinct from 'error_budget' order by key`,
  )

export const oddPauses = (db: Db) =>
  find(
    db,
    'odd_pauses',
    `select key, left(value_json->>'paused_until', 100) as paused_until from logbook.kv
      where namespace = 'scm.sync_pauses' and scm.pause_end(value_json) is null order by key`,
  )

/** A state nobody knows, or open since nobody knows when: a scan writes that down. A row without a state is closed, and fine. */
export const oddBreakers = (db: Db) =>
  find(
    db,
    'odd_breakers',
    `select key, left(value_json->>'state', 100) as state from logbook.kv where namespace = 'scm.sync_health'
        and (scm.breaker_state(value_json) = 'unknown'
             or (scm.breaker_state(value_json) = 'open' and jsonb_typeof(value_json->'opened_at') is distinct from 'number'))
      order by key`,
  )

/** Due for longer than that, nothing in the way, and no job runs anywhere. */
export const stalledJobs = (db: Db, seconds: number) =>
  find(
    db,
    'queue_stall',
    `select t.id as job_id, t.repo_id, t.job_type, t.status, t.scheduled_at as not_before from ing_task t
       left join (${BLOCKED}) b on b.key = t.repo_id || ':' || t.job_type
      where ${OVERDUE} and t.scheduled_at < now() - make_interval(secs => $1) and b.key is null
        and not exists (select from ing_task o where o.status = 'running' and o.lease_until > now())
      order by t.scheduled_at`,
    [seconds],
  )

/** Not ended, and no sign of life for a whole lease of its job (a deleted one had the default) and the grace. */
export const silentRuns = (db: Db, graceSeconds: number) =>
  find(
    db,
    'silent_runs',
    `select r.id as run_id, r.task_id as job_id, r.repo_id, r.job_type, r.worker_id, r.last_heartbeat
       from ing_task_run r left join ing_task t on t.id = r.task_id
      where r.status_code = 'RUNNING' and r.last_heartbeat < now() - make_interval(secs => coalesce(t.lease_seconds, 300) + $1)
      order by r.last_heartbeat`,
    [graceSeconds],
  )

/** Jobs tried so often, or more, in so many seconds. */
export const stormyJobs = (db: Db, runs: number, seconds: number) =>
  find(
    db,
    'retry_storm',
    `select task_id as job_id, repo_id, job_type, count(*) as runs from ing_task_run
      where started_at > now() - make_interval(secs => $2) group by 1, 2, 3 having count(*) >= $1 order by runs desc, 1`,
    [runs, seconds],
  )

export const deadJobs = (db: Db) =>
  find(
    db,
    'dead_jobs',
    `select id as job_id, repo_id, job_type, error_summary_json->>'error_category' as error_category, updated_at
       from ing_task where status = 'dead' order by updated_at`,
  )

/** Enabled repositories whose cursor nobody has moved or confirmed for that long. */
export const stalledCursors = (db: Db, seconds: number) =>
  find(
    db,
    'cursor_stall',
    `select k.key, r.repo_id, k.updated_at from logbook.kv k
       join (select repo_id, repo_type || of_type || repo_id as key from scm.repos
              cross join unnest(array['_cursor:', '_mr_cursor:', '_reviews_cursor:']) of_type where enabled) r using (key)
      where k.namespace = 'scm.sync' and k.updated_at < now() - make_interval(secs => $1) order by k.updated_at`,
    [seconds],
  )

/** The keys that let nothing be stored twice. */
const UNIQUE_KEYS = [
  'uk_plan_key',
  'uk_slice_unique',
  'uk_slice_sig',
  'uk_task_idem',
  'uk_task_active',
  'uk_run_attempt',
  'uk_run_before_tok',
  'uk_batch_idem',
  'uk_cursor_ns',
  'uk_cur_evt_idem',
  'uk_lock',
]

export const missingKeys = (db: Db) =>
  find(
    db,
    'unique_keys',
    `select k.name from unnest($1::text[]) as k(name)
      where not exists (select from pg_constraint c join pg_index i on i.indexrelid = c.conindid
                         where c.conname = k.name and c.contype = 'u' and i.indisvalid and i.indisready) order by 1`,
    [UNIQUE_KEYS],
  )
