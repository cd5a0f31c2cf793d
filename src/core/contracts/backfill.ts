export interface ChunkResult {
  chunk_index: number
  chunk_total: number
  status: 'success' | 'failed' | 'cancelled'
  synced_count: number
  skipped_count: number
  failed_count: number
  window_type: 'time'
  since: string
  until: string
  error: string | null
}

/** What `runner backfill --json` prints. Field names are the runbook's. */
export interface BackfillReport {
  phase: 'backfill'
  repo: string
  job: string
  status: 'success' | 'partial' | 'failed' | 'skipped' | 'cancelled'
  total_chunks: number
  success_chunks: number
  partial_chunks: number
  failed_chunks: number
  total_items_synced: number
  total_items_skipped: number
  total_items_failed: number
  chunk_results: ChunkResult[]
  /** `chunk <index> failed: <message>` */
  errors: string[]
  watermark_updated: boolean
  watermark_before: string | null
  watermark_after: string | null
  vfacts_refreshed: boolean
  message: string | null
  started_at: string
  finished_at: string
  exit_code: 0 | 1 | 2
}
