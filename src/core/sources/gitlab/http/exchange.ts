import type { Usage } from '../../../domain/tally.ts'
import { type Answer, answerOf, readBody, type Shape, wordsOf } from './answer.ts'
import { type Failed, failedException, failedProtocol, failedStatus, tooLarge, tooSlow } from './failure.ts'
import { redirected } from './redirect.ts'
import { count, type Said, saidBy } from './wait.ts'

/** What one attempt asks for. */
export interface Request<S extends Shape> {
  root: URL
  url: URL
  token: string | null
  shape: S
  timeoutMs: number
  maxBytes: number
  signal: AbortSignal
}

export interface Exchange<S extends Shape> {
  result: Answer<S> | Failed
  /** Null when no headers came. */
  said: Said | null
}

const MAX_WORDS = 16_384 // bytes of a refusal that are read: its sentence comes first

/**
 * One attempt: over, body included, within `timeoutMs`, whatever the server does; undici's own timeouts begin anew
 * with every byte. Throws only when the signal says so.
 */
export async function exchange<S extends Shape>(
  request: Request<S>,
  usage: Usage,
  now: () => number,
): Promise<Exchange<S>> {
  const { timeoutMs, maxBytes, signal } = request
  const end = new AbortController()
  const stop = (): void => end.abort()
  signal.addEventListener('abort', stop, { once: true })
  const timer = setTimeout(stop, timeoutMs)
  let said: Said | null = null
  let isRead = false
  try {
    signal.throwIfAborted()
    const response = await send(request, usage, end.signal)
    if (!(response instanceof Response)) return { result: response, said }

    const { status, headers } = response
    said = saidBy(headers, now())
    // Not read to be thrown away: 2 MB of chunks that the process would keep.
    if (status === 200 && (count(headers.get('content-length')) ?? 0) > maxBytes)
      return { result: tooLarge(maxBytes), said }

    const { chunks, whole } = await readBody(response, status === 200 ? maxBytes : MAX_WORDS)
    isRead = whole
    if (status === 200 && !whole) return { result: tooLarge(maxBytes), said }

    const body = Buffer.concat(chunks)
    if (status !== 200) return { result: failedStatus(status, wordsOf(headers, body), said), said }
    const answer = answerOf(headers, body, request.shape)
    return { result: typeof answer === 'string' ? failedProtocol(answer) : answer, said }
  } catch (thrown) {
    signal.throwIfAborted()
    return { result: end.signal.aborted ? tooSlow(timeoutMs) : failedException(thrown, said !== null), said }
  } finally {
    clearTimeout(timer)
    signal.removeEventListener('abort', stop)
    if (!isRead) stop() // a body that nobody will read would keep its socket
  }
}

/** The answer at the end of at most one redirect: fetch itself would carry PRIVATE-TOKEN to any host. */
async function send<S extends Shape>(
  { root, url, token }: Request<S>,
  usage: Usage,
  signal: AbortSignal,
): Promise<Response | Failed> {
  const headers = {
    accept: 'application/json',
    'user-agent': 'engram-scm',
    ...(token === null ? {} : { 'private-token': token }),
  }
  let at = url
  for (let hops = 0; ; hops++) {
    usage.requests += 1
    const response = await fetch(at, { headers, redirect: 'manual', signal })
    const { status } = response
    if (status < 300 || status > 399) return response

    const to = redirected(root, at, status, response.headers.get('location'))
    if (!(to instanceof URL)) return to
    if (hops > 0)
      return { kind: 'upstream', why: `${status}: protocol: it redirects again`, status, again: false }
    await response.body?.cancel()
    at = to
  }
}
