import { isAscii } from 'node:buffer'
import { decodeText } from '../../domain/clean.ts'
import { SyncError } from '../../domain/errors.ts'
import type { ChangedPath } from '../../domain/facts.ts'
import { type PerCommit, perCommit, SAFE_DIFF } from './per-commit.ts'
import type { Repository } from './repository.ts'
import type { Scanner } from './scanner.ts'

/** Paths kept of one commit; a commit that moves a tree of a million files is stored with its true number. */
export const MAX_PATHS = 10_000

export interface Diff {
  paths: ChangedPath[]
  pathCount: number
  additions: number | null
  deletions: number | null
  intact: boolean
  bytes: number
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
  }
  // A commit git cannot find is passed over in silence: then the mark stands where its id should.
  if ((await bytes.peek()) === MARK || (await bytes.token()).toString('latin1') !== sha)
    throw new SyncError('upstream', `the tree of ${sha} cannot be read`)

  let counted = 0
  for (let first = await bytes.peek(); first !== MARK; first = await bytes.peek()) {
    const token = await bytes.token()
    if (first === COLON) {
      const action = String.fromCharCode(token[token.length - 1] as number)
      const path = await bytes.token()
      if (diff.pathCount++ < MAX_PATHS) diff.paths.push({ path: pathText(path, diff), action })
    } else {
      // <added> TAB <deleted> TAB <path>, in the order of the raw lines; a dash each for a binary file
      const tab = token.indexOf(9)
      const added = count(token.toString('latin1', 0, tab))
      const deleted = count(token.toString('latin1', tab + 1, token.indexOf(9, tab + 1)))
      diff.additions = (diff.additions ?? 0) + (added ?? 0)
      diff.deletions = (diff.deletions ?? 0) + (deleted ?? 0)
      const changed = diff.paths[counted++]
      if (changed !== undefined) Object.assign(changed, { additions: added, deletions: deleted })
    }
  }
  await bytes.skip(2)
  return diff
}

const MARK = 61 // '='
const COLON = 58

function count(digits: string): number | null {
  return digits === '-' ? null : Number(digits)
}

function pathText(bytes: Buffer, diff: Diff): string {
  diff.bytes += bytes.length + 64
  if (isAscii(bytes)) return bytes.toString('latin1')
  const { text, intact } = decodeText(bytes)
  if (!intact) diff.intact = false
  return text
}
