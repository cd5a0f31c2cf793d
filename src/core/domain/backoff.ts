import type { FailureKind } from './errors.ts'

/** First wait by kind, in seconds (operations contract, error taxonomy). */
const BASE_SECONDS: Partial<Record<FailureKind, number>> = {
  rate_limited: 120,
  timeout: 30,
  network: 60,
  upstream: 90,
  database: 45,
  lock_held: 0,
  lease_lost: 0,
  cancelled: 0,
}
const DEFAULT_SECONDS = 60
const MOST_SECONDS = 3600

/** Doubles with every attempt, up to an hour. Jitter is added where the wait is scheduled. */
export function backoffSeconds(kind: FailureKind, attempt: number): number {
  return Math.min((BASE_SECONDS[kind] ?? DEFAULT_SECONDS) * 2 ** Math.max(0, attempt - 1), MOST_SECONDS)
}
