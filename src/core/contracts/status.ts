/** What `status --json` prints. `.jobs_by_status`, `.circuit_breakers`, `.error_budget`, `.rate_limit_buckets` are the runbook's. */
export interface StatusReport {
  status: 'success'
  checked_at: string
  repos_count: number
  repos_by_type: Record<string, number>
  jobs_by_status: Record<
    'pending' | 'reserved' | 'running' | 'failed' | 'completed' | 'dead' | 'cancelled',
    number
  >
  /** Figures of `jobs_by_status` that are too large to be counted each time, and so are the planner's estimate. */
  jobs_estimated: 'completed'[]
  /** Age of the oldest due job that nothing but a worker keeps waiting; null when no job waits. */
  queue_oldest_due_seconds: number | null
  /** Age of the oldest heartbeat of a run that has not ended; null when nothing runs. */
  run_heartbeat_age_seconds: number | null
  runs_24h_by_status: Record<string, number>
  window_stats: WindowStats
  /** Jobs that wait or run, by upstream host and by tenant; `_unknown_` has none. */
  by_instance: Record<string, number>
  by_tenant: Record<string, number>
  jobs_by_dimensions: JobsOfDimension[]
  retry_backoff_jobs: Backoff[]
  jobs: JobShown[]
  runs: RunShown[]
  locks: LockShown[]
  expired_locks: LockShown[]
  cursors_count: number
  /** At most 100, the oldest first. */
  cursors: { key: string; repo: string | null; watermark: string | null; age_seconds: number | null }[]
  top_lag_repos: LagShown[]
  /** At most 20, those furthest behind first. */
  facts: {
    repo_id: number
    repo: string
    commits: number
    unreachable: number
    refs: number
    merge_requests: number
    review_events: number
    revisions: number
  }[]
  /** Where the counting of one repository's rows of a kind ends: that many stands for "at least that many". */
  facts_counted_to: number
  circuit_breakers: {
    by_scope: Record<string, BreakerScope>
    total_count: number
    total_open: number
    total_half_open: number
  }
  circuit_breaker_states: BreakerShown[]
  error_budget: {
    window_minutes: number
    samples: number
    total_requests: number
    completed_runs: number
    failure: { count: number; rate: number }
    rate_limit_429: { count: number; rate: number }
    timeout: { count: number; rate: number }
  }
  rate_limit_buckets: BucketShown[]
  token_bucket_states: BucketShown[]
  pauses_by_reason: Record<string, number>
  paused_by_reason: Record<string, number>
  paused_repos_count: number
  paused_details: PauseShown[]
  exit_code: 0
}

export interface WindowStats {
  window_minutes: number
  total_runs: number
  completed_runs: number
  failed_runs: number
  failed_rate: number
  total_429_hits: number
  total_requests: number
  rate_limit_rate: number
}

export interface JobsOfDimension {
  instance_key: string
  tenant_id: string
  job_type: string
  status: string
  count: number
}

export interface Backoff {
  instance_key: string
  tenant_id: string
  job_type: string
  /** Failed jobs that wait for their next try. */
  count: number
  /** Until the last of them is tried again. */
  backoff_seconds: number
}

export interface LagShown {
  repo_id: number
  repo_type: string
  url: string
  project_key: string | null
  job_type: string
  last_status: string | null
  last_finished_at: string | null
  /** Since its cursor was last confirmed or moved; since its registration when it never was. */
  lag_seconds: number
}

export interface BreakerShown {
  key: string
  state: {
    state: 'closed' | 'open' | 'half_open'
    opened_at: number | null
    /** It stays open until a person closes it. */
    opened_by_hand: boolean
    half_open_attempts: number
    half_open_successes: number
    failure_count: number
    last_failure_reason: string | null
  }
  parsed_key: {
    project_key: string
    scope: string
    scope_type: 'global' | 'instance' | 'tenant' | 'pool' | 'unknown'
    scope_value: string | null
  }
}

export interface BreakerScope {
  count: number
  open_count: number
  half_open_count: number
  closed_count: number
  total_failures: number
  entries: BreakerShown[]
}

export interface BucketShown {
  instance_key: string
  source: 'postgres'
  tokens_remaining: number
  rate: number
  burst: number
  is_paused: boolean
  pause_until: string | null
  pause_remaining_seconds: number
  /** Until a request may be made. */
  wait_seconds: number
}

export interface PauseShown {
  repo_id: number | null
  job_type: string | null
  reason: string | null
  reason_code: string
  paused_at: string | null
  paused_until: string | null
  remaining_seconds: number
  is_expired: boolean
}

export interface JobShown {
  job_id: number
  repo_id: number
  job_type: string
  mode: string
  status: string
  priority: number
  attempts: number
  max_attempts: number
  not_before: string | null
  locked_by: string | null
  locked_at: string | null
  instance_key: string
  tenant_id: string
  error: string | null
}

export interface RunShown {
  run_id: number
  job_id: number
  repo_id: number
  job_type: string
  mode: string
  attempt: number
  status: string
  synced_count: number
  started_at: string
  finished_at: string | null
  error: string | null
}

export interface LockShown {
  lock_id: number
  repo_id: number
  job_type: string
  locked_by: string
  locked_at: string
  lease_seconds: number
  is_expired: boolean
}
