import type { Commit } from './facts.ts'

/** What one page held. */
export interface PageCounts {
  scanned: number
  degraded: number
  sanitized: number
  bulk: number
  /** Newest committed-at seen, seconds since 1970. */
  newestTs: number | null
}

/** What a run has done so far; its last state is the run's `stats`. */
export interface Tally extends PageCounts {
  pages: number
  /** Rows that were written, and rows that were there already as they are. */
  synced: number
  skipped: number
}

export function emptyTally(): Tally {
  return { pages: 0, scanned: 0, synced: 0, skipped: 0, degraded: 0, sanitized: 0, bulk: 0, newestTs: null }
}

export function countsOf(commits: Commit[]): Omit<PageCounts, 'bulk'> {
  const counts = { scanned: commits.length, degraded: 0, sanitized: 0, newestTs: null as number | null }
  for (const { degraded, sanitized, committer } of commits) {
    if (degraded !== null) counts.degraded += 1
    if (sanitized.length > 0) counts.sanitized += 1
    counts.newestTs = later(counts.newestTs, committer.epochSeconds)
  }
  return counts
}

export function tallied(tally: Tally, page: PageCounts, synced: number): Tally {
  return {
    pages: tally.pages + 1,
    scanned: tally.scanned + page.scanned,
    synced: tally.synced + synced,
    skipped: tally.skipped + page.scanned - synced,
    degraded: tally.degraded + page.degraded,
    sanitized: tally.sanitized + page.sanitized,
    bulk: tally.bulk + page.bulk,
    newestTs: later(tally.newestTs, page.newestTs),
  }
}

/** The contract's counter names (sync_runs.counts). */
export function statsOf(t: Tally) {
  return {
    synced_count: t.synced,
    skipped_count: t.skipped,
    scanned_count: t.scanned,
    degraded_count: t.degraded,
    sanitized_count: t.sanitized,
    bulk_count: t.bulk,
    pages: t.pages,
  }
}

function later(a: number | null, b: number | null): number | null {
  if (a === null || b === null) return a ?? b
  return Math.max(a, b)
}
