import { decodeText } from '../../domain/clean.ts'
import type { Patch, Revision, Tier } from '../../domain/facts.ts'
import { diffstatOf, MAX_PATCH_BYTES, patchOf } from '../patch.ts'
import { DELETED, type Diff, type Lines, MAX_DIFF_BYTES } from './diff.ts'
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
  const { files, fileCount: pathCount, additions, deletions } = diff
  const paths = files.map((file) => ({ ...file, path: nameOf(file, revision) }))
  revision.patch = diffstatOf({ paths, pathCount, additions, deletions })
  revision.tier = 'numstat'
}

/** The path without svn's word for a deleted file, unless a file is really named so. */
function nameOf({ path, additions }: Lines, { paths }: Revision): string {
  const { text } = textOf(path)
  if (additions !== 0 || !text.endsWith(DELETED)) return text
  const isNamedSo = paths.some((one) => one.action !== 'D' && one.path.endsWith(`/${text}`))
  return isNamedSo ? text : text.slice(0, -DELETED.length)
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
