import type pg from 'pg'
import { describe, expect, test } from 'vitest'
import { openPool } from '../../src/core/db/connect.ts'
import { insertPlans } from '../../src/core/db/ledger/plans.ts'
import { claimJobs } from '../../src/core/db/queue/claim.ts'
import { completeJobs } from '../../src/core/db/queue/complete.ts'
import type { HeldJob } from '../../src/core/db/queue/jobs.ts'
import { embeddedUrl, freshDatabase } from '../helpers/database.ts'
import { newPlan, TRIGGER } from './queue-actors.ts'
import { watchedQueue } from './queue-watch.ts'
import { chance, say, size } from './size.ts'

const JOBS = size('QUEUE_LIMIT_JOBS', 400, 20_000)
const BACKLOG = size('QUEUE_BACKLOG', 1_000, 100_000)
const SMALL = 10
const UNLIMITED = { running: 1_000_000, perInstance: 1_000_000, perTenant: 1_000_000 }

const ending = (held: HeldJob) => ({ held, stats: {}, cursorAfter: null })

function claimOf(pool: pg.Pool, worker: string, count: number, limits = UNLIMITED) {
  return claimJobs(pool, {
    ...{ project: 'default', count, worker, leaseSeconds: 600, limits },
    ...{ jobTypes: null, instances: null, tenants: null },
  })
}

/** One job of a repository of its own each: nothing but the limits and the turns is in the way. */
async function enqueue(
  pool: pg.Pool,
  count: number,
  from: number,
  tenant: (n: number) => string,
  instance: (n: number) => string,
) {
  for (let done = 0; done < count; done += 5_000) {
    const plans = Array.from({ length: Math.min(5_000, count - done) }, (_, i) => {
      const n = from + done + i
      return newPlan({
        ...{ key: `job ${n}`, repo: n, type: 'commits', mode: 'incremental' },
        ...{ tenant: tenant(n), instance: instance(n) },
      })
    })
    await insertPlans(pool, TRIGGER, plans)
  }
}

describe('limits', () => {
  test('4 workers, each with 8 claims at once: no limit is passed at any instant, and each is reached', async () => {
    const limits = { running: 11, perInstance: 5, perTenant: 4 }
    const queue = await watchedQueue(embeddedUrl(), limits)
    const workers = Array.from({ length: 4 }, (_, n) =>
      openPool({ dsn: queue.dsn, max: 8, applicationName: `w${n}`, statementTimeoutMs: 60_000 }),
    )
    try {
      const { random } = chance('limits')
      await enqueue(
        queue.pool,
        JOBS,
        1,
        (n) => `t${n % 5}`,
        (n) => `i${n % 3}`,
      )
      let left = JOBS
      let most = 0
      let samples = 0
      const over: unknown[] = []
      const slot = async (worker: pg.Pool, name: string) => {
        while (left > 0) {
          const held = await claimOf(worker, name, 1 + Math.floor(random() * 6), limits)
          if (held.length === 0) continue
          // For some a while, so that others meet them.
          await new Promise((resolve) => setTimeout(resolve, random() < 0.3 ? 4 : 0))
          const ended = await completeJobs(worker, held.map(ending))
          expect(ended.size).toBe(held.length)
          left -= held.length
        }
      }
      const watcher = queue.connect('watcher')
      const watch = async () => {
        while (left > 0) {
          const { rows } = await watcher.query({
            name: 'look',
            text: `select (select count(*)::int from chaos.live) as live, (select jsonb_agg(t) from chaos.too_many t) as over`,
          })
          samples += 1
          most = Math.max(most, rows[0].live)
          if (rows[0].over) over.push(rows[0].over)
        }
      }
      await Promise.all([
        watch(),
        ...workers.flatMap((pool, n) => Array.from({ length: 8 }, () => slot(pool, `w${n}`))),
      ])
      const [counted] = (await queue.pool.query('select count(*)::int as n from chaos.counted')).rows
      say(
        `${JOBS} jobs by 32 connections: ${samples} samples, ${counted.n} counts at a claim's commit, at most ${most} of ${limits.running} live`,
      )
      expect([...over, ...(await queue.over())]).toEqual([])
      expect(counted.n).toBeGreaterThanOrEqual(JOBS)
      expect(most).toBe(limits.running)
    } finally {
      await Promise.all(workers.map((w) => w.end()))
      await queue.drop()
    }
  })
})

describe('turns', () => {
  const TENANTS = 12
  const tenants = TENANTS + 1

  /** Who started when: by fence, which claims give out one after the other. */
  async function firstStarts(pool: pg.Pool): Promise<{ tenant: string; first: number }[]> {
    const { rows } = await pool.query(
      `select tenant_id as tenant, min(nth)::int as first from (
         select t.tenant_id, row_number() over (order by r.fence) as nth from ing_task_run r join ing_task t on t.id = r.task_id) started
        group by 1 order by 2`,
    )
    return rows
  }

  async function unequal() {
    const db = await freshDatabase(embeddedUrl(), { max: 10 })
    await enqueue(
      db.pool,
      BACKLOG,
      1,
      () => 'big',
      () => 'i',
    )
    await enqueue(
      db.pool,
      TENANTS * SMALL,
      BACKLOG + 1,
      (n) => `small ${n % TENANTS}`,
      () => 'i',
    )
    return db
  }

  test('what runs counts: one job of each tenant, however much waits for one of them, then a second of each', async () => {
    const db = await unequal()
    try {
      for (let n = 0; n < 2 * tenants; n++) expect(await claimOf(db.pool, 'w', 1)).toHaveLength(1)
      const { rows } = await db.pool.query(
        `select tenant_id, count(*)::int as n from ing_task where status = 'running' group by 1`,
      )
      expect(rows.map((r) => r.n)).toEqual(Array(tenants).fill(2))
      const starts = await firstStarts(db.pool)
      expect(starts.at(-1)?.first).toBeLessThanOrEqual(tenants)
    } finally {
      await db.drop()
    }
  })

  test.each([1, 10])('nobody starves while eight slots drain, %i jobs a claim', async (count) => {
    const db = await unequal()
    try {
      const enough = 40 * tenants
      let started = 0
      const slot = async (n: number) => {
        while (started < enough) {
          const held = await claimOf(db.pool, `w${n}`, count)
          started += held.length
          await completeJobs(db.pool, held.map(ending))
        }
      }
      await Promise.all(Array.from({ length: 8 }, (_, n) => slot(n)))
      const starts = await firstStarts(db.pool)
      say(
        `${BACKLOG} jobs of one tenant: the last of ${TENANTS} others began as number ${starts.at(-1)?.first}`,
      )
      expect(starts).toHaveLength(tenants)
      // Equal turns are drawn by lot: that one of 12 is missed 20 times 13 draws has a chance of 1 in 10^8.
      expect(starts.at(-1)?.first).toBeLessThanOrEqual(20 * tenants)
    } finally {
      await db.drop()
    }
  })
})
