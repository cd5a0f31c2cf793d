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
  runs_24h_by_status: Record<string, number>
  jobs: JobShown[]
  runs: RunShown[]
  locks: LockShown[]
  expired_locks: LockShown[]
  cursors_count: number
  cursors: { key: string; repo: string | null; watermark: string | null; age_seconds: number | null }[]
  facts: { repo_id: number; repo: string; commits: number; unreachable: number; refs: number }[]
  circuit_breakers: {
    by_scope: Record<string, unknown>
    total_count: number
    total_open: number
    total_half_open: number
  }
  error_budget: {
    window_minutes: number
    samples: number
    total_requests: number
    completed_runs: number
    failure: { count: number; rate: number }
    rate_limit_429: { count: number; rate: number }
    timeout: { count: number; rate: number }
  }
  rate_limit_buckets: {
    instance_key: string
    tokens_remaining: number
    rate: number
    burst: number
    is_paused: boolean
    pause_until: string | null
  }[]
  paused_repos_count: number
  exit_code: 0
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
  repo_id: number
  job_type: string
  locked_by: string
  locked_at: string
  lease_seconds: number
  is_expired: boolean
}
