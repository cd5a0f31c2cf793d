import { isAscii } from 'node:buffer'
import { cleanEpoch, decodeText } from '../../domain/clean.ts'
import type { Commit, Person } from '../../domain/facts.ts'

/** A raw commit object as a Commit at tier none. Tolerant: whatever git can walk over, this can read. */
export function parseCommit(sha: string, bytes: Buffer): Commit {
  // One char per byte, so the structure is found without regard to the encoding.
  const raw = bytes.toString('latin1')
  const parents: string[] = []
  let author = ''
  let committer = ''
  let encoding: string | null = null

  let at = 0
  while (at < raw.length) {
    const newline = raw.indexOf('\n', at)
    const end = newline < 0 ? raw.length : newline
    if (end === at) break // the blank line before the message
    // A continuation (gpgsig, mergetag) begins with a space and so matches none of these.
    if (raw.startsWith('parent ', at)) parents.push(raw.slice(at + 7, end))
    else if (author === '' && raw.startsWith('author ', at)) author = raw.slice(at + 7, end)
    else if (committer === '' && raw.startsWith('committer ', at)) committer = raw.slice(at + 10, end)
    else if (encoding === null && raw.startsWith('encoding ', at)) encoding = raw.slice(at + 9, end)
    at = end + 1
  }

  const sanitized: string[] = []
  // ISO-2022-JP is ASCII bytes too: with an encoding header always decode.
  const plain = encoding === null && isAscii(bytes) && !raw.includes('\0')
  const text = (field: string, value: string): string => {
    if (plain) return value
    const { text, intact } = decodeText(Buffer.from(value, 'latin1'), encoding)
    if (!intact) sanitized.push(field)
    return text
  }

  return {
    sha,
    parents,
    author: person('author', author, text, sanitized),
    committer: person('committer', committer, text, sanitized),
    message: text('message', raw.slice(at + 1)),
    tier: 'none',
    degraded: null,
    paths: null,
    pathCount: null,
    additions: null,
    deletions: null,
    patch: null,
    sanitized,
  }
}

/**
 * `name <email> seconds offset`, where any part may be missing, swapped or odd: what stands before the first `<` is the
 * name and what stands before the last `>` the e-mail, as it is; judging them is a reader's affair. An impossible
 * date is null and named in `sanitized`.
 */
function person(
  field: string,
  line: string,
  text: (field: string, value: string) => string,
  sanitized: string[],
): Person {
  const open = line.indexOf('<')
  const close = line.lastIndexOf('>')
  const wrapped = open >= 0 && close > open
  const tail = wrapped ? close + 1 : tailStart(line)
  const name = line.slice(0, open >= 0 && open < tail ? open : tail).trim()
  const email = wrapped
    ? line.slice(open + 1, close)
    : open >= 0 && open < tail
      ? line.slice(open + 1, tail)
      : ''

  const [first = '', second = ''] = line.slice(tail).trim().split(' ', 2)
  const epochSeconds = /^-?\d{1,18}$/.test(first) ? cleanEpoch(Number(first)) : null
  const known = {
    name: text(`${field}.name`, name),
    email: text(`${field}.email`, email.trim()),
  }
  if (epochSeconds === null) sanitized.push(`${field}.date`)
  return { ...known, epochSeconds, offsetMinutes: offsetMinutes(second) }
}

/** Where the date begins in a line without brackets: after the last word that is no number. */
function tailStart(line: string): number {
  const last = line.lastIndexOf(' ')
  const before = line.lastIndexOf(' ', last - 1)
  const isDate = (from: number, to?: number): boolean => /^-?\d{1,20}$/.test(line.slice(from, to))
  if (last > 0 && /^[+-]\d{1,9}$/.test(line.slice(last + 1)) && isDate(before + 1, last)) return before + 1
  return isDate(last + 1) ? last + 1 : line.length
}

/** +hhmm in minutes. Some writers put seconds behind (+051800): the first four digits tell. */
function offsetMinutes(text: string): number {
  const [, sign, digits = ''] = /^([+-])(\d{1,9})$/.exec(text) ?? []
  const number = Number(digits.slice(0, 4))
  const minutes = Math.floor(number / 100) * 60 + (number % 100)
  return sign === '-' && minutes > 0 ? -minutes : minutes
}
