import type { RefMove } from '../../domain/facts.ts'
import type { Heads, HeadsLanding } from '../source.ts'
import { runGit } from './child.ts'
import { present, refsOf } from './refs.ts'
import type { Repository } from './repository.ts'
import { notIn, type Walk, walk } from './walk.ts'

/** How the pinned heads differ from those last stored, and which commits the difference leaves behind. */
export async function landingOf(
  repo: Repository,
  { known, seen = [] }: { known: Heads; seen?: string[] },
  pinned: Heads,
  reachable: () => Promise<Walk>,
): Promise<HeadsLanding> {
  if (Object.keys(pinned).length === 0) return vanished(known)
  const changed = Object.entries(known).filter(([name, sha]) => pinned[name] !== sha)
  const have = new Set(
    await present(
      repo,
      changed.map(([, sha]) => sha),
    ),
  )

  const moves: RefMove[] = []
  const left: string[] = []
  for (const [name, oldSha] of changed) {
    const newSha = pinned[name] ?? null
    const forward = newSha !== null && have.has(oldSha) && (await isAncestor(repo, oldSha, newSha))
    moves.push({ name, event: newSha === null ? 'deleted' : forward ? 'moved' : 'forced', oldSha, newSha })
    if (!forward && have.has(oldSha)) left.push(oldSha)
  }
  for (const [name, newSha] of Object.entries(pinned))
    if (!Object.hasOwn(known, name)) moves.push({ name, event: 'created', oldSha: null, newSha })

  const now = new Set(Object.values(pinned))
  left.push(...(await present(repo, seen)).filter((sha) => !now.has(sha)))

  return {
    refs: refsOf(pinned),
    moves,
    unreachable: await onlyFrom(repo, left, reachable, Object.values(pinned)),
  }
}

/** No ref is left: every one that was known is deleted, and nothing leads to any commit. */
export function vanished(known: Heads): HeadsLanding {
  const moves = Object.entries(known).map(([name, oldSha]) => ({
    name,
    event: 'deleted' as const,
    oldSha,
    newSha: null,
  }))
  return { refs: [], moves, unreachable: moves.length === 0 ? [] : 'all' }
}

async function isAncestor(repo: Repository, old: string, now: string): Promise<boolean> {
  const { code } = await runGit(
    repo.git,
    'comparing heads',
    ['merge-base', '--is-ancestor', '--end-of-options', old, now],
    { ms: repo.git.deadlines.read, codes: [0, 1] },
  )
  return code === 0
}

/**
 * Commits that only old heads lead to. `rev-list left --not heads` alone says too much: where clocks are skewed it stops
 * before it has seen everything the new heads reach (a slop of 5 commits by date). For new commits that is a harmless
 * second reading; here it would call living commits dead. So what it says is held against a whole walk.
 */
async function onlyFrom(
  repo: Repository,
  left: string[],
  reachable: () => Promise<Walk>,
  heads: string[],
): Promise<string[]> {
  const maybe = await walk(repo, left, heads)
  return maybe.length === 0 ? [] : notIn(maybe, await reachable())
}
