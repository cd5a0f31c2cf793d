import type { Bounds } from './backfill.ts'

/** What `--dry-run --json` prints: the plan, with what the upstream really holds. null = only reading could tell. */
export interface IncrementalPreview {
  phase: 'incremental'
  repo: string
  job: string
  status: 'success'
  dry_run: true
  since: string | null
  refetch_since: string | null
  resumes_job: number | null
  items_found: number | null
  pages: number | null
  /** Null where what is new is not told by refs. */
  refs: { total: number; moved: number } | null
  message: string | null
  exit_code: 0
}

export interface BackfillPreview extends Bounds {
  phase: 'backfill'
  repo: string
  job: string
  status: 'success'
  dry_run: true
  total_chunks: number
  chunks: (Bounds & { chunk_index: number; items_found: number | null })[]
  update_watermark: boolean
  message: string | null
  exit_code: 0
}
