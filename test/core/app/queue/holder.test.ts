import type pg from 'pg'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { makeHolder } from '../../../../src/core/app/sync/holder.ts'
import { transaction } from '../../../../src/core/db/connect.ts'
import type { HeldJob } from '../../../../src/core/db/queue/jobs.ts'
import { contextOn, type Wishes } from '../../../helpers/context.ts'
import { freshDatabase, servers, type TestDatabase } from '../../../helpers/database.ts'
import { claim, jobOf, one, seedJobs } from '../../db/queue/fixture.ts'

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

describe.each(servers())('holding jobs on the $name server', ({ url }) => {
  let db: TestDatabase
  beforeAll(async () => {
    db = await freshDatabase(url)
  })
  afterAll(() => db.drop())
  beforeEach(() =>
    db.pool.query(
      'truncate ing_task, ing_plan, ing_plan_slice, ing_task_run, scm.sync_locks, scm.lanes, logbook.kv',
    ),
  )

  /** A holder whose statements are counted by name. */
  function counting(wishes: Wishes = {}) {
    const sent: string[] = []
    const counted = new Proxy(db.pool, {
      get: (pool, key) =>
        key === 'query'
          ? (q: { name?: string }) => {
              sent.push(String(q.name))
              return pool.query(q as pg.QueryConfig)
            }
          : Reflect.get(pool, key),
    })
    return { sent, holder: makeHolder(contextOn(counted, wishes)) }
  }
  const poll = (held: HeldJob) => ({
    held,
    stats: { pages: 0 },
    cursorAfter: null,
    kvKey: `git_cursor:${held.repoId}`,
  })

  test('one statement renews all that is held; what is lost hears of it, the rest goes on', async () => {
    await seedJobs(db.pool, [{}, {}, {}])
    const jobs = await claim(db.pool, { count: 3, leaseSeconds: 3 })
    const { sent, holder } = counting({ lease: 0.3 })
    const leases = jobs.map((held) => holder.keep(held))
    await db.pool.query('delete from scm.sync_locks where job_id = $1', [jobs[1]!.jobId])
    await pause(250)
    expect(leases.map((l) => l.signal.aborted)).toEqual([false, true, false])
    expect(sent.length).toBeGreaterThan(0)
    expect(new Set(sent)).toEqual(new Set(['job_renew']))
    expect(sent.length).toBeLessThanOrEqual(3)
    for (const lease of leases) lease.stop()
    const before = sent.length
    await pause(250)
    expect(sent.length).toBe(before)
  })

  test('polls that end together are completed in one statement, and say that they looked', async () => {
    await seedJobs(db.pool, [{ repo: 1 }, { repo: 2 }, { repo: 3 }])
    await db.pool.query(
      `insert into logbook.kv (namespace, key, value_json, updated_at) values
         ('scm.sync', 'git_cursor:1', '{"watermark": "2026-01-01T00:00:00Z", "run_id": "7", "updated_at": "old"}', now() - interval '1 day'),
         ('scm.sync', 'git_cursor:2', '"2026-01-01T00:00:00Z"', now() - interval '1 day')`,
    )
    const jobs = await claim(db.pool, { count: 3 })
    const { sent, holder } = counting()
    const leases = jobs.map((held) => holder.keep(held))
    expect(await Promise.all(jobs.map((held) => holder.endPoll(poll(held))))).toEqual([true, true, true])
    for (const lease of leases) lease.stop()
    expect(sent).toEqual(['job_complete_polls'])
    expect(
      await one(
        db.pool,
        `select (select count(*) from ing_task where status = 'completed') as jobs, (select count(*) from scm.sync_locks) as locks,
                (select count(*) from ing_plan where status_code = 'COMPLETED') as plans, (select count(*) from ing_cursor_event) as events`,
      ),
    ).toEqual({ jobs: 3, locks: 0, plans: 3, events: 0 })
    const { rows } = await db.pool.query(
      `select value_json as value, updated_at > now() - interval '1 minute' as young from logbook.kv order by key`,
    )
    expect(rows).toMatchObject([
      { value: { watermark: '2026-01-01T00:00:00Z', run_id: '7' }, young: true },
      { value: '2026-01-01T00:00:00Z', young: true },
    ])
    expect(Date.parse(rows[0].value.updated_at)).toBeGreaterThan(Date.now() - 60_000)
  })

  test('a poll whose lock an operator took away is not completed', async () => {
    const [id] = await seedJobs(db.pool, [{}])
    const [held] = await claim(db.pool)
    await db.pool.query('delete from scm.sync_locks')
    expect(await counting().holder.endPoll(poll(held!))).toBe(false)
    expect(await jobOf(db.pool, id as number)).toMatchObject({ status: 'running' })
  })

  test('what takes longer than the lease has left is not committed: others may have filled the place', async () => {
    await seedJobs(db.pool, [{}])
    const [held] = await claim(db.pool, { leaseSeconds: 1 })
    const lease = counting().holder.keep(held!)
    const store = (ms: number) =>
      lease.store((limits) =>
        transaction(db.pool, { ...limits, transactionMs: 10_000, statementMs: 10_000 }, async (tx) => {
          await tx.query(`insert into logbook.kv values ('test', $1, '1')`, [String(ms)])
          await pause(ms)
        }),
      )
    await store(10)
    await expect(store(1200)).rejects.toMatchObject({ kind: 'lease_lost' })
    lease.stop()
    expect((await db.pool.query(`select key from logbook.kv where namespace = 'test'`)).rows).toEqual([
      { key: '10' },
    ])
  })
})
