import { SyncError } from '../../domain/errors.ts'
import type { Ask, RangeAsk, RevisionsAsk, TimeAsk } from '../source.ts'
import { chunkSize, history, type Repository } from './history.ts'
import { dateOf } from './revision.ts'

export type RevisionAsk = RevisionsAsk | RangeAsk | TimeAsk

/** Revisions from..to, both included. */
export interface Range {
  from: number
  to: number
}

/** Revisions are what this source has; nothing else can have been planned for it. */
export function revisionAsk(ask: Ask): RevisionAsk {
  if (ask.window === 'revisions' || ask.window === 'range' || ask.window === 'time') return ask
  throw new SyncError('unsupported', `svn has revisions, and no ${ask.window}`)
}

/** What to read for an ask while `head` is the newest revision; oldest first, without overlaps, perhaps nothing. */
export async function rangesOf(
  ask: RevisionAsk,
  head: number,
  dates: () => Promise<Float64Array>,
): Promise<Range[]> {
  switch (ask.window) {
    case 'revisions':
      return within((ask.scanned ?? 0) + 1, ask.again ?? Number.POSITIVE_INFINITY, head)
    case 'range':
      return within(ask.from, ask.from, Math.min(ask.to, head))
    case 'time':
      return dated(await dates(), ask.since.getTime(), ask.until.getTime())
  }
}

function within(from: number, again: number, to: number): Range[] {
  const first = Math.max(1, Math.min(from, again)) // r0 is nobody's commit
  return first <= to ? [{ from: first, to }] : []
}

/** Two ranges with fewer revisions between them cost less as one. */
const WORTH_A_CALL = 50

/**
 * Dates do not grow with revisions: they are a property anybody may change, and a history that was loaded brings its
 * own. Svn's own `{date}` bisects as if they did. So every date is looked at.
 */
function dated(dates: Float64Array, since: number, until: number): Range[] {
  const ranges: Range[] = []
  for (let rev = 1; rev < dates.length; rev++) {
    const at = dates[rev] as number
    if (!(at >= since && at < until)) continue
    const last = ranges.at(-1)
    if (last !== undefined && rev - last.to <= WORTH_A_CALL) last.to = rev
    else ranges.push({ from: rev, to: rev })
  }
  return ranges
}

/** The date of every revision of the path, by its number; NaN where there is none. 8 bytes a revision. */
export async function readDates(repo: Repository, head: number): Promise<Float64Array> {
  repo.say(`reading the dates of ${head} revisions`)
  const dates = new Float64Array(head + 1).fill(Number.NaN)
  for await (const { entry } of history(repo, 1, head, false, chunkSize()))
    if (entry !== null) dates[entry.rev] = dateOf(entry) ?? Number.NaN
  return dates
}
