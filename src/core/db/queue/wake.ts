import type pg from 'pg'

export interface Ear {
  /** False once the connection is gone: listen again. */
  readonly hears: boolean
  stop(): void
}

/**
 * Calls `heard` when jobs were enqueued. A hint only: behind a transaction pooler nothing ever comes, and what is
 * notified while nobody listens is lost, so whoever uses this polls too.
 */
export async function listenForJobs(pool: pg.Pool, heard: () => void): Promise<Ear> {
  const client = await pool.connect()
  let hears = true
  const stop = () => {
    if (!hears) return
    hears = false
    client.release(true) // not back into the pool: it would go on listening there
  }
  client.on('error', () => {
    stop()
    heard() // so that whoever sleeps listens again, and looks at what it may have missed
  })
  client.on('notification', heard)
  try {
    await client.query('listen scm_jobs')
  } catch (error) {
    stop()
    throw error
  }
  return {
    get hears() {
      return hears
    },
    stop,
  }
}
