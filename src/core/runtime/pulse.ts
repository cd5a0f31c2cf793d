import type pg from 'pg'

/**
 * Seconds since a loop last turned. A turn of any loop (a claim, a renewal, a stored page, a tick, a pass) begins with
 * asking the pool for a connection, so the asking is what is watched: a database that is down does not stop the pulse,
 * a loop that hangs does.
 */
export function pulseOf(pool: pg.Pool): () => number {
  let beatAt = performance.now()
  const connect = pool.connect.bind(pool) as (...given: unknown[]) => unknown
  pool.connect = ((...given: unknown[]) => {
    beatAt = performance.now()
    return connect(...given)
  }) as typeof pool.connect
  return () => (performance.now() - beatAt) / 1000
}
