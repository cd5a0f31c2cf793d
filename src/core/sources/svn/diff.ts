import { MAX_PATCH_BYTES } from '../patch.ts'

/** Bytes of one diff that are read to count its lines; svn stops there, and nothing is said of it but its paths. */
export const MAX_DIFF_BYTES = 16 * 1024 * 1024

/** Lines of one file; null for a binary one. */
export interface Lines {
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
}

/** Gathers one diff line by line. */
export interface DiffReader {
  line(line: string): void
  /** Bytes until now. */
  size(): number
  diff(): Diff
}

const MAX_FILES = 10_000

/** Counts as `diffstat` does: by the hunks, since a line of a file may look like a header. */
export function diffReader(): DiffReader {
  const parts: string[] = []
  const files: Lines[] = []
  let sizeBytes = 0
  let fileCount = 0
  let file: Lines | null = null
  let removed = 0 // lines of this hunk that are still to come
  let added = 0

  const header = (line: string): void => {
    const [, path] = /^Index: (.*)\n?$/.exec(line) ?? []
    if (path !== undefined) {
      file = { path, additions: 0, deletions: 0 }
      if (fileCount++ < MAX_FILES) files.push(file)
      return
    }
    const hunk = /^@@ -\d+(?:,(\d+))? \+\d+(?:,(\d+))? @@/.exec(line)
    if (hunk !== null) {
      removed = Number(hunk[1] ?? 1)
      added = Number(hunk[2] ?? 1)
    } else if (file !== null && line.startsWith('Cannot display: ')) {
      file.additions = null
      file.deletions = null
    }
  }

  return {
    line: (line) => {
      if (sizeBytes < MAX_PATCH_BYTES) parts.push(line)
      sizeBytes += line.length
      if (removed <= 0 && added <= 0) return header(line)
      const first = line[0]
      if (first !== '+' && first !== '\\') removed--
      if (first !== '-' && first !== '\\') added--
      if (file === null || file.additions === null || file.deletions === null) return
      if (first === '+') file.additions++
      if (first === '-') file.deletions++
    },
    size: () => sizeBytes,
    diff: () => ({ text: parts.join(''), sizeBytes, files, fileCount }),
  }
}
