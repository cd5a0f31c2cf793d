import type { StatusReport } from '../../core/contracts/status.ts'
import { table } from '../table.ts'

/** Rows of one table: the page is to be read in ten seconds. */
const REPOS_SHOWN = 10
const JOBS_SHOWN = 5
const RUNS_SHOWN = 5

export function statusText(r: StatusReport): string {
  const sections = [
    `jobs       ${pairs(r.jobs_by_status, r.jobs_estimated)}`,
    `queue      ${queueText(r)}`,
    `runs 24 h  ${pairs(r.runs_24h_by_status)}`,
    `locks      ${r.locks.length} held, ${r.expired_locks.length} expired`,
    `breakers   ${r.circuit_breakers.total_count} known, ${r.circuit_breakers.total_open} open, ${r.circuit_breakers.total_half_open} half open`,
    `pauses     ${pairs(r.pauses_by_reason)}`,
    `failures   ${(r.error_budget.failure.rate * 100).toFixed(1)} % of ${r.error_budget.samples} runs in ${r.error_budget.window_minutes} min`,
  ]
  if (r.repos_count === 0)
    sections.push('', 'no repository is registered yet: engram-scm-sync repos add git:<path or URL>')
  else if (r.facts.length > 0) sections.push('', reposTable(r))
  const troubled = r.jobs.filter((j) => j.error !== null)
  if (troubled.length > 0) {
    sections.push(
      '',
      table(
        ['job', 'repo', 'type', 'status', 'attempts', 'error'],
        troubled
          .slice(0, JOBS_SHOWN)
          .map((j) => [
            j.job_id,
            j.repo_id,
            j.job_type,
            j.status,
            `${j.attempts}/${j.max_attempts}`,
            j.error,
          ]),
      ),
      ...more(troubled.length - JOBS_SHOWN, 'with an error: --json lists them'),
    )
  }
  if (r.runs.length > 0) {
    sections.push(
      '',
      table(
        ['run', 'repo', 'mode', 'status', 'synced', 'started'],
        r.runs
          .slice(0, RUNS_SHOWN)
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

/** Those furthest behind first. */
function reposTable(r: StatusReport): string {
  const count = (n: number) => (n >= r.facts_counted_to ? `${n}+` : n)
  const some = (n: number) => (n === 0 ? null : count(n))
  const shown = table(
    [
      'id',
      'repository',
      'commits',
      'unreachable',
      'refs',
      'MRs',
      'events',
      'revisions',
      'watermark',
      'behind',
    ],
    r.facts
      .slice(0, REPOS_SHOWN)
      .map((f) => [
        f.repo_id,
        f.repo,
        some(f.commits),
        f.unreachable,
        f.refs,
        some(f.merge_requests),
        some(f.review_events),
        some(f.revisions),
        r.cursors.find((c) => c.repo === f.repo)?.watermark,
        age(r.top_lag_repos.find((l) => l.repo_id === f.repo_id)?.lag_seconds),
      ]),
  )
  return [shown, ...more(r.repos_count - REPOS_SHOWN, 'repositories: engram-scm-sync repos list')].join('\n')
}

function queueText(r: StatusReport): string {
  const due =
    r.queue_oldest_due_seconds === null
      ? 'nothing waits for a worker'
      : `the oldest due job has waited ${age(r.queue_oldest_due_seconds)}`
  const beat = r.run_heartbeat_age_seconds
  return beat === null ? due : `${due}, the oldest heartbeat is ${age(beat)} old`
}

function more(n: number, of: string): string[] {
  return n > 0 ? [`and ${n} more ${of}`] : []
}

/** 90 s, 90 min, 36 h, 12 d: whole units, the largest of which there are two. */
function age(seconds: number | undefined): string | undefined {
  if (seconds === undefined) return undefined
  const [unit, length] = UNITS.find(([, s]) => seconds >= 2 * s) ?? (['s', 1] as const)
  return `${Math.floor(seconds / length)} ${unit}`
}

const UNITS = [
  ['d', 86_400],
  ['h', 3_600],
  ['min', 60],
] as const

function pairs(counts: Record<string, number>, estimated: string[] = []): string {
  const shown = Object.entries(counts).filter(([, n]) => n > 0)
  const about = (key: string) => (estimated.includes(key) ? 'about ' : '')
  return shown.length === 0 ? 'none' : shown.map(([k, n]) => `${about(k)}${n} ${k}`).join(', ')
}
