import type { RefMove } from '../../../domain/facts.ts'
import { vanished } from '../../git/moves.ts'
import { refsOf } from '../../git/refs.ts'
import type { Heads, HeadsAsk, HeadsLanding } from '../../source.ts'
import type { Opened } from '../opened.ts'
import { isRefusal } from './gone.ts'
import { refHeads } from './heads.ts'
import { leftBehind } from './left-behind.ts'
import type { Walked } from './walked.ts'

/** How the pinned heads differ from those last stored, and which commits the difference leaves behind. */
export async function landingOf(
  opened: Opened,
  { known, seen = [] }: HeadsAsk,
  pinned: Heads,
  walked: Walked,
): Promise<HeadsLanding> {
  const refs = refHeads(pinned)
  if (Object.keys(refs).length === 0) return vanished(known)

  const moves: RefMove[] = []
  const left = new Set<string>()
  for (const [name, oldSha] of Object.entries(known)) {
    const newSha = refs[name] ?? null
    if (newSha === oldSha) continue
    const forward = newSha !== null && (await isForward(opened, oldSha, newSha, walked))
    moves.push({ name, event: newSha === null ? 'deleted' : forward ? 'moved' : 'forced', oldSha, newSha })
    if (!forward) left.add(oldSha)
  }
  for (const [name, newSha] of Object.entries(refs))
    if (!Object.hasOwn(known, name)) moves.push({ name, event: 'created', oldSha: null, newSha })

  for (const sha of seen) left.add(sha)
  for (const sha of Object.values(pinned)) left.delete(sha)
  const unmet = [...left].filter((sha) => !walked.met(sha))
  return { refs: refsOf(refs), moves, unreachable: await leftBehind(opened, unmet, pinned) }
}

/**
 * From what was read, nearly always. Where that does not tell, GitLab is asked for the merge base: `now..old` would hold
 * commits of `now` where clocks are wrong, since git stops looking five commits after the last that counts.
 */
async function isForward(opened: Opened, old: string, now: string, walked: Walked): Promise<boolean> {
  const known = walked.isForward(old, now)
  if (known !== null) return known
  const path = `projects/${opened.project.id}/repository/merge_base`
  try {
    const { json } = await opened.client.get(path, { 'refs[]': [old, now] }, { expect: 'object' })
    return json.id === old
  } catch (error) {
    if (isRefusal(error)) return false
    throw error
  }
}
