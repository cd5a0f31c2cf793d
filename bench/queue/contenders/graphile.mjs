import { Logger, makeWorkerUtils, run, runMigrations } from 'graphile-worker'
import pg from 'pg'
import { connect } from '../server.mjs'

const logger = new Logger(() => () => {})
const CHUNK = 10_000

function poolOn(dsn, max) {
  const pool = new pg.Pool({ connectionString: dsn, max })
  pool.on('error', () => {}) // it asks for both listeners
  pool.on('connect', (client) => client.on('error', () => {}))
  return pool
}

async function utils(dsn) {
  const pgPool = poolOn(dsn, 2)
  const made = await makeWorkerUtils({ pgPool, logger })
  return {
    ...made,
    addJobs: made.addJobs.bind(made),
    addJob: made.addJob.bind(made),
    end: async () => {
      await made.release()
      await pgPool.end()
    },
  }
}

const worker = (preset) => async (dsn, concurrency, handled) => {
  const pgPool = poolOn(dsn, concurrency + 2)
  const runner = await run({
    pgPool,
    concurrency,
    logger,
    noHandleSignals: true,
    taskList: { noop: () => handled(1) },
    ...(preset ? { preset: { worker: preset } } : {}),
  })
  return async () => {
    await runner.stop()
    await pgPool.end()
  }
}

/** What its own perfTest runs with. */
const BATCHED = { localQueue: { size: 500 }, completeJobBatchDelay: 0, failJobBatchDelay: 0 }

export default {
  name: 'graphile-worker',
  install: (dsn) => runMigrations({ connectionString: dsn, logger }),
  /** `busy` of them, the oldest, belong to one queue. */
  async fill(dsn, count, { busy = 0 } = {}) {
    const { addJobs, end } = await utils(dsn)
    for (let from = 0; from < count; from += CHUNK) {
      const size = Math.min(CHUNK, count - from)
      const job = (n) => ({ identifier: 'noop', payload: { n }, ...(n < busy ? { queueName: 'busy' } : {}) })
      await addJobs(Array.from({ length: size }, (_, n) => job(from + n)))
    }
    await end()
  },
  left: 'select count(*)::int as n from graphile_worker._private_jobs',
  drains: {
    'graphile-worker': { jobs: 4000, drain: worker(null) },
    'graphile-worker batched': { jobs: 30_000, drain: worker(BATCHED) },
  },
  async bulk(dsn) {
    const { addJobs, end } = await utils(dsn)
    return {
      insert: (count) =>
        addJobs(Array.from({ length: count }, (_, n) => ({ identifier: 'noop', payload: { n } }))),
      end,
    }
  },
  async listen(dsn, started) {
    const stop = await worker(null)(dsn, 1, started)
    const { addJob, end } = await utils(dsn)
    return {
      send: () => addJob('noop', {}),
      end: async () => {
        await stop()
        await end()
      },
    }
  },
}

/** Its claim, as it sends it: text and values of the statement, caught on a real worker's connection. */
export async function claimOf(dsn) {
  const pool = poolOn(dsn, 3)
  let caught = null
  pool.on('connect', (client) => {
    const query = client.query.bind(client)
    client.query = (asked, ...rest) => {
      const isClaim =
        asked?.text?.includes('skip locked') && asked.text.includes('attempts = jobs.attempts + 1')
      if (isClaim && !caught) {
        caught = { text: asked.text, values: asked.values }
        return query('select where false')
      }
      return query(asked, ...rest)
    }
  })
  const runner = await run({
    pgPool: pool,
    concurrency: 1,
    logger,
    noHandleSignals: true,
    taskList: { noop() {} },
  })
  while (caught === null) await new Promise((resolve) => setTimeout(resolve, 5))
  await runner.stop()
  await pool.end()
  return caught
}

/** The queue of the `busy` jobs, held as by a worker that works on one of them. */
export async function block(dsn) {
  const db = await connect(dsn)
  await db.query(
    `update graphile_worker._private_job_queues set locked_by = 'bench', locked_at = now() where queue_name = 'busy'`,
  )
  await db.end()
}
