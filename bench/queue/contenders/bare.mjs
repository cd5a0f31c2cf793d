/** The floor: a plain table, claim with SKIP LOCKED, delete. No ledger, no limits, no retries. */
import pg from 'pg'
import { connect } from '../server.mjs'
import { loops } from './loops.mjs'

export const CLAIM = `update jobs set status = 1, locked_at = now() where id in (
   select id from jobs where status = 0 and run_at <= now() order by priority, run_at, id limit $1 for update skip locked) returning id`
const FILL = `insert into jobs (payload) select jsonb_build_object('n', n) from generate_series(1, $1::int) n`

const draining = (batch) => async (dsn, concurrency, handled) => {
  const pool = new pg.Pool({ connectionString: dsn, max: concurrency })
  return loops(
    concurrency,
    () => pool.end(),
    async () => {
      const { rows } = await pool.query({ name: 'claim', text: CLAIM, values: [batch] })
      if (rows.length === 0) return false
      handled(rows.length)
      const ids = rows.map((r) => r.id)
      await pool.query({ name: 'ack', text: 'delete from jobs where id = any($1::bigint[])', values: [ids] })
      return true
    },
  )
}

export default {
  name: 'bare SQL',
  async install(dsn) {
    const db = await connect(dsn)
    await db.query(
      `create table jobs (id bigint primary key generated always as identity, status int not null default 0, priority int not null default 100,
         run_at timestamptz not null default now(), locked_at timestamptz, payload jsonb not null)`,
    )
    await db.query('create index jobs_due on jobs (priority, run_at, id) where status = 0')
    await db.end()
  },
  async fill(dsn, count) {
    const db = await connect(dsn)
    await db.query(FILL, [count])
    await db.end()
  },
  left: 'select count(*)::int as n from jobs',
  drains: {
    'bare SQL n=1': { jobs: 6000, drain: draining(1) },
    'bare SQL n=10': { jobs: 15_000, drain: draining(10) },
    'bare SQL n=100': { jobs: 30_000, drain: draining(100) },
  },
  async bulk(dsn) {
    const db = await connect(dsn)
    return {
      insert: (count) =>
        db.query(`insert into jobs (payload) select x from jsonb_array_elements($1::jsonb) x`, [
          JSON.stringify(Array.from({ length: count }, (_, n) => ({ n }))),
        ]),
      end: () => db.end(),
    }
  },
  async listen(dsn, started) {
    const [ear, worker, sender] = await Promise.all([connect(dsn), connect(dsn), connect(dsn)])
    await ear.query('listen jobs')
    const take = async () => {
      const { rows } = await worker.query({ name: 'claim', text: CLAIM, values: [1] })
      if (rows.length === 0) return
      started()
      await worker.query('delete from jobs where id = any($1::bigint[])', [rows.map((r) => r.id)])
    }
    let taken = Promise.resolve()
    ear.on('notification', () => {
      taken = taken.then(take)
    })
    return {
      send: () =>
        sender.query(`with job as (insert into jobs (payload) values ('{}')) select pg_notify('jobs', '')`),
      end: async () => {
        await taken
        await Promise.all([ear.end(), worker.end(), sender.end()])
      },
    }
  },
}
