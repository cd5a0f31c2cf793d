import { SyncError } from '../../domain/errors.ts'
import type { ChangedPath } from '../../domain/facts.ts'
import { MAX_PATH_BYTES, MAX_PATHS, MAX_PATHS_BYTES, pathOf } from '../path.ts'
import { type PerCommit, perCommit, SAFE_DIFF } from './per-commit.ts'
import type { Repository } from './repository.ts'
import type { Scanner } from './scanner.ts'

export interface Diff {
  paths: ChangedPath[]
  pathCount: number
  additions: number | null
  deletions: number | null
  intact: boolean
  /** What it takes in memory, for the page's limit. */
  bytes: number
  /** Of all its paths, when not all that MAX_PATHS leaves were kept. */
  cutFrom: number | null
}

/** Changed paths, with their lines when `lines`: both come out of one pass. */
export function readDiffs(repo: Repository, lines: boolean): PerCommit<Diff> {
  const args = [...SAFE_DIFF, '-z', '--always', '--raw', ...(lines ? ['--numstat'] : [])]
  return perCommit(repo, args, '=', (sha, bytes) => parseDiff(sha, bytes, lines))
}

async function parseDiff(sha: string, bytes: Scanner, lines: boolean): Promise<Diff> {
  const diff: Diff = {
    paths: [],
    pathCount: 0,
    additions: lines ? 0 : null,
    deletions: lines ? 0 : null,
    intact: true,
    bytes: 0,
    cutFrom: null,
  }
  // A commit git cannot find is passed over in silence: then the mark stands where its id should.
  if ((await bytes.peek()) === MARK || (await bytes.token(MAX_PATH_BYTES)).head.toString('latin1') !== sha)
    throw new SyncError('upstream', `the tree of ${sha} cannot be read`)

  let counted = 0
  let pathBytes = 0
  let keptBytes = 0
  let full = false
  for (let first = await bytes.peek(); first !== MARK; first = await bytes.peek()) {
    const { head: line } = await bytes.token(MAX_PATH_BYTES)
    if (first === COLON) {
      const action = String.fromCharCode(line[line.length - 1] as number)
      const token = await bytes.token(MAX_PATH_BYTES)
      pathBytes += token.size
      if (diff.pathCount++ >= MAX_PATHS || full) continue
      const { path, size, intact } = pathOf(token)
      // What is kept is the beginning, without gaps: the lines are told by their order.
      full = keptBytes + size > MAX_PATHS_BYTES
      if (full) continue
      keptBytes += size
      diff.bytes += size + 64
      if (!intact) diff.intact = false
      diff.paths.push({ path, action })
    } else {
      // <added> TAB <deleted> TAB <path>, in the order of the raw lines; a dash each for a binary file
      const tab = line.indexOf(9)
      const added = count(line.toString('latin1', 0, tab))
      const deleted = count(line.toString('latin1', tab + 1, line.indexOf(9, tab + 1)))
      diff.additions = (diff.additions ?? 0) + (added ?? 0)
      diff.deletions = (diff.deletions ?? 0) + (deleted ?? 0)
      const changed = diff.paths[counted++]
      if (changed !== undefined) Object.assign(changed, { additions: added, deletions: deleted })
    }
  }
  await bytes.skip(2)
  if (full) diff.cutFrom = pathBytes
  return diff
}

const MARK = 61 // '='
const COLON = 58

function count(digits: string): number | null {
  return digits === '-' ? null : Number(digits)
}
