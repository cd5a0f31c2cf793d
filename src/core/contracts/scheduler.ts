export interface JobMade {
  repo_id: number
  job_type: string
  priority: number
  /** backfill: a repair, over the time nobody looked at the repository. */
  mode: 'incremental' | 'backfill'
  /** Why this job, now and at this priority; also in the trigger's record. */
  payload_json: JobReason
  /** null in a dry run, and for a job that another process had made a moment before. */
  job_id: number | null
}

export interface JobReason {
  reason: string
  scheduled_at: string
  logical_job_type: string
  gitlab_instance: string | null
  tenant_id: string | null
  /** -1 = never synced. */
  cursor_age_seconds: number
  failure_rate: number
  rate_limit_rate: number
  bucket_paused: boolean
  bucket_pause_remaining_seconds: number
  bucket_penalty_reason: string | null
  bucket_penalty_value: number
  circuit_state: string
  /** The rest only of a repair. */
  window_type?: 'time'
  since?: string
  until?: string
  update_watermark?: false
}

export interface SkippedJob {
  repo_id: number
  job_type: string
  reason:
    | 'instance_limit'
    | 'tenant_limit'
    | 'instance_circuit_open'
    | 'tenant_circuit_open'
    | 'error_budget_exceeded'
  /** Whose limit or breaker it is; of a spent error budget, how long it rests. */
  instance?: string
  tenant?: string
  wait_seconds?: number
}

/** What `scheduler --json` prints: one line per tick. */
export interface SchedulerReport {
  status: 'success' | 'partial'
  scheduled_at: string
  /** False: another scheduler leads, this one stands by and has done nothing. */
  leader: boolean
  repos_scanned: number
  /** Due and allowed, before the limits. */
  candidates_selected: number
  jobs_enqueued: number
  /** Passed over by a limit or the breaker of a host or tenant, or put to rest; `skipped_jobs` names the first hundred. */
  jobs_skipped: number
  /** Held back by the breaker of their tenant, or of their host. */
  tenant_paused_count: number
  instance_paused_count: number
  circuit_state: 'closed' | 'open' | 'half_open'
  /** Before the tick. What waits is counted by (repo, job type), without those that are paused. */
  budget_snapshot: {
    global_running: number
    global_pending: number
    global_active: number
    by_instance: Record<string, number>
    by_tenant: Record<string, number>
  }
  errors: string[]
  enqueued_jobs: JobMade[]
  skipped_jobs: SkippedJob[]
  dry_run: boolean
  iteration?: number
  exit_code: 0 | 1
}
