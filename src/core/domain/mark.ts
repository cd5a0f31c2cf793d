/** Where a cursor stands: at a time, or for Subversion at a revision. */
import { instantIn } from './instant.ts'
import type { SourceKind } from './repo.ts'

/** As ing_cursor has it. */
export type MarkType = 'TIME' | 'ID'

export interface Mark {
  type: MarkType
  /** Its one spelling: ISO 8601 in UTC, or digits. */
  value: string
  /** The same to compare by: milliseconds since 1970, or the revision. */
  at: number
}

export function markTypeOf(kind: SourceKind): MarkType {
  return kind === 'svn' ? 'ID' : 'TIME'
}

export function timeMark(instant: Date): Mark {
  return { type: 'TIME', value: instant.toISOString(), at: instant.getTime() }
}

export function revisionMark(rev: number): Mark {
  return { type: 'ID', value: String(rev), at: rev }
}

/** The one that everything comes after. */
export function originOf(type: MarkType): Mark {
  return type === 'TIME' ? timeMark(new Date(0)) : revisionMark(0)
}

/** Two that are the same place, however they were written; null is the beginning. */
export function sameMark(a: Mark | null, b: Mark | null): boolean {
  return a?.at === b?.at
}

/** What somebody wrote, as a mark; null when it is none. */
export function parseMark(type: MarkType, written: unknown): Mark | null {
  return type === 'TIME' ? parseTime(written) : parseRevision(written)
}

function parseTime(written: unknown): Mark | null {
  const instant = typeof written === 'string' ? instantIn(written) : null
  return instant && timeMark(instant)
}

/** Subversion counts in a signed 32-bit number. */
export const MOST_REVISIONS = 2 ** 31 - 1

function parseRevision(written: unknown): Mark | null {
  const rev = typeof written === 'string' && /^\d{1,10}$/.test(written) ? Number(written) : written
  const isRevision = typeof rev === 'number' && Number.isInteger(rev) && rev >= 0 && rev <= MOST_REVISIONS
  return isRevision ? revisionMark(rev) : null
}
