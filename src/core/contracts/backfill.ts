/** `since` and `until` of a time window; the two revisions, both included, of the other kind. */
export interface Bounds {
  since?: string
  until?: string
  start_rev?: number
  end_rev?: number
}

export interface ChunkResult extends Bounds {
  chunk_index: number
  chunk_total: number
  status: 'success' | 'failed' | 'cancelled'
  synced_count: number
  skipped_count: number
  failed_count: number
  window_type: 'time' | 'revision'
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
