/** What `admin verify --json` prints. Lists hold the first twenty. */
export interface VerifyReport {
  phase: 'verify'
  repo: string
  dry_run: boolean
  /** success: all equal · partial: differences were found. */
  status: 'success' | 'partial'
  merge_requests_checked: number
  missing: { count: number; iids: number[] }
  stale: { count: number; iids: number[] }
  /** Reviews with another number of comments than the project counts. */
  note_counts: { count: number; iids: number[] }
  /** Stored, and not there any more. */
  deleted: { count: number; iids: number[] }
  /** Numbers below the highest that nobody shows: hidden, or deleted before the first sync. */
  gaps: number
  /** Of which a part could not be read that may be readable by now. */
  degraded_commits: number
  degraded_reviews: number
  /** Backfill jobs made for the workers; none in a dry run, nor where those of an earlier audit still wait. */
  repairs_queued: number
  total_requests: number
  message: string | null
  exit_code: 0 | 1
}
