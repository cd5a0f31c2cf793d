import type { ReaperReport } from '../../core/contracts/reaper.ts'
import type { SchedulerReport } from '../../core/contracts/scheduler.ts'
import type { WorkerReport } from '../../core/contracts/worker.ts'
import { count, visible } from '../output.ts'

export function workerText(r: WorkerReport): string {
  const seconds = (Date.parse(r.finished_at) - Date.parse(r.started_at)) / 1000
  const parts = [
    `${r.jobs_completed} completed`,
    r.jobs_failed > 0 && `${r.jobs_failed} failed`,
    r.jobs_released > 0 && `${r.jobs_released} given back`,
    r.jobs_cancelled > 0 && `${r.jobs_cancelled} cancelled`,
  ].filter(Boolean)
  const head =
    r.jobs_worked === 0
      ? 'nothing is due'
      : `${parts.join(', ')}, ${r.items_synced.toLocaleString('en')} synced in ${seconds.toFixed(1)} s`
  return [head, ...r.errors.map((e) => `  ${visible(e)}`)].join('\n')
}

export function schedulerText(r: SchedulerReport): string {
  if (!r.leader) return 'another scheduler leads; nothing was done'
  const { global_running: running, global_pending: pending } = r.budget_snapshot
  const jobs = r.dry_run ? r.enqueued_jobs.length : r.jobs_enqueued
  const lines = [
    `${count(jobs)} ${jobs === 1 ? 'job' : 'jobs'} ${r.dry_run ? 'would be ' : ''}enqueued: ${count(r.candidates_selected)} due of ${count(r.repos_scanned)} repositories, ${count(r.jobs_skipped)} skipped; ${count(running)} running and ${count(pending)} pending before`,
  ]
  const repairs = r.enqueued_jobs.filter((job) => job.mode === 'backfill').length
  if (repairs > 0) lines.push(`  ${count(repairs)} of them repair what was out of sight for long`)
  if (r.circuit_state === 'open') lines.push('  the global circuit breaker is open: nothing is enqueued')
  return [...lines, ...r.errors.map((e) => `  ${visible(e)}`)].join('\n')
}

export function reaperText(r: ReaperReport): string {
  const { jobs, runs, locks, reservations, retention } = r
  if (r.dry_run) {
    return `dry run: ${jobs.processed} jobs, ${runs.processed} runs, ${locks.processed} locks and ${reservations.processed} reservations would be recovered`
  }
  const parts = [
    jobs.processed > 0 &&
      `${jobs.processed} jobs (${jobs.to_failed} failed, ${jobs.to_dead} dead, ${jobs.to_pending} pending)`,
    runs.processed > 0 && `${runs.processed} runs`,
    locks.processed > 0 && `${locks.processed} locks`,
    reservations.processed > 0 && `${reservations.processed} reservations`,
  ].filter(Boolean)
  const lines = [parts.length === 0 ? 'nothing to recover' : `recovered ${parts.join(', ')}`]
  if (retention.plans > 0)
    lines.push(`  removed ${count(retention.jobs)} jobs and ${count(retention.runs)} runs finished long ago`)
  if (r.total_errors > 0) lines.push(`  ${r.total_errors} errors; the log has them`)
  return lines.join('\n')
}
