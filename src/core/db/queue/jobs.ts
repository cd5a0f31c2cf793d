/**
 * The life of a job. Every write of an owner is guarded by the fence it was given, never by the worker's name:
 *
 *   pending | failed, due ──claim──▶ running (a worker, within the limits) ──complete──▶ completed
 *   pending | failed | reserved ──hold──▶ running (a person's command, by id)
 *   running, lease over ──claim, hold──▶ running (new run, new fence; the old run fails)
 *   running ──fail──▶ failed (due later) | dead (attempts used up, or no use in trying again)
 *   running ──give back──▶ pending (attempt not counted)
 *   pending | failed ──cancel──▶ cancelled
 */
import type { Json } from '../../domain/ledger.ts'
import type { LedgerWindow } from '../../domain/ledger-window.ts'
import type { JobType } from '../../domain/repo.ts'
import { type Db, row, rows } from '../connect.ts'
import { rollUpPlans } from '../ledger/plans.ts'

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
  correlationId: string | null
  attempt: number
  maxAttempts: number
  fence: number
  leaseSeconds: number
  runId: number
  spec: { window: LedgerWindow; refetch_since?: string }
  /** The last stored page of an earlier, unfinished run; null when there is none. */
  checkpoint: { token: string; pages: number; done: number } | null
  pinned: Record<string, string> | null
  /** When it was asked for (ms of performance.now()): its first lease counts from then, or a little later. */
  askedAt: number
}

/** scm.held_job as HeldJob has it. */
export const HELD = `job_id as "jobId", plan_id as "planId", slice_id as "sliceId", repo_id as "repoId", job_type as "jobType", mode,
  provenance, operation, expr_hash as "exprHash", schedule_instance_id as "scheduleInstanceId", attempt,
  max_attempts as "maxAttempts", fence, lease_seconds as "leaseSeconds", run_id as "runId",
  spec, checkpoint, pinned, correlation_id as "correlationId"`

/**
 * Takes one job and its (repo, job type) lock, fails whatever run was left behind, opens the next run at the place
 * where the last unfinished one stood. null: not in one of `from`, held by a live owner, or the lock is. `deadOwner`: a
 * worker proven gone, whose lease need not be waited for; or the asking one, when it has the job and does not know it.
 */
export async function holdJob(
  db: Db,
  ask: { jobId: number; worker: string; leaseSeconds: number; from: string[]; deadOwner: string | null },
): Promise<HeldJob | null> {
  const askedAt = performance.now()
  const held = await row<Omit<HeldJob, 'askedAt'>>(
    db,
    'job_hold',
    `select ${HELD} from scm.hold_jobs(array[$1::bigint], $2, $3, $4, $5)`,
    [ask.jobId, ask.worker, ask.leaseSeconds, ask.from, ask.deadOwner],
  )
  return held && { ...held, askedAt }
}

/**
 * Still mine? Locks job, lock and run rows and moves the leases on, of any number of jobs in one statement; answers those
 * it could. Left out: a newer fence holds the job, an operator took the lock away, the run has ended, or the lease was
 * over before this came. What is over is lost even if nobody has taken it yet: its place may be, and limits are exact.
 */
export async function renewLeases(db: Db, held: HeldJob[]): Promise<Set<number>> {
  const renewed = await rows<{ jobId: number }>(
    db,
    'job_renew',
    // One place decides, so that nothing is moved that is not answered.
    `with mine as (
       select t.id, t.lease_until, l.lock_id, r.id as run_id
         from ing_task t
         join scm.sync_locks l on l.repo_id = t.repo_id and l.job_type = t.job_type and l.fence = t.fence
         join ing_task_run r on r.id = t.last_run_id and r.status_code = 'RUNNING'
        where t.id = any($1) and t.fence = any($2) and t.status = 'running' and t.lease_until > clock_timestamp()
        order by t.id + 0 for update),
     -- Asked again with the row in hand: the wait for it may have outlasted the lease.
     held as materialized (select * from mine where lease_until > clock_timestamp()),
     job as (
       update ing_task set leased_at = now(), lease_until = now() + make_interval(secs => lease_seconds), updated_at = clock_timestamp()
        where id = any(array(select id from held))),
     lock as (update scm.sync_locks set locked_at = now() where lock_id = any(array(select lock_id from held))),
     run as (update ing_task_run set last_heartbeat = now() where id = any(array(select run_id from held)))
     select id as "jobId" from held`,
    [held.map((h) => h.jobId), held.map((h) => h.fence)],
  )
  return new Set(renewed.map((r) => r.jobId))
}

/** Why its run reads less at a time than usual: for whoever looks at the run. */
export async function noteDegradation(db: Db, held: HeldJob, degradation: Json): Promise<void> {
  await rows(
    db,
    'run_degraded',
    'update ing_task_run set degradation_json = $2 where id = $1 and fence = $3',
    [held.runId, JSON.stringify(degradation), held.fence],
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
              -- Up to a fifth later: what failed together does not come back together, and nobody before the time he was told.
              scheduled_at = due.at, parked_until = case when $4 <> 'free' or $5 > 0 then due.at end, error_summary_json = $6,
              finished_at = case when $4 <> 'free' and ($4 = 'never' or attempts >= max_attempts) then now() end,
              active_key = case when $4 <> 'free' and ($4 = 'never' or attempts >= max_attempts) then null else active_key end,
              lease_owner = null, leased_at = null, lease_until = null, updated_at = clock_timestamp()
         from (select now() + make_interval(secs => $5 * (1 + 0.2 * random())) as at) due
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
export async function cancelJob(tx: Db, jobId: number, reason: string): Promise<void> {
  const cancelled = await rows<{ planId: number }>(
    tx,
    'job_cancel',
    `with job as (
       update ing_task set status = 'cancelled', finished_at = now(), active_key = null, updated_at = clock_timestamp(),
              error_summary_json = jsonb_build_object('error_category', 'cancelled', 'error_message', $2::text)
        where id = $1 and status in ('pending', 'failed', 'reserved', 'dead') returning slice_id, plan_id)
     update ing_plan_slice s set status_code = 'CANCELLED', updated_at = now()
       from job where s.id = job.slice_id returning s.plan_id as "planId"`,
    [jobId, reason],
  )
  await rollUpPlans(
    tx,
    cancelled.map((c) => c.planId),
  )
}

export interface NewestJob {
  jobId: number
  status: string
  from: string | null
  attempts: number
  /** Whose plan it is of. */
  triggerId: number
}

/** The incremental job of a (repo, job type) that counts: the one holding the active key, else the newest, in whatever state. */
export async function newestIncremental(db: Db, repoId: number, jobType: JobType): Promise<NewestJob | null> {
  return row(
    db,
    'job_newest',
    `select t.id as "jobId", t.status, t.attempts, t.schedule_instance_id as "triggerId", s.slice_spec->'window'->>'from' as "from"
       from ing_task t join ing_plan_slice s on s.id = t.slice_id
      where t.repo_id = $1 and t.job_type = $2 and t.mode = 'incremental'
      order by t.active_key is not null desc, t.id desc limit 1`,
    [repoId, jobType],
  )
}

/** That job neither ends nor is taken before this transaction ends: what is read of it and of its runs belongs together. */
export async function keepNewestIncremental(tx: Db, repoId: number, jobType: JobType): Promise<void> {
  await rows(
    tx,
    'job_newest_kept',
    `select 1 from ing_task where id = (
       select t.id from ing_task t where t.repo_id = $1 and t.job_type = $2 and t.mode = 'incremental'
        order by t.active_key is not null desc, t.id desc limit 1) for update`,
    [repoId, jobType],
  )
}

export interface LockHolder {
  lockedBy: string
  freeAt: Date
}

/** What a job is, and whose while it is running; null when it is gone. */
export async function jobState(
  db: Db,
  jobId: number,
): Promise<{ status: string; owner: string | null } | null> {
  return row(db, 'job_state', 'select status, lease_owner as owner from ing_task where id = $1', [jobId])
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
