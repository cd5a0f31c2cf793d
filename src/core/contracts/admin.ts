/** What the commands of `admin` print. Times are ISO 8601; what the runbook keeps in kv stays as it is there. */

/** success: done, also where nothing had to be · partial: part of what was named was refused · not_found: all of it. */
export interface Outcome {
  status: 'success' | 'partial' | 'not_found'
  exit_code: 0 | 1
}

export interface Changed extends Outcome {
  /** Nothing was changed; what is said is what would be. */
  dry_run: boolean
}

export interface JobNamed {
  job_id: number
  repo_id: number
  job_type: string
}

export interface JobListed extends JobNamed {
  /** As a person types it; null when nobody knows the repository any more. */
  repo: string | null
  mode: string
  status: string
  priority: number
  attempts: number
  max_attempts: number
  not_before: string | null
  locked_by: string | null
  locked_at: string | null
  created_at: string
  updated_at: string
  error_summary_json: unknown
}

export interface JobsReport extends Outcome {
  jobs: JobListed[]
  count: number
}

export interface Refused {
  job_id: number
  /** null: there is no such job. */
  job_status: string | null
}

export interface ResetDeadReport extends Changed {
  reset_count: number
  reset_jobs: JobNamed[]
  refused: Refused[]
}

export interface MarkDeadReport extends Changed {
  dead_count: number
  dead_jobs: (JobNamed & { was: string })[]
  refused: Refused[]
  reason: string
}

export interface ResetStuckReport extends Changed {
  reset_count: number
  reset_jobs: (JobNamed & { locked_by: string; locked_at: string })[]
}

export interface PruneReport extends Changed {
  pruned_count: number
}

export interface LockListed {
  lock_id: number
  repo_id: number
  repo: string | null
  job_type: string
  locked_by: string
  locked_at: string
  lease_seconds: number
  is_expired: boolean
  /** The job it was taken for, and whether that still runs under it. */
  job_id: number
  run_id: number | null
  job_is_running: boolean
}

export interface LocksReport extends Outcome {
  locks: LockListed[]
  count: number
}

export interface ExpiredLocksReport extends Outcome {
  expired_locks: LockListed[]
  count: number
}

export interface ReleaseReport extends Changed {
  released_count: number
  released_locks: LockListed[]
}

/** Of logbook.kv, as it stands there. */
export interface BreakerListed {
  key: string
  state: 'closed' | 'open' | 'half_open'
  /** Opened by a person: it stays open until a person closes it. */
  by_hand: boolean
  opened_at: string | null
  reason: string | null
  value: unknown
}

export interface BreakersReport extends Outcome {
  breakers: BreakerListed[]
  count: number
}

export interface BreakerReport extends Changed {
  key: string
  before: BreakerListed | null
  /** null: no row, which is closed. */
  after: BreakerListed | null
}

/** The runbook's form. */
export interface PauseValue {
  repo_id: number
  job_type: string
  reason: string
  reason_code: string
  /** Seconds since 1970. */
  paused_at: number
  paused_until: number
}

export interface PauseListed {
  key: string
  repo: string | null
  repo_id: number | null
  job_type: string | null
  reason: string | null
  reason_code: string
  paused_at: string | null
  paused_until: string | null
  remaining_seconds: number
  is_expired: boolean
}

export interface PausesReport extends Outcome {
  pauses: PauseListed[]
  count: number
}

export interface PauseReport extends Changed {
  repo_id: number
  job_type: string
  repo: string
  /** null: there is none any more. */
  pause: PauseValue | null
}

export interface BucketListed {
  instance_key: string
  /** As of now. */
  tokens: number
  rate: number
  burst: number
  last_refill: string
  paused_until: string | null
  is_paused: boolean
  remaining_pause_seconds: number
  /** Until a request may be made. */
  wait_seconds: number
  updated_at: string
  raw_value: unknown
}

export interface BucketsReport extends Outcome {
  buckets: BucketListed[]
  count: number
}

export interface BucketReport extends Changed {
  instance_key: string
  paused_until: string | null
  was_paused_until: string | null
}

export interface HistoryReport extends Outcome {
  events: {
    id: number
    at: string
    by: string
    /** The command's words: `jobs reset-dead`. */
    action: string
    target: unknown
    reason: string | null
    before: unknown
    after: unknown
  }[]
  count: number
}
