import type { Commit } from '../../../domain/facts.ts'
import type { Opened } from '../opened.ts'
import { PER_PAGE } from '../shifting.ts'
import { firstMissing, gone, isRefusal } from './gone.ts'
import { lineage } from './lineage.ts'
import { type RangeAnswer, rangeAnswers } from './range-answers.ts'
import type { Range } from './ranges.ts'

/** Commits of one range, as they follow each other in it. */
export interface Stretch {
  commits: Commit[]
  /** Commits of the range up to the end of this stretch. */
  end: number
  /** What the range really leaves out. */
  base: string | null
}

/** Where in a range a read goes on: after so many commits, the last of which was this. */
export interface Place {
  n: number
  last: string
}

/** Answers asked for beyond the one at hand, in a range of more than a page: what it costs are as many empty ones at its end. */
const AHEAD = 2

/**
 * The commits of a range, newest first. The list never changes, so pages by offset cannot shift, and some may be asked for
 * side by side. `alive` are commits that were there just now.
 *
 * Throws `gone` (see isGone) when upstream no longer has the range's head, or has another list than the one `from` was
 * in; `upstream` for a list that cannot be one of this range.
 */
export async function* rangePages(
  opened: Opened,
  range: Range,
  from: Place,
  { stats, alive }: { stats: boolean; alive: ReadonlySet<string> },
): AsyncGenerator<Stretch> {
  const ask = rangeAnswers(opened, range, stats)
  // From the page that holds the last commit read: it shows whether this still is the same list.
  const start = from.n === 0 ? 0 : from.n - 1 - ((from.n - 1) % PER_PAGE)
  const { base, first } = await opening(opened, range, alive, (base) => ask(base, start))
  const check = lineage(range, from.n === 0)

  let ahead: Promise<RangeAnswer>[] = []
  const after = async ({ commits, end }: RangeAnswer): Promise<RangeAnswer> => {
    if (commits.length === PER_PAGE)
      while (ahead.length < AHEAD) {
        const asked = ask(base, end + PER_PAGE * ahead.length)
        asked.catch(() => {}) // it is thrown when its turn comes, or not at all when the consumer left
        ahead.push(asked)
      }
    const next = await (ahead.shift() ?? ask(base, end))
    if (next.at === end) return next
    // An answer was smaller than usual, so those behind it are not where they were taken to be.
    ahead = []
    return ask(base, end)
  }

  try {
    for (let answer = first; ; answer = await after(answer)) {
      const { commits, at, end, more } = answer
      check(commits)
      if (at < from.n && (from.n <= end || !more) && commits[from.n - 1 - at]?.sha !== from.last)
        throw gone(range.to)
      const fresh = commits.slice(Math.max(0, from.n - at))
      if (fresh.length > 0 || !more) yield { commits: fresh, end: Math.max(end, from.n), base }
      if (!more) return
    }
  } catch (error) {
    if (!isRefusal(error)) throw error
    const missing = await firstMissing(opened, base === null ? [range.to] : [base, range.to])
    throw missing === null ? error : gone(missing)
  } finally {
    await Promise.allSettled(ahead)
  }
}

/**
 * The first answer, behind the first base that upstream still has. A head that a forced push left behind is there until
 * it is thrown away, two weeks at least; then the range is refused, or, by servers before 2021, empty.
 */
async function opening(
  opened: Opened,
  { to, bases }: Range,
  alive: ReadonlySet<string>,
  ask: (base: string | null) => Promise<RangeAnswer>,
): Promise<{ base: string | null; first: RangeAnswer }> {
  for (const base of bases) {
    const named = base === null ? [to] : [base, to]
    let first: RangeAnswer | null = null
    let refusal: unknown = null
    try {
      first = await ask(base)
    } catch (error) {
      if (!isRefusal(error)) throw error
      refusal = error
    }

    if (first !== null && first.commits.length > 0) return { base, first }
    // An empty answer may be true. The base may have been thrown away since it was listed: all would seem known then.
    const doubtful = first === null ? named : named.filter((sha) => sha === base || !alive.has(sha))
    const missing = await firstMissing(opened, doubtful)
    if (missing === to) throw gone(to)
    if (missing !== null) continue
    if (first === null) throw refusal
    return { base, first }
  }
  throw gone(to)
}
