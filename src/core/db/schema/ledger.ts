/**
 * The ingest ledger: trigger → plan → slice → task (= job) → run → batch, and the audited cursor.
 * No foreign keys (operators delete jobs by hand); unique keys carry the runbook's names; invariants are CHECKs.
 */
import { sql } from 'drizzle-orm'
import {
  boolean,
  check,
  index,
  integer,
  jsonb,
  pgTable,
  text,
  unique,
  uniqueIndex,
} from 'drizzle-orm/pg-core'
import { createdAt, id, instant, long, updatedAt } from './columns.ts'

export const scheduleInstances = pgTable(
  'ing_schedule_instance',
  {
    id: id(),
    schedulerCode: text('scheduler_code').notNull().default('INTERNAL'),
    schedulerJobId: text('scheduler_job_id'),
    schedulerLogId: text('scheduler_log_id'),
    triggerTypeCode: text('trigger_type_code').notNull().default('MANUAL'),
    triggeredAt: instant('triggered_at').notNull().default(sql`now()`),
    triggerParams: jsonb('trigger_params'),
    correlationId: text('correlation_id'),
    provenanceCode: text('provenance_code').notNull(),
    cursorKey: text('cursor_key').notNull(),
    /** Of what was asked: another request under the same log id is another trigger. */
    requestHash: text('request_hash').notNull().default(''),
    provenanceConfigSnapshot: jsonb('provenance_config_snapshot'),
    createdAt: createdAt(),
  },
  (t) => [
    index('idx_sched_src').on(t.schedulerCode, t.schedulerJobId, t.schedulerLogId),
    uniqueIndex('uk_sched_log')
      .on(t.schedulerCode, t.schedulerJobId, t.schedulerLogId, t.provenanceCode, t.cursorKey, t.requestHash)
      .where(sql`scheduler_log_id is not null`),
    check('ck_sched_code', sql`scheduler_code in ('XXL', 'QUARTZ', 'CRON', 'INTERNAL')`),
    check('ck_sched_trigger', sql`trigger_type_code in ('SCHEDULE', 'MANUAL', 'RETRY', 'API')`),
  ],
)

export const plans = pgTable(
  'ing_plan',
  {
    id: id(),
    scheduleInstanceId: long('schedule_instance_id').notNull(),
    planKey: text('plan_key').notNull(),
    /** Hash of what was asked, without the clock: "the last 24 hours" asked twice has one. */
    requestHash: text('request_hash').notNull(),
    provenanceCode: text('provenance_code').notNull(),
    operationCode: text('operation_code').notNull(),
    cursorKey: text('cursor_key').notNull(),
    exprProtoHash: text('expr_proto_hash').notNull(),
    exprProtoSnapshot: jsonb('expr_proto_snapshot').notNull(),
    windowSpec: jsonb('window_spec').notNull(),
    windowFrom: instant('window_from'),
    windowTo: instant('window_to'),
    sliceStrategyCode: text('slice_strategy_code').notNull(),
    sliceParams: jsonb('slice_params'),
    updateWatermark: boolean('update_watermark').notNull(),
    statusCode: text('status_code').notNull(),
    recordRemarks: jsonb('record_remarks'),
    createdAt: createdAt(),
    updatedAt: updatedAt(),
  },
  (t) => [
    unique('uk_plan_key').on(t.planKey),
    index('plan_by_request').on(t.provenanceCode, t.requestHash, t.id),
    index('plan_by_trigger').on(t.scheduleInstanceId),
    check('ck_plan_operation', sql`operation_code in ('HARVEST', 'BACKFILL', 'UPDATE', 'METRICS')`),
    check(
      'ck_plan_status',
      sql`status_code in ('DRAFT', 'SLICING', 'READY', 'PARTIAL', 'FAILED', 'COMPLETED')`,
    ),
    check(
      'ck_plan_strategy',
      sql`slice_strategy_code in ('TIME', 'DATE', 'ID_RANGE', 'CURSOR_LANDMARK', 'VOLUME_BUDGET', 'HYBRID', 'SINGLE')`,
    ),
    check('ck_plan_key_length', sql`length(plan_key) <= 200`),
  ],
)

export const slices = pgTable(
  'ing_plan_slice',
  {
    id: id(),
    planId: long('plan_id').notNull(),
    sliceNo: integer('slice_no').notNull(),
    sliceSignatureHash: text('slice_signature_hash').notNull(),
    sliceSpec: jsonb('slice_spec').notNull(),
    exprHash: text('expr_hash').notNull(),
    exprSnapshot: jsonb('expr_snapshot').notNull(),
    statusCode: text('status_code').notNull().default('PENDING'),
    createdAt: createdAt(),
    updatedAt: updatedAt(),
  },
  (t) => [
    unique('uk_slice_unique').on(t.planId, t.sliceNo),
    unique('uk_slice_sig').on(t.planId, t.sliceSignatureHash),
    check('ck_slice_no', sql`slice_no >= 0`),
    check(
      'ck_slice_status',
      sql`status_code in ('PENDING', 'DISPATCHED', 'EXECUTING', 'SUCCEEDED', 'FAILED', 'PARTIAL', 'CANCELLED')`,
    ),
    check('ck_slice_hash', sql`length(slice_signature_hash) = 64 and length(expr_hash) = 64`),
  ],
)

/** A job. The operators' words are stored (`status`); the ledger's (`status_code`) are generated from them. */
export const tasks = pgTable(
  'ing_task',
  {
    id: id(),
    scheduleInstanceId: long('schedule_instance_id').notNull(),
    planId: long('plan_id').notNull(),
    sliceId: long('slice_id').notNull(),
    provenanceCode: text('provenance_code').notNull(),
    operationCode: text('operation_code').notNull(),
    repoId: long('repo_id').notNull(),
    jobType: text('job_type').notNull(),
    mode: text('mode').notNull(),
    instanceKey: text('instance_key').notNull().default(''),
    tenantId: text('tenant_id').notNull().default(''),
    params: jsonb('params').notNull().default({}),
    idempotentKey: text('idempotent_key').notNull(),
    exprHash: text('expr_hash').notNull(),
    priority: integer('priority').notNull().default(100),
    status: text('status').notNull().default('pending'),
    statusCode: text('status_code')
      .notNull()
      .generatedAlwaysAs(
        sql`case status when 'running' then 'RUNNING' when 'completed' then 'SUCCEEDED' when 'dead' then 'FAILED' when 'cancelled' then 'CANCELLED' else 'QUEUED' end`,
      ),
    /** Due time; null while reserved by a runner that works its chunks itself. */
    scheduledAt: instant('scheduled_at').default(sql`now()`),
    /**
     * Found at the head of its lane and not to be run before then (backoff, paused pair, locked pair): out of the lane's
     * index until then, so the claim never walks over it. Only a note of the queue; `scheduled_at` stays what was asked.
     */
    parkedUntil: instant('parked_until'),
    startedAt: instant('started_at'),
    finishedAt: instant('finished_at'),
    attempts: integer('attempts').notNull().default(0),
    maxAttempts: integer('max_attempts').notNull().default(3),
    leaseOwner: text('lease_owner'),
    leasedAt: instant('leased_at'),
    leaseSeconds: integer('lease_seconds').notNull().default(300),
    leaseUntil: instant('lease_until'),
    /** From scm.fence at each claim. Every write of the owner is guarded by it. */
    fence: long('fence').notNull().default(0),
    /** `<repo_id>:<job_type>` while an incremental job is not terminal: one at a time. */
    activeKey: text('active_key'),
    lastRunId: long('last_run_id'),
    errorSummaryJson: jsonb('error_summary_json'),
    correlationId: text('correlation_id'),
    createdAt: createdAt(),
    updatedAt: updatedAt(),
  },
  (t) => [
    unique('uk_task_idem').on(t.idempotentKey),
    unique('uk_task_active').on(t.activeKey),
    index('task_by_plan').on(t.planId, t.sliceId),
    index('task_by_repo').on(t.repoId, t.jobType, t.id),
    // `is true` keeps task_by_status_age from being fit for the same questions: where the table was analyzed while it was
    // small, that looked cheaper (measured: 100 jobs done, then 10,000 pending: 624 buffers a claim against 20).
    index('task_ready_by_lane')
      .on(t.tenantId, t.instanceKey, t.jobType, t.priority, t.scheduledAt, t.id)
      .where(sql`(status in ('pending', 'failed')) is true and parked_until is null`),
    index('task_parked')
      .on(t.parkedUntil)
      .where(sql`(status in ('pending', 'failed')) is true and parked_until is not null`),
    index('task_parked_by_pair')
      .on(t.repoId, t.jobType, t.priority, t.id)
      .where(sql`(status in ('pending', 'failed')) is true and parked_until is not null`),
    // Live leases are counted from now() on, so dead rows lie behind the scan (queue figures: 152 buffers against 149,667).
    index('task_live_lease').on(t.leaseUntil).where(sql`status = 'running'`),
    // Without the running ones: an index on all states lured the planner away from the one above.
    index('task_by_status_age').on(t.status, t.updatedAt).where(sql`status <> 'running'`),
    check(
      'ck_task_status',
      sql`status in ('pending', 'reserved', 'running', 'failed', 'completed', 'dead', 'cancelled')`,
    ),
    check('ck_task_mode', sql`mode in ('incremental', 'backfill', 'probe')`),
    check(
      'ck_task_running',
      sql`status <> 'running' or (lease_owner is not null and leased_at is not null and lease_until is not null and fence > 0)`,
    ),
    check('ck_task_attempts', sql`attempts >= 0 and max_attempts > 0 and lease_seconds > 0`),
    check('ck_task_hash', sql`length(idempotent_key) = 64 and length(expr_hash) = 64`),
  ],
)

export const runs = pgTable(
  'ing_task_run',
  {
    id: id(),
    taskId: long('task_id').notNull(),
    planId: long('plan_id').notNull(),
    sliceId: long('slice_id').notNull(),
    attemptNo: integer('attempt_no').notNull().default(1),
    fence: long('fence').notNull(),
    workerId: text('worker_id').notNull(),
    repoId: long('repo_id').notNull(),
    jobType: text('job_type').notNull(),
    mode: text('mode').notNull(),
    provenanceCode: text('provenance_code').notNull(),
    operationCode: text('operation_code').notNull(),
    exprHash: text('expr_hash').notNull(),
    windowFrom: instant('window_from'),
    windowTo: instant('window_to'),
    statusCode: text('status_code').notNull().default('RUNNING'),
    /** Where a retry would resume; a copy of the last batch, which is the truth. */
    checkpoint: jsonb('checkpoint'),
    /** What the run holds its pages against (ref heads); apart from the checkpoint because it is large and written once. */
    pinned: jsonb('pinned'),
    stats: jsonb('stats').notNull().default({}),
    cursorBefore: jsonb('cursor_before'),
    cursorAfter: jsonb('cursor_after'),
    error: text('error'),
    errorSummaryJson: jsonb('error_summary_json'),
    degradationJson: jsonb('degradation_json'),
    startedAt: instant('started_at').notNull().default(sql`now()`),
    finishedAt: instant('finished_at'),
    lastHeartbeat: instant('last_heartbeat').notNull().default(sql`now()`),
    /** The trigger it ran for: the plan's own, or a later one that took the plan up again. */
    scheduleInstanceId: long('schedule_instance_id'),
    correlationId: text('correlation_id'),
    createdAt: createdAt(),
  },
  (t) => [
    unique('uk_run_attempt').on(t.taskId, t.attemptNo),
    unique('uk_run_fence').on(t.fence),
    index('run_by_repo').on(t.repoId, t.jobType, t.startedAt),
    // Runs start in the order of their ids: a range of time is a range of blocks, for next to nothing at each claim.
    index('run_by_start').using('brin', t.startedAt),
    index('run_running').on(t.lastHeartbeat).where(sql`status_code = 'RUNNING'`),
    // Looks that found nothing are nearly all there is, and go first.
    index('run_with_nothing').on(t.finishedAt).where(sql`status_code = 'SUCCEEDED' and stats->'pages' = '0'`),
    check('ck_run_status', sql`status_code in ('PLANNED', 'RUNNING', 'SUCCEEDED', 'FAILED', 'CANCELLED')`),
    check('ck_run_end', sql`(status_code in ('PLANNED', 'RUNNING')) = (finished_at is null)`),
    check('ck_run_attempt', sql`attempt_no > 0 and fence > 0`),
  ],
)

export const batches = pgTable(
  'ing_task_run_batch',
  {
    id: id(),
    runId: long('run_id').notNull(),
    taskId: long('task_id').notNull(),
    sliceId: long('slice_id').notNull(),
    planId: long('plan_id').notNull(),
    exprHash: text('expr_hash').notNull(),
    batchNo: integer('batch_no').notNull(),
    pageNo: integer('page_no'),
    pageSize: integer('page_size'),
    /** '' for the first page: NULLs would not collide in the unique key. */
    beforeToken: text('before_token'),
    afterToken: text('after_token'),
    idempotentKey: text('idempotent_key').notNull(),
    recordCount: integer('record_count').notNull().default(0),
    retryCount: integer('retry_count').notNull().default(0),
    statusCode: text('status_code').notNull().default('RUNNING'),
    committedAt: instant('committed_at'),
    error: text('error'),
    stats: jsonb('stats'),
    createdAt: createdAt(),
  },
  (t) => [
    unique('uk_run_batch_no').on(t.runId, t.batchNo),
    unique('uk_run_before_tok').on(t.runId, t.beforeToken),
    unique('uk_batch_idem').on(t.idempotentKey),
    index('batch_by_task').on(t.taskId),
    check('ck_batch_status', sql`status_code in ('RUNNING', 'SUCCEEDED', 'FAILED', 'SKIPPED')`),
    check('ck_batch_committed', sql`(status_code = 'SUCCEEDED') = (committed_at is not null)`),
    check('ck_batch_no', sql`batch_no >= 1 and record_count >= 0`),
    check('ck_batch_place', sql`before_token is not null or page_no is not null`),
  ],
)

/** The audited high-water mark of one namespace; only ever forward. */
export const cursors = pgTable(
  'ing_cursor',
  {
    id: id(),
    provenanceCode: text('provenance_code').notNull(),
    operationCode: text('operation_code').notNull(),
    cursorKey: text('cursor_key').notNull(),
    namespaceScopeCode: text('namespace_scope_code').notNull().default('GLOBAL'),
    namespaceKey: text('namespace_key').notNull().default(sql`repeat('0', 64)`),
    cursorTypeCode: text('cursor_type_code').notNull(),
    cursorValue: text('cursor_value').notNull(),
    observedMaxValue: text('observed_max_value'),
    normalizedInstant: instant('normalized_instant'),
    normalizedNumeric: long('normalized_numeric'),
    scheduleInstanceId: long('schedule_instance_id'),
    planId: long('plan_id'),
    sliceId: long('slice_id'),
    taskId: long('task_id'),
    lastRunId: long('last_run_id'),
    lastBatchId: long('last_batch_id'),
    exprHash: text('expr_hash'),
    version: long('version').notNull().default(0),
    createdAt: createdAt(),
    updatedAt: updatedAt(),
  },
  (t) => [
    unique('uk_cursor_ns').on(
      t.provenanceCode,
      t.operationCode,
      t.cursorKey,
      t.namespaceScopeCode,
      t.namespaceKey,
    ),
    check('ck_cursor_scope', sql`namespace_scope_code in ('GLOBAL', 'EXPR', 'CUSTOM')`),
    check('ck_cursor_type', sql`cursor_type_code in ('TIME', 'ID', 'TOKEN')`),
    check('ck_cursor_ns', sql`length(namespace_key) = 64`),
  ],
)

/** One row per cursor move, never changed afterwards (trigger cursor_events_are_append_only). */
export const cursorEvents = pgTable(
  'ing_cursor_event',
  {
    id: id(),
    provenanceCode: text('provenance_code').notNull(),
    operationCode: text('operation_code').notNull(),
    cursorKey: text('cursor_key').notNull(),
    namespaceScopeCode: text('namespace_scope_code').notNull(),
    namespaceKey: text('namespace_key').notNull(),
    cursorTypeCode: text('cursor_type_code').notNull(),
    prevValue: text('prev_value'),
    newValue: text('new_value').notNull(),
    observedMaxValue: text('observed_max_value'),
    prevInstant: instant('prev_instant'),
    newInstant: instant('new_instant'),
    prevNumeric: long('prev_numeric'),
    newNumeric: long('new_numeric'),
    windowFrom: instant('window_from'),
    windowTo: instant('window_to'),
    directionCode: text('direction_code').notNull(),
    reason: text('reason').notNull().default('sync'),
    /** ing_cursor.version this event made; null for BACKFILL, which moves no cursor. Orders the replay. */
    cursorVersion: long('cursor_version'),
    idempotentKey: text('idempotent_key').notNull(),
    scheduleInstanceId: long('schedule_instance_id'),
    planId: long('plan_id'),
    sliceId: long('slice_id'),
    taskId: long('task_id'),
    runId: long('run_id'),
    batchId: long('batch_id'),
    exprHash: text('expr_hash'),
    createdAt: createdAt(),
  },
  (t) => [
    unique('uk_cur_evt_idem').on(t.idempotentKey),
    index('cursor_event_timeline').on(
      t.provenanceCode,
      t.operationCode,
      t.cursorKey,
      t.namespaceScopeCode,
      t.namespaceKey,
      t.id,
    ),
    check('ck_cursor_event_direction', sql`direction_code in ('FORWARD', 'BACKFILL')`),
    check('ck_cursor_event_version', sql`(direction_code = 'FORWARD') = (cursor_version is not null)`),
  ],
)
