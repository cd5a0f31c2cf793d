import type { StatusReport } from '../../core/contracts/status.ts'
import { table } from '../table.ts'

export function statusText(r: StatusReport): string {
  const sections = [
    `jobs       ${pairs(r.jobs_by_status)}`,
    `runs 24 h  ${pairs(r.runs_24h_by_status)}`,
    `locks      ${r.locks.length} held, ${r.expired_locks.length} expired`,
    `breakers   ${r.circuit_breakers.total_count} known, ${r.circuit_breakers.total_open} open`,
    `failures   ${(r.error_budget.failure.rate * 100).toFixed(1)} % of ${r.error_budget.samples} runs in ${r.error_budget.window_minutes} min`,
  ]
  if (r.facts.length === 0)
    sections.push('', 'no repository is registered yet: engram-scm-sync repos add git:<path or URL>')
  else
    sections.push(
      '',
      table(
        ['id', 'repository', 'commits', 'unreachable', 'refs', 'watermark'],
        r.facts.map((f) => [
          f.repo_id,
          f.repo,
          f.commits,
          f.unreachable,
          f.refs,
          r.cursors.find((c) => c.repo === f.repo)?.watermark,
        ]),
      ),
    )
  const troubled = r.jobs.filter((j) => j.error !== null)
  if (troubled.length > 0) {
    sections.push(
      '',
      table(
        ['job', 'repo', 'type', 'status', 'attempts', 'error'],
        troubled.map((j) => [
          j.job_id,
          j.repo_id,
          j.job_type,
          j.status,
          `${j.attempts}/${j.max_attempts}`,
          j.error,
        ]),
      ),
    )
  }
  if (r.runs.length > 0) {
    sections.push(
      '',
      table(
        ['run', 'repo', 'mode', 'status', 'synced', 'started'],
        r.runs
          .slice(0, 5)
          .map((u) => [
            u.run_id,
            u.repo_id,
            u.mode,
            u.status,
            u.synced_count,
            String(new Date(u.started_at).toISOString()),
          ]),
      ),
    )
  }
  return sections.join('\n')
}

function pairs(counts: Record<string, number>): string {
  const shown = Object.entries(counts).filter(([, n]) => n > 0)
  return shown.length === 0 ? 'none' : shown.map(([k, n]) => `${n} ${k}`).join(', ')
}
