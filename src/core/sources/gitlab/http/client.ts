import { setMaxListeners } from 'node:events'
import { SyncError } from '../../../domain/errors.ts'
import { oneLine } from '../../../domain/one-line.ts'
import { redactor } from '../../../domain/redact.ts'
import type { Usage } from '../../../domain/tally.ts'
import type { Budget } from '../../source.ts'
import type { Answer, Shape } from './answer.ts'
import { type Clock, systemClock } from './clock.ts'
import { exchange } from './exchange.ts'
import type { Failed } from './failure.ts'
import type { Gate } from './gate.ts'
import { apiRoot, isWithin } from './redirect.ts'
import { makeTurns } from './turns.ts'
import { type HttpLimits, nextTry } from './wait.ts'

export interface Instance {
  /** `https://host` or `https://host/root`. */
  url: string
  token(): Promise<string | null>
  /** Read again where it comes from: it may have been changed there. */
  renewToken(): Promise<string | null>
}

/** A list is said once for each entry. */
export type Query = Record<string, string | number | boolean | readonly (string | number)[] | undefined>

export interface Client {
  /**
   * Asks for `<instance>/api/v4/<path>`; names in the path come encoded. Throws SyncError: `auth`, `permission`,
   * `not_found` (with `status`), `rate_limited` (with `retryAfterSeconds`), `timeout`, `network`, `upstream` (with
   * `limit` where a smaller page or another order would do), `config`; the signal's reason when aborted, be it the
   * client's or the one of this request alone.
   */
  get<S extends Shape = 'array'>(
    path: string,
    query?: Query,
    more?: { expect?: S; signal?: AbortSignal },
  ): Promise<Answer<S>>
  /** So far, by this client. */
  usage(): Usage
}

/**
 * The largest answer. Of several rows, 15 times the largest of 30 pages of 100 real commits (135 kB): who meets it asks
 * for fewer rows. Of a single one, twice what a description of GitLab's 1,048,576 characters can take.
 */
const MAX_BYTES = { several: 2 * 1024 * 1024, one: 8 * 1024 * 1024 }

export function makeClient({
  instance,
  limits,
  gate,
  budget,
  signal,
  clock = systemClock,
}: {
  instance: Instance
  limits: HttpLimits
  /** The instance's, for all jobs of this process. */
  gate: Gate
  budget: Budget | null
  signal: AbortSignal
  clock?: Clock
}): Client {
  setMaxListeners(0, signal) // one per request under way; Node warns from eleven on
  const root = apiRoot(instance.url)
  const usage: Usage = { requests: 0, limited: 0, unannounced: 0, timeouts: 0, retries: 0, waitedMs: 0 }
  const turns = makeTurns({ gate, budget, limits, clock, usage })
  const tokens = new Set<string>()

  async function get<S extends Shape>(
    path: string,
    query: Query,
    shape: S,
    signal: AbortSignal,
  ): Promise<Answer<S>> {
    const request = {
      root,
      url: urlOf(root, path, query),
      shape,
      timeoutMs: limits.timeoutMs,
      maxBytes: limits.maxBytes ?? (query.per_page === 1 ? MAX_BYTES.one : MAX_BYTES.several),
      signal,
    }
    let token = known(await instance.token())
    let renewed = false
    for (let attempt = 1; ; attempt++) {
      const send = () => exchange({ ...request, token }, usage, clock.now)
      const { result } = await turns.take(path, send, signal)
      if ('json' in result) return result
      if (result.status === 429) usage.limited += 1
      if (result.status === 429 && result.askedMs == null) usage.unannounced += 1
      if (result.kind === 'timeout' && result.status === undefined) usage.timeouts += 1

      if (result.status === 401 && !renewed) {
        renewed = true
        attempt -= 1
        usage.retries += 1
        token = known(await instance.renewToken())
        continue
      }

      const next = nextTry(result, attempt, limits, clock.chance())
      if (!next.again) throw failure(path, result, next.retryAfterSeconds)
      usage.retries += 1
      await turns.rest(next.inMs, signal)
    }
  }

  function known(token: string | null): string | null {
    if (token === null) return null
    tokens.add(token)
    // fetch would refuse it in a sentence that quotes it.
    if (/^[\x21-\x7e]+$/.test(token)) return token
    throw new SyncError('config', `the token for ${root.host} is no single printable word`)
  }

  function failure(
    path: string,
    { kind, why, hint, status, limit }: Failed,
    retryAfterSeconds?: number,
  ): SyncError {
    return new SyncError(kind, shown(`${path.slice(0, 150)} at ${root.host}: ${why}`), {
      ...(hint === undefined ? {} : { hint }),
      ...(status === undefined ? {} : { status }),
      ...(limit === undefined ? {} : { limit }),
      ...(retryAfterSeconds === undefined ? {} : { retryAfterSeconds }),
    })
  }

  /** Redacted before it is cut: half a token is a token to whoever guesses. */
  function shown(text: string): string {
    return oneLine(redactor([...tokens])(text))
  }

  return {
    usage: () => ({ ...usage }),
    get: <S extends Shape = 'array'>(
      path: string,
      query: Query = {},
      { expect = 'array' as S, signal: own }: { expect?: S; signal?: AbortSignal } = {},
    ) => {
      const end = own ? AbortSignal.any([signal, own]) : signal
      return get(path, query, expect, end).catch((thrown) => {
        if (!end.aborted) throw thrown
        throw end.reason instanceof SyncError
          ? end.reason
          : new SyncError('cancelled', shown(`${path} at ${root.host}: cancelled`))
      })
    },
  }
}

function urlOf(root: URL, path: string, query: Query): URL {
  const url = new URL(`./${path}`, root)
  for (const [name, value] of Object.entries(query)) {
    for (const one of Array.isArray(value) ? value : [value])
      if (one !== undefined) url.searchParams.append(name, `${one}`)
  }
  if (!isWithin(root, url)) throw new SyncError('bug', oneLine(`${path} is no path of the API`))
  return url
}
