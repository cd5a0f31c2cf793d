/** What `reaper --json` prints: one line per pass. In a dry run only `processed` is filled. */
export interface ReaperReport {
  status: 'success' | 'partial'
  jobs: { processed: number; to_failed: number; to_dead: number; to_pending: number; errors: number }
  runs: { processed: number; failed: number; errors: number }
  locks: { processed: number; released: number; errors: number }
  /** Chunks kept for a runner that is gone, now any worker's. */
  reservations: { processed: number; to_pending: number; errors: number }
  /** What was finished long ago and is gone now; not part of the totals. */
  retention: { plans: number; jobs: number; runs: number; batches: number; errors: number }
  total_processed: number
  total_errors: number
  dry_run: boolean
  iteration?: number
  exit_code: 0 | 1
}
