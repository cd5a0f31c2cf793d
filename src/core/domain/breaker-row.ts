import { type Breaker, type CircuitState, CLOSED, type Rates } from './breaker.ts'
import type { Json } from './ledger.ts'

/** Whoever opened it. Anything else in the row, or nothing, is a person. */
const SCHEDULER = 'scheduler'

/**
 * The row of a breaker in logbook.kv, which operators write by hand: partial, out of date, or of another shape. What is
 * missing has its default; in a state that nobody knows it is open by hand, since it may be an emergency stop with a slip.
 */
export function readBreaker(value: unknown): Breaker {
  const state = stateOf(value)
  if (state === 'unknown')
    return { ...CLOSED, state: 'open', byHand: true, reason: 'in a state nobody knows' }
  const given = recordOf(value)
  return {
    state,
    openedAt: numberOf(given.opened_at),
    byHand: state === 'open' && given.opened_by !== SCHEDULER,
    halfOpenAt: state === 'half_open' ? numberOf(given.half_open_at) : null,
    closedAt: state === 'closed' ? numberOf(given.closed_at) : null,
    credits: state === 'closed' ? 0 : (numberOf(given.credits) ?? 0),
    grantedAt: numberOf(given.repair_granted_at),
    probeTypes: listOf(given.probe_job_types),
    attempts: numberOf(given.half_open_attempts) ?? 0,
    successes: numberOf(given.half_open_successes) ?? 0,
    failures: numberOf(given.failure_count) ?? 0,
    reason: textOf(given.last_failure_reason),
    smoothed: ratesOf(given),
  }
}

/** As scm.breaker_state has it for the claim: `OPEN`, `open ` and the bare word are understood; without a word it is closed. */
export function stateOf(value: unknown): CircuitState | 'unknown' {
  const isObject = typeof value === 'object' && value !== null && !Array.isArray(value)
  const said = isObject ? recordOf(value).state : value
  if (said === undefined || said === null) return 'closed'
  const word = typeof said === 'string' ? said.trim().toLowerCase() : ''
  return word === 'closed' || word === 'open' || word === 'half_open' ? word : 'unknown'
}

/** The runbook's keys, and those of ours that it does not know. */
export function breakerRow(key: string, breaker: Breaker): { [key: string]: Json } {
  return {
    key,
    state: breaker.state,
    opened_at: breaker.openedAt,
    // Only what the program opened by itself carries its name, so that `"state": "open"` written by hand is sticky.
    opened_by: breaker.state === 'open' ? (breaker.byHand ? 'operator' : SCHEDULER) : null,
    half_open_at: breaker.halfOpenAt,
    closed_at: breaker.closedAt,
    half_open_attempts: breaker.attempts,
    half_open_successes: breaker.successes,
    failure_count: breaker.failures,
    last_failure_reason: breaker.reason,
    credits: breaker.credits,
    repair_granted_at: breaker.grantedAt,
    probe_job_types: [...breaker.probeTypes],
    smoothed_failure_rate: breaker.smoothed?.failure ?? null,
    smoothed_rate_limit_rate: breaker.smoothed?.rateLimit ?? null,
    smoothed_timeout_rate: breaker.smoothed?.timeout ?? null,
  }
}

function ratesOf(given: Record<string, unknown>): Rates | null {
  const failure = shareOf(given.smoothed_failure_rate)
  const rateLimit = shareOf(given.smoothed_rate_limit_rate)
  const timeout = shareOf(given.smoothed_timeout_rate)
  if (failure === null || rateLimit === null || timeout === null) return null
  return { failure, rateLimit, timeout }
}

function shareOf(value: unknown): number | null {
  const number = numberOf(value)
  return number === null ? null : Math.min(1, Math.max(0, number))
}

function recordOf(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {}
}

const listOf = (value: unknown) =>
  Array.isArray(value) ? value.filter((item): item is string => typeof item === 'string') : []
const numberOf = (value: unknown) => (typeof value === 'number' && Number.isFinite(value) ? value : null)
const textOf = (value: unknown) => (typeof value === 'string' && value !== '' ? value : null)
