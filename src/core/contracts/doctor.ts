/** What `doctor --json` prints. */
export interface DoctorReport {
  status: 'success' | 'partial' | 'failed'
  checked_at: string
  checks: DoctorCheck[]
  ok: number
  warnings: number
  failed: number
  /** Checks that could not be made because of one that failed. */
  not_examined: string[]
  /** 2: something failed · 1: warnings · 0: all well. */
  exit_code: 0 | 1 | 2
}

export interface DoctorCheck {
  check: string
  status: 'ok' | 'warning' | 'failed'
  /** What was found, in one sentence. */
  found: string
  /** What to do about it; null where there is nothing to do. */
  remedy: string | null
}
