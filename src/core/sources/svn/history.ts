import { type FailureKind, SyncError } from '../../domain/errors.ts'
import type { Svn } from './client.ts'
import type { Entry } from './entries.ts'
import { type Cost, readLog } from './log.ts'

/** A repository at one moment, seen through one of its folders. */
export interface Repository {
  svn: Svn
  root: string
  uuid: string
  youngest: number
  /** The folder it is seen through, decoded; '' is its root. */
  path: string
  say: (what: string) => void
}

/** Everything up to `through` has been looked at; `entry` is what `through` brought, null when nothing. */
export interface Step {
  entry: Entry | null
  through: number
}

/** Revisions per `svn log`. Every one costs a process and a round trip, 20 ms on loopback. */
export interface ChunkSize {
  revisions: number
  most: number
}

const FEWEST = 100
const AIM = { ms: 4000, bytes: 8 * 1024 * 1024 }

export function chunkSize(most = 5000): ChunkSize {
  return { revisions: Math.min(500, most), most }
}

/**
 * Every revision in from..to that changed something at or below the path, oldest first. `verbose` is without effect for
 * a path that is not the root: its changed paths are what tells whether it began anew.
 *
 * A chunk that takes too long is tried again with fewer revisions, from the last that came.
 */
export async function* history(
  repo: Repository,
  from: number,
  to: number,
  verbose: boolean,
  size: ChunkSize,
): AsyncGenerator<Step> {
  for (let next = from; next <= to; ) {
    const end = Math.min(to, next + size.revisions - 1)
    const cost: Cost = { waited: 0, bytes: 0 }
    try {
      for await (const entry of ofPath(repo, next, end, verbose, cost)) {
        yield { entry, through: entry.rev }
        next = entry.rev + 1
      }
      adapt(size, cost)
    } catch (error) {
      if (!isOf(error, 'timeout') || size.revisions <= FEWEST) throw error
      size.revisions = Math.max(FEWEST, Math.floor(size.revisions / 4))
      repo.say(`the log is slow: asking for ${size.revisions} revisions at a time`)
      continue
    }
    yield { entry: null, through: end }
    next = end + 1
  }
}

function adapt(size: ChunkSize, { waited, bytes }: Cost): void {
  if (waited > AIM.ms * 2 || bytes > AIM.bytes * 2) size.revisions = Math.floor(size.revisions / 2)
  else if (waited < AIM.ms / 2 && bytes < AIM.bytes / 2) size.revisions *= 2
  size.revisions = Math.min(size.most, Math.max(FEWEST, size.revisions))
}

/**
 * Svn looks a path up in one revision and follows that node back: what stood at the same path before it was moved here,
 * replaced or deleted is missing from its answer, and a path that is gone at the end has no answer at all. So the log of
 * the path is taken only for as long as it was this node, and the time before is read from the root of the repository
 * and held against the path. What came out does then not depend on where a chunk ends, nor on HEAD.
 */
async function* ofPath(
  repo: Repository,
  from: number,
  to: number,
  verbose: boolean,
  cost: Cost,
): AsyncGenerator<Entry> {
  const { svn, root, path } = repo
  if (path === '') {
    yield* readLog(svn, { url: root, from, to, peg: to, verbose, strict: false, path }, cost)
    return
  }

  let born = from
  let isFirst = true
  try {
    for await (const entry of readLog(
      svn,
      { url: svn.url, from, to, peg: to, verbose: true, strict: true, path },
      cost,
    )) {
      if (isFirst && entry.bears && entry.rev > from) {
        born = entry.rev
        break
      }
      isFirst = false
      yield entry
    }
  } catch (error) {
    if (!isFirst || !isOf(error, 'not_found')) throw error
    born = to + 1
  }
  if (born === from) return
  yield* beforeBirth(repo, from, born - 1, cost)
  if (born <= to) yield* ofPath(repo, born, to, verbose, cost)
}

async function* beforeBirth(repo: Repository, from: number, to: number, cost: Cost): AsyncGenerator<Entry> {
  const { svn, root, path } = repo
  try {
    const ask = { url: root, from, to, peg: to, verbose: true, strict: false, path }
    for await (const entry of readLog(svn, ask, cost)) if (entry.touches) yield entry
  } catch (error) {
    if (!isOf(error, 'auth', 'permission')) throw error
    yield* ofNode(repo, from, to, cost)
  }
}

/**
 * Without the root there is the history of what stands at the path now, wherever it stood before: what `svn log URL`
 * shows. Where that was nowhere at `to`, svn answers nothing of what came before either, unless it is asked from now.
 */
async function* ofNode(repo: Repository, from: number, to: number, cost: Cost): AsyncGenerator<Entry> {
  const { svn, root, path, youngest: peg } = repo
  repo.say(`the root cannot be read: of ${path} only what is there now is followed back`)
  const ask = { url: svn.url, from, peg, verbose: true, strict: false, path }
  try {
    yield* readLog(svn, { ...ask, to }, cost)
    return
  } catch (error) {
    if (!isOf(error, 'not_found')) throw error
  }
  try {
    for await (const entry of readLog(svn, { ...ask, to: peg }, cost)) {
      if (entry.rev > to) return
      yield entry
    }
  } catch (error) {
    if (!isOf(error, 'not_found')) throw error
    throw new SyncError(
      'permission',
      `${path} from r${from} to r${to} cannot be seen without reading the root`,
      {
        hint: `let the user of the worker read ${root}`,
        cause: error,
      },
    )
  }
}

function isOf(error: unknown, ...kinds: FailureKind[]): boolean {
  return error instanceof SyncError && kinds.includes(error.kind)
}
