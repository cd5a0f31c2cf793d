import type { Reply } from './paging.ts'
import type { GitLabRequest, Route } from './request.ts'

export interface RateLimit {
  limit: number
  windowMs: number
  /** How Retry-After is written on a 429: default seconds. */
  retryAfter?: 'seconds' | 'date' | 'absent'
  /** Without them only the 429s tell of the limit: a proxy took the RateLimit-* headers away. */
  headers?: boolean
  name?: string
}

/** A limit of one kind of endpoint that no header tells of. */
export interface ApplicationLimit {
  route: Route
  limit: number
  windowMs: number
}

/** A fixed window, as Rack::Attack counts: it begins at multiples of its length. */
class Window {
  #began = Number.NEGATIVE_INFINITY
  #count = 0

  take(now: number, ms: number): { observed: number; resetAt: number } {
    const began = Math.floor(now / ms) * ms
    if (began !== this.#began) {
      this.#began = began
      this.#count = 0
    }
    return { observed: ++this.#count, resetAt: began + ms }
  }
}

/** Says yes with the headers of a healthy answer, or no with a 429. */
export type Limiter = (
  request: GitLabRequest,
  now: number,
) => { headers: Record<string, string> } | { refused: Reply }

export function throttle({
  limit,
  windowMs,
  retryAfter = 'seconds',
  headers = true,
  name,
}: RateLimit): Limiter {
  const window = new Window()
  return (_request, now) => {
    const { observed, resetAt } = window.take(now, windowMs)
    const resetTime = new Date(Math.ceil(resetAt / 1000) * 1000).toUTCString()
    const told: Record<string, string> = headers
      ? {
          'ratelimit-limit': String(limit),
          'ratelimit-observed': String(observed),
          'ratelimit-remaining': String(Math.max(0, limit - observed)),
          'ratelimit-reset': String(Math.ceil(resetAt / 1000)),
          'ratelimit-name': name ?? 'throttle_authenticated_api',
        }
      : {}
    if (observed <= limit) return { headers: told }
    const wait = String(Math.max(1, Math.ceil((resetAt - now) / 1000)))
    const after = retryAfter === 'seconds' ? wait : resetTime
    const extra: Record<string, string> = retryAfter === 'absent' ? {} : { 'retry-after': after }
    if (headers) extra['ratelimit-resettime'] = resetTime
    return {
      refused: {
        status: 429,
        headers: { ...told, ...extra, 'content-type': 'text/plain' },
        body: 'Retry later\n',
      },
    }
  }
}

export function applicationLimit({ route, limit, windowMs }: ApplicationLimit): Limiter {
  const window = new Window()
  const error = 'This endpoint has been requested too many times. Try again later.'
  return (request, now) => {
    if (request.route !== route || window.take(now, windowMs).observed <= limit) return { headers: {} }
    return { refused: { status: 429, headers: {}, body: JSON.stringify({ message: { error } }) } }
  }
}
