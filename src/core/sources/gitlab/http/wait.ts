/** What an answer's headers say of rates. What is no sane number is null. */
export interface Said {
  retryAfterMs: number | null
  limit: number | null
  remaining: number | null
  resetInMs: number | null
}

/** How one request may be tried: milliseconds, attempts and bytes. */
export interface HttpLimits {
  /** One attempt in all, its body included. */
  timeoutMs: number
  maxAttempts: number
  backoffBaseMs: number
  /** The longest wait between two attempts; who is asked to wait longer gives up. */
  backoffMaxMs: number
  /** The longest wait for a turn; as long as a backoff unless given. */
  maxWaitMs?: number
  /** The largest body, decompressed. */
  maxBytes?: number
}

export type NextTry = { again: true; inMs: number } | { again: false; retryAfterSeconds?: number }

const LONGEST_MS = 15 * 60_000 // a job that rests longer looks dead to its operators
const LONGEST_RESET_MS = 3600_000 // GitLab's default period of a throttle; more is a wrong clock or a lie
const SPREAD_MS = 1000 // all who were told the same second would come back in it
const FIRST_EPOCH = 1e9 // a smaller RateLimit-Reset counts seconds from now, as proxies write it

/** Upstream's own Date is the present it speaks of: a clock that is wrong by hours changes nothing. */
export function saidBy(headers: Headers, localNowMs: number): Said {
  const now = httpDate(headers.get('date'))?.getTime() ?? localNowMs
  const reset = count(headers.get('ratelimit-reset'))
  return {
    retryAfterMs: retryAfterMs(headers.get('retry-after'), now),
    limit: count(headers.get('ratelimit-limit')),
    remaining: count(headers.get('ratelimit-remaining')),
    resetInMs:
      reset === null ? null : within(LONGEST_RESET_MS, reset * 1000 - (reset < FIRST_EPOCH ? 0 : now)),
  }
}

/** How long the upstream asks to be left alone; null when it does not say. */
export function askedWaitMs(status: number, said: Said): number | null {
  if (said.retryAfterMs !== null) return within(LONGEST_MS, said.retryAfterMs)
  // With some left, it is another limit that was met, and the reset is not its.
  if (status !== 429 || said.resetInMs === null || (said.remaining ?? 0) > 0) return null
  return within(LONGEST_MS, said.resetInMs)
}

/** What to do after the `attempt`th failure: exponential, full jitter, unless the upstream asked for a time. */
export function nextTry(
  { again, askedMs = null }: { again: boolean; askedMs?: number | null },
  attempt: number,
  { maxAttempts, backoffBaseMs, backoffMaxMs }: HttpLimits,
  chance: number,
): NextTry {
  if (!again || attempt >= maxAttempts || (askedMs ?? 0) > backoffMaxMs) {
    const retryAfterSeconds = Math.ceil(within(LONGEST_MS, askedMs ?? 0) / 1000)
    return { again: false, ...(askedMs === null ? {} : { retryAfterSeconds }) }
  }
  if (askedMs !== null) return { again, inMs: askedMs + chance * SPREAD_MS }
  return { again, inMs: chance * Math.min(backoffMaxMs, backoffBaseMs * 2 ** (attempt - 1)) }
}

/** Milliseconds between requests so that what is left lasts until the reset: none while there is plenty. */
export function spacingMs({ limit, remaining, resetInMs }: Said): number {
  if (remaining === null || resetInMs === null) return 0
  const reserve = Math.max(5, (limit ?? 0) / 10)
  return remaining > reserve ? 0 : resetInMs / (remaining + 1)
}

/** As servers must write it (RFC 9110, 5.6.7). Date.parse alone would take "blue 1" for a day in 2001. */
export function httpDate(text: string | null): Date | null {
  if (text === null || !/^[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT$/.test(text)) return null
  const date = new Date(text)
  return Number.isNaN(date.getTime()) ? null : date
}

/** A number that counts something: whole, not negative. */
export function count(text: string | null): number | null {
  return text !== null && /^\d{1,15}$/.test(text) ? Number(text) : null
}

function retryAfterMs(text: string | null, nowMs: number): number | null {
  const seconds = count(text)
  if (seconds !== null) return seconds * 1000
  const date = httpDate(text)
  return date === null ? null : Math.max(0, date.getTime() - nowMs)
}

function within(mostMs: number, ms: number): number {
  return Math.min(mostMs, Math.max(0, ms))
}
