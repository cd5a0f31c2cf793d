import type { ExecutorReport } from '../../core/contracts/executor.ts'
import { count } from '../output.ts'

export function executorText(r: ExecutorReport): string {
  const { accepted, succeeded, failed, timed_out: late } = r.triggers
  const lines = [
    `${count(accepted)} triggers: ${count(succeeded)} succeeded, ${count(failed)} failed, ${count(late)} out of time`,
  ]
  if (r.lost > 0) lines.push(`  ${count(r.lost)} of the executor before were lost and told as failed`)
  if (r.undelivered > 0)
    lines.push(`  ${count(r.undelivered)} ends are still to be told; the next start does`)
  return lines.join('\n')
}

/** A line of the log as a person reads it in a page of the admin. */
export function logLineText(json: string): string {
  const { level, time, worker, correlationId, msg, err, ...more } = JSON.parse(json)
  const fields = Object.entries(more).map(
    ([name, value]) => `${name}=${typeof value === 'string' ? value : JSON.stringify(value)}`,
  )
  const error = err ? [`${err.kind}: ${err.message}`] : []
  return [LEVELS[level] ?? '', msg, ...fields, ...error].filter(Boolean).join(' ')
}

const LEVELS: Record<number, string> = { 40: 'WARN', 50: 'ERROR', 60: 'FATAL' }
