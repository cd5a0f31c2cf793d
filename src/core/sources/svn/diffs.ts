import type { Revision, RevisionPath } from '../../domain/facts.ts'
import { type Svn, startSvn } from './client.ts'
import { type Diff, type DiffReader, diffReader, MAX_DIFF_BYTES } from './diff.ts'

/** What became of one revision: its diff, or null when there is more of it than MAX_DIFF_BYTES. */
export type Found = (rev: number, diff: Diff | null) => void

const RULE = `${'-'.repeat(72)}\n`

/**
 * An author, a path, or the name of a property with a line break in it could forge what stands between two diffs. Names
 * of properties are not in the log: who changes any, or copies what may have some, is not framable.
 */
export function isFramable({ author, paths, pathCount }: Revision): boolean {
  const isPlain = ({ path, action, copyFrom, propsChanged }: RevisionPath): boolean =>
    !path.includes('\n') && action !== 'R' && copyFrom === null && propsChanged === false
  return !author?.includes('\n') && pathCount === paths.length && paths.every(isPlain)
}

/**
 * Diffs of many framable revisions by one `svn log --diff`, 3.5 times as fast as one by one. Between them stand a rule
 * and a line `r<number> | …`, which nothing in a diff can be: every line of a file has a sign before it. `started` is
 * told each revision as it begins. Answers false when it ended at one that is too big.
 */
export async function readDiffs(
  svn: Svn,
  revisions: readonly Revision[],
  started: (rev: number) => void,
  found: Found,
): Promise<boolean> {
  const frames = framesReader(started, found)
  const ranges = rangesOf(revisions)
  const peg = revisions.at(-1)?.rev
  const options = [
    '-q',
    '--diff',
    '--internal-diff',
    '--stop-on-copy',
    ...ranges.flatMap((range) => ['-r', range]),
  ]
  const doing = `reading diffs of ${svn.url} at ${ranges[0]}`
  const isWhole = await eachLine(svn, doing, 'log', options, `${svn.url}@${peg}`, frames.line)
  if (isWhole) frames.end()
  return isWhole
}

function rangesOf(revisions: readonly Revision[]): string[] {
  const ranges: { from: number; to: number }[] = []
  for (const { rev } of revisions) {
    const last = ranges.at(-1)
    if (last?.to === rev - 1) last.to = rev
    else ranges.push({ from: rev, to: rev })
  }
  return ranges.map(({ from, to }) => `${from}:${to}`)
}

function framesReader(started: (rev: number) => void, found: Found) {
  let rev = 0
  let reader: DiffReader | null = null
  let isFirstLine = false
  let rule = false
  let held = '' // of the last line before a rule the end is no part of the diff, whatever it ends

  const end = (): void => {
    reader?.line(held.replace(/\n$/, ''))
    held = ''
    if (reader !== null) found(rev, reader.diff())
    reader = null
  }
  const body = (line: string): void => {
    reader?.line(held)
    held = isFirstLine && line === '\n' ? '' : line
    isFirstLine = false
  }
  /** Answers whether to go on. */
  const line = (line: string): boolean => {
    const header = rule ? /^r(\d{1,15}) \| /.exec(line) : null
    if (header !== null) {
      end()
      rev = Number(header[1])
      reader = diffReader()
      started(rev)
      isFirstLine = true
      rule = false
      return true
    }
    if (rule) body(RULE)
    rule = line === RULE
    if (!rule) body(line)
    if (reader === null || reader.size() <= MAX_DIFF_BYTES) return true
    found(rev, null)
    return false
  }
  return { line, end }
}

/** Throws unless the server makes diffs: it is asked for one between a revision and itself. */
export async function tryDiff(svn: Svn, rev: number): Promise<void> {
  const doing = `asking whether ${svn.url} has diffs`
  await eachLine(svn, doing, 'diff', ['-r', `${rev}:${rev}`], `${svn.url}@${rev}`, () => true)
}

/** The diff of one revision; null when there is more of it than MAX_DIFF_BYTES. */
export async function readDiff(svn: Svn, rev: number): Promise<Diff | null> {
  const reader = diffReader()
  const options = ['-c', String(rev), '--internal-diff', '--no-diff-deleted']
  const isWhole = await eachLine(
    svn,
    `reading the diff of r${rev}`,
    'diff',
    options,
    `${svn.url}@${rev}`,
    (line) => {
      reader.line(line)
      return reader.size() <= MAX_DIFF_BYTES
    },
  )
  return isWhole ? reader.diff() : null
}

/** Lines with their ends, until `take` has had enough; answers whether all of them were taken. */
async function eachLine(
  svn: Svn,
  doing: string,
  command: 'log' | 'diff',
  options: readonly string[],
  target: string,
  take: (line: string) => boolean,
): Promise<boolean> {
  const child = startSvn(svn, doing, command, options, target)
  try {
    let rest = ''
    for (let chunk = await child.chunk(); chunk !== null; chunk = await child.chunk()) {
      const text = rest + chunk.toString('latin1')
      let at = 0
      for (let next = text.indexOf('\n', at); next >= 0; next = text.indexOf('\n', at)) {
        if (!take(text.slice(at, next + 1))) return false
        at = next + 1
      }
      rest = text.slice(at)
      // A line without an end is no text: it counts, and is not gathered.
      if (rest.length > MAX_DIFF_BYTES) return false
    }
    await child.finish()
    return rest === '' || take(rest)
  } finally {
    await child.stop()
  }
}
