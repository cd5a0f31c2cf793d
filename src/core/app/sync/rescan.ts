import type { Db } from '../../db/connect.ts'
import { keepSettings } from '../../db/facts/repos.ts'
import type { HeldJob } from '../../db/queue/jobs.ts'
import type { CursorReading } from '../../domain/cursor.ts'
import type { Repo } from '../../domain/repo.ts'
import type { Landing } from '../../sources/source.ts'

/** Revisions read again, so often: less than a second of a log over a local network, for what is edited late. */
const RESCANNED = 1000
const EVERY_MS = 24 * 3_600_000

/**
 * What of older things a plan reads again: what an operator asked for; else, once a day, the last revisions, because
 * their messages, authors and dates can be edited and no new revision says so.
 */
export function refetchFor(repo: Repo, { watermark, refetchSince }: CursorReading, now: Date): string | null {
  if (refetchSince !== null) return refetchSince === 'beginning' ? refetchSince : refetchSince.value
  if (watermark?.type !== 'ID') return null
  const last = Date.parse(String(repo.settings.rescanned_at))
  return last > now.getTime() - EVERY_MS ? null : String(Math.max(1, watermark.at - RESCANNED + 1))
}

/** Kept with the end of a run that read some again, or all for the first time. */
export async function keepRescanned(
  tx: Db,
  { repoId, spec }: HeldJob,
  landing: Landing | null,
  now: Date,
): Promise<void> {
  if (landing?.scanned == null || (spec.window.from !== null && !spec.refetch_since)) return
  await keepSettings(tx, repoId, { rescanned_at: now.toISOString() })
}
