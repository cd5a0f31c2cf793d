/** What `plans`, `runs` and `lineage` print: who asked, what was planned, what ran, page by page. Times are ISO 8601. */

export interface TriggerShown {
  trigger_id: number
  scheduler_code: string
  scheduler_job_id: string | null
  scheduler_log_id: string | null
  trigger_type: string
  triggered_at: string
  trigger_params: unknown
  correlation_id: string | null
}

/** Half open, in time or in revisions; an end that is null is open. */
export interface Span {
  from: string | null
  to: string | null
}

export interface PlanListed {
  plan_id: number
  /** As a person types it; null when nobody knows the repository any more. */
  repo: string | null
  job_type: string
  operation: string
  window: Span
  status: string
  slices: number
  slices_succeeded: number
  created_at: string
  trigger_id: number
  correlation_id: string | null
}

export interface PlansReport {
  status: 'success'
  plans: PlanListed[]
  count: number
  exit_code: 0
}

export interface SliceShown {
  slice_no: number
  window: Span
  status: string
  expr_hash: string
  job_id: number | null
  job_status: string | null
  attempts: number | null
  last_run_id: number | null
  error: string | null
}

export interface PlanReport {
  status: 'success'
  plan: PlanListed & { plan_key: string; strategy: string; update_watermark: boolean }
  trigger: TriggerShown | null
  slices: SliceShown[]
  /** What of the window is not read (yet), neighbours in one. */
  missing: Span[]
  /** What was noted on it: history that the watermark went past unread, above all. */
  remarks: unknown[]
  exit_code: 0
}

export interface RunListed {
  run_id: number
  plan_id: number
  slice_no: number | null
  job_id: number
  repo: string | null
  job_type: string
  mode: string
  attempt: number
  status: string
  started_at: string
  finished_at: string | null
  last_heartbeat: string
  pages: number
  synced: number
  error: string | null
  worker: string
  /** The trigger it ran for, which may be a later one than that of its plan. */
  trigger_id: number | null
  correlation_id: string | null
}

export interface RunsReport {
  status: 'success'
  runs: RunListed[]
  count: number
  exit_code: 0
}

export interface BatchShown {
  batch_id: number
  batch_no: number
  before_token: string | null
  after_token: string | null
  record_count: number
  status: string
  committed_at: string | null
  error: string | null
}

export interface CursorMoved {
  event_id: number
  direction: string
  reason: string | null
  from: string | null
  to: string
  at: string
}

export interface RunReport {
  status: 'success'
  run: RunListed
  trigger: TriggerShown | null
  batches: BatchShown[]
  cursor_events: CursorMoved[]
  exit_code: 0
}

/** From a stored row back to who asked for it. The row's own writer; of what it was before nothing is kept. */
export interface LineageReport {
  status: 'success'
  kind: 'commit' | 'mr' | 'revision'
  id: string
  repo: string
  written_at: string
  batch_id: number
  run_id: number
  /** null, here and below: the ledger of then was pruned. */
  batch: BatchShown | null
  run: RunListed | null
  plan: PlanListed | null
  /** Who asked for the run, and who had the plan made, where that was another. */
  trigger: TriggerShown | null
  planned_by: TriggerShown | null
  cursor_events: CursorMoved[]
  message: string | null
  exit_code: 0
}
