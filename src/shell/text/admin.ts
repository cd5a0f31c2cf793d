import type * as admin from '../../core/contracts/admin.ts'
import type * as cursors from '../../core/contracts/cursors.ts'
import { count, visible } from '../output.ts'
import { table } from '../table.ts'

/** A list as a table, or one sentence where there is nothing. */
function listed(none: string, head: string[], rows: Parameters<typeof table>[1]): string {
  return rows.length === 0 ? none : table(head, rows)
}

/** `3 jobs reset`, or `dry run: 3 jobs would be reset`. */
function did(r: admin.Changed, n: number, thing: string, done: string): string {
  const things = `${count(n)} ${thing}${n === 1 ? '' : 's'}`
  return r.dry_run ? `dry run: ${things} would be ${done}` : `${things} ${done}`
}

function refusals(refused: admin.Refused[], wanted: string): string[] {
  return refused.map(({ job_id, job_status }) =>
    job_status === null ? `  job ${job_id}: there is none` : `  job ${job_id} is ${job_status}, ${wanted}`,
  )
}

const pair = (x: { repo_id: number; job_type: string }) => `repository ${x.repo_id} ${x.job_type}`

export const jobsText = (r: admin.JobsReport) =>
  listed(
    'no job is like that',
    ['job', 'repository', 'kind', 'mode', 'status', 'tries', 'due', 'held by', 'error'],
    r.jobs.map((j) => [
      j.job_id,
      j.repo ?? j.repo_id,
      j.job_type,
      j.mode,
      j.status,
      `${j.attempts}/${j.max_attempts}`,
      j.not_before,
      j.locked_by,
      (j.error_summary_json as { error_message?: string } | null)?.error_message,
    ]),
  )

export const resetDeadText = (r: admin.ResetDeadReport) =>
  [
    did(r, r.reset_count, 'dead job', 'reset'),
    ...r.reset_jobs.map((j) => `  job ${j.job_id}: ${visible(pair(j))}`),
    ...refusals(r.refused, 'not dead'),
  ].join('\n')

export const markDeadText = (r: admin.MarkDeadReport) =>
  [
    did(r, r.dead_count, 'job', 'marked dead'),
    ...r.dead_jobs.map((j) => `  job ${j.job_id}: ${visible(pair(j))}, was ${j.was}`),
    ...refusals(r.refused, 'and so has ended'),
  ].join('\n')

export const resetStuckText = (r: admin.ResetStuckReport) =>
  [
    did(r, r.reset_count, 'stuck job', 'put back'),
    ...r.reset_jobs.map(
      (j) => `  job ${j.job_id}: ${visible(pair(j))}, held by ${visible(j.locked_by)} since ${j.locked_at}`,
    ),
  ].join('\n')

export const pruneText = (r: admin.PruneReport) => did(r, r.pruned_count, 'pending job', 'deleted')

const LOCK_HEAD = ['repository', 'kind', 'held by', 'since', 'lease', 'state', 'job', 'job runs']
const lockCells = (l: admin.LockListed) => [
  l.repo ?? l.repo_id,
  l.job_type,
  l.locked_by,
  l.locked_at,
  `${l.lease_seconds} s`,
  l.is_expired ? 'expired' : 'live',
  l.job_id,
  l.job_is_running ? 'yes' : 'no',
]

export const locksText = (r: admin.LocksReport) =>
  listed('no lock is held', LOCK_HEAD, r.locks.map(lockCells))

export const expiredLocksText = (r: admin.ExpiredLocksReport) =>
  listed('no lock has expired', LOCK_HEAD, r.expired_locks.map(lockCells))

export function releaseText(r: admin.ReleaseReport): string {
  if (r.status === 'not_found') return 'there is no such lock'
  const lines = [did(r, r.released_count, 'lock', 'released')]
  for (const lock of r.released_locks) {
    lines.push(`  ${visible(pair(lock))}, held by ${visible(lock.locked_by)}`)
    if (lock.job_is_running)
      lines.push(
        `  job ${lock.job_id} counts as running until its lease is over; admin jobs reset-stuck puts it back`,
      )
  }
  return lines.join('\n')
}

export const breakersText = (r: admin.BreakersReport) =>
  listed(
    'every breaker is closed: none has a row',
    ['breaker', 'state', 'opened by', 'since', 'reason'],
    r.breakers.map((b) => [
      b.key,
      b.state,
      b.state === 'open' ? (b.by_hand ? 'a person' : 'itself') : null,
      b.opened_at,
      b.reason,
    ]),
  )

export function breakerText(r: admin.BreakerReport): string {
  const key = visible(r.key)
  if (r.status === 'not_found') return `${key} has no row, and so is closed`
  const was = r.before?.state ?? 'closed'
  const is = r.after === null ? 'forgotten' : r.after.state
  return `${r.dry_run ? 'dry run: ' : ''}${key} was ${was}, ${r.dry_run ? 'would be' : 'is'} ${is}${is === 'open' ? ' until admin breakers close' : ''}`
}

export const pausesText = (r: admin.PausesReport) =>
  listed(
    'nothing is paused',
    ['pause', 'repository', 'until', 'left', 'code', 'reason'],
    r.pauses.map((p) => [
      p.key,
      p.repo,
      p.paused_until,
      p.is_expired ? 'over' : `${count(Math.ceil(p.remaining_seconds))} s`,
      p.reason_code,
      p.reason,
    ]),
  )

export function pauseText(r: admin.PauseReport): string {
  const what = `${visible(r.repo)} ${r.job_type}`
  if (r.status === 'not_found') return `${what} is not paused`
  const dry = r.dry_run ? 'dry run: ' : ''
  const is = r.dry_run ? 'would be' : 'is'
  return r.pause === null
    ? `${dry}${what} ${is} paused no more`
    : `${dry}${what} ${is} paused until ${new Date(r.pause.paused_until * 1000).toISOString()}`
}

export const cursorsText = (r: cursors.CursorsReport) =>
  listed('there is no cursor yet', CURSOR_HEAD, r.cursors.map(cursorCells))

const CURSOR_HEAD = ['cursor', 'repository', 'watermark', 'updated', 'audited', 'version']
const cursorCells = (c: cursors.CursorListed) => [
  c.key,
  c.repo,
  c.watermark ?? (c.updated_at === null ? 'none: all is read again' : 'unreadable: all is read again'),
  c.updated_at,
  c.audited,
  c.audited_version,
]

export const cursorText = (r: cursors.CursorReport) =>
  r.cursor === null ? 'there is no cursor yet' : table(CURSOR_HEAD, [cursorCells(r.cursor)])

export function cursorChangeText(r: cursors.CursorChangeReport): string {
  const key = visible(r.key)
  if (r.status === 'not_found') return `${key} is not there: the next sync reads everything`
  const is = r.dry_run ? 'would be' : 'is'
  const now = (r.after as { watermark?: string } | null)?.watermark
  const before = visible(JSON.stringify(r.before))
  return `${r.dry_run ? 'dry run: ' : ''}${key} ${is} ${now === undefined ? 'gone' : `at ${now}`}; it was ${before}`
}

export const cursorHistoryText = (r: cursors.CursorHistoryReport) =>
  listed(
    `nothing has ever moved ${visible(r.repo)} ${r.job_type}`,
    ['event', 'at', 'direction', 'reason', 'from', 'to', 'version', 'run'],
    r.events.map((e) => [
      e.id,
      e.created_at,
      e.direction,
      e.reason,
      e.prev_value,
      e.new_value,
      e.version,
      e.run_id,
    ]),
  )

export function replayText(r: cursors.ReplayReport): string {
  const what = `${count(r.events_folded)} events, ${count(r.cursors_checked)} cursors`
  if (r.differences.length === 0) return `${what}: each cursor is what its events say`
  return [
    `${what}: ${count(r.differences.length)} differ`,
    ...r.differences.map(
      (d) =>
        `  ${visible(`${d.provenance} ${d.job_type}`)} (${d.wrong}): it is ${at(d.cursor, d.cursor_version)}, its events say ${at(d.replayed, d.replayed_version)}`,
    ),
  ].join('\n')
}

const at = (value: string | null, version: number | null) =>
  value === null ? 'nothing' : `${visible(value)} (version ${version})`

export const bucketsText = (r: admin.BucketsReport) =>
  listed(
    'nobody keeps a rate yet',
    ['bucket', 'tokens', 'rate', 'burst', 'paused until', 'next request in'],
    r.buckets.map((b) => [
      b.instance_key,
      b.tokens.toFixed(1),
      `${b.rate}/s`,
      b.burst,
      b.is_paused ? (b.paused_until ?? 'for ever') : null,
      `${Math.ceil(b.wait_seconds)} s`,
    ]),
  )

export function bucketText(r: admin.BucketReport): string {
  const key = visible(r.instance_key)
  if (r.status === 'not_found') return `there is no bucket ${key}`
  const dry = r.dry_run ? 'dry run: ' : ''
  const is = r.dry_run ? 'would be' : 'is'
  return r.paused_until === null
    ? `${dry}${key} ${is} paused no more`
    : `${dry}${key} ${is} paused until ${r.paused_until}`
}

export const historyText = (r: admin.HistoryReport) =>
  listed(
    'nothing was ever changed by hand',
    ['event', 'at', 'by', 'what', 'of', 'reason'],
    r.events.map((e) => [e.id, e.at, e.by, e.action, JSON.stringify(e.target), e.reason]),
  )
