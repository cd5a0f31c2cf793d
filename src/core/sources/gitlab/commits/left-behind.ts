import { SyncError } from '../../../domain/errors.ts'
import type { Heads } from '../../source.ts'
import type { Opened } from '../opened.ts'
import { isGone, isRefusal } from './gone.ts'
import { HEAD, readHeads } from './heads.ts'
import { rangePages } from './range-pages.ts'
import { isWeakness } from './weakness.ts'

/** Commits that are kept in memory to be judged: 20 MB. Heads that left more behind stay unmarked. */
const MAX_CANDIDATES = 50_000

/** Questions asked about them; what is undecided then stays unmarked. A line of 50,000 commits takes 17. */
const MAX_QUESTIONS = 200

const START = { n: 0, last: '' }

/**
 * Commits that `left` leads to and no ref any more. A list can leave out one head only, so it gives candidates: what the
 * default branch does not have. Which of them another ref still has is asked of GitLab (`/refs`), of the middle one of
 * those undecided: all behind a living commit live, and all that lead to a dead one are dead.
 *
 * GitLab answers for the present, not for the pinned heads, so what a ref had then and has left since is counted as
 * living too. Never wrong but for a ref that was moved away and back within these few requests; it says too little when
 * old heads are thrown away already, when candidates are too many, and where a server has no `/refs`.
 */
export async function leftBehind(opened: Opened, left: string[], pinned: Heads): Promise<string[]> {
  if (left.length === 0) return []
  const not = pinned[HEAD] ?? Object.values(pinned)[0] ?? null
  const candidates = new Map<string, string[]>()
  for (const head of left)
    for (const [sha, parents] of await behind(opened, head, not)) candidates.set(sha, parents)

  const dead = await judge(candidates, (sha) => isReachable(opened, sha))
  if (dead.size === 0) return []

  const { heads: now } = await readHeads(opened)
  const current = new Set(Object.values(now))
  for (const head of new Set(Object.values(pinned)))
    if (!current.has(head)) for (const sha of (await behind(opened, head, not)).keys()) dead.delete(sha)
  for (const head of [...Object.values(pinned), ...current]) dead.delete(head)
  return [...dead]
}

/** With their parents; nothing where they are too many or gone. */
async function behind(opened: Opened, to: string, not: string | null): Promise<Map<string, string[]>> {
  const found = new Map<string, string[]>()
  const range = { to, bases: [not], since: null, until: null }
  const alive = new Set(not === null ? [to] : [to, not])
  try {
    for await (const { commits } of rangePages(opened, range, START, { stats: false, alive })) {
      for (const { sha, parents } of commits) found.set(sha, parents)
      if (found.size <= MAX_CANDIDATES) continue
      opened.access.say(`more than ${MAX_CANDIDATES} commits behind ${to}: they are not marked unreachable`)
      return new Map()
    }
  } catch (error) {
    if (!isGone(error) && !isRefusal(error)) throw error
    return new Map()
  }
  return found
}

async function judge(
  candidates: Map<string, string[]>,
  isAlive: (sha: string) => Promise<boolean | null>,
): Promise<Set<string>> {
  const children = new Map<string, string[]>()
  for (const [sha, parents] of candidates)
    for (const parent of parents) children.set(parent, [...(children.get(parent) ?? []), sha])

  const undecided = new Set(childrenFirst(candidates, children))
  const dead = new Set<string>()
  for (let questions = 0; undecided.size > 0 && questions < MAX_QUESTIONS; questions++) {
    const middle = [...undecided][undecided.size >> 1] as string
    const alive = await isAlive(middle)
    if (alive === null) break
    const decided = closure(middle, alive ? candidates : children)
    for (const sha of decided) if (undecided.delete(sha) && !alive) dead.add(sha)
  }
  return dead
}

/** So that the middle one halves what is undecided, whatever the dates say. */
function childrenFirst(candidates: Map<string, string[]>, children: Map<string, string[]>): string[] {
  const waiting = new Map([...candidates.keys()].map((sha) => [sha, children.get(sha)?.length ?? 0]))
  const ready = [...waiting].filter(([, count]) => count === 0).map(([sha]) => sha)
  for (let i = 0; i < ready.length; i++)
    for (const parent of candidates.get(ready[i] as string) ?? []) {
      const count = (waiting.get(parent) ?? 0) - 1
      waiting.set(parent, count)
      if (count === 0 && candidates.has(parent)) ready.push(parent)
    }
  return ready
}

function closure(start: string, next: Map<string, string[]>): Set<string> {
  const reached = new Set([start])
  for (const sha of reached) for (const other of next.get(sha) ?? []) reached.add(other)
  return reached
}

/** Whether any branch or tag leads to it; null where that cannot be told. */
async function isReachable({ client, project }: Opened, sha: string): Promise<boolean | null> {
  const path = `projects/${project.id}/repository/commits/${sha}/refs`
  try {
    const { json } = await client.get(path, { type: 'all', per_page: 1 })
    return json.length > 0
  } catch (error) {
    // The marking is worth no sync: it may be slow on large repositories, and old servers do not have it.
    if (isWeakness(error) || (error instanceof SyncError && error.kind === 'not_found')) return null
    throw error
  }
}
