/**
 * The life of a job. Every write of an owner is guarded by the fence it was given, never by the worker's name:
 *
 *   pending | failed, due ──claim──▶ running (a worker, within the limits)
 *   pending | failed | reserved ──hold──▶ running (a person's command, by id) ──complete──▶ completed
 *   running, lease over ──claim, hold──▶ running (new run, new fence; the old run fails)
 *   running ──fail──▶ failed (due later) | dead (attempts used up, or no use in trying again)
 *   running ──give back──▶ pending (attempt not counted)
 *   pending | failed ──cancel──▶ cancelled
 */
import type { Json } from '../domain/ledger.ts'
import type { JobType } from '../domain/repo.ts'
import { type Db, row, rows } from './connect.ts'

/** A job somebody holds: what its owner needs for every later write. */
export interface HeldJob {
  jobId: number
  planId: number
  sliceId: number
  repoId: number
  jobType: JobType
  mode: 'incremental' | 'backfill' | 'probe'
  provenance: string
  operation: string
  exprHash: string
  scheduleInstanceId: number
  attempt: number
  maxAttempts: number
  fence: number
  leaseSeconds: number
  runId: number
  batchId: number
  spec: { window: { from: string | null; to: string | null }; refetch_since?: string }
  /** The last stored page of an earlier, unfinished run; null when there is none. */
  checkpoint: { token: string; pages: number; done: number } | null
  pinned: Record<string, string> | null
}

/** scm.held_job as HeldJob has it. */
export const HELD = `job_id as "jobId", plan_id as "planId", slice_id as "sliceId", repo_id as "repoId", job_type as "jobType", mode,
  provenance, operation, expr_hash as "exprHash", schedule_instance_id as "scheduleInstanceId", attempt,
  max_attempts as "maxAttempts", fence, lease_seconds as "leaseSeconds", run_id as "runId", batch_id as "batchId",
  spec, checkpoint, pinned`

/**
 * Takes one job and its (repo, job type) lock, fails whatever run was left behind, opens the next run and its first
 * batch at the place where the last unfinished run stood. null: not in one of `from`, held by a live owner, or the
 * lock is. `deadOwner` is a worker proven gone, whose lease need not be waited for; or the asking worker itself, when
 * it holds the job and does not know it.
 */
export async function holdJob(
  db: Db,
  ask: { jobId: number; worker: string; leaseSeconds: number; from: string[]; deadOwner: string | null },
): Promise<HeldJob | null> {
  return row<HeldJob>(
    db,
    'job_hold',
    `select ${HELD} from scm.hold_jobs(array[$1::bigint], $2, $3, $4, $5)`,
    [ask.jobId, ask.worker, ask.leaseSeconds, ask.from, ask.deadOwner],
  )
}

/**
 * Still mine? Locks job, lock and run rows and moves the lease on, also a lapsed one that nobody has taken yet (running
 * limits count live leases, so such an owner comes back on top of them). false: a newer fence holds the job, an operator
 * took the lock away, or the run has ended; the caller must roll back and stop.
 */
export async function renewLease(db: Db, held: HeldJob): Promise<boolean> {
  const [found] = await rows<{ held: boolean }>(
    db,
    'job_renew',
    `with job as (
       update ing_task set leased_at = now(), lease_until = now() + make_interval(secs => lease_seconds), updated_at = now()
        where id = $1 and fence = $2 and status = 'running' returning repo_id, job_type),
     lock as (
       update scm.sync_locks l set locked_at = now() from job
        where l.repo_id = job.repo_id and l.job_type = job.job_type and l.fence = $2 returning 1),
     run as (
       update ing_task_run set last_heartbeat = now()
        where id = $3 and fence = $2 and status_code = 'RUNNING' and exists (select from lock) returning 1)
     select exists (select from run) as held`,
    [held.jobId, held.fence, held.runId],
  )
  return found?.held === true
}

/** running → completed, with its run and slice; the lock is free. The caller has renewed in the same transaction. */
export async function completeJob(
  tx: Db,
  held: HeldJob,
  end: { stats: Json; cursorAfter: Json },
): Promise<void> {
  await rows(
    tx,
    'job_complete',
    `with job as (
       update ing_task set status = 'completed', finished_at = now(), lease_owner = null, leased_at = null, lease_until = null,
              active_key = null, error_summary_json = null, updated_at = now()
        where id = $1 and fence = $2 and status = 'running' returning slice_id, repo_id, job_type),
     run as (
       update ing_task_run set status_code = 'SUCCEEDED', finished_at = now(), stats = $4, cursor_after = $5
        where id = $3 and exists (select from job)),
     slice as (
       update ing_plan_slice s set status_code = 'SUCCEEDED', updated_at = now() from job where s.id = job.slice_id)
     delete from scm.sync_locks l using job where l.repo_id = job.repo_id and l.job_type = job.job_type and l.fence = $2`,
    [held.jobId, held.fence, held.runId, JSON.stringify(end.stats), JSON.stringify(end.cursorAfter)],
  )
}

export interface Failing {
  /** never: dead at once · later: failed until `delaySeconds` from now, dead when attempts are used up · free: back to pending. */
  retry: 'never' | 'later' | 'free'
  delaySeconds: number
  summary: { error_category: string; error_message: string; hint?: string }
  /** What the run did before it ended: its stored pages stay. */
  stats?: Json
}

/** running → failed | dead | pending, with its run, batch and slice; the lock is free. null: it was not mine any more. */
export async function failJob(
  tx: Db,
  held: HeldJob,
  why: Failing,
): Promise<'failed' | 'dead' | 'pending' | null> {
  const ended = await row<{ status: 'failed' | 'dead' | 'pending' }>(
    tx,
    'job_fail',
    `with job as (
       update ing_task
          set status = case when $4 = 'free' then 'pending' when $4 = 'never' or attempts >= max_attempts then 'dead' else 'failed' end,
              attempts = case when $4 = 'free' then greatest(0, attempts - 1) else attempts end,
              -- ±20 %: what failed together does not come back together.
              scheduled_at = now() + make_interval(secs => $5 * (0.8 + 0.4 * random())), error_summary_json = $6,
              finished_at = case when $4 <> 'free' and ($4 = 'never' or attempts >= max_attempts) then now() end,
              active_key = case when $4 <> 'free' and ($4 = 'never' or attempts >= max_attempts) then null else active_key end,
              lease_owner = null, leased_at = null, lease_until = null, updated_at = now()
        where id = $1 and fence = $2 and status = 'running'
       returning slice_id, repo_id, job_type, status),
     run as (
       update ing_task_run set status_code = case when $4 = 'free' then 'CANCELLED' else 'FAILED' end, finished_at = now(),
              error = $6->>'error_message', error_summary_json = $6, stats = $7
        where id = $3 and status_code = 'RUNNING' and exists (select from job) returning id),
     batch as (
       update ing_task_run_batch b set status_code = 'FAILED', error = $6->>'error_message'
         from run where b.run_id = run.id and b.status_code = 'RUNNING'),
     slice as (
       update ing_plan_slice s set status_code = case when job.status = 'dead' then 'FAILED' else 'DISPATCHED' end, updated_at = now()
         from job where s.id = job.slice_id),
     lock as (
       delete from scm.sync_locks l using job where l.repo_id = job.repo_id and l.job_type = job.job_type and l.fence = $2)
     select status from job`,
    [
      held.jobId,
      held.fence,
      held.runId,
      why.retry,
      why.delaySeconds,
      JSON.stringify(why.summary),
      JSON.stringify(why.stats ?? {}),
    ],
  )
  return ended?.status ?? null
}

/** pending | failed | reserved | dead → cancelled: the plan it belongs to no longer says what is wanted. */
export async function cancelJob(tx: Db, jobId: number, reason: string): Promise<boolean> {
  const done = await rows(
    tx,
    'job_cancel',
    `with job as (
       update ing_task set status = 'cancelled', finished_at = now(), active_key = null, updated_at = now(),
              error_summary_json = jsonb_build_object('error_category', 'cancelled', 'error_message', $2::text)
        where id = $1 and status in ('pending', 'failed', 'reserved', 'dead') returning slice_id, plan_id),
     slice as (update ing_plan_slice s set status_code = 'CANCELLED', updated_at = now() from job where s.id = job.slice_id)
     update ing_plan p set status_code = 'FAILED', updated_at = now() from job where p.id = job.plan_id returning 1`,
    [jobId, reason],
  )
  return done.length > 0
}

export interface NewestJob {
  jobId: number
  status: string
  from: string | null
  attempts: number
}

/** The incremental job of a (repo, job type) that counts: the one holding the active key, else the newest, in whatever state. */
export async function newestIncremental(db: Db, repoId: number, jobType: JobType): Promise<NewestJob | null> {
  return row(
    db,
    'job_newest',
    `select t.id as "jobId", t.status, t.attempts, s.slice_spec->'window'->>'from' as "from"
       from ing_task t join ing_plan_slice s on s.id = t.slice_id
      where t.repo_id = $1 and t.job_type = $2 and t.mode = 'incremental'
      order by t.active_key is not null desc, t.id desc limit 1`,
    [repoId, jobType],
  )
}

export interface LockHolder {
  lockedBy: string
  freeAt: Date
}

export async function leaseOwner(db: Db, jobId: number): Promise<string | null> {
  const found = await row<{ owner: string | null }>(
    db,
    'job_owner',
    `select lease_owner as owner from ing_task where id = $1 and status = 'running'`,
    [jobId],
  )
  return found?.owner ?? null
}

/** Who stands in the way of a (repo, job type), if anybody does: by its lock, or by a running job whose lock was deleted. */
export async function lockHolder(db: Db, repoId: number, jobType: JobType): Promise<LockHolder | null> {
  return row(
    db,
    'lock_holder',
    `select * from (
       select locked_by as "lockedBy", locked_at + make_interval(secs => lease_seconds) as "freeAt"
         from scm.sync_locks where repo_id = $1 and job_type = $2
       union all
       select lease_owner, lease_until from ing_task where repo_id = $1 and job_type = $2 and status = 'running') holder
      where "freeAt" >= now() order by "freeAt" desc limit 1`,
    [repoId, jobType],
  )
}
