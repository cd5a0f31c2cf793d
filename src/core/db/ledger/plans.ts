import type { Json } from '../../domain/ledger.ts'
import type { LedgerWindow } from '../../domain/ledger-window.ts'
import type { JobType } from '../../domain/repo.ts'
import { type Db, row, rows } from '../connect.ts'
import type { TriggerRow } from './triggers.ts'

export interface NewSlice {
  no: number
  signature: string
  spec: Json
  expr: Json
  exprHash: string
  taskKey: string
}

export interface NewPlan {
  planKey: string
  requestHash: string
  provenance: string
  operation: 'HARVEST' | 'BACKFILL'
  cursorKey: JobType
  exprProto: Json
  exprProtoHash: string
  windowSpec: LedgerWindow
  strategy: 'TIME' | 'ID_RANGE' | 'SINGLE'
  sliceParams: Json
  updateWatermark: boolean
  slices: NewSlice[]
  job: {
    repoId: number
    mode: 'incremental' | 'backfill'
    status: 'pending' | 'reserved'
    instanceKey: string
    tenantId: string
    priority: number
    activeKey: string | null
    /** Why it is made, for whoever looks at it. */
    params: Json
  }
}

export interface PlanMade {
  planKey: string
  planId: number
  scheduleInstanceId: number
  jobs: number
  /** The first of them. */
  jobId: number
}

/**
 * Nothing → the plans, slices and jobs that a trigger asks for, any number of them in one statement. Answers what is
 * new: a plan whose key exists is left out, and one whose job's active key is taken.
 * Idle workers are woken once, when there is something for them.
 */
export async function insertPlans(
  db: Db,
  trigger: Pick<TriggerRow, 'id' | 'correlationId'>,
  plans: NewPlan[],
): Promise<PlanMade[]> {
  const made = await rows<PlanMade>(
    db,
    'plan_insert',
    `with ask as materialized (
       select * from json_to_recordset($1::json) as x(
         n int, "planKey" text, "requestHash" text, provenance text, operation text, "cursorKey" text, "exprProto" jsonb,
         "exprProtoHash" text, "windowSpec" jsonb, strategy text,
         "sliceParams" jsonb, "updateWatermark" boolean, "repoId" bigint, mode text, status text, "instanceKey" text,
         "tenantId" text, priority int, "activeKey" text, params jsonb)),
     free as (
       select * from ask where "activeKey" is null or not exists (select from ing_task t where t.active_key = ask."activeKey")),
     plan as (
       insert into ing_plan (schedule_instance_id, plan_key, request_hash, provenance_code, operation_code, cursor_key,
              expr_proto_hash, expr_proto_snapshot, window_spec, window_from, window_to, slice_strategy_code,
              slice_params, update_watermark, status_code)
       select $3, "planKey", "requestHash", provenance, operation, "cursorKey", "exprProtoHash",
              "exprProto", "windowSpec", scm.instant_of("windowSpec", 'from'), scm.instant_of("windowSpec", 'to'), strategy, "sliceParams", "updateWatermark", 'READY'
         from free
       on conflict (plan_key) do nothing
       returning id, plan_key),
     wanted as materialized (
       select p.id as plan_id, ask.provenance, ask.operation, ask."cursorKey", ask."repoId", ask.mode, ask.status, ask."instanceKey",
              ask."tenantId", ask.priority, ask."activeKey", ask.params, s.*
         from plan p join ask on ask."planKey" = p.plan_key
         join json_to_recordset($2::json) as s(n int, no int, signature text, spec jsonb, expr jsonb, "exprHash" text, "taskKey" text)
           on s.n = ask.n),
     slice as (
       insert into ing_plan_slice (plan_id, slice_no, slice_signature_hash, slice_spec, expr_hash, expr_snapshot, status_code)
       select plan_id, no, signature, spec, "exprHash", expr, 'DISPATCHED' from wanted order by plan_id, no
       returning id, plan_id, slice_no),
     task as (
       insert into ing_task (schedule_instance_id, plan_id, slice_id, provenance_code, operation_code, repo_id, job_type,
              mode, instance_key, tenant_id, params, idempotent_key, expr_hash, priority, status, scheduled_at, active_key, correlation_id)
       select $3, w.plan_id, s.id, w.provenance, w.operation, w."repoId", w."cursorKey", w.mode,
              w."instanceKey", w."tenantId", w.params, w."taskKey", w."exprHash", w.priority, w.status,
              case when w.status = 'pending' then now() end, w."activeKey", $4
         from wanted w join slice s on s.plan_id = w.plan_id and s.slice_no = w.no order by w.plan_id, w.no
       on conflict do nothing
       returning id, plan_id, status)
     -- Not a join of plan and task: both look like one row to the planner, and 10,000 would be compared with 10,000.
     select max(plan_key) as "planKey", plan_id as "planId", $3::bigint as "scheduleInstanceId",
            count(job_id)::int as jobs, min(job_id) as "jobId",
            -- Uncorrelated, so once per statement; many notifying transactions would queue for one lock at commit.
            (select pg_notify('scm_jobs', '') where exists (select from task where status = 'pending'))::text as woke
       from (select id as plan_id, plan_key, null::bigint as job_id from plan
             union all select plan_id, null, id from task) made
      group by plan_id`,
    [
      JSON.stringify(plans.map(({ slices: _, job, ...plan }, n) => ({ n, ...plan, ...job }))),
      JSON.stringify(plans.flatMap(({ slices }, n) => slices.map((slice) => ({ n, ...slice })))),
      trigger.id,
      trigger.correlationId,
    ],
  )
  // Somebody else took the active key in between: what would belong to the job must not wait for it for ever.
  const jobless = made.filter((m) => m.jobs === 0).map((m) => m.planId)
  if (jobless.length > 0)
    await rows(
      db,
      'plan_withdraw',
      `with slice as (delete from ing_plan_slice where plan_id = any($1)) delete from ing_plan where id = any($1)`,
      [jobless],
    )
  return made.filter((m) => m.jobs > 0)
}

export interface PlanRow {
  planId: number
  planKey: string
  statusCode: string
  window: LedgerWindow
  updateWatermark: boolean
  scheduleInstanceId: number
  createdAt: Date
}

const PLAN_COLUMNS = `id as "planId", plan_key as "planKey", status_code as "statusCode", window_spec as window, update_watermark as "updateWatermark", schedule_instance_id as "scheduleInstanceId", created_at as "createdAt"`

export async function planByKey(db: Db, planKey: string): Promise<PlanRow | null> {
  return row(db, 'plan_by_key', `select ${PLAN_COLUMNS} from ing_plan where plan_key = $1`, [planKey])
}

/** What a trigger's work is: the plan made for it, or the one of an earlier trigger that it took up again. */
export async function planOfTrigger(
  db: Db,
  triggerId: number,
  of: { repoId: number; jobType: JobType },
): Promise<PlanRow | null> {
  return row(
    db,
    'plan_of_trigger',
    `select ${PLAN_COLUMNS} from ing_plan where id = coalesce(
       (select max(id) from ing_plan where schedule_instance_id = $1),
       (select max(r.plan_id) from ing_task_run r
         where r.repo_id = $2 and r.job_type = $3 and r.schedule_instance_id = $1
           and r.started_at >= (select created_at from ing_schedule_instance where id = $1)))`,
    [triggerId, of.repoId, of.jobType],
  )
}

/** The newest plan of the same request, when it is younger than `withinSeconds` and not finished. */
export async function unfinishedPlan(
  db: Db,
  ask: { provenance: string; requestHash: string; withinSeconds: number },
): Promise<PlanRow | null> {
  return row(
    db,
    'plan_unfinished',
    `select * from (select ${PLAN_COLUMNS} from ing_plan where provenance_code = $1 and request_hash = $2 order by id desc limit 1) newest
      where "statusCode" <> 'COMPLETED' and "createdAt" > now() - make_interval(secs => $3)`,
    [ask.provenance, ask.requestHash, ask.withinSeconds],
  )
}

export interface SliceRow {
  sliceId: number
  sliceNo: number
  spec: { window: LedgerWindow }
  statusCode: string
  jobId: number | null
  jobStatus: string | null
  /** Its window was over when its last run began: what is read of it is all there will be. */
  isPast: boolean
}

export async function slicesOf(db: Db, planId: number): Promise<SliceRow[]> {
  return rows(
    db,
    'slice_list',
    `select s.id as "sliceId", s.slice_no as "sliceNo", s.slice_spec as spec, s.status_code as "statusCode",
            t.id as "jobId", t.status as "jobStatus", coalesce(r.window_to <= r.started_at, true) as "isPast"
       from ing_plan_slice s left join ing_task t on t.slice_id = s.id left join ing_task_run r on r.id = t.last_run_id
      where s.plan_id = $1 order by s.slice_no`,
    [planId],
  )
}

export async function sliceStatus(db: Db, sliceId: number): Promise<string | null> {
  const found = await row<{ status: string }>(
    db,
    'slice_status',
    'select status_code as status from ing_plan_slice where id = $1',
    [sliceId],
  )
  return found?.status ?? null
}

/** All of the plan is read, and nobody can take that back before this transaction ends. */
export async function planIsComplete(tx: Db, planId: number): Promise<boolean> {
  const found = await row<{ status: string }>(
    tx,
    'plan_status',
    'select status_code as status from ing_plan where id = $1 for update',
    [planId],
  )
  return found?.status === 'COMPLETED'
}

/** Slices' ends → their plans', in the caller's transaction. */
export async function rollUpPlans(tx: Db, planIds: number[]): Promise<void> {
  if (planIds.length > 0) await rows(tx, 'plan_roll_up', 'select scm.roll_up_plans($1)', [planIds])
}

/** Adds a remark (a gap, a decision) to the plan's own record. */
export async function remarkPlan(tx: Db, planId: number, remark: Json): Promise<void> {
  await rows(
    tx,
    'plan_remark',
    `update ing_plan set record_remarks = coalesce(record_remarks, '[]') || jsonb_build_array($2::jsonb), updated_at = now() where id = $1`,
    [planId, JSON.stringify(remark)],
  )
}
