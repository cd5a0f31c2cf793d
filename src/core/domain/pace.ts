/** How much one upstream is asked for at a time: less after it struggled, more again once it has borne that for a while. */

export interface Pace {
  /** Records per page. */
  batchSize: number
  /** Whether diffs are asked for. */
  details: boolean
  /** In a row, without a page that had none of them. */
  limited: number
  timeouts: number
  tooLarge: number
  broken: number
  /** Pages in a row with a 429 that named no time. Who named one has been obeyed. */
  unannounced: number
  /** Pages in a row that had nothing of it. */
  good: number
}

/** What was met while one page was read, or until the reading broke off. */
export interface Met {
  /** Answers 429. */
  limited: number
  /** Of these, without a word of when to come back. */
  unannounced: number
  timeouts: number
  /** Contents refused for their size. */
  tooLarge: number
  /** 5xx that ended the reading. */
  broken: number
  /** The page came. */
  came: boolean
}

export interface PacePolicy {
  batch: { least: number; most: number; shrink: number; grow: number }
  limitedInRow: number
  timeoutsInRow: number
  tooLargeInRow: number
  /** Seconds. */
  sleep: { base: number; most: number }
  goodInRow: number
}

/** 5xx in a row after which the next try of a job waits longer. */
const BROKEN_IN_ROW = 3

export function startingPace(batchSize: number): Pace {
  return {
    batchSize,
    details: true,
    limited: 0,
    timeouts: 0,
    tooLarge: 0,
    broken: 0,
    unannounced: 0,
    good: 0,
  }
}

export function paced(pace: Pace, met: Met, policy: PacePolicy): Pace {
  const inRow = (before: number, now: number) => (now > 0 ? before + now : met.came ? 0 : before)
  const isGood = met.came && met.limited + met.timeouts + met.tooLarge + met.broken === 0
  const next = {
    limited: inRow(pace.limited, met.limited),
    timeouts: inRow(pace.timeouts, met.timeouts),
    tooLarge: inRow(pace.tooLarge, met.tooLarge),
    broken: inRow(pace.broken, met.broken),
    unannounced: inRow(pace.unannounced, Math.min(1, met.unannounced)),
    good: isGood ? pace.good + 1 : 0,
  }
  const recovered = next.good >= policy.goodInRow
  const strained = next.limited >= policy.limitedInRow || next.tooLarge >= policy.tooLargeInRow
  return {
    ...next,
    details: strained ? false : pace.details || recovered,
    batchSize: batchOf(pace.batchSize, met, recovered, policy),
  }
}

/** Seconds before the next page. */
export function restAfter(pace: Pace, { sleep }: PacePolicy): number {
  return pace.unannounced === 0 ? 0 : Math.min(sleep.most, sleep.base * 2 ** (pace.unannounced - 1))
}

/** Seconds, at least, before a job that failed is tried again. */
export function pauseAfter(pace: Pace, { sleep, timeoutsInRow }: PacePolicy): number {
  if (pace.timeouts < timeoutsInRow && pace.broken < BROKEN_IN_ROW) return 0
  return Math.min(sleep.most, sleep.base * 2 ** Math.max(pace.timeouts, pace.broken))
}

function batchOf(size: number, met: Met, recovered: boolean, { batch }: PacePolicy): number {
  if (met.limited + met.timeouts > 0) return Math.max(batch.least, Math.floor(size * batch.shrink))
  if (!recovered) return size
  return Math.min(batch.most, Math.max(size + 1, Math.floor(size * batch.grow)))
}
