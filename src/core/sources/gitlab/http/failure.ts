import type { FailureKind } from '../../../domain/errors.ts'
import { askedWaitMs, type Said } from './wait.ts'

/** An attempt that brought no answer. `why` is as hostile as the upstream. */
export interface Failed {
  kind: FailureKind
  why: string
  hint?: string
  status?: number
  limit?: 'bytes' | 'offset'
  /** Another attempt may go better. */
  again: boolean
  /** When, if the upstream says so; milliseconds. */
  askedMs?: number | null
}

/** A status that is no 200, with the server's own words. */
export function failedStatus(status: number, words: string, said: Said): Failed {
  const failed = { status, why: words.startsWith(`${status}`) ? words : `${status} ${words}`.trim() }
  // Rack::Attack's text may be set freely; this is its default, and what proxies say.
  const limited =
    status === 429 || (status === 403 && /retry later|rate.?limit|too many requests/i.test(words))
  if (limited) return { ...failed, kind: 'rate_limited', again: true, askedMs: askedWaitMs(status, said) }
  if ((status === 400 || status === 405) && /offset pagination has a maximum/i.test(words)) {
    return { ...failed, kind: 'upstream', again: false, limit: 'offset' }
  }
  switch (status) {
    case 401:
      return {
        ...failed,
        kind: 'auth',
        again: false,
        hint: 'give a valid token with scope read_api (GITLAB_TOKEN, or of [scm.gitlab.instances])',
      }
    case 402:
    case 403:
    case 451:
      return {
        ...failed,
        kind: 'permission',
        again: false,
        hint: 'the token needs scope read_api and a role in the project',
      }
    case 404:
    case 410:
      return { ...failed, kind: 'not_found', again: false }
    case 408:
      return { ...failed, kind: 'timeout', again: true }
    default:
      // Any other 2xx is a proxy's invention; any other 4xx says that we asked wrongly, and would again.
      return {
        ...failed,
        kind: 'upstream',
        again: status < 300 || status >= 500,
        askedMs: askedWaitMs(status, said),
      }
  }
}

/** Bytes came, but not what GitLab would say. */
export function failedProtocol(why: string): Failed {
  return { kind: 'upstream', why, again: true }
}

export function tooLarge(maxBytes: number): Failed {
  return {
    kind: 'upstream',
    why: `the answer is larger than ${maxBytes} bytes`,
    limit: 'bytes',
    again: false,
  }
}

export function tooSlow(ms: number): Failed {
  return { kind: 'timeout', why: `no end of the answer after ${ms / 1000} s`, again: true }
}

/** What the platform threw. Only its code and sentence are kept: its objects hold raw bytes of the exchange. */
export function failedException(thrown: unknown, reading: boolean): Failed {
  const { code, message } = rootOf(thrown)
  const failed = {
    why: code === '' || message.includes(code) ? message : `${message} (${code})`,
    again: true,
  }
  if (/TIMEDOUT|TIMEOUT/.test(code)) return { ...failed, kind: 'timeout' }
  if (message === 'bad port') {
    const hint = 'browsers and Node never talk HTTP to that port: give the instance another'
    return { ...failed, kind: 'config', again: false, hint }
  }
  if (reading || /^(HPE_|UND_ERR_HEADERS|UND_ERR_RES)/.test(code)) {
    return { ...failed, kind: 'upstream', why: `protocol: the answer is cut or broken: ${failed.why}` }
  }
  const hint = hintFor(code)
  return { ...failed, kind: 'network', ...(hint === undefined ? {} : { hint }) }
}

function hintFor(code: string): string | undefined {
  if (/SELF_SIGNED|UNABLE_TO/.test(code)) {
    return 'name the authority that signed the certificate: NODE_EXTRA_CA_CERTS=/path/to/ca.pem'
  }
  if (/WRONG_VERSION_NUMBER/.test(code)) return 'nothing speaks TLS there: check the url of the instance'
  return undefined
}

/** fetch says only "fetch failed"; why is below, once more split when several addresses were tried. */
function rootOf(thrown: unknown): { code: string; message: string } {
  let error = thrown
  for (let depth = 0; depth < 5 && error instanceof Error; depth++) {
    const below = error instanceof AggregateError ? error.errors[0] : error.cause
    if (!(below instanceof Error)) break
    error = below
  }
  if (!(error instanceof Error)) return { code: '', message: String(error) }
  const code = 'code' in error && typeof error.code === 'string' ? error.code : ''
  return { code, message: error.message || code || error.name }
}
