/**
 * What `worker --json` prints: one line, when the worker ends (nothing left, `--once` done, or stopped). While it
 * works, each job's start and end is a line of the log on stderr.
 */
export interface WorkerReport {
  /** partial, failed: only with --once and --drain. A worker that runs until it is stopped ends with success. */
  status: 'success' | 'partial' | 'failed'
  worker_id: string
  /** Jobs claimed; the four below add up to it. */
  jobs_worked: number
  jobs_completed: number
  /** Will be tried again, or dead. */
  jobs_failed: number
  /** Given back without counting the attempt: stopped, lease lost, lock held. */
  jobs_released: number
  /** No longer wanted: the repository is disabled, or the cursor was set elsewhere and the sync planned afresh. */
  jobs_cancelled: number
  items_synced: number
  /** Of failed jobs, at most 20: `job <id> (<repo> <type>): <reason>` */
  errors: string[]
  started_at: string
  finished_at: string
  exit_code: 0 | 1 | 2
}
