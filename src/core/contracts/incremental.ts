/** What `runner incremental --json` prints: one line per round. Field names are the runbook's. */
export interface IncrementalReport {
  phase: 'incremental'
  repo: string
  job: string
  status: 'success' | 'partial' | 'failed' | 'skipped' | 'cancelled'
  items_synced: number
  message: string | null
  error: string | null
  /** Of the error: what sort it is, and what to do about it. */
  kind: string | null
  hint: string | null
  started_at: string
  finished_at: string
  vfacts_refreshed: boolean
  iteration?: number
  exit_code: 0 | 1 | 2
}
