/**
 * Two cursors, on purpose. The audited one (ing_cursor and its events) only ever moves forward. The operators'
 * one (logbook.kv `<kind>_cursor:<repo_id>`) may be set back, deleted or written by hand at any time, and is obeyed:
 *
 *   kv missing, no audited cursor      first sync
 *   kv = audited, or left by a sync    go on from there
 *   kv missing or earlier              BACKFILL event, re-read from kv (missing: from the beginning)
 *   kv later, or nothing audited yet   FORWARD event, go on from kv
 */
import { type Mark, type MarkType, originOf, parseMark } from './mark.ts'
import type { JobType, SourceKind } from './repo.ts'

export interface AuditedCursor extends Mark {
  version: number
}

/** What an operator did to the kv cursor, as the audit trail has it. */
export interface Edit {
  direction: 'FORWARD' | 'BACKFILL'
  to: Mark
  reason: 'manual_reset' | 'force_forward' | 'import'
}

export interface CursorReading {
  /** Where the next window starts; null = from the beginning. */
  watermark: Mark | null
  /** Older things to read again because an operator asked; null = none. */
  refetchSince: Mark | 'beginning' | null
  /** An operator's edit that has to be written to the audit trail first. */
  edit: Edit | null
}

export function readCursor(kv: KvMark | null, audited: AuditedCursor | null): CursorReading {
  if (audited === null) {
    const edit: Edit | null = kv && { direction: 'FORWARD', to: plain(kv), reason: 'import' }
    return { watermark: edit?.to ?? null, refetchSince: null, edit }
  }
  if (kv === null) {
    const edit: Edit = { direction: 'BACKFILL', to: originOf(audited.type), reason: 'manual_reset' }
    return { watermark: null, refetchSince: 'beginning', edit }
  }
  const watermark = plain(kv)
  if (kv.at === audited.at || kv.landed) return { watermark, refetchSince: null, edit: null }
  return kv.at < audited.at
    ? {
        watermark,
        refetchSince: watermark,
        edit: { direction: 'BACKFILL', to: watermark, reason: 'manual_reset' },
      }
    : {
        watermark,
        refetchSince: null,
        edit: { direction: 'FORWARD', to: watermark, reason: 'force_forward' },
      }
}

const plain = ({ type, value, at }: KvMark): Mark => ({ type, value, at })

/** Two clocks may differ, and an operator may round up; no sync can have reached a time further ahead than this. */
const AHEAD_MS = 24 * 3_600_000

/** What a kv cursor holds. */
export interface KvMark extends Mark {
  /** A sync left it there although the audited cursor stands further: no edit. */
  landed: boolean
}

/**
 * The mark of a kv value in any form an operator may have left: bare, under `watermark`, or a revision under `last_rev`.
 * Anything unreadable, or more than a day in the future, counts as missing: a full re-read is safe, a wrong mark is not
 * (the audited cursor would be lifted to it and could never come back).
 */
export function kvMark(type: MarkType, value: unknown, now: Date): KvMark | null {
  const mark = parseMark(type, writtenIn(value))
  if (mark === null || (type === 'TIME' && mark.at > now.getTime() + AHEAD_MS)) return null
  return { ...mark, landed: parseMark(type, (value as { landed?: unknown }).landed)?.at === mark.at }
}

/** As the end of a run leaves it. `landed` says that it is behind the audited cursor, which never comes back. */
export function kvValueOf(mark: Mark, by: { runId: string; now: Date; isBehind: boolean }) {
  return {
    watermark: mark.value,
    run_id: by.runId,
    updated_at: by.now.toISOString(),
    ...(by.isBehind && { landed: mark.value }),
  }
}

function writtenIn(value: unknown): unknown {
  if (value === null || typeof value !== 'object') return value
  const { watermark, last_rev } = value as { watermark?: unknown; last_rev?: unknown }
  return watermark === undefined ? last_rev : writtenIn(watermark)
}

/** The runbook's key: `gitlab_cursor:7`, `gitlab_mr_cursor:7`, `svn_cursor:7`, `git_cursor:7`. */
export function cursorKvKey(kind: SourceKind, jobType: JobType, repoId: number): string {
  const middle = { commits: '', mrs: '_mr', reviews: '_reviews' }[jobType]
  return `${kind}${middle}_cursor:${repoId}`
}

/**
 * How far before the last update seen a listing by update begins. GitLab stamps a record when it is saved and shows it
 * when its transaction ends, which may be after a later one was seen; it ends requests after 60 s.
 */
export const LOOKBACK_MS = 60_000
