import { decodeText } from '../../domain/clean.ts'
import type { Patch, Revision, Tier } from '../../domain/facts.ts'
import { diffstatOf, MAX_PATCH_BYTES, patchOf } from '../patch.ts'
import { type Diff, MAX_DIFF_BYTES } from './diff.ts'
import { textOf } from './xml.ts'

/** Gives a revision its patch: the diff, or the lines of each file when that is too big or not asked for. */
export function fill(revision: Revision, diff: Diff | null, tier: Tier): void {
  if (diff === null) {
    degrade(revision, `diff_size:${MAX_DIFF_BYTES}+`)
    return
  }
  if (tier === 'patch' && diff.sizeBytes <= MAX_PATCH_BYTES) {
    const { text, intact } = decodeText(Buffer.from(diff.text, 'latin1'))
    revision.patch = patchOf('diff', text)
    revision.tier = 'patch'
    if (!intact) revision.sanitized.push('patch')
    return
  }
  if (tier === 'patch') addReason(revision, `diff_size:${diff.sizeBytes}`)
  const files = diff.files.map((file) => ({ ...file, path: textOf(file.path).text }))
  const sum = (of: 'additions' | 'deletions'): number => files.reduce((all, file) => all + (file[of] ?? 0), 0)
  revision.patch = diffstatOf({
    paths: files,
    pathCount: diff.fileCount,
    additions: sum('additions'),
    deletions: sum('deletions'),
  })
  revision.tier = 'numstat'
}

/** A revision whose diff cannot be had: what the log tells of it, and why there is no more. */
export function degrade(revision: Revision, reason: string): void {
  addReason(revision, reason)
  revision.patch = ministatOf(revision)
}

const WORDS: [action: string, word: string][] = [
  ['A', 'added'],
  ['M', 'modified'],
  ['D', 'deleted'],
  ['R', 'replaced'],
]

function ministatOf({ paths, pathCount }: Revision): Patch {
  const lines = paths.map(
    ({ path, action, kind }) => ` ${path} | ${action}${kind === 'dir' ? ' (dir)' : ''}\n`,
  )
  if (pathCount > paths.length) lines.push(` … ${pathCount - paths.length} more\n`)
  const counts = WORDS.map(
    ([action, word]) => [paths.filter((one) => one.action === action).length, word] as const,
  )
  const told = counts.filter(([count]) => count > 0).map(([count, word]) => `${count} ${word}`)
  const summary = ` ${pathCount} paths changed: ${told.join(', ')}\n`
  const text = lines.join('') + summary
  return patchOf('ministat', Buffer.byteLength(text) > MAX_PATCH_BYTES ? summary : text)
}

function addReason(revision: Revision, reason: string): void {
  revision.degraded = revision.degraded === null ? reason : `${revision.degraded},${reason}`
}
