import type { Json } from '../../domain/ledger.ts'
import type { JobType } from '../../domain/repo.ts'
import type { SchedulerCode, TriggerType } from '../../domain/trigger.ts'
import { type Db, row, rows } from '../connect.ts'

/** One asking: a person's command, a scan, or what an external scheduler fired. */
export interface Trigger {
  schedulerCode: SchedulerCode
  jobId: string | null
  logId: string | null
  triggerType: TriggerType
  /** null: now. */
  triggeredAt: Date | null
  params: Json
  /** Of what is asked, without what differs when the same is asked again. */
  requestHash: string
  correlationId: string
  configSnapshot: Json
}

export interface TriggerRow {
  id: number
  correlationId: string | null
  /** False: the scheduler sent the same trigger before, and this is the row of then. */
  isNew: boolean
}

/** Of many things at once. */
export const ANYTHING = { provenance: '*', cursorKey: '*' }

/**
 * Nothing → a trigger. One with a log id is there once for each (job, log id, what is synced, request): sent again, its
 * row is held until the transaction ends, so that two that carry it do one after the other what they do about it.
 */
export async function recordTrigger(
  tx: Db,
  trigger: Trigger,
  what: { provenance: string; cursorKey: string },
): Promise<TriggerRow> {
  const recorded = await row<TriggerRow>(
    tx,
    'trigger_record',
    `insert into ing_schedule_instance (scheduler_code, scheduler_job_id, scheduler_log_id, trigger_type_code, triggered_at,
            trigger_params, correlation_id, provenance_code, cursor_key, provenance_config_snapshot, request_hash)
     values ($1, $2, $3, $4, coalesce($5, now()), $6, $7, $8, $9, $10, $11)
     on conflict (scheduler_code, scheduler_job_id, scheduler_log_id, provenance_code, cursor_key, request_hash)
       where scheduler_log_id is not null do update set scheduler_code = excluded.scheduler_code
     returning id, correlation_id as "correlationId", xmax = 0 as "isNew"`,
    [
      trigger.schedulerCode,
      trigger.jobId,
      trigger.logId,
      trigger.triggerType,
      trigger.triggeredAt,
      JSON.stringify(trigger.params),
      trigger.correlationId,
      what.provenance,
      what.cursorKey,
      JSON.stringify(trigger.configSnapshot),
      trigger.requestHash,
    ],
  )
  return recorded as TriggerRow
}

/** What a run came to, as far as it answers its trigger: one that was cut short (stopped, lease lost) answers nothing. */
const ANSWERED = `(r.status_code = 'SUCCEEDED'
  or (r.status_code = 'FAILED' and r.error_summary_json->>'error_category' is distinct from 'lease_lost'))`

export interface Deed {
  planId: number
  /** The plan was made for this trigger; else it was an earlier one's, taken up again. */
  isOwnPlan: boolean
  isAnswered: boolean
  succeeded: boolean
  error: { error_category?: string; error_message?: string; hint?: string } | null
  /** By all runs of the trigger. */
  synced: number
}

/** The newest run that a trigger brought about; null when there is none. */
export async function newestDeed(
  db: Db,
  triggerId: number,
  of: { repoId: number; jobType: JobType },
): Promise<Deed | null> {
  return row(
    db,
    'trigger_deed',
    `select r.plan_id as "planId", coalesce(p.schedule_instance_id = $1, false) as "isOwnPlan", ${ANSWERED} as "isAnswered",
            r.status_code = 'SUCCEEDED' as succeeded, r.error_summary_json as error,
            (sum(coalesce((r.stats->>'synced_count')::bigint, 0)) over ())::float8 as synced
       from ing_task_run r left join ing_plan p on p.id = r.plan_id
      where r.repo_id = $2 and r.job_type = $3 and r.schedule_instance_id = $1
        and r.started_at >= (select created_at from ing_schedule_instance where id = $1)
      order by r.id desc limit 1`,
    [triggerId, of.repoId, of.jobType],
  )
}

export interface SliceAnswer {
  sliceId: number
  succeeded: boolean
  synced: number
  skipped: number
  error: string | null
}

/** What a trigger's runs of a plan came to, slice by slice. */
export async function sliceAnswers(db: Db, triggerId: number, planId: number): Promise<SliceAnswer[]> {
  return rows(
    db,
    'trigger_slices',
    `select distinct on (r.slice_id) r.slice_id as "sliceId", r.status_code = 'SUCCEEDED' as succeeded, r.error,
            coalesce((r.stats->>'synced_count')::int, 0) as synced, coalesce((r.stats->>'skipped_count')::int, 0) as skipped
       from ing_task t join ing_task_run r on r.task_id = t.id
      where t.plan_id = $2 and r.schedule_instance_id = $1 and ${ANSWERED}
      order by r.slice_id, r.attempt_no desc`,
    [triggerId, planId],
  )
}

export interface JobOfTrigger {
  repoId: number
  jobType: JobType
  priority: number
  mode: 'incremental' | 'backfill'
  /** Why it was made. */
  params: unknown
  jobId: number
}

/** The jobs that were made for a trigger. */
export async function jobsOfTrigger(db: Db, triggerId: number): Promise<JobOfTrigger[]> {
  return rows(
    db,
    'trigger_jobs',
    `select t.repo_id as "repoId", t.job_type as "jobType", t.priority, t.mode, t.params, t.id as "jobId"
       from ing_plan p join ing_task t on t.plan_id = p.id where p.schedule_instance_id = $1 order by t.id`,
    [triggerId],
  )
}
