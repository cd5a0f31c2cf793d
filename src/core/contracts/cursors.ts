import type { Changed, Outcome } from './admin.ts'

/** What `admin cursors` prints, beside what every command of `admin` does. */

export interface CursorListed {
  key: string
  repo_id: number | null
  job_type: string | null
  repo: string | null
  /** The row of logbook.kv; null: none, so the next sync reads everything. */
  value: unknown
  /** What a sync reads in it; null: nothing, so it counts as none. */
  watermark: string | null
  updated_at: string | null
  /** ing_cursor, which only moves forward; null before the first sync. */
  audited: string | null
  audited_version: number | null
}

export interface CursorsReport extends Outcome {
  cursors: CursorListed[]
  count: number
}

export interface CursorReport extends Outcome {
  found: boolean
  cursor: CursorListed | null
}

export interface CursorChangeReport extends Changed {
  key: string
  repo: string
  repo_id: number
  job_type: string
  before: unknown
  after: unknown
}

export interface CursorEventShown {
  id: number
  created_at: string
  operation: string
  direction: 'FORWARD' | 'BACKFILL'
  reason: string
  prev_value: string | null
  new_value: string
  /** Of ing_cursor after it; null for what moves no cursor. */
  version: number | null
  run_id: number | null
  window_from: string | null
  window_to: string | null
}

export interface CursorHistoryReport extends Outcome {
  repo: string
  repo_id: number
  job_type: string
  /** The latest first. */
  events: CursorEventShown[]
  count: number
}

export interface ReplayReport {
  /** failed: some cursor is not what its events say. */
  status: 'success' | 'failed'
  cursors_checked: number
  events_folded: number
  differences: {
    provenance: string
    job_type: string
    /** value: another one or another version · chain: an event does not begin where the one before it ended · no_events, no_cursor. */
    wrong: 'value' | 'chain' | 'no_events' | 'no_cursor'
    cursor: string | null
    cursor_version: number | null
    replayed: string | null
    replayed_version: number | null
  }[]
  exit_code: 0 | 2
}
