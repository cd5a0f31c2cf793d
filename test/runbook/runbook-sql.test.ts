import type pg from 'pg'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { freshDatabase, servers, type TestDatabase } from '../helpers/database.ts'
import { makeRows, type Rows, undone } from './rows.ts'
import { filled, STATEMENTS } from './statements.ts'

/** What a statement must come to. `after` looks at the database before the transaction is undone. */
interface Effect {
  says: string
  expect(found: pg.QueryResult, r: Rows): void
  after?(tx: pg.PoolClient, r: Rows): Promise<void>
}

const PUBLIC_COLUMNS = [
  'job_id',
  'repo_id',
  'job_type',
  'status',
  'attempts',
  'priority',
  'not_before',
  'locked_by',
  'locked_at',
  'error_summary_json',
  'created_at',
  'updated_at',
]

const breakers: Effect = {
  says: 'shows both breakers',
  expect: (found) => {
    expect(found.rows.map((r) => r.key).sort()).toEqual([
      'default:global',
      'default:instance:gitlab.example.com',
    ])
    expect(found.rows.find((r) => r.key === 'default:global').value_json).toMatchObject({ state: 'open' })
  },
}

/** A job that may be claimed again: due now, nobody's, its bookkeeping undone, at the head of what changed last. */
async function isPending(tx: pg.PoolClient, jobId: number, attempts: number): Promise<void> {
  const { rows } = await tx.query(
    `select t.status, t.status_code, t.attempts, t.scheduled_at <= clock_timestamp() as due, t.lease_owner, t.leased_at,
            t.lease_until, t.finished_at, t.updated_at >= now() as touched from ing_task t where id = $1`,
    [jobId],
  )
  expect(rows).toEqual([
    {
      status: 'pending',
      status_code: 'QUEUED',
      attempts,
      due: true,
      lease_owner: null,
      leased_at: null,
      lease_until: null,
      finished_at: null,
      touched: true,
    },
  ])
}

async function statusOf(tx: pg.PoolClient, jobId: number): Promise<string> {
  return (await tx.query('select status from scm.sync_jobs where job_id = $1', [jobId])).rows[0].status
}

async function lockCount(tx: pg.PoolClient): Promise<number> {
  return (await tx.query('select count(*)::int as n from scm.sync_locks')).rows[0].n
}

const EFFECTS: Record<number, Effect> = {
  1: {
    says: 'counts by status',
    expect: (found) =>
      expect(Object.fromEntries(found.rows.map((r) => [r.status, Number(r.count)]))).toEqual({
        dead: 2,
        failed: 2,
        running: 3,
        pending: 3,
        completed: 1,
        cancelled: 1,
      }),
  },
  2: {
    says: 'lists what runs, the longest first',
    expect: (found, { jobs }) => {
      expect(found.rows.map((r) => r.job_id)).toEqual([jobs.running2000s, jobs.running700s, jobs.running10s])
      expect(found.rows[0].locked_by).toBe('host-1003-00000000')
      expect(found.rows[0].running_duration).toMatchObject({ minutes: 33 })
    },
  },
  3: {
    says: 'lists failed and dead jobs, the latest first',
    expect: (found, { jobs }) => {
      expect(found.rows.map((r) => r.job_id)).toEqual([jobs.stormy, jobs.failed, jobs.deadToo, jobs.dead])
      expect(found.rows[1].error_summary_json).toMatchObject({ error_category: 'network' })
    },
  },
  4: breakers,
  5: {
    says: 'shows the pause',
    expect: (found, { repoId }) => {
      expect(found.rows).toHaveLength(1)
      expect(found.rows[0]).toMatchObject({
        key: `${repoId}:commits`,
        value_json: { repo_id: repoId, reason_code: 'maintenance' },
      })
    },
  },
  6: {
    says: 'shows the dead jobs with the columns of the contract',
    expect: (found, { jobs }) => {
      expect(found.rows.map((r) => r.job_id).sort()).toEqual([jobs.dead, jobs.deadToo])
      expect(Object.keys(found.rows[0])).toEqual(expect.arrayContaining(PUBLIC_COLUMNS))
    },
  },
  7: {
    says: 'resets one dead job and no other',
    expect: (found) => expect(found.rowCount).toBe(1),
    after: async (tx, { jobs }) => {
      await isPending(tx, jobs.dead, 0)
      expect(await statusOf(tx, jobs.deadToo)).toBe('dead')
      const { rows } = await tx.query(
        `select error_summary_json from scm.sync_jobs where job_id = ${jobs.dead}`,
      )
      expect(rows[0].error_summary_json).toBeNull()
    },
  },
  8: {
    says: 'resets all dead jobs, two of one repository among them',
    expect: (found) => expect(found.rowCount).toBe(2),
    after: async (tx, { jobs }) => {
      await isPending(tx, jobs.dead, 0)
      await isPending(tx, jobs.deadToo, 0)
      expect(await statusOf(tx, jobs.failed)).toBe('failed')
    },
  },
  9: {
    says: 'shows the locks older than a lease',
    expect: (found, { repoId, otherRepoId }) => {
      expect(found.rows.map((r) => `${r.repo_id} ${r.job_type}`).sort()).toEqual(
        [`${repoId} commits`, `${otherRepoId} mrs`].sort(),
      )
      expect(Object.keys(found.rows[0])).toEqual(
        expect.arrayContaining(['repo_id', 'job_type', 'locked_by', 'locked_at']),
      )
    },
  },
  10: {
    says: 'releases one lock',
    expect: (found) => expect(found.rowCount).toBe(1),
    after: async (tx) => expect(await lockCount(tx)).toBe(2),
  },
  11: {
    says: 'releases the locks older than a lease and leaves the live one',
    expect: (found) => expect(found.rowCount).toBe(2),
    after: async (tx) => expect(await lockCount(tx)).toBe(1),
  },
  12: {
    says: 'puts jobs held for ten minutes back, attempts kept, and takes their leases',
    expect: (found) => expect(found.rowCount).toBe(2),
    after: async (tx, { jobs }) => {
      await isPending(tx, jobs.running700s, 1)
      await isPending(tx, jobs.running2000s, 1)
      expect(await statusOf(tx, jobs.running10s)).toBe('running')
    },
  },
  13: breakers,
  14: breakers,
  15: {
    says: 'closes the breaker and keeps the rest of its row',
    expect: (found) => expect(found.rowCount).toBe(1),
    after: async (tx) => {
      const { rows } = await tx.query(`select value_json, updated_at >= now() as touched from logbook.kv
         where namespace = 'scm.sync_health' and key = 'default:global'`)
      expect(rows).toEqual([
        {
          value_json: { state: 'closed', opened_at: 1735689600, last_failure_reason: 'failure rate' },
          touched: true,
        },
      ])
    },
  },
  16: {
    says: 'removes the breaker',
    expect: (found) => expect(found.rowCount).toBe(1),
    after: async (tx) =>
      expect(
        (await tx.query(`select 1 from logbook.kv where namespace = 'scm.sync_health'`)).rows,
      ).toHaveLength(1),
  },
  17: {
    says: 'shows every cursor by key',
    expect: (found, { repoId }) =>
      expect(found.rows.map((r) => r.key).sort()).toEqual([
        `git_cursor:${repoId}`,
        `gitlab_cursor:${repoId}`,
      ]),
  },
  18: {
    says: 'shows every cursor and nothing else',
    expect: (found, { repoId }) => {
      expect(found.rows.map((r) => r.key).sort()).toEqual([`git_cursor:${repoId}`, `gitlab_cursor:${repoId}`])
      expect(found.rows[0].value_json).toMatchObject({ watermark: '2025-01-02T00:00:00Z' })
    },
  },
  19: {
    says: 'removes one cursor',
    expect: (found) => expect(found.rowCount).toBe(1),
    after: async (tx, { repoId }) =>
      expect(
        (await tx.query(`select key from logbook.kv where namespace = 'scm.sync' and key like '%_cursor:%'`))
          .rows,
      ).toEqual([{ key: `git_cursor:${repoId}` }]),
  },
  20: {
    says: 'sets one cursor',
    expect: (found) => expect(found.rowCount).toBe(1),
    after: async (tx, { repoId }) => {
      const { rows } = await tx.query('select key, value_json from logbook.kv where key like $1', [
        `%cursor:${repoId}`,
      ])
      expect(Object.fromEntries(rows.map((r) => [r.key, r.value_json.watermark]))).toEqual({
        [`gitlab_cursor:${repoId}`]: '2024-01-01T00:00:00Z',
        [`git_cursor:${repoId}`]: '2025-01-02T00:00:00Z',
      })
    },
  },
  21: {
    says: 'deletes what has waited a week at low priority, and its run history is no obstacle',
    expect: (found) => expect(found.rowCount).toBe(1),
    after: async (tx, { jobs }) =>
      expect(
        (await tx.query(`select job_id from scm.sync_jobs where status = 'pending' order by job_id`)).rows,
      ).toEqual([{ job_id: jobs.pendingOldHigh }, { job_id: jobs.pendingNewLow }]),
  },
  22: breakers,
  23: {
    says: 'tells how many seconds each job has been running',
    expect: (found, { jobs }) => {
      expect(found.rows.map((r) => r.job_id)).toEqual([jobs.running2000s, jobs.running700s, jobs.running10s])
      expect(Number(found.rows[0].running_seconds)).toBeGreaterThanOrEqual(2000)
      expect(Number(found.rows[2].running_seconds)).toBeLessThan(600)
    },
  },
  24: {
    says: 'puts jobs held for half an hour back and names them',
    expect: (found, { jobs }) => expect(found.rows).toEqual([{ job_id: jobs.running2000s }]),
    after: async (tx, { jobs }) => {
      await isPending(tx, jobs.running2000s, 1)
      expect(await statusOf(tx, jobs.running700s)).toBe('running')
    },
  },
}

const CASES = STATEMENTS.map((s) => ({ ...s, says: (EFFECTS[s.no] as Effect).says }))

describe.each(servers())('every statement of the runbook on the $name server', ({ url }) => {
  let db: TestDatabase
  let made: Rows
  beforeAll(async () => {
    db = await freshDatabase(url)
    made = await makeRows(db.pool)
  })
  afterAll(() => db.drop())

  test.each(CASES)('$no $says', async ({ no, sql }) => {
    const effect = EFFECTS[no] as Effect
    await undone(db.pool, async (tx) => {
      const found = await tx.query(filled(sql, { jobId: made.jobs.dead, repoId: made.repoId }))
      effect.expect(found, made)
      await effect.after?.(tx, made)
    })
  })

  test('the interfaces take what the runbook does not print but implies: insert, upsert, skip locked', async () => {
    await undone(db.pool, async (tx) => {
      await tx.query(`insert into logbook.kv (namespace, key, value_json) values ('scm.sync_pauses', '9:commits', '{}')
        on conflict (namespace, key) do update set value_json = excluded.value_json`)
      const { rows } = await tx.query(
        `select job_id from scm.sync_jobs where status = 'pending' and not_before <= now()
          order by priority, not_before for update skip locked`,
      )
      expect(rows.map((r) => r.job_id)).toEqual([made.jobs.pendingOldHigh, made.jobs.pendingOldLow])
    })
  })
})
