import { MAX_PATCH_BYTES } from '../patch.ts'

/** Bytes of one diff that are read to count its lines; svn stops there, and nothing is said of it but its paths. */
export const MAX_DIFF_BYTES = 16 * 1024 * 1024

/** Lines of one file; null for a binary one. Of a deleted one svn is asked for no content. */
export interface Lines {
  /** Of a deleted file it ends in DELETED. */
  path: string
  additions: number | null
  deletions: number | null
}

/** The diff of one revision: its bytes, one a character, as far as they are kept, and its lines, all of them. */
export interface Diff {
  text: string
  sizeBytes: number
  /** The first MAX_FILES of them. */
  files: Lines[]
  fileCount: number
  /** Of all files. */
  additions: number
  deletions: number
}

/** Gathers one diff line by line. */
export interface DiffReader {
  line(line: string): void
  /** Bytes until now. */
  size(): number
  diff(): Diff
}

const MAX_FILES = 10_000

/** What svn puts behind the path of a deleted file. */
export const DELETED = ' (deleted)'

/** A line of a file ends as svn counts them; its header, which may name a path with a carriage return, with a line feed. */
const FILE_LINE = /[^\r\n]*(?:\r\n?|\n|$)/y

/** Counts as `diffstat` does: by the hunks, since a line of a file, or of a property, may look like a header. */
export function diffReader(): DiffReader {
  const parts: string[] = []
  const files: Lines[] = []
  const sum = { additions: 0, deletions: 0 }
  let sizeBytes = 0
  let fileCount = 0
  let file: Lines | null = null
  let removed = 0 // lines of this hunk that are still to come
  let added = 0
  let isOfFile = false

  const header = (line: string): void => {
    const [, path] = /^Index: ([^\n]*)\n?$/.exec(line) ?? []
    if (path !== undefined) {
      file = { path, additions: 0, deletions: 0 }
      if (fileCount++ < MAX_FILES) files.push(file)
      return
    }
    const hunk = /^(@@|##) -\d+(?:,(\d+))? \+\d+(?:,(\d+))? \1/.exec(line)
    if (hunk !== null) {
      isOfFile = hunk[1] === '@@'
      removed = Number(hunk[2] ?? 1)
      added = Number(hunk[3] ?? 1)
    } else if (file !== null && line.startsWith('Cannot display: ')) {
      file.additions = null
      file.deletions = null
    }
  }

  const inHunk = (sign: string | undefined): void => {
    if (sign !== '+' && sign !== '\\') removed--
    if (sign !== '-' && sign !== '\\') added--
    if (!isOfFile || file === null || file.additions === null || file.deletions === null) return
    if (sign === '+') {
      file.additions++
      sum.additions++
    }
    if (sign === '-') {
      file.deletions++
      sum.deletions++
    }
  }

  return {
    line: (line) => {
      if (sizeBytes < MAX_PATCH_BYTES) parts.push(line)
      sizeBytes += line.length
      FILE_LINE.lastIndex = 0
      while ((removed > 0 || added > 0) && FILE_LINE.lastIndex < line.length) {
        inHunk(line[FILE_LINE.lastIndex])
        FILE_LINE.test(line)
      }
      // What follows a lone carriage return at the end of a file is on its line.
      if (FILE_LINE.lastIndex < line.length) header(line.slice(FILE_LINE.lastIndex))
    },
    size: () => sizeBytes,
    diff: () => ({ text: parts.join(''), sizeBytes, files, fileCount, ...sum }),
  }
}
