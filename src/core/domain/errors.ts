/**
 * Every way this program can refuse or fail. A new failure earns a row here before it is thrown.
 * `retry` is what a worker does with the job; `category` is the operators' word in error_summary_json.
 */
export const FAILURES = {
  usage: { retry: 'never', category: 'contract_error' },
  config: { retry: 'never', category: 'contract_error' },
  not_found: { retry: 'never', category: 'repo_not_found' },
  auth: { retry: 'never', category: 'auth_error' },
  permission: { retry: 'never', category: 'permission_denied' },
  unsupported: { retry: 'never', category: 'contract_error' },
  anomaly: { retry: 'never', category: 'contract_error' },
  rate_limited: { retry: 'later', category: 'rate_limit' },
  timeout: { retry: 'later', category: 'timeout' },
  network: { retry: 'later', category: 'network' },
  upstream: { retry: 'later', category: 'server_error' },
  // Not the job's fault: an hour with a full disk must not leave a thousand dead ones behind.
  database: { retry: 'free', category: 'connection' },
  lock_held: { retry: 'free', category: 'lock_held' },
  lease_lost: { retry: 'free', category: 'lease_lost' },
  cancelled: { retry: 'free', category: 'cancelled' },
  // Cancelled too, by the time its caller gave it.
  deadline: { retry: 'free', category: 'cancelled' },
  bug: { retry: 'later', category: 'exception' },
} as const

export type FailureKind = keyof typeof FAILURES

/** HTTP's word for it; a server that says it itself is `not_found`. */
export const GONE = 410

/** The one error class. `hint` says what an operator does next; `cause` keeps the original. */
export class SyncError extends Error {
  override readonly name = 'SyncError'
  readonly kind: FailureKind
  readonly hint: string | undefined
  /** The upstream named a time before which there is no use in asking. */
  readonly retryAfterSeconds: number | undefined
  /** The HTTP status, where that was the failure. */
  readonly status: number | undefined
  /** The bound of a single request that was met: who asked may ask for less, or in another order. */
  readonly limit: 'bytes' | 'offset' | undefined

  constructor(
    kind: FailureKind,
    message: string,
    more: {
      hint?: string
      cause?: unknown
      retryAfterSeconds?: number
      status?: number
      limit?: 'bytes' | 'offset'
    } = {},
  ) {
    super(message, more.cause === undefined ? undefined : { cause: more.cause })
    this.kind = kind
    this.hint = more.hint
    this.retryAfterSeconds = more.retryAfterSeconds
    this.status = more.status
    this.limit = more.limit
  }

  /** What was being read is not there any more: the next try reads what there is now, so it need not wait. */
  get isGone(): boolean {
    return this.kind === 'upstream' && this.status === GONE
  }

  /** Not a failure: somebody, or a deadline, ended it. */
  get isStop(): boolean {
    return this.kind === 'cancelled' || this.kind === 'deadline'
  }

  get category(): string {
    return FAILURES[this.kind].category
  }

  /** never: dead at once · later: backs off · free: given back (due after its kind's wait), the attempt is not counted. */
  get retry(): 'never' | 'later' | 'free' {
    // Who was told when to come back has not failed; an hour of it must not leave dead jobs behind.
    if (this.kind === 'rate_limited' && this.retryAfterSeconds !== undefined) return 'free'
    return FAILURES[this.kind].retry
  }
}
