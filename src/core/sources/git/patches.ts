import { randomBytes } from 'node:crypto'
import { decodeText } from '../../domain/clean.ts'
import type { Patch } from '../../domain/facts.ts'
import { MAX_PATCH_BYTES, patchOf } from '../patch.ts'
import { type PerCommit, perCommit, SAFE_DIFF } from './per-commit.ts'
import type { Repository } from './repository.ts'

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
