import { createHash } from 'node:crypto'

/** Who, as a commit object says it. */
export interface Signature {
  name: string
  email: string
  epochSeconds: number
  /** Minutes east of UTC. */
  offsetMinutes: number
}

export interface ChangedFile {
  path: string
  /** Where it was before; the same path unless it was moved. */
  oldPath?: string
  additions: number
  deletions: number
  diff: string
  status?: 'added' | 'modified' | 'deleted' | 'renamed'
}

export interface GraphCommit {
  sha: string
  parents: string[]
  author: Signature
  committer: Signature
  message: string
  /** Against the first parent. A function reads it when it is asked for. */
  files: ChangedFile[] | (() => ChangedFile[])
  /** Laid over its JSON: for lies and oddities. */
  raw: object | null
}

/** What `git log` is asked. Times are seconds since 1970. */
export interface LogAsk {
  heads: readonly string[]
  not?: readonly string[]
  since?: number | null
  until?: number | null
  firstParent?: boolean
  topo?: boolean
}

/** Git's own figure (revision.c). */
const SLOP = 5
export const EMPTY_TREE = '4b825dc642cb6eb9a060e54bf8d69288fbee4904'

/** A commit graph in memory, walked in the order of `git log`. */
export class History {
  readonly commits = new Map<string, GraphCommit>()
  /** Commits never change, so a walk between shas stays true until some are thrown away. */
  #walks = new Map<string, string[]>()

  /** Stores a commit with an empty tree under the sha git would give it. */
  create(commit: Omit<GraphCommit, 'sha'>): string {
    const body = [
      `tree ${EMPTY_TREE}`,
      ...commit.parents.map((parent) => `parent ${parent}`),
      `author ${signed(commit.author)}`,
      `committer ${signed(commit.committer)}`,
      '',
      commit.message,
    ].join('\n')
    const sha = createHash('sha1')
      .update(`commit ${Buffer.byteLength(body)}\0${body}`)
      .digest('hex')
    this.commits.set(sha, { ...commit, sha })
    return sha
  }

  add(commit: GraphCommit): void {
    if (!this.commits.has(commit.sha)) this.commits.set(commit.sha, commit)
  }

  /** Everything reachable from `heads`, themselves included. */
  reachable(heads: Iterable<string>): Set<string> {
    const seen = new Set<string>()
    const todo = [...heads]
    for (let sha = todo.pop(); sha !== undefined; sha = todo.pop()) {
      if (seen.has(sha)) continue
      seen.add(sha)
      todo.push(...(this.commits.get(sha)?.parents ?? []))
    }
    return seen
  }

  /** Throws away what none of `heads` reaches. */
  keepOnly(heads: Iterable<string>): void {
    const kept = this.reachable(heads)
    for (const sha of this.commits.keys()) if (!kept.has(sha)) this.commits.delete(sha)
    this.#walks.clear()
  }

  /** Newest first, as `git log` prints it: by committer date, ties in the order they are met. */
  log(ask: LogAsk): string[] {
    const { heads, not = [], since = null, until = null, firstParent = false, topo = false } = ask
    const key = JSON.stringify([heads, not, since, until, firstParent, topo])
    const kept = this.#walks.get(key)
    if (kept !== undefined) return kept
    const walked =
      not.length === 0
        ? this.#walk({ heads, since, until, firstParent })
        : this.#range({ heads, not, since, until, firstParent })
    const found = topo ? this.#childrenFirst(walked, firstParent) : walked
    if (this.#walks.size >= 256) this.#walks.delete(this.#walks.keys().next().value as string)
    this.#walks.set(key, found)
    return found
  }

  /** `--since` ends a line of history at its first older commit, whatever lies behind it, as git does. */
  #walk({ heads, since, until, firstParent }: Required<Omit<LogAsk, 'topo' | 'not'>>): string[] {
    const seen = new Set<string>()
    const queue = new DateQueue()
    const push = (sha: string): void => {
      const commit = this.commits.get(sha)
      if (commit === undefined || seen.has(sha)) return
      seen.add(sha)
      queue.push(commit)
    }
    heads.forEach(push)
    const found: string[] = []
    for (let commit = queue.pop(); commit !== null; commit = queue.pop()) {
      const at = commit.committer.epochSeconds
      if (since !== null && at < since) continue
      for (const parent of firstParent ? commit.parents.slice(0, 1) : commit.parents) push(parent)
      if (until === null || at <= until) found.push(commit.sha)
    }
    return found
  }

  /**
   * A range, as git's limit_list walks it: it stops five commits after the last interesting one, so under skewed
   * clocks it also lists commits that the excluded side reaches. The answer is a superset, never less.
   */
  #range({ heads, not, since, until, firstParent }: Required<Omit<LogAsk, 'topo'>>): string[] {
    const seen = new Set<string>()
    const dull = new Set(not)
    const queue = new DateQueue()
    const parentsOf = (sha: string): string[] => this.commits.get(sha)?.parents ?? []
    const push = (sha: string): void => {
      const commit = this.commits.get(sha)
      if (commit === undefined || seen.has(sha)) return
      seen.add(sha)
      queue.push(commit)
    }
    const bore = (shas: readonly string[]): void => {
      const todo = [...shas]
      for (let sha = todo.pop(); sha !== undefined; sha = todo.pop()) {
        if (dull.has(sha)) continue
        dull.add(sha)
        if (seen.has(sha)) todo.push(...parentsOf(sha))
      }
    }
    for (const sha of not) {
      push(sha)
      bore(parentsOf(sha))
    }
    heads.forEach(push)
    const listed: string[] = []
    let last = Number.POSITIVE_INFINITY
    let patience = SLOP
    for (let commit = queue.pop(); commit !== null; commit = queue.pop()) {
      const { sha, parents } = commit
      const at = commit.committer.epochSeconds
      if (since !== null && at < since) dull.add(sha)
      if (dull.has(sha)) {
        for (const parent of parents) {
          dull.add(parent)
          push(parent)
          bore(parentsOf(parent))
        }
        const next = queue.peek()
        if (next === null) break
        const goOn = last <= next.committer.epochSeconds || queue.some((one) => !dull.has(one.sha))
        patience = goOn ? SLOP : patience - 1
        if (patience === 0) break
        continue
      }
      for (const parent of firstParent ? parents.slice(0, 1) : parents) push(parent)
      if (until !== null && at > until) continue
      last = at
      listed.push(sha)
    }
    return listed.filter((sha) => !dull.has(sha))
  }

  /** No parent before all of its children, lines of history together: `--topo-order`. */
  #childrenFirst(shas: string[], firstParent: boolean): string[] {
    const parentsOf = (sha: string): string[] => {
      const parents = this.commits.get(sha)?.parents ?? []
      return firstParent ? parents.slice(0, 1) : parents
    }
    const children = new Map(shas.map((sha) => [sha, 0]))
    for (const sha of shas)
      for (const parent of parentsOf(sha))
        if (children.has(parent)) children.set(parent, (children.get(parent) as number) + 1)
    const ready = shas.filter((sha) => children.get(sha) === 0).reverse()
    const found: string[] = []
    for (let sha = ready.pop(); sha !== undefined; sha = ready.pop()) {
      found.push(sha)
      for (const parent of parentsOf(sha)) {
        const left = children.get(parent)
        if (left === undefined) continue
        children.set(parent, left - 1)
        if (left === 1) ready.push(parent)
      }
    }
    return found
  }
}

/** A heap: youngest commit first, among equals the one that came first. */
class DateQueue {
  #heap: { at: number; nth: number; commit: GraphCommit }[] = []
  #count = 0

  push(commit: GraphCommit): void {
    const heap = this.#heap
    const entry = { at: Math.max(0, commit.committer.epochSeconds), nth: this.#count++, commit }
    let i = heap.push(entry) - 1
    while (i > 0) {
      const up = (i - 1) >> 1
      if (!sooner(entry, heap[up]!)) break
      heap[i] = heap[up]!
      i = up
    }
    heap[i] = entry
  }

  pop(): GraphCommit | null {
    const heap = this.#heap
    const top = heap[0]
    const last = heap.pop()
    if (top === undefined || last === undefined) return null
    if (heap.length > 0) {
      let i = 0
      for (;;) {
        let down = 2 * i + 1
        if (down >= heap.length) break
        if (down + 1 < heap.length && sooner(heap[down + 1]!, heap[down]!)) down++
        if (!sooner(heap[down]!, last)) break
        heap[i] = heap[down]!
        i = down
      }
      heap[i] = last
    }
    return top.commit
  }

  peek(): GraphCommit | null {
    return this.#heap[0]?.commit ?? null
  }

  some(is: (commit: GraphCommit) => boolean): boolean {
    return this.#heap.some(({ commit }) => is(commit))
  }
}

function sooner(a: { at: number; nth: number }, b: { at: number; nth: number }): boolean {
  return a.at !== b.at ? a.at > b.at : a.nth < b.nth
}

function signed({ name, email, epochSeconds, offsetMinutes }: Signature): string {
  return `${name} <${email}> ${epochSeconds} ${offset(offsetMinutes)}`
}

/** +0530 */
export function offset(minutes: number, colon = ''): string {
  const [hours, rest] = [Math.floor(Math.abs(minutes) / 60), Math.abs(minutes) % 60]
  return `${minutes < 0 ? '-' : '+'}${String(hours).padStart(2, '0')}${colon}${String(rest).padStart(2, '0')}`
}
