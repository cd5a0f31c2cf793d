export interface JobMade {
  repo_id: number
  job_type: string
  priority: number
  mode: 'incremental'
  payload_json: { reason: string; [key: string]: unknown }
  /** null in a dry run, and for a job that another process had made a moment before. */
  job_id: number | null
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
  /** Passed over by a limit, or put to rest; `skipped_jobs` names the first hundred. */
  jobs_skipped: number
  tenant_paused_count: number
  instance_paused_count: number
  circuit_state: 'closed' | 'open' | 'half_open'
  /** Before the tick. */
  budget_snapshot: {
    global_running: number
    global_pending: number
    global_active: number
    by_instance: Record<string, number>
    by_tenant: Record<string, number>
  }
  errors: string[]
  enqueued_jobs: JobMade[]
  skipped_jobs: {
    repo_id: number
    job_type: string
    reason: 'instance_limit' | 'tenant_limit' | 'error_budget_exceeded'
  }[]
  dry_run: boolean
  iteration?: number
  exit_code: 0 | 1
}
