/** The ledger as people look at it. Nothing here is asked by a sync. */
import { type Db, row, rows } from '../connect.ts'

export interface LedgerWish {
  repoId: number | null
  jobType: string | null
  status: string | null
  correlationId: string | null
  logId: string | null
  limit: number
}

interface SpanRow {
  from: string | null
  to: string | null
}

export interface PlanSeen {
  plan_id: number
  repo: string | null
  job_type: string
  operation: string
  window: SpanRow
  status: string
  slices: number
  slices_succeeded: number
  created_at: Date
  trigger_id: number
  correlation_id: string | null
  plan_key: string
  strategy: string
  update_watermark: boolean
  remarks: unknown[]
}

const REPO = `(select known.repo_type || ':' || known.url from scm.repos known where known.repo_id = `

const PLAN = `select p.id as plan_id, ${REPO} substring(p.provenance_code, ':([0-9]{1,15})$')::bigint) as repo,
    p.cursor_key as job_type, p.operation_code as operation,
    jsonb_build_object('from', p.window_spec->'from', 'to', p.window_spec->'to') as window, p.status_code as status, p.created_at,
    p.schedule_instance_id as trigger_id, i.correlation_id, p.plan_key, p.slice_strategy_code as strategy, p.update_watermark,
    coalesce(p.record_remarks, '[]') as remarks, slices.*
  from ing_plan p left join ing_schedule_instance i on i.id = p.schedule_instance_id
 cross join lateral (
   select count(*)::int as slices, count(*) filter (where s.status_code = 'SUCCEEDED')::int as slices_succeeded
     from ing_plan_slice s where s.plan_id = p.id) slices`

/** The triggers that are meant, and what they ran: a run may be of another trigger than its plan. */
const MEANT = `select id from ing_schedule_instance
  where ($4::text is null or correlation_id = $4) and ($5::text is null or scheduler_log_id = $5)`

/** The newest first. */
export async function plansSeen(db: Db, wish: LedgerWish): Promise<PlanSeen[]> {
  return rows(
    db,
    'view_plans',
    `with meant as materialized (${MEANT} and num_nonnulls($4::text, $5::text) > 0)
     ${PLAN}
      where ($1::bigint is null or p.provenance_code like '%:' || $1) and ($2::text is null or p.cursor_key = $2)
        and ($3::text is null or p.status_code = $3)
        and (num_nonnulls($4::text, $5::text) = 0 or p.schedule_instance_id in (select id from meant)
             or p.id in (select plan_id from ing_task_run where schedule_instance_id in (select id from meant)))
      order by p.id desc limit $6`,
    [wish.repoId, wish.jobType, wish.status, wish.correlationId, wish.logId, wish.limit],
  )
}

export async function planSeen(db: Db, planId: number): Promise<PlanSeen | null> {
  return row(db, 'view_plan', `${PLAN} where p.id = $1`, [planId])
}

export interface SliceSeen {
  slice_no: number
  window: SpanRow
  status: string
  expr_hash: string
  job_id: number | null
  job_status: string | null
  attempts: number | null
  last_run_id: number | null
  error: string | null
}

export async function slicesSeen(db: Db, planId: number): Promise<SliceSeen[]> {
  return rows(
    db,
    'view_slices',
    `select s.slice_no, jsonb_build_object('from', s.slice_spec->'window'->'from', 'to', s.slice_spec->'window'->'to') as window,
            s.status_code as status, s.expr_hash, t.id as job_id, t.status as job_status, t.attempts, t.last_run_id,
            t.error_summary_json->>'error_message' as error
       from ing_plan_slice s left join ing_task t on t.slice_id = s.id and t.plan_id = s.plan_id
      where s.plan_id = $1 order by s.slice_no`,
    [planId],
  )
}

export interface RunSeen {
  run_id: number
  plan_id: number
  slice_no: number | null
  job_id: number
  repo: string | null
  job_type: string
  mode: string
  attempt: number
  status: string
  started_at: Date
  finished_at: Date | null
  last_heartbeat: Date
  pages: number
  synced: number
  error: string | null
  worker: string
  trigger_id: number | null
  correlation_id: string | null
}

const RUN = `select r.id as run_id, r.plan_id, s.slice_no, r.task_id as job_id, ${REPO} r.repo_id) as repo, r.job_type, r.mode,
    r.attempt_no as attempt, r.status_code as status, r.started_at, r.finished_at, r.last_heartbeat,
    coalesce((r.stats->>'pages')::int, 0) as pages, coalesce((r.stats->>'synced_count')::int, 0) as synced, r.error,
    r.worker_id as worker, r.schedule_instance_id as trigger_id, r.correlation_id
  from ing_task_run r left join ing_plan_slice s on s.id = r.slice_id`

/** The newest first. */
export async function runsSeen(db: Db, wish: LedgerWish & { planId: number | null }): Promise<RunSeen[]> {
  return rows(
    db,
    'view_runs',
    `${RUN}
      where ($1::bigint is null or r.repo_id = $1) and ($2::text is null or r.job_type = $2)
        and ($3::text is null or r.status_code = $3)
        and (num_nonnulls($4::text, $5::text) = 0 or r.schedule_instance_id in (${MEANT}))
        and ($6::bigint is null or r.task_id in (select id from ing_task where plan_id = $6))
      order by r.id desc limit $7`,
    [wish.repoId, wish.jobType, wish.status, wish.correlationId, wish.logId, wish.planId, wish.limit],
  )
}

export async function runSeen(db: Db, runId: number): Promise<RunSeen | null> {
  return row(db, 'view_run', `${RUN} where r.id = $1`, [runId])
}

export interface BatchSeen {
  batch_id: number
  batch_no: number
  before_token: string | null
  after_token: string | null
  record_count: number
  status: string
  committed_at: Date | null
  error: string | null
}

export async function batchesSeen(db: Db, runId: number): Promise<BatchSeen[]> {
  return rows(
    db,
    'view_batches',
    `select id as batch_id, batch_no, before_token, after_token, record_count, status_code as status, committed_at, error
       from ing_task_run_batch where run_id = $1 order by batch_no`,
    [runId],
  )
}

export interface MoveSeen {
  event_id: number
  direction: string
  reason: string | null
  from: string | null
  to: string
  at: Date
}

export async function movesSeen(db: Db, runId: number): Promise<MoveSeen[]> {
  return rows(
    db,
    'view_moves',
    `select id as event_id, direction_code as direction, reason, prev_value as from, new_value as to, created_at as at
       from ing_cursor_event where run_id = $1 order by id`,
    [runId],
  )
}

export interface TriggerSeen {
  trigger_id: number
  scheduler_code: string
  scheduler_job_id: string | null
  scheduler_log_id: string | null
  trigger_type: string
  triggered_at: Date
  trigger_params: unknown
  correlation_id: string | null
}

export async function triggerSeen(db: Db, triggerId: number): Promise<TriggerSeen | null> {
  return row(
    db,
    'view_trigger',
    `select id as trigger_id, scheduler_code, scheduler_job_id, scheduler_log_id, trigger_type_code as trigger_type, triggered_at,
            trigger_params, correlation_id from ing_schedule_instance where id = $1`,
    [triggerId],
  )
}

export interface Written {
  id: string
  at: Date
  runId: number
  batchId: number
}

const WRITTEN = {
  commit: `select commit_sha as id, updated_at as at, run_id as "runId", batch_id as "batchId" from scm.git_commits
            where repo_id = $1 and commit_sha like $2 || '%' limit 2`,
  mr: `select iid::text as id, synced_at as at, run_id as "runId", batch_id as "batchId" from scm.mrs
        where repo_id = $1 and iid = $2::bigint`,
  revision: `select rev_num::text as id, updated_at as at, run_id as "runId", batch_id as "batchId" from scm.svn_revisions
              where repo_id = $1 and rev_num = $2::bigint`,
}

/** Who wrote a row as it is now. Two, where the beginning of a commit's name means more than one. */
export async function writersOf(
  db: Db,
  kind: keyof typeof WRITTEN,
  repoId: number,
  id: string,
): Promise<Written[]> {
  return rows(db, `written_${kind}`, WRITTEN[kind], [repoId, id])
}
