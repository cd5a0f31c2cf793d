import type { Facts } from './facts.ts'

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

/** Requests of one reading, each try counted. */
export interface Usage {
  requests: number
  /** Answered 429. */
  limited: number
  /** Of these, without a word of when to come back. */
  unannounced: number
  /** Not answered within their time; waiting for a turn is none. */
  timeouts: number
  retries: number
  /** For turns, for what the server asked to wait, and between tries. */
  waitedMs: number
}

export function emptyTally(): Tally {
  return { pages: 0, scanned: 0, synced: 0, skipped: 0, degraded: 0, sanitized: 0, bulk: 0, newestTs: null }
}

export function countsOf({
  commits = [],
  mrs = [],
  reviews = [],
  revisions = [],
}: Facts): Omit<PageCounts, 'bulk'> {
  const events = reviews.flatMap((r) => r.events)
  const degraded = [...commits, ...revisions].filter((c) => c.degraded !== null).length
  const records = [...commits, ...mrs, ...events, ...revisions]
  const times = [
    ...commits.map((c) => c.committer.epochSeconds),
    ...revisions.map((r) => r.at && Math.floor(r.at / 1000)),
  ]
  return {
    scanned: records.length,
    degraded: degraded + reviews.filter((r) => r.whole?.degraded).length,
    sanitized: records.filter((record) => record.sanitized.length > 0).length,
    newestTs: times.reduce(later, null),
  }
}

export function tallied(tally: Tally, page: PageCounts, synced: number): Tally {
  return {
    pages: tally.pages + 1,
    scanned: tally.scanned + page.scanned,
    synced: tally.synced + synced,
    skipped: tally.skipped + Math.max(0, page.scanned - synced),
    degraded: tally.degraded + page.degraded,
    sanitized: tally.sanitized + page.sanitized,
    bulk: tally.bulk + page.bulk,
    newestTs: later(tally.newestTs, page.newestTs),
  }
}

/** The contract's counter names (sync_runs.counts). */
export function statsOf(t: Tally, usage: Usage | null = null) {
  return {
    synced_count: t.synced,
    skipped_count: t.skipped,
    scanned_count: t.scanned,
    degraded_count: t.degraded,
    sanitized_count: t.sanitized,
    bulk_count: t.bulk,
    pages: t.pages,
    ...(usage && {
      total_requests: usage.requests,
      total_429_hits: usage.limited,
      timeout_count: usage.timeouts,
      total_retries: usage.retries,
      avg_wait_time_ms: usage.requests === 0 ? 0 : Math.round(usage.waitedMs / usage.requests),
    }),
  }
}

function later(a: number | null, b: number | null): number | null {
  if (a === null || b === null) return a ?? b
  return Math.max(a, b)
}
