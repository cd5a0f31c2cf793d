import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { type ReapAsk, reap } from '../../../../src/core/app/queue/reap.ts'
import { completeJobs } from '../../../../src/core/db/queue/complete.ts'
import { failJob, holdJob, renewLeases } from '../../../../src/core/db/queue/jobs.ts'
import { openBatch } from '../../../../src/core/db/queue/pages.ts'
import { contextOn } from '../../../helpers/context.ts'
import { freshDatabase, servers, type TestDatabase } from '../../../helpers/database.ts'
import { claim, expire, jobOf, one, seedJobs } from '../../db/queue/fixture.ts'

const NOW: ReapAsk = { dryRun: false, policy: 'to_failed', retryDelaySeconds: 60 }

describe.each(servers())('the reaper on the $name server', ({ url }) => {
  let db: TestDatabase
  beforeAll(async () => {
    db = await freshDatabase(url, { max: 20 })
  })
  afterAll(() => db.drop())
  beforeEach(async () => {
    await db.pool.query(
      `truncate ing_task, ing_plan, ing_plan_slice, ing_task_run, ing_task_run_batch, ing_schedule_instance, scm.lanes, scm.sync_locks, logbook.kv`,
    )
  })

  const pass = (more: Partial<ReapAsk> = {}) => reap(contextOn(db.pool), { ...NOW, ...more })
  const rowsOf = async (sql: string) => (await db.pool.query(sql)).rows
  const held = async (more: object = {}) => {
    const [id] = await seedJobs(db.pool, [more])
    const [job] = await claim(db.pool)
    return { id: id as number, job: job! }
  }

  test('a job whose lease is over waits for its next try; run, batch and lock are closed', async () => {
    const { id, job: mine } = await held({ repo: 7 })
    await openBatch(db.pool, mine, '')
    await expire(db.pool, id, 61)
    expect(await pass()).toMatchObject({
      status: 'success',
      jobs: { processed: 1, to_failed: 1, to_dead: 0, to_pending: 0, errors: 0 },
      runs: { processed: 0 },
      locks: { processed: 0 },
      total_processed: 1,
      exit_code: 0,
    })
    const job = await jobOf(db.pool, id)
    expect(job).toMatchObject({
      status: 'failed',
      attempts: 1,
      lease_owner: null,
      lease_until: null,
      active_key: '7:commits',
      error_summary_json: { error_category: 'lease_lost' },
    })
    const wait = (job.scheduled_at - job.updated_at) / 1000
    expect(wait).toBeGreaterThan(47.9)
    expect(wait).toBeLessThan(72.1)
    expect(
      await one(
        db.pool,
        `select r.status_code as run, b.status_code as batch, s.status_code as slice, (select count(*) from scm.sync_locks) as locks
           from ing_task_run r join ing_task_run_batch b on b.run_id = r.id join ing_plan_slice s on s.id = r.slice_id`,
      ),
    ).toEqual({ run: 'FAILED', batch: 'FAILED', slice: 'DISPATCHED', locks: 0 })
    expect(await pass()).toMatchObject({ total_processed: 0 })
  })

  test('a job keeps its grace, and one that was renewed is left alone', async () => {
    const { id, job } = await held()
    await expire(db.pool, id, 50)
    expect(await pass()).toMatchObject({ jobs: { processed: 0 } })
    await expire(db.pool, id, -1)
    expect(await renewLeases(db.pool, [job])).toEqual(new Set([id]))
    expect(await pass()).toMatchObject({ total_processed: 0 })
    expect(await jobOf(db.pool, id)).toMatchObject({ status: 'running', fence: job.fence })
  })

  test('a lease that is over is not renewed, though nobody has the job yet; it may still be given back', async () => {
    const { id, job } = await held()
    await expire(db.pool, id, 1)
    expect(await renewLeases(db.pool, [job])).toEqual(new Set())
    expect(await completeJobs(db.pool, [{ held: job, stats: {}, cursorAfter: null }])).toEqual(new Set())
    const summary = { error_category: 'x', error_message: 'x' }
    expect(await failJob(db.pool, job, { retry: 'free', delaySeconds: 0, summary })).toBe('pending')
    expect(await claim(db.pool)).toMatchObject([{ jobId: id, attempt: 1 }])
  })

  test('attempts used up: dead, the chunk failed, the plan rolled up, the next sync may be planned', async () => {
    const { id } = await held({ attempts: 2 })
    await expire(db.pool, id)
    expect(await pass()).toMatchObject({ jobs: { to_dead: 1 } })
    expect(await jobOf(db.pool, id)).toMatchObject({ status: 'dead', active_key: null, attempts: 3 })
    expect(
      await rowsOf(
        'select p.status_code as plan, s.status_code as slice from ing_plan p join ing_plan_slice s on s.plan_id = p.id',
      ),
    ).toEqual([{ plan: 'FAILED', slice: 'FAILED' }])
  })

  test('with the policy to_pending it is due at once', async () => {
    const { id } = await held()
    await expire(db.pool, id)
    expect(await pass({ policy: 'to_pending' })).toMatchObject({ jobs: { to_pending: 1 } })
    expect(await claim(db.pool)).toMatchObject([{ jobId: id, attempt: 2 }])
  })

  test('the owner that was reaped comes back: it can write nothing', async () => {
    const { id, job } = await held()
    await expire(db.pool, id)
    await pass()
    expect(await renewLeases(db.pool, [job])).toEqual(new Set())
    expect(await completeJobs(db.pool, [{ held: job, stats: {}, cursorAfter: null }])).toEqual(new Set())
    expect(
      await failJob(db.pool, job, {
        retry: 'free',
        delaySeconds: 0,
        summary: { error_category: 'x', error_message: 'x' },
      }),
    ).toBeNull()
    expect(await jobOf(db.pool, id)).toMatchObject({ status: 'failed' })
  })

  test('a page of the owner is open while the reaper looks: the row is passed over', async () => {
    const { id, job } = await held()
    const page = await db.pool.connect()
    try {
      await page.query('begin')
      expect(await renewLeases(page, [job])).toEqual(new Set([id]))
      expect(await pass()).toMatchObject({ jobs: { processed: 0, errors: 0 } })
      await page.query('commit')
    } finally {
      page.release()
    }
    expect(await pass()).toMatchObject({ total_processed: 0 })
    expect(await jobOf(db.pool, id)).toMatchObject({ status: 'running' })
  })

  test('many reapers and claimers at once: each expired job moves once', async () => {
    await seedJobs(
      db.pool,
      Array.from({ length: 40 }, () => ({})),
    )
    for (const job of await claim(db.pool, { count: 40 })) await expire(db.pool, job.jobId)
    const [claims, passes] = await Promise.all([
      Promise.all(Array.from({ length: 6 }, (_, n) => claim(db.pool, { count: 3, worker: `c${n}` }))),
      Promise.all(Array.from({ length: 6 }, () => pass())),
    ])
    const taken = claims.flat().length
    const reaped = passes.reduce((n, p) => n + p.jobs.processed, 0)
    expect(passes.every((p) => p.total_errors === 0)).toBe(true)
    expect(taken + reaped).toBe(40)
    const counts = await rowsOf(`select status, count(*)::int as n from ing_task group by 1 order by 1`)
    expect(counts.filter((c) => c.n > 0)).toEqual([
      { status: 'failed', n: reaped },
      ...(taken ? [{ status: 'running', n: taken }] : []),
    ])
    expect(
      await rowsOf(
        `select task_id from ing_task_run where status_code = 'RUNNING' group by 1 having count(*) > 1`,
      ),
    ).toEqual([])
  })

  test('a run whose job an operator set to pending fails, the run of a live job does not', async () => {
    const { id, job } = await held()
    const { job: other } = await held()
    for (const of of [job, other]) await openBatch(db.pool, of, '')
    await db.pool.query(
      `update scm.sync_jobs set status = 'pending', locked_by = null, locked_at = null where job_id = $1`,
      [id],
    )
    await db.pool.query(`update ing_task_run set last_heartbeat = now() - interval '2 minutes'`)
    expect(await pass()).toMatchObject({ jobs: { processed: 0 }, runs: { processed: 1, failed: 1 } })
    expect(
      await rowsOf(
        'select r.status_code as run, b.status_code as batch from ing_task_run r join ing_task_run_batch b on b.run_id = r.id order by r.id',
      ),
    ).toEqual([
      { run: 'FAILED', batch: 'FAILED' },
      { run: 'RUNNING', batch: 'RUNNING' },
    ])
  })

  test('a lock goes when its lease and grace are over, not before, and never under a live job', async () => {
    await db.pool.query(
      `insert into scm.sync_locks (repo_id, job_type, locked_by, locked_at, lease_seconds, fence, job_id)
       select n, 'commits', 'w', now() - make_interval(secs => 300 + n), 300, 1, 0 from unnest(array[119, 121]) n`,
    )
    const { id } = await held({ repo: 1 })
    await db.pool.query(`update scm.sync_locks set locked_at = now() - interval '1 day' where job_id = $1`, [
      id,
    ])
    expect(await pass()).toMatchObject({ locks: { processed: 1, released: 1 } })
    expect((await rowsOf('select repo_id from scm.sync_locks order by 1')).map((r) => r.repo_id)).toEqual([
      1, 119,
    ])
  })

  test('chunks kept for a runner that is gone become any worker’s; a living runner keeps its own', async () => {
    const seeds = [1, 2].flatMap((repo) =>
      Array.from({ length: 3 }, () => ({ repo, mode: 'backfill', status: 'reserved' })),
    )
    const ids = await seedJobs(db.pool, seeds)
    const [first, , , fourth] = ids
    await db.pool.query('update ing_task set plan_id = repo_id')
    await db.pool.query(`update ing_task set updated_at = now() - interval '10 minutes'`)
    await holdJob(db.pool, {
      jobId: fourth as number,
      worker: 'runner',
      leaseSeconds: 300,
      from: ['reserved'],
      deadOwner: null,
    })
    expect(await pass()).toMatchObject({ reservations: { processed: 3, to_pending: 3 } })
    expect((await rowsOf('select status from ing_task order by id')).map((r) => r.status)).toEqual([
      'pending',
      'pending',
      'pending',
      'running',
      'reserved',
      'reserved',
    ])
    expect(await claim(db.pool)).toMatchObject([{ jobId: first, mode: 'backfill' }])
  })

  test('a runner between two chunks is not taken for dead', async () => {
    await seedJobs(db.pool, [{ status: 'reserved' }, { status: 'completed' }])
    await db.pool.query(
      `update ing_task set plan_id = 1, updated_at = now() - case status when 'reserved' then interval '1 hour' else interval '5 seconds' end`,
    )
    expect(await pass()).toMatchObject({ reservations: { processed: 0 } })
  })

  test('a chunk whose job was deleted by hand is cancelled and its plan rolled up', async () => {
    const [id] = await seedJobs(db.pool, [{}, {}])
    await db.pool.query('delete from scm.sync_jobs where job_id = $1', [id])
    expect(
      await rowsOf(
        'select p.status_code as plan, s.status_code as slice from ing_plan p join ing_plan_slice s on s.plan_id = p.id order by p.id',
      ),
    ).toEqual([
      { plan: 'FAILED', slice: 'CANCELLED' },
      { plan: 'READY', slice: 'DISPATCHED' },
    ])
  })

  test('what was finished long ago goes, with its runs and batches; dead jobs, young plans and cursor events stay', async () => {
    await seedJobs(db.pool, [{}, {}, {}, {}])
    const jobs = await claim(db.pool, { count: 3 })
    for (const job of jobs.slice(0, 2)) {
      await openBatch(db.pool, job, '')
      await completeJobs(db.pool, [{ held: job, stats: {}, cursorAfter: null }])
    }
    await failJob(db.pool, jobs[2]!, {
      retry: 'never',
      delaySeconds: 0,
      summary: { error_category: 'x', error_message: 'x' },
    })
    await db.pool.query(`update ing_task set updated_at = now() - interval '31 days'`)
    await db.pool.query(`update ing_task set updated_at = now() - interval '29 days' where id = $1`, [
      jobs[1]!.jobId,
    ])
    await db.pool.query(
      `insert into ing_cursor_event (provenance_code, operation_code, cursor_key, namespace_scope_code, namespace_key, cursor_type_code, new_value,
              direction_code, idempotent_key, plan_id, created_at) values ('git:1', 'HARVEST', 'commits', 'GLOBAL', '0', 'TIME', 'x', 'BACKFILL', $1, $2,
              now() - interval '1 year') on conflict do nothing`,
      [`event ${url}`, jobs[0]!.planId],
    )
    expect(await pass()).toMatchObject({
      retention: { plans: 1, jobs: 1, runs: 1, batches: 1, errors: 0 },
      total_processed: 0,
    })
    expect((await rowsOf('select status from ing_task order by id')).map((r) => r.status).sort()).toEqual([
      'completed',
      'dead',
      'pending',
    ])
    expect((await one(db.pool, 'select count(*) as n from ing_cursor_event')).n).toBe(1)
  })

  test('a look that found nothing goes after a day; one that found something stays', async () => {
    const looks = []
    for (const pages of [0, 1, 0, 0]) {
      await seedJobs(db.pool, [{ repo: 7, mode: 'backfill' }])
      const [held] = await claim(db.pool)
      await completeJobs(db.pool, [{ held: held!, stats: { pages }, cursorAfter: null }])
      looks.push(held!.runId)
    }
    const [, full, young] = looks
    const kept = async () => (await rowsOf('select id from ing_task_run order by id')).map((r) => r.id)
    await db.pool.query(
      `update ing_task_run set finished_at = now() - make_interval(hours => case id when $1 then 23 else 25 end)`,
      [young],
    )
    expect(await pass()).toMatchObject({ retention: { plans: 2, jobs: 2, runs: 2, batches: 0 } })
    expect(await kept()).toEqual([full, young])
  })

  test('a run that stores nothing is taken from its owner although that renews it; one with a young page is not', async () => {
    const { id, job } = await held()
    const { job: busy } = await held()
    const batch = await openBatch(db.pool, busy, '')
    await db.pool.query(`update ing_task_run set started_at = now() - interval '2 hours'`)
    await db.pool.query(
      `update ing_task_run_batch set status_code = 'SUCCEEDED', after_token = 'x', committed_at = now() - interval '59 minutes' where id = $1`,
      [batch],
    )
    expect(await pass({ dryRun: true })).toMatchObject({ jobs: { processed: 1 } })
    expect(await pass()).toMatchObject({ jobs: { processed: 1, to_failed: 1 } })
    expect(await jobOf(db.pool, id)).toMatchObject({
      status: 'failed',
      error_summary_json: { error_message: 'Reaped: w1 stored nothing for 3600 s' },
    })
    expect(await renewLeases(db.pool, [job, busy])).toEqual(new Set([busy.jobId]))
  })

  test('a trigger goes when it is old and has no plan any more', async () => {
    await db.pool.query(
      `insert into ing_schedule_instance (provenance_code, cursor_key, triggered_at)
       values ('git:1', 'commits', now() - interval '31 days'), ('git:1', 'commits', now() - interval '31 days'), ('git:1', 'commits', now())`,
    )
    await seedJobs(db.pool, [{}])
    await db.pool.query(
      'update ing_plan set schedule_instance_id = (select min(id) from ing_schedule_instance)',
    )
    await pass()
    expect((await rowsOf('select id from ing_schedule_instance order by id')).length).toBe(2)
  })

  test('a dry run counts and changes nothing', async () => {
    const { id } = await held()
    await expire(db.pool, id)
    expect(await pass({ dryRun: true })).toMatchObject({
      jobs: { processed: 1, to_failed: 0 },
      locks: { processed: 1, released: 0 },
      total_processed: 2,
    })
    expect(await jobOf(db.pool, id)).toMatchObject({ status: 'running' })
  })

  test('one kind fails: it is counted, the others are done, and the exit code says so', async () => {
    const { id } = await held()
    await expire(db.pool, id)
    await db.pool.query(`alter table scm.sync_locks rename column lease_seconds to away`)
    try {
      expect(await pass()).toMatchObject({
        status: 'partial',
        jobs: { processed: 1 },
        locks: { errors: 1 },
        total_errors: 1,
        exit_code: 1,
      })
    } finally {
      await db.pool.query(`alter table scm.sync_locks rename column away to lease_seconds`)
    }
  })
})
