import { createHash } from 'node:crypto'
import type { ChangedPath, Patch } from '../domain/facts.ts'

/** Diff text kept of one commit; a bigger one is told by its diffstat. */
export const MAX_PATCH_BYTES = 1024 * 1024

/** What stands in for a diff too big to keep: one line a path, or, when even that is too much, one line. */
export function diffstatOf(diff: {
  paths: Omit<ChangedPath, 'action'>[]
  pathCount: number
  additions: number | null
  deletions: number | null
}): Patch {
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
