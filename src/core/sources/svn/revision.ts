import type { Revision } from '../../domain/facts.ts'
import { parseMoment } from '../moment.ts'
import type { Entry } from './entries.ts'

/** An entry of the log as a Revision without a patch. Tolerant: whatever svn can list, this can hold. */
export function revisionOf(entry: Entry): Revision {
  const { rev, author, date, message, paths, pathCount, sanitized, degraded } = entry
  const at = dateOf(entry)
  if (date !== null && at === null && !sanitized.includes('date')) sanitized.push('date')
  return {
    rev,
    author,
    at,
    dateRaw: at === null ? date : null,
    message,
    visibility: visibilityOf(entry),
    paths,
    pathCount,
    tier: 'paths',
    degraded: degraded.length === 0 ? null : degraded.join(','),
    patch: null,
    sanitized,
  }
}

/** Milliseconds since 1970; null where there is no date, or none that can be one. */
export function dateOf({ date }: Entry): number | null {
  return date === null ? null : (parseMoment(date)?.ms ?? null)
}

/**
 * Of a revision it hides, a server tells nothing; of one it hides in part, author and date, and the paths that may be
 * seen. A revision that never had a message looks like the latter, and one that has no properties at all like the
 * former: nothing a reader may ask tells them apart, so they are taken for what hides more.
 */
function visibilityOf({ author, date, message, pathCount }: Entry): Revision['visibility'] {
  if (message !== null) return 'full'
  if (pathCount > 0) return 'partial'
  return author === null && date === null ? 'none' : 'full'
}
