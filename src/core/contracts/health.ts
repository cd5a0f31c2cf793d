/** What `status --health --json` prints. */
export interface HealthReport {
  /** No check of severity `critical` found anything. */
  healthy: boolean
  checked_at: string
  total_checks: number
  passed_checks: number
  failed_checks: number
  violations: Violation[]
  /** 2: something critical · 1: a warning · 0: nothing, or only infos. */
  exit_code: 0 | 1 | 2
}

export type Severity = 'critical' | 'warning' | 'info'

export interface Violation {
  check_id: string
  name: string
  severity: Severity
  count: number
  description: string
  remediation_hint: string
  /** At most ten of what was found; only with --include-details. */
  details?: Record<string, unknown>[]
}
