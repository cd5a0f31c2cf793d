import { isAscii } from 'node:buffer'
import { createHash } from 'node:crypto'
import { decodeText } from '../domain/clean.ts'
import { charsWithin } from './chars-within.ts'

/** Paths kept of one commit; a commit that moves a tree of a million files is stored with its true number. */
export const MAX_PATHS = 10_000

/**
 * Path text kept of one commit. A tree may hold names of a megabyte, which no work tree can: 400 of 900 kB, kept whole,
 * took 837 MB to read (now 90) and made a page that PostgreSQL refuses.
 */
export const MAX_PATHS_BYTES = 4 * 1024 * 1024

/** Of one path; Linux opens none that is longer. */
export const MAX_PATH_BYTES = 4096
const CUT_BYTES = MAX_PATH_BYTES - Buffer.byteLength('…~01234567')

interface PathBytes {
  head: Buffer
  size: number
  /** Of the whole, in hex; null when `head` is the whole. */
  sha256: string | null
}

/** A path as its bytes, or the beginning of them with the digest of all; not intact when it is not all there. */
export function pathOf({ head, size, sha256 }: PathBytes): { path: string; size: number; intact: boolean } {
  if (sha256 === null && isAscii(head)) return { path: head.toString('latin1'), size, intact: true }
  // A character cut in two would pass for damage.
  const { text, intact } = decodeText(sha256 === null ? head : charsWithin(head, CUT_BYTES))
  const utf8 = Buffer.from(text)
  if (sha256 === null && utf8.length <= MAX_PATH_BYTES) return { path: text, size: utf8.length, intact }
  const kept = charsWithin(utf8, CUT_BYTES)
  const whole = sha256 ?? createHash('sha256').update(head).digest('hex')
  return {
    path: `${kept}…~${whole.slice(0, 8)}`,
    size: kept.length + MAX_PATH_BYTES - CUT_BYTES,
    intact: false,
  }
}
