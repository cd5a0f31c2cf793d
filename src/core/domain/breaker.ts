/**
 * The circuit breaker of a scope: all upstreams, one of their hosts, one tenant.
 *
 *   closed ──too many failures──▶ open ──after a while──▶ half open ──good probes──▶ closed
 *                                  ▲                         │
 *                                  └───────a bad probe───────┘
 *   open by hand: until a person closes it
 *
 * Nothing here asks a clock or a database; times are seconds since 1970.
 */

export type CircuitState = 'closed' | 'open' | 'half_open'

export interface Breaker {
  state: CircuitState
  openedAt: number | null
  /** Opened by a person: it stops everything, and only a person closes it. */
  byHand: boolean
  halfOpenAt: number | null
  /** Runs that began before say nothing any more. Null while it is not closed, and where a person closed it. */
  closedAt: number | null
  /** Jobs that may start although it is not closed: probes while half open, repairs while open. */
  credits: number
  /** When the last repair was granted. */
  grantedAt: number | null
  probeTypes: readonly string[]
  attempts: number
  successes: number
  /** Failed runs in the window that was judged last. */
  failures: number
  reason: string | null
  smoothed: Rates | null
}

/** Shares from 0 to 1. */
export interface Rates {
  failure: number
  rateLimit: number
  timeout: number
}

/** The latest runs of a scope that began since it was closed. What was given back untried counts for nothing. */
export interface Evidence {
  runs: number
  failed: number
  timedOut: number
  requests: number
  limited: number
  /** Runs begun since it is half open; one is good as soon as it has stored a page. */
  probes: { good: number; bad: number; underway: number; why: string | null }
}

export interface BreakerPolicy {
  failureRate: number
  rateLimitRate: number
  timeoutRate: number
  minSamples: number
  /** Weight of the newest window in the moving average; 1 = no average. */
  alpha: number
  openSeconds: number
  probes: { atMost: number; perScan: number; enough: number; jobTypes: readonly string[] }
  /** Null: none while it is open. */
  repairs: { everySeconds: number } | null
}

export const CLOSED: Breaker = {
  state: 'closed',
  openedAt: null,
  byHand: false,
  halfOpenAt: null,
  closedAt: null,
  credits: 0,
  grantedAt: null,
  probeTypes: [],
  attempts: 0,
  successes: 0,
  failures: 0,
  reason: null,
  smoothed: null,
}

export const NO_EVIDENCE: Evidence = {
  runs: 0,
  failed: 0,
  timedOut: 0,
  requests: 0,
  limited: 0,
  probes: { good: 0, bad: 0, underway: 0, why: null },
}

/** One scan's judgement. */
export function judgeBreaker(
  found: Breaker,
  evidence: Evidence,
  policy: BreakerPolicy,
  now: number,
): Breaker {
  const breaker = notAhead(found, now)
  switch (breaker.state) {
    case 'closed':
      return judgeClosed(breaker, evidence, policy, now)
    case 'open':
      return breaker.byHand
        ? { ...breaker, openedAt: breaker.openedAt ?? now, credits: 0 }
        : judgeOpen(breaker, policy, now)
    case 'half_open':
      return judgeHalfOpen(breaker, evidence, policy, now)
  }
}

/** A time that is ahead (a clock was set back, a hand slipped) would be waited for. */
function notAhead(breaker: Breaker, now: number): Breaker {
  const past = (at: number | null) => at && Math.min(at, now)
  const { openedAt, halfOpenAt, closedAt, grantedAt } = breaker
  return {
    ...breaker,
    openedAt: past(openedAt),
    halfOpenAt: past(halfOpenAt),
    closedAt: past(closedAt),
    grantedAt: past(grantedAt),
  }
}

export function closedAt(now: number): Breaker {
  return { ...CLOSED, closedAt: now }
}

/** Sticky: whatever the runs say, until a person closes it. */
export function openedByHand(now: number, reason: string): Breaker {
  return { ...CLOSED, state: 'open', openedAt: now, byHand: true, reason }
}

function judgeClosed(breaker: Breaker, evidence: Evidence, policy: BreakerPolicy, now: number): Breaker {
  // A person closed it, or nobody has judged it before: what was until now is over.
  if (breaker.closedAt === null) return closedAt(now)
  if (evidence.runs < policy.minSamples) return breaker

  const raw = ratesOf(evidence)
  const smoothed = average(breaker.smoothed, raw, policy.alpha)
  const judged = { ...breaker, smoothed, failures: evidence.failed }
  const reason = tripOf(raw, smoothed, policy)
  return reason === null ? judged : opened(judged, policy, now, reason)
}

function judgeOpen(breaker: Breaker, policy: BreakerPolicy, now: number): Breaker {
  if (breaker.openedAt === null || now - breaker.openedAt >= policy.openSeconds) {
    return {
      ...breaker,
      state: 'half_open',
      halfOpenAt: now,
      credits: Math.min(policy.probes.perScan, policy.probes.atMost),
      probeTypes: policy.probes.jobTypes,
      attempts: 0,
      successes: 0,
    }
  }
  if (policy.repairs === null) return { ...breaker, credits: 0 }
  const isDue = breaker.grantedAt === null || now - breaker.grantedAt >= policy.repairs.everySeconds
  return isDue ? { ...breaker, credits: 1, grantedAt: now } : breaker
}

function judgeHalfOpen(breaker: Breaker, { probes }: Evidence, policy: BreakerPolicy, now: number): Breaker {
  if (breaker.halfOpenAt === null) return { ...breaker, halfOpenAt: now, credits: 0 } // set by hand: begins now
  const judged = { ...breaker, attempts: probes.good + probes.bad, successes: probes.good }
  if (probes.bad > 0) return opened(judged, policy, now, `half_open_probe_failed: ${probes.why ?? 'unknown'}`)
  // Asked for more good ones than may be tried, it would never close.
  if (probes.good >= Math.min(policy.probes.enough, policy.probes.atMost)) return closedAt(now)
  const room = policy.probes.atMost - probes.good - probes.underway
  return {
    ...judged,
    credits: Math.max(0, Math.min(policy.probes.perScan, room)),
    probeTypes: policy.probes.jobTypes,
  }
}

function opened(breaker: Breaker, policy: BreakerPolicy, now: number, reason: string): Breaker {
  return {
    ...breaker,
    state: 'open',
    openedAt: now,
    halfOpenAt: null,
    closedAt: null,
    credits: 0,
    // The first repair comes an interval later: what broke needs silence first.
    grantedAt: policy.repairs === null ? null : now,
    reason,
  }
}

function ratesOf({ runs, failed, timedOut, requests, limited }: Evidence): Rates {
  return { failure: share(failed, runs), rateLimit: share(limited, requests), timeout: share(timedOut, runs) }
}

function average(old: Rates | null, raw: Rates, alpha: number): Rates {
  if (old === null) return raw
  const of = (name: keyof Rates) => alpha * raw[name] + (1 - alpha) * old[name]
  return { failure: of('failure'), rateLimit: of('rateLimit'), timeout: of('timeout') }
}

function tripOf(raw: Rates, smoothed: Rates, policy: BreakerPolicy): string | null {
  const tests = [
    ['failure_rate', 'failure', policy.failureRate],
    ['rate_limit_rate', 'rateLimit', policy.rateLimitRate],
    ['timeout_rate', 'timeout', policy.timeoutRate],
  ] as const
  for (const [word, name, threshold] of tests) {
    // A threshold of 0 is met by a failure, not by its absence.
    if (smoothed[name] < threshold || smoothed[name] === 0) continue
    return `${word}=${percent(smoothed[name])}>=threshold=${percent(threshold)} (raw=${percent(raw[name])}, smoothed=${percent(smoothed[name])})`
  }
  return null
}

const share = (part: number, whole: number) => (whole === 0 ? 0 : Math.min(1, part / whole))
const percent = (rate: number) => `${(rate * 100).toFixed(2)}%`
