import { type FailureKind, SyncError } from '../../domain/errors.ts'
import type { Revision } from '../../domain/facts.ts'
import type { Svn } from './client.ts'
import type { Diff } from './diff.ts'
import { isFramable, readDiff, readDiffs, tryDiff } from './diffs.ts'
import type { Repository } from './history.ts'
import { youngestOf } from './info.ts'
import { degrade, fill } from './patch.ts'

/** After so many that take too long the rest is told by its paths: each costs a deadline. */
const MAX_TIMEOUTS = 4

/** Times a diff is asked for that fails while the server answers others. */
const TRIES = 3

/**
 * What revisions changed, line by line, as far as the tier goes. One whose diff cannot be had keeps its paths and says
 * why in `degraded`. That is so only where the server answers other questions: a failure of its own is thrown, since a
 * later try may bring what would be missing for good.
 */
export async function fillPatches(
  { svn }: Repository,
  revisions: Revision[],
  tier: 'numstat' | 'patch',
): Promise<void> {
  const left = new Map<number, Revision>()
  for (const revision of revisions) {
    if (revision.pathCount > 0) left.set(revision.rev, revision)
    else if (revision.visibility === 'full') revision.tier = tier
  }

  const found = (rev: number, diff: Diff | null): void => {
    const revision = left.get(rev)
    if (revision !== undefined) fill(revision, diff, tier)
    left.delete(rev)
  }
  let timeouts = 0
  const failed = (revision: Revision, kind: FailureKind): void => {
    if (kind === 'timeout') timeouts++
    degrade(revision, kind === 'timeout' ? kind : `diff_${kind}`)
    left.delete(revision.rev)
  }

  let together = [...left.values()].filter(isFramable)
  while (together.length > 0 && timeouts < MAX_TIMEOUTS) {
    const [first, last] = [together[0] as Revision, together.at(-1) as Revision]
    // Who has no answer before it is not of this log, and is asked for alone.
    let next = first.rev
    const started = (rev: number): void => {
      next = Math.max(next, rev)
    }
    try {
      const isWhole = await readDiffs(svn, together, started, found)
      next = isWhole ? last.rev + 1 : next + 1
    } catch (error) {
      const kind = await kindOf(error, svn, next)
      // A deadline that earlier revisions used up is not the fault of the one it fell in.
      if (kind !== 'timeout') next = kind === 'not_found' ? last.rev + 1 : next + 1
      else if (next === first.rev) {
        failed(first, kind)
        next++
      }
    }
    together = together.filter(({ rev }) => rev >= next && left.has(rev))
  }

  for (const revision of [...left.values()]) {
    if (timeouts >= MAX_TIMEOUTS) {
      degrade(revision, 'diff_skipped')
      continue
    }
    for (let tries = 1; left.has(revision.rev); tries++)
      try {
        found(revision.rev, await readDiff(svn, revision.rev))
      } catch (error) {
        const kind = await kindOf(error, svn, revision.rev)
        if (tries >= TRIES || !MAY_PASS.includes(kind)) failed(revision, kind)
      }
  }
}

/** Failures of a server or a connection, and of the one diff; the next try may tell. */
const MAY_PASS: readonly FailureKind[] = ['upstream', 'network']
const OF_A_PATH: readonly FailureKind[] = ['not_found', 'permission', 'auth']

/** What keeps us from one diff. What keeps us from others too is thrown on. */
async function kindOf(error: unknown, svn: Svn, rev: number): Promise<FailureKind> {
  if (!isOf(error, [...MAY_PASS, ...OF_A_PATH, 'timeout'])) throw error
  try {
    await tryDiff(svn, rev)
  } catch (other) {
    if (!isOf(other, OF_A_PATH)) throw other
    // It is not there in that revision, or not ours to read; or nothing is any more.
    await youngestOf(svn, svn.url)
  }
  return error.kind
}

function isOf(error: unknown, kinds: readonly FailureKind[]): error is SyncError {
  return error instanceof SyncError && kinds.includes(error.kind)
}
