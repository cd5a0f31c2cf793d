import { type Git, startGit } from './child.ts'
import type { Repository } from './repository.ts'

/** Commits in the order they will be read. */
export interface Order {
  length: number
  sha(i: number): string
}

/** A whole walk in memory: 28 bytes a commit, so 37 MB for Linux (1.3 million commits) where strings would take 120. */
export interface Walk extends Order {
  ids: Buffer
  idBytes: number
  /** Committer seconds as git reads them. */
  epochs: Float64Array
}

const BATCH = 1 << 16

/**
 * Commits reachable from `heads` and not from `not`, parents before children. The order depends on nothing but the
 * two sets: that is what lets an interrupted read go on at "the n-th commit".
 */
export async function walk(
  repo: Repository,
  heads: readonly string[],
  not: readonly string[],
): Promise<Walk> {
  const { idBytes } = repo
  let ids: Buffer = Buffer.alloc(0)
  let epochs = new Float64Array(0)
  let length = 0
  if (heads.length > 0)
    await eachLine(repo.git, revListInput(heads, not), (bytes, from, space, to) => {
      if (length === epochs.length) {
        const room = Math.max(BATCH, length * 2)
        const moreIds = Buffer.allocUnsafe(room * idBytes)
        const moreEpochs = new Float64Array(room)
        ids.copy(moreIds)
        moreEpochs.set(epochs)
        ids = moreIds
        epochs = moreEpochs
      }
      epochs[length] = epochOf(bytes.toString('latin1', from, space))
      ids.write(bytes.toString('latin1', space + 1, to), length * idBytes, 'hex')
      length++
    })
  const at = ids
  const sha = (i: number): string => at.toString('hex', i * idBytes, (i + 1) * idBytes)
  return { length, ids, idBytes, epochs, sha }
}

/** Sorted and unique, so that the same sets make the same order. */
export function revListInput(heads: readonly string[], not: readonly string[]): string {
  const lines = [...new Set(heads)].sort()
  for (const sha of [...new Set(not)].sort()) lines.push(`^${sha}`)
  return `${lines.join('\n')}\n`
}

/** Git prints the number unsigned: a date before 1970 comes out near 2^64. */
function epochOf(digits: string): number {
  return digits.length < 16 ? Number(digits) : Number(BigInt.asIntN(64, BigInt(digits)))
}

async function eachLine(
  git: Git,
  input: string,
  line: (bytes: Buffer, from: number, space: number, to: number) => void,
): Promise<void> {
  const child = startGit(git, 'listing commits', [
    'rev-list',
    '--topo-order',
    '--reverse',
    '--timestamp',
    '--stdin',
  ])
  try {
    child.write(input)
    child.end()
    let rest: Buffer = Buffer.alloc(0)
    for (let chunk = await child.chunk(); chunk !== null; chunk = await child.chunk()) {
      const bytes = rest.length === 0 ? chunk : Buffer.concat([rest, chunk])
      let from = 0
      for (let to = bytes.indexOf(10); to >= 0; to = bytes.indexOf(10, from)) {
        line(bytes, from, bytes.indexOf(32, from), to)
        from = to + 1
      }
      rest = bytes.subarray(from)
    }
    await child.finish()
  } finally {
    await child.stop()
  }
}

/** The commits of `all` committed in [since, until): decided on the raw seconds, never by `--since`, which stops at the first old one. */
export function between(all: Walk, since: number, until: number): Order {
  return pick(all, (i) => {
    const ms = (all.epochs[i] as number) * 1000
    return ms >= since && ms < until
  })
}

/** The commits of `all` that are in `fresh` or were committed at `since` or later, in the order of `all`. */
export function freshOrSince(all: Walk, fresh: Walk, since: number): Order {
  const isFresh = membersOf(fresh)
  return pick(all, (i) => (all.epochs[i] as number) * 1000 >= since || isFresh(all, i))
}

function pick(all: Walk, keep: (i: number) => boolean): Order {
  const kept = new Uint32Array(all.length)
  let length = 0
  for (let i = 0; i < all.length; i++) if (keep(i)) kept[length++] = i
  const indexes = kept.slice(0, length)
  return { length, sha: (i) => all.sha(indexes[i] as number) }
}

/** The commits of `some` that `all` does not hold. */
export function notIn(some: Walk, all: Walk): string[] {
  const isWanted = membersOf(some)
  const found = new Set<string>()
  for (let i = 0; i < all.length; i++) if (isWanted(all, i)) found.add(all.sha(i))
  return Array.from({ length: some.length }, (_, i) => some.sha(i)).filter((sha) => !found.has(sha))
}

/** Open addressing over the ids' own first bytes: a Set of strings would cost ten times the walk. */
function membersOf(set: Walk): (of: Walk, i: number) => boolean {
  const mask = 2 ** Math.ceil(Math.log2(set.length * 2 + 2)) - 1
  const slots = new Int32Array(mask + 1).fill(-1)
  const find = (of: Walk, i: number): number => {
    const at = i * of.idBytes
    let slot = of.ids.readUInt32LE(at) & mask
    for (; slots[slot] !== -1; slot = (slot + 1) & mask) {
      const there = (slots[slot] as number) * set.idBytes
      if (of.ids.compare(set.ids, there, there + set.idBytes, at, at + of.idBytes) === 0) break
    }
    return slot
  }
  for (let i = 0; i < set.length; i++) slots[find(set, i)] = i
  return (of, i) => slots[find(of, i)] !== -1
}
