/**
 * Two cursors, on purpose. The audited one (ing_cursor and its events) only ever moves forward. The operators'
 * one (logbook.kv `<kind>_cursor:<repo_id>`) may be set back, deleted or written by hand at any time, and is obeyed:
 *
 *   kv missing, no audited cursor      first sync
 *   kv = audited                       go on from there
 *   kv missing or earlier              BACKFILL event, re-read from kv (missing: from the beginning)
 *   kv later, or nothing audited yet   FORWARD event, go on from kv
 */
import type { JobType, SourceKind } from './repo.ts'

export interface AuditedCursor {
  value: string
  instant: Date | null
  version: number
}

export interface CursorReading {
  /** Where the next window starts; null = from the beginning. */
  watermark: string | null
  /** Older things to read again because an operator asked; null = none. */
  refetchSince: string | 'beginning' | null
  /** An operator's edit that has to be written to the audit trail first. */
  edit: {
    direction: 'FORWARD' | 'BACKFILL'
    value: string
    reason: 'manual_reset' | 'force_forward' | 'import'
  } | null
}

export function readCursor(kvWatermark: string | null, audited: AuditedCursor | null): CursorReading {
  const kv = instantOf(kvWatermark)
  if (audited === null) {
    if (kv === null) return { watermark: null, refetchSince: null, edit: null }
    const value = kv.toISOString()
    return { watermark: value, refetchSince: null, edit: { direction: 'FORWARD', value, reason: 'import' } }
  }
  if (kv === null) {
    const value = new Date(0).toISOString()
    return {
      watermark: null,
      refetchSince: 'beginning',
      edit: { direction: 'BACKFILL', value, reason: 'manual_reset' },
    }
  }
  const value = kv.toISOString()
  const seen = audited.instant?.getTime() ?? Number.NEGATIVE_INFINITY
  if (kv.getTime() === seen) return { watermark: value, refetchSince: null, edit: null }
  return kv.getTime() < seen
    ? {
        watermark: value,
        refetchSince: value,
        edit: { direction: 'BACKFILL', value, reason: 'manual_reset' },
      }
    : { watermark: value, refetchSince: null, edit: { direction: 'FORWARD', value, reason: 'force_forward' } }
}

/**
 * How far before the last update seen a listing by update begins. GitLab stamps a record when it is saved and shows it
 * when its transaction ends, which may be after a later one was seen; it ends requests after 60 s.
 */
export const LOOKBACK_MS = 60_000

/** Two clocks may differ, and an operator may round up; no sync can have reached a mark further ahead than this. */
const AHEAD_MS = 24 * 3_600_000

/**
 * The watermark of a kv value in any form an operator may have left: a string, or an object with `watermark` as a
 * string. Anything unreadable, or more than a day in the future, counts as missing: a full re-read is safe, a wrong
 * mark is not (the audited cursor would be lifted to it and could never come back).
 */
export function watermarkOf(value: unknown, now: Date): string | null {
  const text = typeof value === 'string' ? value : (value as { watermark?: unknown } | null)?.watermark
  const instant = typeof text === 'string' ? instantOf(text) : null
  return instant === null || instant.getTime() > now.getTime() + AHEAD_MS ? null : (text as string)
}

/** The runbook's key: `gitlab_cursor:7`, `gitlab_mr_cursor:7`, `svn_cursor:7`, `git_cursor:7`. */
export function cursorKvKey(kind: SourceKind, jobType: JobType, repoId: number): string {
  const middle = { commits: '', mrs: '_mr', reviews: '_reviews' }[jobType]
  return `${kind}${middle}_cursor:${repoId}`
}

/** Two watermarks that say the same in whatever spelling; null is the beginning. */
export function sameInstant(a: string | null, b: string | null): boolean {
  return a === b || (a !== null && b !== null && Date.parse(a) === Date.parse(b))
}

function instantOf(text: string | null): Date | null {
  if (text === null || !/^\d{4}-\d\d-\d\d/.test(text)) return null
  const naive = !/(Z|[+-]\d\d:?\d\d)$/i.test(text)
  const date = new Date(naive && text.includes('T') ? `${text}Z` : text)
  return Number.isNaN(date.getTime()) ? null : date
}
