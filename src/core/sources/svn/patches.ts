import { SyncError } from '../../domain/errors.ts'
import type { Revision } from '../../domain/facts.ts'
import type { Diff } from './diff.ts'
import { isFramable, readDiff, readDiffs } from './diffs.ts'
import type { Repository } from './history.ts'
import { degrade, fill } from './patch.ts'

/** After so many failures the rest of a page is told by its paths: each costs a process, and perhaps a deadline. */
const MAX_FAILURES = 4

/**
 * What revisions changed, line by line, as far as the tier goes. One whose diff cannot be had keeps its paths and says
 * why in `degraded`: that never ends the read.
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
  let failures = 0
  const failed = (revision: Revision, kind: string): void => {
    failures++
    degrade(revision, kind === 'timeout' ? kind : `diff_${kind}`)
    left.delete(revision.rev)
  }

  let together = [...left.values()].filter(isFramable)
  while (together.length > 0 && failures < MAX_FAILURES) {
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
      const kind = kindOf(error)
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
    if (failures >= MAX_FAILURES) {
      degrade(revision, 'diff_skipped')
      continue
    }
    try {
      found(revision.rev, await readDiff(svn, revision.rev))
    } catch (error) {
      failed(revision, kindOf(error))
    }
  }
}

/** What keeps us from one diff, and not from all of the repository; anything else is thrown on. */
function kindOf(error: unknown): string {
  const ofOne = ['timeout', 'upstream', 'not_found', 'permission', 'auth']
  if (error instanceof SyncError && ofOne.includes(error.kind)) return error.kind
  throw error
}
