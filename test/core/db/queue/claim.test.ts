import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { completeJobs } from '../../../../src/core/db/queue/complete.ts'
import { failJob, type HeldJob, renewLeases } from '../../../../src/core/db/queue/jobs.ts'
import { size } from '../../../chaos/size.ts'
import { freshDatabase, servers, type TestDatabase } from '../../../helpers/database.ts'
import { claim, expire, jobOf, one, seedJobs, WIDE } from './fixture.ts'

const end = (held: HeldJob) => ({ held, stats: {}, cursorAfter: null })
const later = {
  retry: 'later' as const,
  delaySeconds: 60,
  summary: { error_category: 'network', error_message: 'x' },
}

/** Of these a claim that looked at them all would read a thousand buffers and more; it may read 60. */
const LONG = size('QUEUE_LONG', 30_000, 100_000)

describe.each(servers())('claiming on the $name server', ({ url }) => {
  let db: TestDatabase
  beforeAll(async () => {
    db = await freshDatabase(url, { max: 20 })
  })
  afterAll(() => db.drop())
  beforeEach(async () => {
    await db.pool.query(
      'truncate ing_task, ing_plan, ing_plan_slice, ing_task_run, ing_task_run_batch, scm.lanes, scm.sync_locks, logbook.kv',
    )
  })

  const idsOf = (held: { jobId: number }[]) => held.map((h) => h.jobId)

  test('a claimed job is running, with lock, run and one fence for all of them', async () => {
    const [id] = await seedJobs(db.pool, [{ repo: 7 }])
    const [held] = await claim(db.pool, { leaseSeconds: 120 })
    expect(held).toMatchObject({
      jobId: id,
      repoId: 7,
      jobType: 'commits',
      attempt: 1,
      leaseSeconds: 120,
      checkpoint: null,
    })
    expect(
      await one(
        db.pool,
        `select t.status, t.lease_owner, t.active_key, t.fence = r.fence and r.fence = l.fence as fenced, r.status_code as run,
                s.status_code as slice, extract(epoch from t.lease_until - t.leased_at)::int as lease
           from ing_task t join ing_task_run r on r.id = t.last_run_id
           join scm.sync_locks l on l.job_id = t.id join ing_plan_slice s on s.id = t.slice_id`,
      ),
    ).toEqual({
      status: 'running',
      lease_owner: 'w1',
      active_key: '7:commits',
      fenced: true,
      run: 'RUNNING',
      slice: 'EXECUTING',
      lease: 120,
    })
    expect(await claim(db.pool)).toEqual([])
  })

  test('inside a lane: priority, then due time, then age; what is not due waits', async () => {
    const ids = await seedJobs(db.pool, [
      { due: -5 },
      { due: -9 },
      { due: -9 },
      { priority: 1 },
      { priority: 0, due: 60 },
    ])
    const order: number[] = []
    for (;;) {
      const [held] = await claim(db.pool)
      if (!held) break
      order.push(held.jobId)
    }
    expect(order).toEqual([ids[3], ids[1], ids[2], ids[0]])
  })

  test('failed jobs are claimable until their attempts are used up, pending ones always', async () => {
    const ids = await seedJobs(db.pool, [
      { status: 'failed', attempts: 2 },
      { status: 'failed', attempts: 3 },
      { status: 'pending', attempts: 3 },
      { status: 'reserved' },
      { status: 'dead', attempts: 3 },
      { status: 'cancelled' },
    ])
    expect(idsOf(await claim(db.pool, { count: 10 })).sort((a, b) => a - b)).toEqual([ids[0], ids[2]])
  })

  test('job types, instances and tenants are obeyed; no instance and no tenant fit every pool', async () => {
    const ids = await seedJobs(db.pool, [
      { type: 'mrs' },
      { instance: 'a', tenant: 't1' },
      { instance: 'b', tenant: 't1' },
      { instance: 'a', tenant: 't2' },
      {},
    ])
    expect(idsOf(await claim(db.pool, { count: 10, jobTypes: ['mrs'] }))).toEqual([ids[0]])
    expect(
      idsOf(await claim(db.pool, { count: 10, instances: ['a'], tenants: ['t1'] })).sort((a, b) => a - b),
    ).toEqual([ids[1], ids[4]])
    expect(idsOf(await claim(db.pool, { count: 10, instances: ['b'] }))).toEqual([ids[2]])
  })

  test('a batch is cut by each of the three limits, and one job per (repo, type)', async () => {
    const many = (n: number, more: object) => Array.from({ length: n }, () => more)
    await seedJobs(db.pool, [
      ...many(5, { instance: 'a', tenant: 't1' }),
      ...many(5, { instance: 'a', tenant: 't2' }),
      ...many(5, { instance: 'b', tenant: 't1' }),
      ...many(5, { repo: 1, mode: 'backfill' }),
    ])
    await claim(db.pool, { count: 50, limits: { running: 50, perInstance: 3, perTenant: 4 } })
    const counts = await db.pool.query(
      `select instance_key, tenant_id, count(*)::int as n from ing_task where status = 'running' group by 1, 2`,
    )
    const by = (key: string, value: string) =>
      counts.rows.filter((r) => r[key] === value).reduce((n, r) => n + r.n, 0)
    expect(by('instance_key', 'a')).toBe(3)
    expect(by('tenant_id', 't1')).toBeLessThanOrEqual(4)
    expect(by('instance_key', 'b')).toBeGreaterThanOrEqual(1)
    expect(by('instance_key', '')).toBe(1)
    expect(
      await claim(db.pool, { count: 50, limits: { running: 5, perInstance: 50, perTenant: 50 } }),
    ).toEqual([])
  })

  test('one lane gives a whole batch; two lanes share it', async () => {
    await seedJobs(
      db.pool,
      Array.from({ length: 12 }, () => ({ tenant: 't1' })),
    )
    expect(await claim(db.pool, { count: 6 })).toHaveLength(6)
    await seedJobs(
      db.pool,
      Array.from({ length: 4 }, () => ({ tenant: 't2' })),
    )
    await claim(db.pool, { count: 4 })
    const { n } = await one(
      db.pool,
      `select count(*)::int as n from ing_task where status = 'running' and tenant_id = 't2'`,
    )
    expect(n).toBeGreaterThanOrEqual(2)
  })

  test('the tenant with least running goes first, however long the queue of the other', async () => {
    await seedJobs(db.pool, [
      ...Array.from({ length: 30 }, () => ({ tenant: 'big', priority: 1 })),
      { tenant: 'small' },
      { tenant: 'small' },
    ])
    for (let i = 0; i < 4; i++) await claim(db.pool)
    const { n } = await one(
      db.pool,
      `select count(*)::int as n from ing_task where status = 'running' and tenant_id = 'small'`,
    )
    expect(n).toBe(2)
  })

  test.each([
    ['a pause that goes on', { paused_until: 4e9, reason: 'x' }, false],
    ['a pause that is over', { paused_until: 1 }, true],
    ['a pause without an end', { reason: 'x' }, true],
    ['an end that is a number as text', { paused_until: ' 4000000000.5 ' }, false],
    ['such an end that is over', { paused_until: '1' }, true],
    ['an end in ISO 8601', { paused_until: '2100-01-01T00:00:00Z' }, false],
    ['an end as PostgreSQL prints it', { paused_until: '2100-01-01 08:00:00.123+08' }, false],
    ['a date for an end', { paused_until: '2100-01-01' }, false],
    ['such an end that is over, too', { paused_until: '2020-01-01T00:00:00Z' }, true],
    ['a date no calendar has', { paused_until: '2100-02-31' }, true],
    ['an hour no clock has', { paused_until: '2100-01-01T99:00:00Z' }, true],
    ['a word', { paused_until: 'tomorrow' }, true],
    ['an end beyond a double, as text', { paused_until: '9'.repeat(400) }, false],
    ['an end before all time', { paused_until: -1e300 }, true],
    ['an end that is a list', { paused_until: [4e9] }, true],
    ['an end beyond a double', null, false],
    ['a bare string', 'paused', true],
    ['a list', [1], true],
  ])('%s', async (why, value, claimable) => {
    const [id] = await seedJobs(db.pool, [{ repo: 9 }])
    const json = why === 'an end beyond a double' ? '{"paused_until": 1e400}' : JSON.stringify(value)
    await db.pool.query(
      `insert into logbook.kv (namespace, key, value_json) values ('scm.sync_pauses', '9:commits', $1)`,
      [json],
    )
    expect(idsOf(await claim(db.pool))).toEqual(claimable ? [id] : [])
  })

  test.each([
    ['open', { state: 'open' }, false],
    ['closed', { state: 'closed' }, true],
    ['in capitals', { state: 'OPEN', opened_by: null }, false],
    ['with a blank', { state: 'open ' }, false],
    ['closed in capitals, with a blank', { state: ' Closed\n' }, true],
    ['a bare string', 'open', false],
    ['a bare string that says closed', 'closed', true],
    [
      'a word that is no state, whoever wrote the row',
      { state: 'opne', opened_by: 'scheduler', credits: 9 },
      false,
    ],
    ['a state that is no word', { state: 7 }, false],
    ['a list', ['open'], false],
    ['no state', {}, true],
    ['null', null, true],
  ])('the global breaker: %s', async (_why, value, claimable) => {
    await seedJobs(db.pool, [{}])
    await db.pool.query(
      `insert into logbook.kv (namespace, key, value_json) values ('scm.sync_health', 'default:global', $1)`,
      [JSON.stringify(value)],
    )
    expect(await claim(db.pool)).toHaveLength(claimable ? 1 : 0)
  })

  test('a live lock of the same (repo, type) keeps a job waiting, a lapsed one does not', async () => {
    const [first, second] = await seedJobs(db.pool, [
      { repo: 5, mode: 'backfill' },
      { repo: 5, mode: 'backfill' },
    ])
    expect(idsOf(await claim(db.pool))).toEqual([first])
    expect(await claim(db.pool)).toEqual([])
    await expire(db.pool, first as number)
    expect(idsOf(await claim(db.pool))).toEqual([second])
  })

  test('a job whose lease is over is taken with a new fence, and its old owner can write nothing', async () => {
    const [id] = await seedJobs(db.pool, [{}])
    const [zombie] = await claim(db.pool)
    await expire(db.pool, id as number, 1)
    const [held] = await claim(db.pool, { worker: 'w2' })
    expect(held).toMatchObject({ jobId: id, attempt: 2 })
    expect(held!.fence).toBeGreaterThan(zombie!.fence)

    expect(await renewLeases(db.pool, [zombie!])).toEqual(new Set())
    expect(await completeJobs(db.pool, [end(zombie!)])).toEqual(new Set())
    expect(await failJob(db.pool, zombie!, later)).toBeNull()
    expect(await jobOf(db.pool, id as number)).toMatchObject({
      status: 'running',
      lease_owner: 'w2',
      attempts: 2,
    })
    const runs = await db.pool.query('select status_code from ing_task_run order by id')
    expect(runs.rows.map((r) => r.status_code)).toEqual(['FAILED', 'RUNNING'])
    expect((await one(db.pool, 'select fence from scm.sync_locks')).fence).toBe(held!.fence)
  })

  test('a lease that is over is not taken beyond the attempts, nor beyond a limit, nor while paused', async () => {
    const ids = await seedJobs(db.pool, [{ instance: 'a' }, { instance: 'a' }, { repo: 3 }])
    await claim(db.pool, { count: 3 })
    for (const id of ids) await expire(db.pool, id)
    await db.pool.query(`update ing_task set attempts = 3, updated_at = clock_timestamp() where id = $1`, [
      ids[0],
    ])
    await db.pool.query(
      `insert into logbook.kv values ('scm.sync_pauses', '3:commits', '{"paused_until": 4e9}')`,
    )
    expect(await claim(db.pool, { count: 3, limits: { ...WIDE, perInstance: 0 } })).toEqual([])
    expect(idsOf(await claim(db.pool, { count: 3 }))).toEqual([ids[1]])
  })

  test('a dead job set to pending beside its successor: both are worked off, one after the other', async () => {
    const [old] = await seedJobs(db.pool, [{ repo: 4, status: 'dead', attempts: 3 }])
    const [young] = await seedJobs(db.pool, [{ repo: 4 }])
    await db.pool.query(`update scm.sync_jobs set status = 'pending', attempts = 0 where job_id = $1`, [old])
    const [first] = await claim(db.pool, { count: 5 })
    expect(await claim(db.pool)).toEqual([])
    await completeJobs(db.pool, [end(first!)])
    const [next] = await claim(db.pool)
    expect(new Set([first!.jobId, next!.jobId])).toEqual(new Set([old, young]))
  })

  test('a failure waits its delay give or take a fifth, and is dead when the attempts are used up', async () => {
    const ids = await seedJobs(
      db.pool,
      Array.from({ length: 20 }, () => ({ attempts: 1 })),
    )
    for (const held of await claim(db.pool, { count: 20 }))
      expect(await failJob(db.pool, held, later)).toBe('failed')
    const waits = await db.pool.query(
      `select extract(epoch from scheduled_at - updated_at)::float8 as s from ing_task`,
    )
    const seconds = waits.rows.map((r) => r.s)
    expect(Math.min(...seconds)).toBeGreaterThan(47.9)
    expect(Math.max(...seconds)).toBeLessThan(72.1)
    expect(new Set(seconds).size).toBeGreaterThan(10)

    await db.pool.query(
      `update ing_task set scheduled_at = now(), parked_until = null, updated_at = clock_timestamp()`,
    )
    const [held] = await claim(db.pool)
    expect(await failJob(db.pool, held!, later)).toBe('dead')
    expect(ids).toContain(held!.jobId)
  })

  describe('what may not run now is parked', () => {
    const parked = async () =>
      (await one(db.pool, 'select count(*) as n from ing_task where parked_until is not null')).n

    test('chunks behind a locked one; each end lets the next in at once', async () => {
      const ids = await seedJobs(
        db.pool,
        Array.from({ length: 120 }, () => ({ repo: 5, mode: 'backfill' })),
      )
      const [first] = await claim(db.pool)
      expect(await claim(db.pool, { count: 8 })).toEqual([])
      expect(await parked()).toBe(119)
      expect((await one(db.pool, 'select count(*) as n from scm.lanes')).n).toBe(0)

      let held = first!
      for (const next of ids.slice(1, 5)) {
        await completeJobs(db.pool, [end(held)])
        const [got, ...more] = await claim(db.pool, { count: 8 })
        expect([got?.jobId, more]).toEqual([next, []])
        held = got!
      }
      await db.pool.query('delete from scm.sync_locks')
      expect(idsOf(await claim(db.pool, { count: 8 }))).toEqual([ids[5]])
    })

    test('a paused pair, until the pause is over, taken away or changed', async () => {
      const ids = await seedJobs(db.pool, [{ repo: 1 }, { repo: 2 }, { repo: 3 }, { repo: 4 }])
      await db.pool.query(
        `insert into logbook.kv select 'scm.sync_pauses', n || ':commits', '{"paused_until": 4e9}' from generate_series(1, 3) n`,
      )
      expect(idsOf(await claim(db.pool, { count: 9 }))).toEqual([ids[3]])
      expect(await parked()).toBe(3)
      await db.pool.query(`delete from logbook.kv where key = '1:commits'`)
      await db.pool.query(`update logbook.kv set value_json = '{"paused_until": 1}' where key = '2:commits'`)
      expect(new Set(idsOf(await claim(db.pool, { count: 9 })))).toEqual(new Set(ids.slice(0, 2)))
      await db.pool.query(
        `update ing_task set parked_until = now() - interval '1 second', updated_at = clock_timestamp() where parked_until is not null`,
      )
      await db.pool.query(`update logbook.kv set value_json = '{"paused_until": 1}'`)
      expect(idsOf(await claim(db.pool, { count: 9 }))).toEqual([ids[2]])
    })

    test('a job put off by hand, until that hand says otherwise', async () => {
      const [id] = await seedJobs(db.pool, [{}])
      await db.pool.query(`update scm.sync_jobs set not_before = now() + interval '1 day'`)
      expect(await claim(db.pool)).toEqual([])
      expect(await parked()).toBe(1)
      await db.pool.query(`update ing_task set scheduled_at = now(), updated_at = clock_timestamp()`)
      expect(idsOf(await claim(db.pool))).toEqual([id])
    })

    test('a dead job set to pending has a lane again, whatever else the statement sets', async () => {
      const [id] = await seedJobs(db.pool, [{ tenant: 't', instance: 'i', status: 'dead' }])
      expect(await claim(db.pool)).toEqual([])
      expect((await one(db.pool, 'select count(*) as n from scm.lanes')).n).toBe(0)
      await db.pool.query(
        `update ing_task set status = 'pending', scheduled_at = now(), updated_at = clock_timestamp()`,
      )
      expect(idsOf(await claim(db.pool))).toEqual([id])
    })

    test('a job put off beyond the end of its pause comes when it is due, not when the pause would have ended', async () => {
      const [id] = await seedJobs(db.pool, [{ repo: 1 }])
      await db.pool.query(
        `insert into logbook.kv values ('scm.sync_pauses', '1:commits', '{"paused_until": 4e9}')`,
      )
      await db.pool.query(`update scm.sync_jobs set not_before = now() + interval '0.3 seconds'`)
      expect(await claim(db.pool)).toEqual([])
      await db.pool.query('delete from logbook.kv')
      expect(await claim(db.pool)).toEqual([])
      await new Promise((resolve) => setTimeout(resolve, 350))
      expect(idsOf(await claim(db.pool))).toEqual([id])
    })

    test('a page that is being stored under the lock does not stop the lane', async () => {
      const ids = await seedJobs(db.pool, [
        { repo: 1, mode: 'backfill', priority: 1 },
        { repo: 1, mode: 'backfill', priority: 1 },
        { repo: 2, priority: 9 },
      ])
      const [held] = await claim(db.pool)
      expect(held!.jobId).toBe(ids[0])
      const page = await db.pool.connect()
      try {
        await page.query('begin')
        await renewLeases(page, [held!])
        expect(idsOf(await claim(db.pool))).toEqual([ids[2]])
        await page.query('commit')
      } finally {
        page.release()
      }
    })

    test('a job moved to another tenant, or given more attempts, is looked at afresh', async () => {
      const [moved, tried] = await seedJobs(db.pool, [
        { tenant: 'a' },
        { tenant: 'b', status: 'failed', attempts: 3 },
      ])
      expect(idsOf(await claim(db.pool, { tenants: ['b'] }))).toEqual([])
      await db.pool.query(`update scm.sync_jobs set tenant_id = 'c' where job_id = $1`, [moved])
      expect(idsOf(await claim(db.pool, { tenants: ['c'] }))).toEqual([moved])
      await db.pool.query('update scm.sync_jobs set max_attempts = 9 where job_id = $1', [tried])
      expect(idsOf(await claim(db.pool, { tenants: ['b'] }))).toEqual([tried])
    })

    test('two thousand paused pairs at the head cost the claims after the first ones nothing', async () => {
      const ids = await seedJobs(db.pool, [
        ...Array.from({ length: 2000 }, (_, n) => ({ repo: n + 1, priority: 1 })),
        ...Array.from({ length: 4 }, (_, n) => ({ repo: 5000 + n, priority: 900 })),
      ])
      await db.pool.query(
        `insert into logbook.kv select 'scm.sync_pauses', n || ':commits', '{"paused_until": 4e9}' from generate_series(1, 2000) n`,
      )
      const got: number[] = []
      for (let n = 0; n < 5 && got.length === 0; n++) got.push(...idsOf(await claim(db.pool)))
      expect(got).toEqual([ids[2000]])
      await claim(db.pool) // walks once over what was parked a moment ago
      const explained = await one(
        db.pool,
        `explain (analyze, buffers, format json) select * from scm.claim_jobs('default', 1, 'w', 300, '{commits}', null, null, 100, 50, 5)`,
      )
      const { Plan: plan } = explained['QUERY PLAN'][0]
      expect(plan['Actual Rows']).toBe(1)
      expect(plan['Shared Hit Blocks'] + plan['Shared Read Blocks']).toBeLessThan(300)
    })
  })

  test('a job ended by hand frees its pair, and its chunk and plan say so', async () => {
    const ends = { cancelled: 'FAILED', dead: 'FAILED', completed: 'COMPLETED' }
    for (const [status, plan] of Object.entries(ends)) {
      const [id] = await seedJobs(db.pool, [{}])
      await db.pool.query('update scm.sync_jobs set status = $2 where job_id = $1', [id, status])
      expect(
        await one(
          db.pool,
          `select active_key, finished_at is not null as finished, p.status_code as plan from ing_task t join ing_plan p on p.id = t.plan_id
            where t.id = $1`,
          [id],
        ),
      ).toEqual({ active_key: null, finished: true, plan })
    }
  })

  test('nothing is claimed in a transaction whose counts would be older than its turn', async () => {
    await seedJobs(db.pool, [{}])
    const client = await db.pool.connect()
    try {
      await client.query('begin isolation level repeatable read')
      await expect(
        client.query(
          `select * from scm.claim_jobs('default', 1, 'w', 300, '{commits}', null, null, 9, 9, 9)`,
        ),
      ).rejects.toThrow(/read committed/)
    } finally {
      await client.query('rollback')
      client.release()
    }
    expect(await claim(db.pool)).toHaveLength(1)
  })

  test('a run whose number nobody remembers does not stop the queue', async () => {
    const [id] = await seedJobs(db.pool, [{}, {}])
    const [held] = await claim(db.pool)
    await failJob(db.pool, held!, { ...later, retry: 'free', delaySeconds: 0 })
    await db.pool.query('update scm.sync_jobs set last_run_id = null where job_id = $1', [id])
    expect(await claim(db.pool, { count: 2 })).toHaveLength(2)
  })

  test('limits hold at every instant: 16 connections claim and complete while the counts are sampled', async () => {
    const jobs = Array.from({ length: 600 }, (_, i) => ({ instance: `i${i % 3}`, tenant: `t${i % 4}` }))
    await seedJobs(db.pool, jobs)
    const limits = { running: 7, perInstance: 3, perTenant: 2 }
    let left = 600
    let samples = 0
    const over: unknown[] = []
    const claimer = async (n: number) => {
      while (left > 0) {
        const held = await claim(db.pool, { worker: `w${n}`, count: 1 + (n % 3), limits })
        await completeJobs(db.pool, held.map(end))
        left -= held.length
      }
    }
    const sampler = async () => {
      while (left > 0) {
        const { rows } = await db.pool.query(
          `select 'all' as key, count(*) as n from ing_task where status = 'running'
           union all select instance_key, count(*) from ing_task where status = 'running' group by 1
           union all select tenant_id, count(*) from ing_task where status = 'running' group by 1`,
        )
        samples++
        for (const r of rows) if (r.n > (r.key === 'all' ? 7 : r.key.startsWith('i') ? 3 : 2)) over.push(r)
      }
    }
    await Promise.all([sampler(), ...Array.from({ length: 16 }, (_, n) => claimer(n))])
    expect(over).toEqual([])
    expect(samples).toBeGreaterThan(20)
    const { rows } = await db.pool.query(
      'select task_id from ing_task_run group by task_id having count(*) > 1',
    )
    expect(rows).toEqual([])
  })

  test.each([
    ['plans made when it was empty', LONG],
    ['statistics of when it was nearly empty', 10_000],
    ['fresh statistics', LONG],
    ['short lanes', 10_000],
  ])(
    'a claim reads few buffers although three fifths of all jobs stand blocked at its head: %s, %i jobs',
    async (when, total) => {
      const client = await db.pool.connect()
      try {
        const buffers = async (call: string) => {
          const explained = await client.query(
            `explain (analyze, buffers, format json) select * from ${call}`,
          )
          const { Plan: plan } = explained.rows[0]['QUERY PLAN'][0]
          return plan['Shared Hit Blocks'] + plan['Shared Read Blocks']
        }
        const claiming = `scm.claim_jobs('default', 1, 'w', 300, '{commits,mrs,reviews}', null, null, 100, 50, 5)`
        const holding = (n: number) => `scm.hold_jobs(array[${n}::bigint], 'w', 300, array['pending'], null)`
        if (when === 'statistics of when it was nearly empty') {
          await seedJobs(
            db.pool,
            Array.from({ length: 100 }, (_, n) => ({ repo: n + 1 })),
          )
          await db.pool.query(`update scm.sync_jobs set status = 'completed'`)
          await db.pool.query('vacuum analyze')
        }
        const isKept = when !== 'fresh statistics' && when !== 'short lanes'
        if (isKept) {
          await seedJobs(db.pool, [{}])
          for (let n = 0; n < 3; n++) await buffers(claiming)
        }
        await db.pool.query(
          `insert into ing_task (schedule_instance_id, plan_id, slice_id, provenance_code, operation_code, repo_id, job_type, mode, instance_key,
              tenant_id, idempotent_key, expr_hash, priority, status, scheduled_at)
       select 1, n, n, 'git:' || n, 'HARVEST', n, 'commits', 'incremental', 'i' || case when n <= $1 * 0.6 then 0 else n % 8 end,
              't' || case when n <= $1 * 0.6 then 0 else 1 + n % 12 end, encode(sha256(n::text::bytea), 'hex'), repeat('0', 64),
              case when n <= $1 * 0.6 then 1 else 100 end, 'pending', now() - interval '1 hour'
         from generate_series(1, $1::int) n on conflict do nothing`,
          [total],
        )
        await db.pool.query(
          `insert into ing_plan_slice (id, plan_id, slice_no, slice_signature_hash, slice_spec, expr_hash, expr_snapshot)
       overriding system value select n, n, 0, repeat('0', 64), '{"window": {}}', repeat('0', 64), '{}' from generate_series(1, $1::int) n on conflict do nothing`,
          [total],
        )
        await db.pool.query(
          `insert into scm.lanes (tenant_id, instance_key) select distinct tenant_id, instance_key from ing_task on conflict do nothing`,
        )
        if (!isKept) await db.pool.query('vacuum analyze')

        // The tenant of the three fifths has all it may have.
        const limits = { running: 100, perInstance: 50, perTenant: 5 }
        expect(await claim(db.pool, { count: 9, tenants: ['t0'], limits })).toHaveLength(5)
        expect(await claim(db.pool, { count: 9, tenants: ['t0'], limits })).toEqual([])

        const { id } = await one(db.pool, 'select max(id)::bigint as id from ing_task')
        for (const call of [claiming, holding(id), claiming, holding(id - 1)]) await buffers(call)

        // What a claim writes (lock, run, slice, job and their indexes) is the same however long the queue is.
        const written = await buffers(holding(id - 2))
        const read = (await buffers(claiming)) - written
        expect(read).toBeGreaterThan(0)
        expect(read).toBeLessThanOrEqual(60)
        process.stderr.write(`a claim reads ${read} buffers and writes through ${written}\n`)
      } finally {
        client.release()
      }
    },
  )
})
