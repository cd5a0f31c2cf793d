import pg from 'pg'
import { SyncError } from '../domain/errors.ts'
import { cancelStatement } from './cancel.ts'
import { isConnectionLoss, isReadOnly, isTransient, isUnanswered, toSyncError } from './failure.ts'

/** A pool or one client inside a transaction: every function of this room takes either. */
export type Db = pg.Pool | pg.PoolClient

const INT8 = 20
// Ids and counts stay far below 2^53; node-postgres would hand them over as strings.
const types = {
  getTypeParser: ((oid: number, format?: 'text' | 'binary') =>
    oid === INT8 && format !== 'binary'
      ? Number
      : pg.types.getTypeParser(oid, format as 'text')) as typeof pg.types.getTypeParser,
}

export interface PoolOptions {
  dsn: string
  max: number
  applicationName: string
  /**
   * Longest a statement may take; a little later the client gives up, has it cancelled and drops the connection. Null
   * waits for as long as it takes.
   */
  statementTimeoutMs: number | null
  onLost?: (error: Error) => void
}

const CONNECT_TIMEOUT_MS = 10_000
/** A half-open connection answers nothing, not even a cancel: after this much more the client is thrown away. */
const ANSWER_GRACE_MS = 5_000

export function openPool(o: PoolOptions): pg.Pool {
  const pool = new pg.Pool({
    connectionString: o.dsn,
    max: o.max,
    application_name: o.applicationName,
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    query_timeout: o.statementTimeoutMs === null ? 0 : o.statementTimeoutMs + ANSWER_GRACE_MS,
    keepAlive: true,
    types,
  })
  // Without a listener an idle client's loss (server restart, pg_terminate_backend) ends the process.
  pool.on('error', (error) => o.onLost?.(toSyncError(error)))
  // The same for one that is lent out: whoever has it hears of the loss from its query, and the pool does not listen.
  pool.on('connect', (client) => client.on('error', () => {}))
  pool.on('release', (error: Error | undefined, client) => {
    if (isUnanswered(error)) cancelStatement(client)
  })
  letGoAtTheEnd(pool)
  return pool
}

/** A closing connection waits for the server's goodbye; from one that is frozen none comes, and the process would stay. */
function letGoAtTheEnd(pool: pg.Pool): void {
  const open = new Set<pg.PoolClient>()
  pool.on('connect', (client) => open.add(client))
  pool.on('remove', (client) => open.delete(client))
  const end = pool.end.bind(pool) as () => Promise<void>
  pool.end = (async () => {
    await end()
    for (const client of open) (client as unknown as { unref: () => void }).unref()
  }) as typeof pool.end
}

/** One named statement; parsed and planned once per connection. */
export async function rows<T>(db: Db, name: string, text: string, values: unknown[] = []): Promise<T[]> {
  try {
    const result = await db.query({ name, text, values })
    return result.rows as T[]
  } catch (cause) {
    throw toSyncError(cause)
  }
}

export async function row<T>(db: Db, name: string, text: string, values: unknown[] = []): Promise<T | null> {
  return (await rows<T>(db, name, text, values))[0] ?? null
}

/** The clock that decides. Milliseconds, because that is what a JavaScript Date and a watermark's text can carry. */
export async function databaseNow(db: Db): Promise<Date> {
  const found = await row<{ now: Date }>(
    db,
    'clock',
    `select date_trunc('milliseconds', clock_timestamp()) as now`,
  )
  return (found as { now: Date }).now
}

export interface Limits {
  /** Longest a transaction may sit idle or wait for a lock; below half the lease, so a stopped owner lets go in time. */
  transactionMs: number
  /** Longest one statement of it may run on the server. */
  statementMs: number
  /** Committed only before then (ms of performance.now()): what it moves on must not have ended meanwhile. */
  commitBefore?: number
  signal: AbortSignal
}

const TRIES = 5
const PATIENCE_MS = 60_000

/**
 * Runs `work` in one transaction, as `patiently` does: from the start, and after a break nobody knows whether COMMIT
 * arrived, so `work` must find the same end when all of it is there already.
 */
export async function transaction<T>(
  pool: pg.Pool,
  limits: Limits,
  work: (tx: pg.PoolClient) => Promise<T>,
): Promise<T> {
  return patiently(limits.signal, () => once(pool, limits, work))
}

/**
 * Runs what may be done twice, again when the server asked for it (deadlock, serialization, a timeout) or the connection
 * broke; a connection that was idle may have been dead for hours. For a minute at most, beside the last try itself.
 */
export async function patiently<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
  const startedAt = performance.now()
  for (let attempt = 1; ; attempt++) {
    try {
      return await work()
    } catch (cause) {
      if (signal.aborted || cause instanceof Rollback) throw cause
      const again = isConnectionLoss(cause) || ((isTransient(cause) || isReadOnly(cause)) && attempt < TRIES)
      if (!again || performance.now() - startedAt > PATIENCE_MS) throw toSyncError(cause)
      await pause(Math.min(50 * 2 ** attempt, 2_000) * (0.5 + Math.random() / 2), signal)
    }
  }
}

/** Thrown inside `transaction` to undo it and hand a value out. */
export class Rollback extends Error {
  readonly value: unknown
  constructor(value: unknown) {
    super('rolled back')
    this.value = value
  }
}

async function once<T>(pool: pg.Pool, limits: Limits, work: (tx: pg.PoolClient) => Promise<T>): Promise<T> {
  const ms = Math.max(1, Math.floor(limits.transactionMs))
  const statementMs = Math.max(1, Math.min(ms, Math.floor(limits.statementMs)))
  const client = await pool.connect()
  let broken: Error | undefined
  try {
    await client.query(
      `begin; set local statement_timeout = ${statementMs}; set local idle_in_transaction_session_timeout = ${ms}; set local lock_timeout = ${ms}`,
    )
    const value = await work(client)
    if (limits.commitBefore !== undefined && performance.now() > limits.commitBefore)
      throw new SyncError('lease_lost', 'the transaction took longer than the lease had left')
    await client.query('commit')
    return value
  } catch (cause) {
    // One that is read-only may be the way to the wrong server.
    broken = isConnectionLoss(cause) || isReadOnly(cause) ? (cause as Error) : undefined
    if (!broken) {
      await client.query('rollback').catch((error: Error) => {
        broken = error
      })
    }
    throw cause
  } finally {
    client.release(broken)
  }
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(done, ms)
    signal.addEventListener('abort', stop, { once: true })
    function done() {
      signal.removeEventListener('abort', stop)
      resolve()
    }
    function stop() {
      clearTimeout(timer)
      reject(new SyncError('cancelled', 'stopped while waiting for the database'))
    }
  })
}
