import { SyncError } from '../domain/errors.ts'

/** SQLSTATEs after which the same transaction may simply be tried again: it lost to another one, or waited too long. */
const TRANSIENT = new Set(['40001', '40P01', '55P03', '57014'])

const READ_ONLY = '25006'

/** The connection is gone or useless: shut down, crashed, in recovery, full, idle too long. */
const LOST = new Set([
  '57P01',
  '57P02',
  '57P03',
  '53300',
  '25P03',
  '25P04',
  '08000',
  '08001',
  '08003',
  '08004',
  '08006',
])
const LOST_ERRNO = new Set([
  'ECONNRESET',
  'ECONNREFUSED',
  'EPIPE',
  'ENOENT',
  'ETIMEDOUT',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'EAI_AGAIN',
])
const LOST_TEXT =
  /connection terminated|connection timeout|timeout exceeded when trying to connect|not queryable|query read timeout|client was closed/i

export function isTransient(cause: unknown): boolean {
  return TRANSIENT.has(codeOf(cause))
}

/** A standby after a failover, which another connection may get around, or an operator's wish, which lasts. */
export function isReadOnly(cause: unknown): boolean {
  return codeOf(cause) === READ_ONLY
}

export function isConnectionLoss(cause: unknown): boolean {
  const original = root(cause)
  const code = codeOf(original)
  return LOST.has(code) || LOST_ERRNO.has(code) || (code === '' && LOST_TEXT.test(messageOf(original)))
}

/** The client stopped waiting: the server may still be at it. */
export function isUnanswered(cause: unknown): boolean {
  return cause !== undefined && codeOf(cause) === '' && /^query read timeout/i.test(messageOf(root(cause)))
}

/** The server ended a statement because it took too long: that may be its data's doing, unlike all that ends a connection. */
export function isTooSlow(cause: unknown): boolean {
  return codeOf(cause) === '57014'
}

/** SQLSTATE or errno; '' when there is none. */
export function codeOf(cause: unknown): string {
  const code = (root(cause) as { code?: unknown } | null)?.code
  return typeof code === 'string' ? code : ''
}

/** Anything node-postgres throws → one clear line. Its own messages hold no values, unlike an ORM's. */
export function toSyncError(cause: unknown): SyncError {
  if (cause instanceof SyncError) return cause
  const code = codeOf(cause)
  const message = messageOf(root(cause)).split('\n')[0] ?? ''
  const kind = isOurMistake(code) ? 'bug' : 'database'
  return new SyncError(kind, `database: ${message || code || 'no answer'}`, {
    ...hintFor(code, message),
    cause,
  })
}

/** A statement the server cannot make sense of, or data it refuses: nothing an operator or a retry could mend. */
function isOurMistake(code: string): boolean {
  return /^(22|23|42|54)/.test(code) && !['42501', '42P01'].includes(code)
}

function hintFor(code: string, message: string): { hint?: string } {
  if (code === 'ECONNREFUSED' || code === 'ENOENT')
    return {
      hint: 'is the server running, and is the DSN right? an embedded one is started by the next command',
    }
  if (code === 'ENOTFOUND' || code === 'EAI_AGAIN') return { hint: 'the host in the DSN has no address' }
  if (code === '28P01' || code === '28000') return { hint: 'check user and password of the DSN' }
  if (code === '3D000') return { hint: 'create the database first: CREATE DATABASE …' }
  if (code === '42501') return { hint: 'grant the user of the DSN rights on schemas public, scm and logbook' }
  if (code === '53100') return { hint: 'make room on the disk of the database server' }
  if (code === '53300')
    return { hint: 'raise max_connections, or the connection limit of the role, or start fewer workers' }
  if (code === READ_ONLY)
    return { hint: 'the server takes no writes; after a failover, let the DSN name the primary' }
  if (code === '55P03' || code === '57014')
    return { hint: 'somebody holds a lock, or the server is slow: see pg_stat_activity' }
  if (code === '42P01' || code === '3F000') return { hint: 'run: engram-scm-sync db migrate' }
  if (/^57P0|^08/.test(code) || LOST_TEXT.test(message))
    return { hint: 'the server does not answer, or is just starting or stopping: try again when it does' }
  return {}
}

function root(cause: unknown): unknown {
  return cause instanceof SyncError && cause.cause !== undefined ? root(cause.cause) : cause
}

/** A refused connection to a name with two addresses is an AggregateError with an empty message. */
function messageOf(cause: unknown): string {
  if (cause instanceof AggregateError && cause.errors.length > 0) return messageOf(cause.errors[0])
  return cause instanceof Error ? cause.message : String(cause)
}
