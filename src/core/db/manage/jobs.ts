/**
 * Jobs as operators list and move them. Changes go through scm.sync_jobs, as the runbook's do, so that the same triggers
 * follow them; what a holder had is taken away with the job, so that it stores nothing more.
 */
import { type Db, rows } from '../connect.ts'
import { rollUpPlans } from '../ledger/plans.ts'

/** Which jobs; null: whichever. */
export interface JobChoice {
  jobIds: number[] | null
  repoId: number | null
  jobType: string | null
}

const CHOSEN = `($1::bigint[] is null or t.id = any($1)) and ($2::bigint is null or t.repo_id = $2) and ($3::text is null or t.job_type = $3)`
const valuesOf = (choice: JobChoice) => [choice.jobIds, choice.repoId, choice.jobType]

export interface JobRow {
  job_id: number
  repo_id: number
  repo: string | null
  job_type: string
  mode: string
  status: string
  priority: number
  attempts: number
  max_attempts: number
  not_before: Date | null
  locked_by: string | null
  locked_at: Date | null
  created_at: Date
  updated_at: Date
  error_summary_json: unknown
}

/** The last changed first. */
export async function jobsIn(db: Db, status: string, choice: JobChoice, limit: number): Promise<JobRow[]> {
  return rows(
    db,
    'by_hand_jobs',
    `select t.id as job_id, t.repo_id, r.repo_type || ':' || r.url as repo, job_type, mode, status, priority, attempts, max_attempts,
            scheduled_at as not_before, lease_owner as locked_by, leased_at as locked_at, t.created_at, t.updated_at, error_summary_json
       from ing_task t left join scm.repos r using (repo_id)
      where ${CHOSEN} and status = $4 order by t.updated_at desc, t.id desc limit $5`,
    [...valuesOf(choice), status, limit],
  )
}

export async function jobStates(db: Db, jobIds: number[]): Promise<Map<number, string>> {
  const found = await rows<{ id: number; status: string }>(
    db,
    'by_hand_states',
    'select id, status from ing_task where id = any($1)',
    [jobIds],
  )
  return new Map(found.map((job) => [job.id, job.status]))
}

interface Named {
  job_id: number
  repo_id: number
  job_type: string
}

/** dead → pending, due now, as if never tried. */
export async function resetDead(
  tx: Db,
  choice: JobChoice,
): Promise<(Named & { attempts: number; error: string | null })[]> {
  const reset = await rows<Named & { attempts: number; error: string | null; planId: number }>(
    tx,
    'by_hand_reset_dead',
    `with was as materialized (
       select id, repo_id, job_type, plan_id, slice_id, attempts, error_summary_json->>'error_message' as error
         from ing_task t where status = 'dead' and ${CHOSEN} order by id for update),
     job as (
       update scm.sync_jobs set status = 'pending', attempts = 0, not_before = now(), locked_by = null, locked_at = null,
              error_summary_json = null
         from was where job_id = was.id returning job_id),
     slice as (
       update ing_plan_slice s set status_code = 'DISPATCHED', updated_at = now() from was where s.id = was.slice_id)
     select id as job_id, repo_id, job_type, attempts, error, plan_id as "planId",
            (select pg_notify('scm_jobs', '') where exists (select from job))::text as woke
       from was order by id`,
    valuesOf(choice),
  )
  await rollUpPlans(
    tx,
    reset.map((job) => job.planId),
  )
  return reset
}

export interface Taken extends Named {
  was: string
  /** The run that was under way, or the last one. */
  run_id: number | null
  attempts: number
  locked_by: string | null
  locked_at: Date | null
}

const TAKEN = `id as job_id, repo_id, job_type, status as was, last_run_id as run_id, attempts, lease_owner as locked_by, leased_at as locked_at`

/** pending | reserved | failed | running → dead. */
export async function markDead(tx: Db, jobIds: number[], why: string): Promise<Taken[]> {
  const taken = await rows<Taken>(
    tx,
    'by_hand_unfinished',
    `select ${TAKEN} from ing_task where id = any($1) and status in ('pending', 'reserved', 'failed', 'running') order by id for update`,
    [jobIds],
  )
  await endRuns(tx, taken, why)
  await rows(
    tx,
    'by_hand_mark_dead',
    `update scm.sync_jobs set status = 'dead', locked_by = null, locked_at = null, error_summary_json = $2 where job_id = any($1)`,
    [taken.map((job) => job.job_id), errorOf(why)],
  )
  return taken
}

/** running, not renewed for so long → pending, due now. A holder that lives all the same stores nothing more. */
export async function resetStuck(
  tx: Db,
  ask: { olderThanSeconds: number; repoId: number | null; jobType: string | null },
  why: string,
): Promise<Taken[]> {
  const taken = await rows<Taken>(
    tx,
    'by_hand_stuck',
    `select ${TAKEN} from ing_task
      where status = 'running' and leased_at < now() - make_interval(secs => $1) and ($2::bigint is null or repo_id = $2)
        and ($3::text is null or job_type = $3) order by id for update`,
    [ask.olderThanSeconds, ask.repoId, ask.jobType],
  )
  await endRuns(tx, taken, why)
  await rows(
    tx,
    'by_hand_reset_stuck',
    `with job as (
       update scm.sync_jobs set status = 'pending', locked_by = null, locked_at = null, not_before = now()
        where job_id = any($1) returning job_id),
     slice as (
       update ing_plan_slice s set status_code = 'DISPATCHED', updated_at = now() from ing_task t where t.id = any($1) and s.id = t.slice_id)
     select pg_notify('scm_jobs', '')::text where exists (select from job)`,
    [taken.map((job) => job.job_id)],
  )
  return taken
}

/**
 * What the holders of locked jobs had: lock, run and batch. A statement of its own: one that had waited for the jobs would
 * not see the batch that was opened meanwhile.
 */
async function endRuns(tx: Db, jobs: Taken[], why: string): Promise<void> {
  await rows(
    tx,
    'by_hand_end_runs',
    `with lock as (
       delete from scm.sync_locks l using ing_task t
        where t.id = any($1) and l.repo_id = t.repo_id and l.job_type = t.job_type and l.fence = t.fence),
     run as (
       update ing_task_run set status_code = 'FAILED', finished_at = now(), error = $2::jsonb->>'error_message', error_summary_json = $2::jsonb
        where task_id = any($1) and status_code = 'RUNNING' returning id)
     update ing_task_run_batch b set status_code = 'FAILED', error = $2::jsonb->>'error_message'
       from run where b.run_id = run.id and b.status_code = 'RUNNING'`,
    [jobs.map((job) => job.job_id), errorOf(why)],
  )
}

const errorOf = (why: string) => JSON.stringify({ error_category: 'cancelled', error_message: why })

export interface Backlog {
  olderThanSeconds: number
  priorityAbove: number
}

const OLD_AND_LOW = `status = 'pending' and created_at < now() - make_interval(secs => $1) and priority > $2`

/** pending, so old and so unimportant → gone, at most `limit` at once. */
export async function pruneJobs(
  tx: Db,
  { olderThanSeconds, priorityAbove }: Backlog,
  limit: number,
): Promise<number[]> {
  const gone = await rows<{ id: number }>(
    tx,
    'by_hand_prune',
    `with due as materialized (select id from ing_task where ${OLD_AND_LOW} order by id limit $3 for update skip locked)
     delete from ing_task t using due where t.id = due.id and ${OLD_AND_LOW} returning t.id`,
    [olderThanSeconds, priorityAbove, limit],
  )
  return gone.map((job) => job.id)
}

export async function countBacklog(db: Db, { olderThanSeconds, priorityAbove }: Backlog): Promise<number> {
  const [found] = await rows<{ n: number }>(
    db,
    'by_hand_backlog',
    `select count(*) as n from ing_task where ${OLD_AND_LOW}`,
    [olderThanSeconds, priorityAbove],
  )
  return found?.n ?? 0
}
