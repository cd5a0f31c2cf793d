import { createHash } from 'node:crypto'
import { cleanText } from '../../../domain/clean.ts'
import type { ChangedPath } from '../../../domain/facts.ts'
import { MAX_PATH_BYTES, pathOf } from '../../path.ts'
import { Fields, WHOLE } from './fields.ts'

/** One file of a diff. */
export interface Change {
  /** Two for a rename, a D and an A as git has them. */
  paths: ChangedPath[]
  /** `--- a/old`, `+++ b/new` and the hunks, with a newline at the end; empty when GitLab shows none. */
  text: string
  /** Why the lines are not known: renamed, collapsed, too_large or no_diff; null when they are. */
  unread: string | null
  sanitized: string[]
}

/**
 * An entry of `commits/:sha/diff`. An empty diff is no proof that nothing changed: beyond an instance's limits (200 KB a
 * file, 50,000 lines in all, by default) GitLab leaves the text out, and older servers do not say so.
 */
export function changeOf(value: unknown): Change {
  const fields = new Fields(value, 'diff')
  const newPath = fields.must('new_path', fields.raw('new_path') || null)
  const oldPath = fields.raw('old_path') || newPath
  const diff = fields.text('diff', WHOLE) ?? ''
  const start = hunksAt(diff)
  const hunks = start < 0 ? '' : diff.slice(start)

  const unread = unreadOf(fields, diff)
  const lines = unread !== null || isBinary(diff) ? NOT_KNOWN : countLines(hunks)
  const isRenamed = fields.boolean('renamed_file') === true && oldPath !== newPath
  const paths = isRenamed
    ? [
        { path: nameOf(fields, 'old_path', oldPath), action: 'D', ...NOT_KNOWN },
        { path: nameOf(fields, 'new_path', newPath), action: 'A', ...NOT_KNOWN },
      ]
    : [{ path: nameOf(fields, 'new_path', newPath), action: actionOf(fields), ...lines }]
  const body = hunks === '' && isBinary(diff) ? diff : hunks
  return {
    paths,
    text:
      body === ''
        ? ''
        : `--- ${quoted(`a/${oldPath}`)}\n+++ ${quoted(`b/${newPath}`)}\n${body}${body.endsWith('\n') ? '' : '\n'}`,
    unread: unread ?? (isRenamed ? 'renamed' : null),
    sanitized: fields.sanitized,
  }
}

const NOT_KNOWN = { additions: null, deletions: null }

function unreadOf(fields: Fields, diff: string): string | null {
  const collapsed = fields.boolean('collapsed')
  const tooLarge = fields.boolean('too_large')
  if (tooLarge === true) return 'too_large'
  if (collapsed === true) return 'collapsed'
  if (diff !== '') return null
  // Only a server that has both flags can say with them that an empty diff is all there is.
  return collapsed === null || tooLarge === null ? 'no_diff' : null
}

function actionOf(fields: Fields): string {
  if (fields.boolean('new_file') === true) return 'A'
  if (fields.boolean('deleted_file') === true) return 'D'
  const before = fields.text('a_mode')
  const after = fields.text('b_mode')
  // File, link or submodule: the first three digits of the mode. Permissions are the rest.
  return before !== null && after !== null && before.slice(0, 3) !== after.slice(0, 3) ? 'T' : 'M'
}

function isBinary(diff: string): boolean {
  return diff.startsWith('Binary files ')
}

/** Old servers put the two lines with the names before the hunks. */
function hunksAt(diff: string): number {
  if (diff.startsWith('@@ ')) return 0
  const at = diff.indexOf('\n@@ ')
  return at < 0 ? at : at + 1
}

function countLines(hunks: string): { additions: number; deletions: number } {
  const count = { additions: 0, deletions: 0 }
  for (let at = 0; at < hunks.length; ) {
    if (hunks[at] === '+') count.additions++
    else if (hunks[at] === '-') count.deletions++
    const newline = hunks.indexOf('\n', at)
    at = newline < 0 ? hunks.length : newline + 1
  }
  return count
}

/** As the git source stores them: a long one is its beginning and a part of its digest. */
function nameOf(fields: Fields, key: string, raw: string): string {
  const text = cleanText(raw)
  const bytes = Buffer.from(text)
  const isLong = bytes.length > MAX_PATH_BYTES
  const { path, intact } = pathOf({
    head: isLong ? bytes.subarray(0, MAX_PATH_BYTES) : bytes,
    size: bytes.length,
    sha256: isLong ? createHash('sha256').update(bytes).digest('hex') : null,
  })
  if ((!intact || text !== raw) && !fields.sanitized.includes(key)) fields.sanitized.push(key)
  return path
}

/** A name that would break its line stands in quotes, as git does it. */
function quoted(name: string): string {
  const text = cleanText(name)
  return /[\p{Cc}"\\]/u.test(text) ? JSON.stringify(text) : text
}
