import { SyncError } from '../../../domain/errors.ts'
import type { Commit } from '../../../domain/facts.ts'
import type { Range } from './ranges.ts'

/** Stretches of a range that cannot be checked better: 2,000,000 commits, more than the largest projects have. */
const MAX_STRETCHES = 20_000

/**
 * Git prints the head of a range first and any other commit only after one of its children. So a list in which a commit
 * has no child before it is not of this range, or repeats itself, or lacks a part: `upstream`. What has to be kept for
 * that are the parents not met yet, about as many as there are lines of history side by side.
 *
 * A list that begins in the middle, or leaves out what is too young, shows the children of some commits nowhere: there
 * only an answer that was given before is refused.
 */
export function lineage({ to, until }: Range, fromTheHead: boolean): (commits: Commit[]) => void {
  if (!fromTheHead || until !== null) return repetition(to)
  const awaited = new Set([to])
  return (commits) => {
    for (const { sha, parents } of commits) {
      if (!awaited.delete(sha)) throw protocol(`${sha} is no commit that could follow in the list of ${to}`)
      for (const parent of parents) awaited.add(parent)
    }
  }
}

function repetition(to: string): (commits: Commit[]) => void {
  let before = new Set<string>()
  let stretches = 0
  return (commits) => {
    const shas = new Set(commits.map(({ sha }) => sha))
    if (commits.length > 0 && commits.every(({ sha }) => before.has(sha)))
      throw protocol(`the pages of ${to} repeat`)
    stretches += 1
    if (stretches > MAX_STRETCHES) throw protocol(`the list of ${to} does not end`)
    before = shas
  }
}

function protocol(why: string): SyncError {
  return new SyncError('upstream', `protocol: ${why}`)
}
