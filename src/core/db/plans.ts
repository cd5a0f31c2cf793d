import type { Json } from '../domain/ledger.ts'
import { type Db, row, rows } from './connect.ts'

export interface Trigger {
  schedulerCode: string
  triggerType: 'SCHEDULE' | 'MANUAL' | 'RETRY' | 'API'
  params: Json
  correlationId: string
  configSnapshot: Json
}

export interface NewSlice {
  no: number
  signature: string
  spec: Json
  expr: Json
  exprHash: string
  taskKey: string
}

export interface NewPlan {
  trigger: Trigger
  planKey: string
  requestHash: string
  provenance: string
  operation: 'HARVEST' | 'BACKFILL'
  cursorKey: string
  exprProto: Json
  exprProtoHash: string
  windowSpec: Json
  windowFrom: string | null
  windowTo: string | null
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
  }
}

/**
 * Nothing → trigger, plan, slices and jobs, for any number of plans in one statement. A plan whose key exists is
 * not written again (its trigger is); a job whose key or active key is taken is left out, so `jobs` tells what is new.
 * Idle workers are woken once, when there is something for them.
 */
export async function insertPlans(
  db: Db,
  plans: NewPlan[],
): Promise<
  { planKey: string; planId: number; scheduleInstanceId: number; jobs: number; jobId: number | null }[]
> {
  return rows(
    db,
    'plan_insert',
    `with ask as (
       select x.*, row_number() over () as n from jsonb_to_recordset($1::jsonb) as x(
         "planKey" text, "requestHash" text, provenance text, operation text, "cursorKey" text, "exprProto" jsonb,
         "exprProtoHash" text, "windowSpec" jsonb, "windowFrom" timestamptz, "windowTo" timestamptz, strategy text,
         "sliceParams" jsonb, "updateWatermark" boolean, slices jsonb, job jsonb, trigger jsonb)),
     instance as (
       insert into ing_schedule_instance (scheduler_code, trigger_type_code, trigger_params, correlation_id,
              provenance_code, cursor_key, provenance_config_snapshot)
       select trigger->>'schedulerCode', trigger->>'triggerType', trigger->'params', trigger->>'correlationId',
              provenance, "cursorKey", trigger->'configSnapshot' from ask order by n
       returning id, provenance_code, cursor_key),
     plan as (
       insert into ing_plan (schedule_instance_id, plan_key, request_hash, provenance_code, operation_code, cursor_key,
              expr_proto_hash, expr_proto_snapshot, window_spec, window_from, window_to, slice_strategy_code,
              slice_params, update_watermark, status_code)
       select i.id, "planKey", "requestHash", provenance, operation, "cursorKey", "exprProtoHash", "exprProto",
              "windowSpec", "windowFrom", "windowTo", strategy, "sliceParams", "updateWatermark", 'READY'
         from ask join instance i on i.provenance_code = ask.provenance and i.cursor_key = ask."cursorKey" order by n
       on conflict (plan_key) do nothing
       returning id, plan_key, schedule_instance_id),
     wanted as (
       select p.id as plan_id, p.schedule_instance_id, ask.*, s.* from plan p join ask on ask."planKey" = p.plan_key
        cross join lateral jsonb_to_recordset(ask.slices) as s(no int, signature text, spec jsonb, expr jsonb, "exprHash" text, "taskKey" text)),
     slice as (
       insert into ing_plan_slice (plan_id, slice_no, slice_signature_hash, slice_spec, expr_hash, expr_snapshot, status_code)
       select plan_id, no, signature, spec, "exprHash", expr, 'DISPATCHED' from wanted order by plan_id, no
       returning id, plan_id, slice_no),
     task as (
       insert into ing_task (schedule_instance_id, plan_id, slice_id, provenance_code, operation_code, repo_id, job_type,
              mode, instance_key, tenant_id, idempotent_key, expr_hash, priority, status, scheduled_at, active_key, correlation_id)
       select w.schedule_instance_id, w.plan_id, s.id, w.provenance, w.operation, (w.job->>'repoId')::bigint, w."cursorKey",
              w.job->>'mode', w.job->>'instanceKey', w.job->>'tenantId', w."taskKey", w."exprHash", (w.job->>'priority')::int,
              w.job->>'status', case when w.job->>'status' = 'pending' then now() end, w.job->>'activeKey', w.trigger->>'correlationId'
         from wanted w join slice s on s.plan_id = w.plan_id and s.slice_no = w.no order by w.plan_id, w.no
       on conflict do nothing
       returning id, plan_id, tenant_id, instance_key, status),
     lane as (
       insert into scm.lanes (tenant_id, instance_key) select distinct tenant_id, instance_key from task
       on conflict do nothing)
     -- Not a join of plan and task: both look like one row to the planner, and 10,000 would be compared with 10,000.
     select max(plan_key) as "planKey", plan_id as "planId", max(schedule_instance_id) as "scheduleInstanceId",
            count(job_id)::int as jobs, min(job_id) as "jobId",
            -- Uncorrelated, so once per statement; many notifying transactions would queue for one lock at commit.
            (select pg_notify('scm_jobs', '') where exists (select from task where status = 'pending'))::text as woke
       from (select id as plan_id, plan_key, schedule_instance_id, null::bigint as job_id from plan
             union all select plan_id, null, null, id from task) made
      group by plan_id`,
    [JSON.stringify(plans)],
  )
}

export interface PlanRow {
  planId: number
  planKey: string
  statusCode: string
  windowFrom: Date | null
  windowTo: Date | null
  updateWatermark: boolean
  scheduleInstanceId: number
  createdAt: Date
}

const PLAN_COLUMNS = `id as "planId", plan_key as "planKey", status_code as "statusCode", window_from as "windowFrom",
  window_to as "windowTo", update_watermark as "updateWatermark", schedule_instance_id as "scheduleInstanceId", created_at as "createdAt"`

export async function planByKey(db: Db, planKey: string): Promise<PlanRow | null> {
  return row(db, 'plan_by_key', `select ${PLAN_COLUMNS} from ing_plan where plan_key = $1`, [planKey])
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
  spec: { window: { from: string | null; to: string | null } }
  statusCode: string
  jobId: number | null
  jobStatus: string | null
}

export async function slicesOf(db: Db, planId: number): Promise<SliceRow[]> {
  return rows(
    db,
    'slice_list',
    `select s.id as "sliceId", s.slice_no as "sliceNo", s.slice_spec as spec, s.status_code as "statusCode",
            t.id as "jobId", t.status as "jobStatus"
       from ing_plan_slice s left join ing_task t on t.slice_id = s.id where s.plan_id = $1 order by s.slice_no`,
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

/**
 * Slices' ends → the plan's. Two statements: the plan row is locked first, so that of two slices ending at once the
 * later one counts with a snapshot that holds the earlier.
 */
export async function rollUpPlan(tx: Db, planId: number): Promise<void> {
  await rollUpPlans(tx, [planId])
}

/** The same for several; locked in the order of their ids, so that two of us cannot wait for each other. */
export async function rollUpPlans(tx: Db, planIds: number[]): Promise<void> {
  if (planIds.length === 0) return
  await rows(tx, 'plan_lock', 'select 1 from ing_plan where id = any($1) order by id for update', [planIds])
  await rows(
    tx,
    'plan_roll_up',
    `update ing_plan p set updated_at = now(), status_code = case
              when s.open > 0 then 'READY' when s.good = s.n then 'COMPLETED' when s.good > 0 then 'PARTIAL' else 'FAILED' end
       from (select plan_id, count(*) as n, count(*) filter (where status_code = 'SUCCEEDED') as good,
                    count(*) filter (where status_code in ('PENDING', 'DISPATCHED', 'EXECUTING')) as open
               from ing_plan_slice where plan_id = any($1) group by plan_id) s
      where p.id = s.plan_id`,
    [planIds],
  )
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
