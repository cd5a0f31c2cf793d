/**
 * What is left when somebody died. Every move says again, in its own WHERE, why it may be made, so an owner who was
 * only slow and any number of reapers are safe. Rows that somebody else holds are passed over until the next pass, so
 * none of them waits for an owner while it holds what that owner wants.
 */
import { type Db, row, rows } from '../connect.ts'

export interface Reaped {
  jobId: number
  repoId: number
  jobType: string
  planId: number
  status: 'failed' | 'dead' | 'pending'
}

/** running, its lease over for `graceSeconds`. */
const lapsed = (job: string) =>
  `${job}.status = 'running' and ${job}.lease_until < now() - make_interval(secs => $1)`

/** running and renewed, but for `runMaxSeconds` no page was stored: whatever its owner waits for, it does not come. */
const stuck = (job: string) =>
  `${job}.status = 'running' and ${job}.lease_until >= now() - make_interval(secs => $1)
   and exists (select from ing_task_run r where r.id = ${job}.last_run_id and r.status_code = 'RUNNING'
                  and r.started_at < now() - make_interval(secs => $2))
   and not exists (select from ing_task_run_batch b where b.run_id = ${job}.last_run_id
                      and b.committed_at > now() - make_interval(secs => $2))`

/**
 * Lapsed and stuck jobs → failed (due after a backoff) or, with `toPending`, pending; dead when their attempts are used
 * up. Run and batch fail as lease_lost, the lock is removed; an owner that still lives finds its fence gone.
 */
export async function reapJobs(
  tx: Db,
  ask: {
    graceSeconds: number
    runMaxSeconds: number
    retryDelaySeconds: number
    toPending: boolean
    limit: number
  },
): Promise<Reaped[]> {
  return rows(
    tx,
    'reap_jobs',
    `with due as (
       select id, now() + case when $4 then interval '0' else make_interval(
                secs => least(3600, $3 * 2 ^ least(greatest(attempts - 1, 0), 20)) * (0.8 + 0.4 * random())) end as at
         from ing_task t where ${lapsed('t')} or (${stuck('t')}) order by lease_until limit $5 for update skip locked),
     job as (
       update ing_task t
          set status = case when t.attempts >= t.max_attempts then 'dead' when $4 then 'pending' else 'failed' end,
              scheduled_at = due.at, parked_until = due.at,
              finished_at = case when t.attempts >= t.max_attempts then now() end,
              active_key = case when t.attempts < t.max_attempts then t.active_key end,
              error_summary_json = jsonb_build_object('error_category', 'lease_lost', 'error_message', case when ${lapsed('t')}
                then 'Reaped: the lease of ' || t.lease_owner || ' ended without a word'
                else 'Reaped: ' || t.lease_owner || ' stored nothing for ' || $2::int || ' s' end),
              lease_owner = null, leased_at = null, lease_until = null, updated_at = clock_timestamp()
         from due where t.id = due.id and (${lapsed('t')} or (${stuck('t')}))
       returning t.id, t.repo_id, t.job_type, t.plan_id, t.slice_id, t.fence, t.status),
     lock as (
       delete from scm.sync_locks l using job
        where l.repo_id = job.repo_id and l.job_type = job.job_type and l.fence = job.fence),
     run as (
       update ing_task_run r set status_code = 'FAILED', finished_at = now(), error = 'lease lost: reaped', error_summary_json =
              '{"error_category": "lease_lost", "error_message": "the lease ended without a word"}'
         from job where r.task_id = job.id and r.status_code = 'RUNNING' returning r.id),
     batch as (
       update ing_task_run_batch b set status_code = 'FAILED', error = 'the run was reaped'
         from run where b.run_id = run.id and b.status_code = 'RUNNING'),
     slice as (
       update ing_plan_slice s set status_code = case when job.status = 'dead' then 'FAILED' else 'DISPATCHED' end, updated_at = now()
         from job where s.id = job.slice_id)
     select id as "jobId", repo_id as "repoId", job_type as "jobType", plan_id as "planId", status from job`,
    [ask.graceSeconds, ask.runMaxSeconds, ask.retryDelaySeconds, ask.toPending, ask.limit],
  )
}

const ORPHAN_RUN = `r.status_code = 'RUNNING' and r.last_heartbeat < now() - make_interval(secs => $1)
  and not exists (select from ing_task t where t.id = r.task_id and t.status = 'running' and t.fence = r.fence)`

/** RUNNING, and its job is not running it any more (set to pending by hand, taken over, deleted) → FAILED, with its batch. */
export async function reapRuns(db: Db, ask: { graceSeconds: number; limit: number }): Promise<number> {
  const done = await rows(
    db,
    'reap_runs',
    `with due as (select r.id from ing_task_run r where ${ORPHAN_RUN} order by r.id limit $2 for update skip locked),
     run as (
       update ing_task_run r set status_code = 'FAILED', finished_at = now(), error = 'lease lost: its job went on without it',
              error_summary_json = '{"error_category": "lease_lost", "error_message": "its job went on without it"}'
         from due where r.id = due.id and ${ORPHAN_RUN} returning r.id),
     batch as (
       update ing_task_run_batch b set status_code = 'FAILED', error = 'the run was reaped'
         from run where b.run_id = run.id and b.status_code = 'RUNNING')
     select id from run`,
    [ask.graceSeconds, ask.limit],
  )
  return done.length
}

/** Of a lock `l`, by $1 seconds of grace. */
export const LAPSED_LOCK = `l.locked_at + make_interval(secs => l.lease_seconds + $1) < now()
  and not exists (select from ing_task t where t.id = l.job_id and t.fence = l.fence and t.status = 'running' and t.lease_until > now())`

/** A lock whose lease has been over for `graceSeconds` → gone. */
export async function reapLocks(db: Db, ask: { graceSeconds: number; limit: number }): Promise<number> {
  const done = await rows(
    db,
    'reap_locks',
    `with due as (select l.lock_id from scm.sync_locks l where ${LAPSED_LOCK} order by l.locked_at limit $2 for update skip locked)
     delete from scm.sync_locks l using due where l.lock_id = due.lock_id and ${LAPSED_LOCK} returning 1`,
    [ask.graceSeconds, ask.limit],
  )
  return done.length
}

// A runner works its plan chunk after chunk: while it lives, some job of the plan is held or was ended a moment ago.
const FORSAKEN = `t.status = 'reserved' and t.updated_at < now() - make_interval(secs => $1)
  and not exists (select from ing_task o where o.plan_id = t.plan_id
                     and (o.updated_at > now() - make_interval(secs => $1) or (o.status = 'running' and o.lease_until > now())))`

/** reserved by a runner that is gone → pending, any worker's; idle ones are woken. */
export async function freeReservations(
  db: Db,
  ask: { graceSeconds: number; limit: number },
): Promise<number> {
  const done = await rows(
    db,
    'reap_reservations',
    `with due as (select t.id from ing_task t where ${FORSAKEN} order by t.id limit $2 for update skip locked),
     job as (
       update ing_task t set status = 'pending', scheduled_at = now(), parked_until = now(), updated_at = clock_timestamp()
         from due where t.id = due.id and ${FORSAKEN} returning t.id)
     select id, (select pg_notify('scm_jobs', '') where exists (select from job))::text from job`,
    [ask.graceSeconds, ask.limit],
  )
  return done.length
}

export interface Found {
  jobs: number
  runs: number
  locks: number
  reservations: number
}

/** How much a pass would find. */
export async function countReapable(
  db: Db,
  ask: { jobGrace: number; lockGrace: number; runMaxSeconds: number },
): Promise<Found> {
  const count = async (name: string, of: string, values: number[]) =>
    (await row<{ n: number }>(db, name, `select count(*) as n from ${of}`, values))?.n ?? 0
  return {
    jobs:
      (await count('reap_count_lapsed', `ing_task t where ${lapsed('t')}`, [ask.jobGrace])) +
      (await count('reap_count_stuck', `ing_task t where ${stuck('t')}`, [ask.jobGrace, ask.runMaxSeconds])),
    runs: await count('reap_count_runs', `ing_task_run r where ${ORPHAN_RUN}`, [ask.jobGrace]),
    locks: await count('reap_count_locks', `scm.sync_locks l where ${LAPSED_LOCK}`, [ask.lockGrace]),
    reservations: await count('reap_count_reservations', `ing_task t where ${FORSAKEN}`, [ask.jobGrace]),
  }
}
