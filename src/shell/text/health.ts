import type { HealthReport, Violation } from '../../core/contracts/health.ts'
import { visible } from '../output.ts'

export function healthText(r: HealthReport): string {
  if (r.failed_checks === 0) return `healthy: ${r.total_checks} checks, nothing found`
  const word = { 0: 'healthy', 1: 'healthy, with warnings', 2: 'not healthy' }[r.exit_code]
  const head = `${word}: ${r.failed_checks} of ${r.total_checks} checks found something`
  return [head, ...r.violations.map(violationText)].join('\n\n')
}

function violationText(v: Violation): string {
  const details = (v.details ?? []).map((row) => `    ${visible(pairs(row))}`)
  return [`${v.severity} ${v.check_id}`, `  ${v.description}`, ...details, `  → ${v.remediation_hint}`].join(
    '\n',
  )
}

function pairs(row: Record<string, unknown>): string {
  return Object.entries(row)
    .map(([key, value]) => `${key}=${typeof value === 'string' ? value : JSON.stringify(value)}`)
    .join(' ')
}
