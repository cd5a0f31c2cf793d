import type { RefMove } from '../../domain/facts.ts'
import type { Heads, Landing } from '../source.ts'
import { runGit } from './child.ts'
import { present, refsOf } from './refs.ts'
import type { Repository } from './repository.ts'
import { revListInput } from './walk.ts'

/** How the pinned heads differ from those last stored, and which commits the difference leaves behind. */
export async function landingOf(repo: Repository, known: Heads, pinned: Heads): Promise<Landing> {
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

  return { refs: refsOf(pinned), moves, unreachable: await onlyFrom(repo, left, Object.values(pinned)) }
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

async function onlyFrom(repo: Repository, left: string[], heads: string[]): Promise<string[]> {
  if (left.length === 0) return []
  const { out } = await runGit(repo.git, 'listing what is left behind', ['rev-list', '--stdin'], {
    input: revListInput(left, heads),
    ms: repo.git.deadlines.read,
  })
  return out.toString('latin1').split('\n').filter(Boolean)
}
