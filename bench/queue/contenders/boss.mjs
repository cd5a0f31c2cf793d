import pg from 'pg'
import { PgBoss } from 'pg-boss'
import { connect } from '../server.mjs'
import { loops } from './loops.mjs'

const QUEUE = 'noop'
const CHUNK = 10_000

/** An instance that leaves maintenance and schedules alone: nobody else's are measured either. */
async function open(dsn, more = {}) {
  const boss = new PgBoss({ connectionString: dsn, supervise: false, schedule: false, ...more })
  boss.on('error', () => {})
  await boss.start()
  return boss
}

const close = (boss) => boss.stop({ graceful: false, close: true })

const draining = (batchSize) => async (dsn, concurrency, handled) => {
  const boss = await open(dsn, { max: concurrency })
  return loops(
    concurrency,
    () => close(boss),
    async () => {
      const jobs = await boss.fetch(QUEUE, { batchSize })
      if (jobs.length === 0) return false
      handled(jobs.length)
      await boss.complete(
        QUEUE,
        jobs.map((job) => job.id),
      )
      return true
    },
  )
}

/** Its worker, as fast as it goes: full batches follow each other without a pause. */
const working = (batchSize) => async (dsn, concurrency, handled) => {
  const boss = await open(dsn, { max: concurrency })
  const how = { batchSize, burstWhenBatchFull: true, pollingIntervalSeconds: 0.5 }
  for (let n = 0; n < concurrency; n++) await boss.work(QUEUE, how, async (jobs) => handled(jobs.length))
  return () => close(boss)
}

export default {
  name: 'pg-boss',
  async install(dsn) {
    const boss = await open(dsn)
    await boss.createQueue(QUEUE, { notify: true })
    await close(boss)
  },
  /** `busy` of them, the oldest, belong to one group. */
  async fill(dsn, count, { busy = 0 } = {}) {
    const boss = await open(dsn)
    for (let from = 0; from < count; from += CHUNK) {
      const size = Math.min(CHUNK, count - from)
      const job = (n) => ({ data: { n }, ...(n < busy ? { group: { id: 'busy' } } : {}) })
      await boss.insert(
        QUEUE,
        Array.from({ length: size }, (_, n) => job(from + n)),
      )
    }
    await close(boss)
  },
  left: `select count(*)::int as n from pgboss.job where state <> 'completed'`,
  async verify(dsn, count) {
    const db = await connect(dsn)
    const { rows } = await db.query(`select count(*)::int as n from pgboss.job where state = 'completed'`)
    await db.end()
    if (rows[0].n !== count) throw new Error(`pg-boss completed ${rows[0].n} of ${count} jobs`)
  },
  drains: {
    'pg-boss': { jobs: 2500, drain: draining(1) },
    'pg-boss n=100': { jobs: 15_000, drain: draining(100) },
    'pg-boss worker n=100': { jobs: 15_000, drain: working(100) },
  },
  async bulk(dsn) {
    const boss = await open(dsn)
    return {
      insert: (count) =>
        boss.insert(
          QUEUE,
          Array.from({ length: count }, (_, n) => ({ data: { n } })),
        ),
      end: () => close(boss),
    }
  },
  async listen(dsn, started) {
    const boss = await open(dsn, { useListenNotify: true })
    await boss.work(QUEUE, { pollingIntervalSeconds: 0.5 }, async () => started())
    return { send: () => boss.send(QUEUE, {}), end: () => close(boss) }
  },
}

/** Its claim, as it sends it, with `groupConcurrency` as its own limit (null: none). */
export async function claimOf(dsn, groupConcurrency) {
  const pool = new pg.Pool({ connectionString: dsn, max: 2 })
  let caught = null
  const executeSql = async (text, values) => {
    if (/skip locked/i.test(text) && /state = 'active'/.test(text)) {
      caught = { text, values }
      return { rows: [] }
    }
    return pool.query(text, values)
  }
  const boss = await open(dsn, { db: { executeSql } })
  await boss.fetch(QUEUE, { batchSize: 1, ...(groupConcurrency ? { groupConcurrency } : {}) })
  await close(boss)
  await pool.end()
  return caught
}

/** Five of the `busy` group are at work: as many as it may have. */
export async function block(dsn) {
  const db = await connect(dsn)
  await db.query(
    `update pgboss.job set state = 'active', started_on = now() where id in (
       select id from pgboss.job where group_id = 'busy' limit 5)`,
  )
  await db.end()
}
