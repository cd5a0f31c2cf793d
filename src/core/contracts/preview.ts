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

export interface BackfillPreview {
  phase: 'backfill'
  repo: string
  job: string
  status: 'success'
  dry_run: true
  since: string
  until: string
  total_chunks: number
  chunks: { chunk_index: number; since: string; until: string; items_found: number | null }[]
  update_watermark: boolean
  message: string | null
  exit_code: 0
}
