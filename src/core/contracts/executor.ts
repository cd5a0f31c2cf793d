/** What `executor --json` prints when it has been stopped. */
export interface ExecutorReport {
  status: 'success'
  /** What it was registered as. */
  address: string
  /** Triggers that it accepted, and how they ended. */
  triggers: { accepted: number; succeeded: number; failed: number; timed_out: number }
  /** Triggers of the process before it that were told as failed. */
  lost: number
  /** Ends that no admin has taken yet; the next executor here tells them. */
  undelivered: number
  started_at: string
  finished_at: string
  exit_code: 0
}
