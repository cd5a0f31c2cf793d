/**
 * What is left when somebody died. Every move says again, in its own WHERE, why it may be made, so an owner who was
 * only slow and any number of reapers are safe; rows that somebody else holds are passed over until the next pass.
 * All of them take their locks in the order every owner does: job, lock, run.
 */
import { type Db, row, rows } from './connect.ts'

export interface Reaped {
  jobId: number
  repoId: number
  jobType: string
  planId: number
  status: 'failed' | 'dead' | 'pending'
}

const DUE = `status = 'running' and lease_until < now() - make_interval(secs => $1)`

/**
 * running, its lease over for `graceSeconds` → failed (due after a backoff) or, with `toPending`, pending; dead when
 * its attempts are used up. Its run and batch fail as lease_lost, its lock is removed.
 */
export async function reapJobs(
  tx: Db,
  ask: { graceSeconds: number; retryDelaySeconds: number; toPending: boolean; limit: number },
): Promise<Reaped[]> {
  return rows(
    tx,
    'reap_jobs',
    `with due as (
       select id from ing_task where ${DUE} order by lease_until limit $2 for update skip locked),
     job as (
       update ing_task t
          set status = case when t.attempts >= t.max_attempts then 'dead' when $4 then 'pending' else 'failed' end,
              scheduled_at = now() + case when $4 then interval '0' else make_interval(
                secs => least(3600, $3 * 2 ^ least(greatest(t.attempts - 1, 0), 20)) * (0.8 + 0.4 * random())) end,
              finished_at = case when t.attempts >= t.max_attempts then now() end,
              active_key = case when t.attempts < t.max_attempts then t.active_key end,
              error_summary_json = jsonb_build_object('error_category', 'lease_lost', 'error_message',
                'Reaped: the lease of ' || t.lease_owner || ' ended without a word'),
              lease_owner = null, leased_at = null, lease_until = null, updated_at = now()
         from due where t.id = due.id and ${DUE.replaceAll('status', 't.status').replaceAll('lease_until', 't.lease_until')}
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
    [ask.graceSeconds, ask.limit, ask.retryDelaySeconds, ask.toPending],
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

const LAPSED_LOCK = `l.locked_at + make_interval(secs => l.lease_seconds + $1) < now()
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
       update ing_task t set status = 'pending', scheduled_at = now(), updated_at = now()
         from due where t.id = due.id and ${FORSAKEN} returning t.id)
     select id, (select pg_notify('scm_jobs', '') where exists (select from job))::text from job`,
    [ask.graceSeconds, ask.limit],
  )
  return done.length
}

// The grace: a plan and its jobs are written together, but a reader of another snapshot must not be quicker than both.
const JOBLESS = `s.status_code in ('PENDING', 'DISPATCHED', 'EXECUTING') and s.updated_at < now() - make_interval(secs => $1)
  and not exists (select from ing_task t where t.plan_id = s.plan_id and t.slice_id = s.id)`

/** A slice whose job an operator has deleted → CANCELLED. Answers the plans to roll up. */
export async function cancelJoblessSlices(
  tx: Db,
  ask: { graceSeconds: number; limit: number },
): Promise<{ planId: number }[]> {
  return rows(
    tx,
    'reap_slices',
    `with due as (
       select s.id from ing_plan p join ing_plan_slice s on s.plan_id = p.id
        where p.status_code = 'READY' and ${JOBLESS} order by s.id limit $2 for update of s skip locked)
     update ing_plan_slice s set status_code = 'CANCELLED', updated_at = now()
       from due where s.id = due.id and ${JOBLESS} returning s.plan_id as "planId"`,
    [ask.graceSeconds, ask.limit],
  )
}

export interface Found {
  jobs: number
  runs: number
  locks: number
  reservations: number
  slices: number
}

/** How much a pass would find. */
export async function countReapable(db: Db, ask: { jobGrace: number; lockGrace: number }): Promise<Found> {
  const found = await row<Found>(
    db,
    'reap_count',
    `select (select count(*) from ing_task where ${DUE}) as jobs,
            (select count(*) from ing_task_run r where ${ORPHAN_RUN}) as runs,
            (select count(*) from scm.sync_locks l where ${LAPSED_LOCK.replaceAll('$1', '$2')}) as locks,
            (select count(*) from ing_task t where ${FORSAKEN}) as reservations,
            (select count(*) from ing_plan p join ing_plan_slice s on s.plan_id = p.id where p.status_code = 'READY' and ${JOBLESS}) as slices`,
    [ask.jobGrace, ask.lockGrace],
  )
  return found as Found
}

export interface Pruned {
  plans: number
  jobs: number
  runs: number
  batches: number
}

/**
 * Plans that ended more than `days` ago and all of whose jobs are completed or cancelled → gone, with slices, jobs,
 * runs, batches and triggers; at most `limit` plans. Dead jobs stay until somebody decides, cursor events for ever.
 */
export async function pruneFinished(db: Db, ask: { days: number; limit: number }): Promise<Pruned> {
  const pruned = await row<Pruned>(
    db,
    'reap_prune',
    `with plan as (
       select p.id, p.schedule_instance_id from ing_plan p
        where p.status_code in ('COMPLETED', 'PARTIAL', 'FAILED') and p.updated_at < now() - make_interval(days => $1)
          and not exists (select from ing_task t where t.plan_id = p.id and t.status not in ('completed', 'cancelled'))
        order by p.id limit $2 for update skip locked),
     job as (delete from ing_task t using plan where t.plan_id = plan.id and t.status in ('completed', 'cancelled') returning t.id),
     run as (delete from ing_task_run r using job where r.task_id = job.id returning r.id),
     batch as (delete from ing_task_run_batch b using run where b.run_id = run.id returning 1),
     slice as (delete from ing_plan_slice s using plan where s.plan_id = plan.id),
     instance as (delete from ing_schedule_instance i using plan where i.id = plan.schedule_instance_id),
     gone as (delete from ing_plan p using plan where p.id = plan.id returning 1)
     select (select count(*) from gone) as plans, (select count(*) from job) as jobs, (select count(*) from run) as runs,
            (select count(*) from batch) as batches`,
    [ask.days, ask.limit],
  )
  return pruned as Pruned
}
