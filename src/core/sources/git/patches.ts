import { createHash, randomBytes } from 'node:crypto'
import { decodeText } from '../../domain/clean.ts'
import type { ChangedPath, Patch } from '../../domain/facts.ts'
import type { Diff } from './diffs.ts'
import { type PerCommit, perCommit, SAFE_DIFF } from './per-commit.ts'
import type { Repository } from './repository.ts'

/** Diff text kept of one commit; a bigger one is told by its diffstat. */
export const MAX_PATCH_BYTES = 1024 * 1024

export interface DiffText {
  /** Null when there is more of it than is kept. */
  patch: Patch | null
  sizeBytes: number
  intact: boolean
}

const AS_GIT_DOES_BY_DEFAULT = ['-U3', '--no-color', '--full-index', '--src-prefix=a/', '--dst-prefix=b/']

/** Unified diffs. Their text cannot be framed by NUL or size, so the mark between them is one nobody can guess. */
export function readPatches(repo: Repository): PerCommit<DiffText> {
  const mark = `=${randomBytes(24).toString('hex')}`
  const line = Buffer.from(`${mark}\n`)
  const args = [...SAFE_DIFF, '--no-commit-id', '-p', ...AS_GIT_DOES_BY_DEFAULT]
  return perCommit(repo, args, mark, async (_sha, bytes) => {
    const { parts, size } = await bytes.until(line, MAX_PATCH_BYTES)
    if (size > MAX_PATCH_BYTES) return { patch: null, sizeBytes: size, intact: true }
    const { text, intact } = decodeText(Buffer.concat(parts))
    return { patch: patchOf('diff', text), sizeBytes: size, intact }
  })
}

/** What stands in for a diff too big to keep: one line a path, or, when even that is too much, one line. */
export function diffstatOf(
  diff: Pick<Diff, 'pathCount' | 'additions' | 'deletions'> & { paths: Omit<ChangedPath, 'action'>[] },
): Patch {
  const left = diff.pathCount - diff.paths.length
  const summary = ` ${diff.pathCount} files changed, ${diff.additions} insertions(+), ${diff.deletions} deletions(-)\n`
  const lines = diff.paths.map(
    ({ path, additions, deletions }) =>
      ` ${path} | ${additions === null ? 'Bin' : `+${additions} -${deletions}`}\n`,
  )
  if (left > 0) lines.push(` … ${left} more\n`)
  const text = lines.join('') + summary
  return Buffer.byteLength(text) > MAX_PATCH_BYTES ? patchOf('ministat', summary) : patchOf('diffstat', text)
}

export function patchOf(format: Patch['format'], text: string): Patch {
  const bytes = Buffer.from(text)
  return { format, text, sha256: createHash('sha256').update(bytes).digest('hex'), sizeBytes: bytes.length }
}
