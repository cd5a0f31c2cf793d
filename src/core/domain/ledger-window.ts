/** Windows as the ledger writes them: one says a time zone, or it is of revisions. */
import { type Mark, revisionMark, timeMark } from './mark.ts'
import type { JobType } from './repo.ts'
import { isTime, type Window } from './window.ts'

type Bound = 'CLOSED' | 'OPEN'

/** Null: without an end on that side. Values are those of marks. */
export type LedgerWindow = {
  from: string | null
  to: string | null
  boundary: { from: Bound; to: Bound }
  timezone?: 'UTC'
}

const TIME_FIELDS: Record<JobType, string> = {
  commits: 'committed_date',
  mrs: 'updated_at',
  reviews: 'updated_at',
}

/** What of a record a window is about. */
export function fieldOf({ timezone }: LedgerWindow, jobType: JobType): string {
  return timezone ? TIME_FIELDS[jobType] : 'revision'
}

/** [from, to). */
export function timeSpan(from: string | null, to: string): LedgerWindow {
  return { from, to, boundary: { from: 'CLOSED', to: 'OPEN' }, timezone: 'UTC' }
}

/** What comes after `scanned`, whatever that will be. */
export function revisionsAfter(scanned: string | null): LedgerWindow {
  return { from: scanned, to: null, boundary: { from: 'OPEN', to: 'OPEN' } }
}

export function inLedger(window: Window): LedgerWindow {
  if (isTime(window)) return timeSpan(window.since.toISOString(), window.until.toISOString())
  const { startRev, endRev } = window
  return { from: String(startRev), to: String(endRev + 1), boundary: { from: 'CLOSED', to: 'OPEN' } }
}

/** The window of a chunk again. */
export function outOfLedger({ from, to, timezone }: LedgerWindow): Window {
  return timezone
    ? { since: new Date(from as string), until: new Date(to as string) }
    : { startRev: Number(from), endRev: Number(to) - 1 }
}

/** Where a cursor stands that has seen all before a window, and one that has seen all of it too. */
export function marksAround(window: Window): { before: Mark; after: Mark } {
  return isTime(window)
    ? { before: timeMark(window.since), after: timeMark(window.until) }
    : { before: revisionMark(window.startRev - 1), after: revisionMark(window.endRev) }
}
