import { SyncError } from './errors.ts'
import { FIRST_MS, parseInstant } from './instant.ts'

/** [since, until): every instant of a plan belongs to exactly one chunk. */
export interface TimeWindow {
  since: Date
  until: Date
}

/** Both included. */
export interface RevisionWindow {
  startRev: number
  endRev: number
}

export type Window = TimeWindow | RevisionWindow

export const isTime = (window: Window): window is TimeWindow => 'since' in window

const HOUR_MS = 3_600_000

/** What a person may say about a window; at most one way of saying it. */
export interface WindowWish {
  lastHours?: number | undefined
  lastDays?: number | undefined
  since?: string | undefined
  until?: string | undefined
  startRev?: number | undefined
  endRev?: number | undefined
}

export function wishesRevisions({ startRev, endRev }: WindowWish): boolean {
  return startRev !== undefined || endRev !== undefined
}

/** One reading of the clock decides both ends, so "the last 24 hours" is exactly 24 hours. */
export function windowWished(wish: WindowWish, now: Date, defaultHours: number): TimeWindow {
  const absolute = wish.since !== undefined || wish.until !== undefined
  if (absolute) {
    const until = wish.until === undefined ? now : parseInstant(wish.until, '--until')
    const since =
      wish.since === undefined
        ? new Date(Math.max(FIRST_MS, until.getTime() - defaultHours * HOUR_MS))
        : parseInstant(wish.since, '--since')
    if (since >= until) {
      throw new SyncError('usage', `--since ${iso(since)} is not before --until ${iso(until)}`, {
        hint: 'the window runs from --since up to, but not including, --until',
      })
    }
    return { since, until }
  }
  const hours = wish.lastDays !== undefined ? wish.lastDays * 24 : (wish.lastHours ?? defaultHours)
  return { since: new Date(now.getTime() - hours * HOUR_MS), until: now }
}

/** Without a first revision from the first on, without a last one up to `newest`. */
export function revisionsWished({ startRev = 1, endRev }: WindowWish, newest: number): RevisionWindow {
  const window = { startRev, endRev: endRev ?? newest }
  if (window.startRev > window.endRev) {
    const end = endRev === undefined ? `r${newest}, where the repository ends` : `--end-rev ${endRev}`
    throw new SyncError('usage', `--start-rev ${startRev} is after ${end}`)
  }
  return window
}

/** Cuts a window into chunks of so many revisions; the last one is clipped. */
export function revisionChunksOf({ startRev, endRev }: RevisionWindow, size: number): RevisionWindow[] {
  const chunks: RevisionWindow[] = []
  for (let at = startRev; at <= endRev; at += size)
    chunks.push({ startRev: at, endRev: Math.min(at + size - 1, endRev) })
  return chunks
}

/** Cuts a window into chunks of `hours`; the last one is clipped. They tile the window without gap or overlap. */
export function chunksOf(window: TimeWindow, hours: number): TimeWindow[] {
  const chunks: TimeWindow[] = []
  for (let at = window.since.getTime(); at < window.until.getTime(); at += hours * HOUR_MS) {
    chunks.push({
      since: new Date(at),
      until: new Date(Math.min(at + hours * HOUR_MS, window.until.getTime())),
    })
  }
  return chunks
}

function iso(date: Date): string {
  return date.toISOString()
}

/** Cuts a window into equal pieces of about so many seconds: at most half as much again, so that no sliver is left. */
export function piecesOf(window: TimeWindow, seconds: number): TimeWindow[] {
  const since = window.since.getTime()
  const length = window.until.getTime() - since
  const count = Math.max(1, Math.round(length / (seconds * 1000)))
  const at = (n: number) => new Date(since + Math.round((length * n) / count))
  return Array.from({ length: count }, (_, n) => ({ since: at(n), until: at(n + 1) }))
}
