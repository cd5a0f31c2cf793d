import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { Running } from './command-line.ts'
import { filled, STATEMENTS } from './statements.ts'
import { openSystem, type System, until } from './system.ts'

/** The runbook's statements again, this time while real processes are at work: what they are printed for comes about. */
let s: System
beforeEach(async () => {
  s = await openSystem()
})
afterEach(() => s.close())

const run = (no: number, ids = { jobId: 0, repoId: 0 }) =>
  s.db.pool.query(filled(STATEMENTS.find((statement) => statement.no === no)?.sql as string, ids))
const jobOf = (repoId: number) =>
  s.one<number>('select job_id from scm.sync_jobs where repo_id = $1 order by job_id desc limit 1', [repoId])
const statusOf = (jobId: number) => s.one('select status from scm.sync_jobs where job_id = $1', [jobId])
const becomes = (jobId: number, status: string) =>
  until(`job ${jobId} ${status}`, async () => (await statusOf(jobId)) === status)
const runsOf = (jobId: number) =>
  s.column('select status from scm.sync_runs where job_id = $1 order by attempt', [jobId])

/** A stopped worker's rows as they look after so long: nobody need wait for the clock. */
async function silentFor(seconds: number): Promise<void> {
  await s.db.pool.query(
    `update ing_task set leased_at = now() - make_interval(secs => $1), updated_at = clock_timestamp(),
            lease_until = now() - make_interval(secs => $1 - lease_seconds) where status = 'running'`,
    [seconds],
  )
  await s.db.pool.query(`update scm.sync_locks set locked_at = now() - make_interval(secs => $1)`, [seconds])
}

describe('dead jobs', () => {
  test('reset one, then the rest: the worker that runs takes them up, and their history stays', async () => {
    s.upstream.refuses = true
    const repos = [await s.add('one'), await s.add('two'), await s.add('three')]
    expect(await s.scan()).toBe(3)
    const worker = s.worker('--parallelism 2')
    const jobs = await Promise.all(repos.map((r) => jobOf(r.repoId)))
    for (const job of jobs) await becomes(job, 'dead')
    expect((await run(6)).rowCount).toBe(3)
    expect((await run(3)).rows[0].error_summary_json).toMatchObject({ error_category: 'repo_not_found' })

    s.upstream.refuses = false
    const [first, ...others] = jobs as [number, number, number]
    expect((await run(7, { jobId: first, repoId: 0 })).rowCount).toBe(1)
    await becomes(first, 'completed')
    expect(await Promise.all(others.map(statusOf))).toEqual(['dead', 'dead'])
    expect((await run(8)).rowCount).toBe(2)
    for (const job of others) await becomes(job, 'completed')

    expect(await runsOf(first)).toEqual(['failed', 'completed'])
    for (const r of repos) expect(await s.violations(r)).toEqual([])
    expect(JSON.parse((await worker.stop()).stdout)).toMatchObject({ jobs_completed: 3, jobs_failed: 3 })
  })
})

describe('locks', () => {
  test('a deleted lock ends the work of its living holder, which gives the job back; it is worked again', async () => {
    const upstream = await s.add('one')
    await s.scan()
    s.upstream.holds = true
    const worker = s.worker()
    const job = await jobOf(upstream.repoId)
    await becomes(job, 'running')
    expect((await run(2)).rows).toMatchObject([{ job_id: job, repo_id: upstream.repoId }])
    const fence = await s.one('select fence from scm.sync_locks')

    s.upstream.holds = false // what it holds already is never answered
    expect((await run(10, { jobId: 0, repoId: upstream.repoId })).rowCount).toBe(1)
    await until('the first run ends', async () => (await runsOf(job))[0] === 'cancelled')
    await becomes(job, 'completed')
    expect(await s.one('select fence from ing_task')).not.toBe(fence)
    expect(await s.one('select attempts from scm.sync_jobs')).toBe(1)
    expect((await runsOf(job)).at(-1)).toBe('completed')
    expect(await s.violations(upstream)).toEqual([])
    const report = JSON.parse((await worker.stop()).stdout)
    expect(report).toMatchObject({ status: 'success', jobs_completed: 1, jobs_failed: 0 })
    expect(report.jobs_released).toBeGreaterThan(0)
  })

  test('a living holder renews, so nothing of it is ever found expired', async () => {
    await s.add('one')
    await s.scan()
    s.upstream.holds = true
    s.worker()
    await until('a lock', async () => (await s.column('select 1 from scm.sync_locks')).length === 1)
    const [before] = await s.column('select locked_at from scm.sync_locks')
    await until(
      'its renewal',
      async () => String(await s.one('select locked_at from scm.sync_locks')) !== String(before),
    )
    expect([(await run(9)).rowCount, (await run(11)).rowCount, (await run(12)).rowCount]).toEqual([0, 0, 0])
    expect(Number((await run(23)).rows[0].running_seconds)).toBeLessThan(6)
  })
})

describe('a stuck worker', () => {
  const CASES = [
    { no: 12, silent: 700 },
    { no: 24, silent: 2000 },
  ]
  test.each(CASES)(
    'statement $no: another one does its job, and it writes nothing when it wakes',
    async (c) => {
      const upstream = await s.add('one', 7)
      await s.scan()
      s.upstream.holds = true
      const stuck = s.worker()
      const job = await jobOf(upstream.repoId)
      await becomes(job, 'running')
      stuck.signal('SIGSTOP')
      s.upstream.holds = false
      await silentFor(c.silent)
      expect((await run(9)).rowCount).toBe(1)
      expect(Number((await run(23)).rows[0].running_seconds)).toBeGreaterThanOrEqual(c.silent)

      expect((await run(11)).rowCount).toBe(1)
      expect((await run(c.no)).rowCount).toBe(1)
      expect(await statusOf(job)).toBe('pending')
      const other = await s.shell.run('engram-scm-worker --drain --json')
      expect(JSON.parse(other.stdout)).toMatchObject({ jobs_completed: 1, items_synced: 7 })
      const before = await s.db.pool.query('select * from scm.sync_runs where status = $1', ['completed'])

      stuck.signal('SIGCONT')
      expect(JSON.parse((await stuck.stop()).stdout)).toMatchObject({ jobs_completed: 0, items_synced: 0 })
      expect(await runsOf(job)).toEqual(['failed', 'completed'])
      expect(
        (await s.db.pool.query('select * from scm.sync_runs where status = $1', ['completed'])).rows,
      ).toEqual(before.rows)
      expect(await s.violations(upstream)).toEqual([])
    },
  )

  test('killed, it needs no statement: a reaper makes its job failed, and it is tried again', async () => {
    const upstream = await s.add('one', 5)
    await s.scan()
    s.upstream.holds = true
    const killed = s.worker()
    const job = await jobOf(upstream.repoId)
    await becomes(job, 'running')
    killed.signal('SIGKILL')
    await killed.ended
    s.upstream.holds = false
    await silentFor(1000)
    const reaped = await s.shell.run('engram-scm-reaper --once --json --retry-delay 0')
    expect(JSON.parse(reaped.stdout)).toMatchObject({ jobs: { to_failed: 1 }, total_errors: 0 })
    expect(await statusOf(job)).toBe('failed')
    await s.shell.run('engram-scm-worker --drain')
    expect(await runsOf(job)).toEqual(['failed', 'completed'])
    expect(await s.violations(upstream)).toEqual([])
  })
})

describe('a backlog', () => {
  const grown = `update scm.sync_jobs set priority = 600, created_at = now() - interval '8 days' where status = 'pending'`

  test('deleted, it is gone, its plans end, and the next scan asks anew', async () => {
    const repos = [await s.add('one'), await s.add('two')]
    await s.scan()
    await s.db.pool.query(grown)
    expect((await run(21)).rowCount).toBe(2)
    expect(await s.column('select status_code from ing_plan_slice')).toEqual(['CANCELLED', 'CANCELLED'])
    expect(await s.column('select status_code from ing_plan')).toEqual(['FAILED', 'FAILED'])
    expect(JSON.parse((await s.shell.run('engram-scm-worker --drain --json')).stdout)).toMatchObject({
      jobs_worked: 0,
    })

    expect(await s.scan()).toBe(2)
    await s.shell.run('engram-scm-worker --drain')
    // All else is whole; the plans that were cut off say so for good.
    for (const [i, r] of repos.entries())
      expect(await s.violations(r)).toEqual([`something is left open: ["plan ${i + 1} FAILED"]`])
  })

  test('chunks of one backfill: those that were deleted are cancelled, the others are read, the plan is PARTIAL', async () => {
    const { repoId } = await s.add('one')
    s.upstream.holds = true
    const runner = s.shell.start(
      `engram-scm-sync runner backfill --repo git:${repoId} --last-hours 24 --json`,
    )
    await until(
      'a chunk at work',
      async () => (await s.column(`select 1 from ing_task where status = 'running'`)).length > 0,
    )
    await runner.stop()
    s.upstream.holds = false
    await s.shell.run('engram-scm-reaper --once --grace-seconds 0')
    expect(await s.column(`select status from scm.sync_jobs`)).toEqual(Array(6).fill('pending'))

    await s.db.pool.query(`${grown} and job_id in (select job_id from scm.sync_jobs order by job_id limit 2)`)
    expect((await run(21)).rowCount).toBe(2)
    await s.shell.run('engram-scm-worker --drain')
    expect(await s.column('select status_code from ing_plan_slice order by slice_no')).toEqual([
      ...Array(2).fill('CANCELLED'),
      ...Array(4).fill('SUCCEEDED'),
    ])
    expect(await s.column('select status_code from ing_plan')).toEqual(['PARTIAL'])
  })
})

describe('pauses and the breaker', () => {
  const set = (namespace: string, key: string, value: unknown) =>
    s.db.pool.query(
      `insert into logbook.kv (namespace, key, value_json) values ($1, $2, $3)
         on conflict (namespace, key) do update set value_json = excluded.value_json`,
      [namespace, key, JSON.stringify(value)],
    )
  const now = () => Date.now() / 1000
  const idle = async (worker: Running) => {
    // Several polls.
    await new Promise((resolve) => setTimeout(resolve, 800))
    expect(worker.reports()).toEqual([])
    expect(await s.column(`select 1 from ing_task_run`)).toEqual([])
  }

  test('a paused repository is passed over by scheduler and worker until the pause is deleted', async () => {
    const { repoId } = await s.add('one')
    const pause = { repo_id: repoId, job_type: 'commits', reason: 'manual_pause', reason_code: 'maintenance' }
    const key = `${repoId}:commits`
    await set('scm.sync_pauses', key, { ...pause, paused_at: now(), paused_until: now() + 3600 })
    expect(await s.scan()).toBe(0)
    await s.db.pool.query(`delete from logbook.kv where namespace = 'scm.sync_pauses' and key = $1`, [key])
    expect(await s.scan()).toBe(1)

    await set('scm.sync_pauses', key, { ...pause, paused_at: now(), paused_until: now() + 3600 })
    const worker = s.worker()
    await until(
      'it is parked',
      async () => (await s.one<boolean>('select parked_until is not null from ing_task')) === true,
    )
    await idle(worker)
    const told = JSON.parse((await s.shell.run('engram-scm-status --json')).stdout)
    expect(told).toMatchObject({ pauses_by_reason: { maintenance: 1 }, queue_oldest_due_seconds: null })
    expect((await run(5)).rowCount).toBe(1)
    await s.db.pool.query(`delete from logbook.kv where namespace = 'scm.sync_pauses' and key = $1`, [key])
    await becomes(await jobOf(repoId), 'completed')
  })

  test.each([15, 16])('an open breaker stops scheduler and workers until statement %i', async (no) => {
    const { repoId } = await s.add('one')
    await s.scan()
    const open = { state: 'open', opened_at: now(), last_failure_reason: 'manual_pause_for_maintenance' }
    await set('scm.sync_health', 'default:global', open)
    await s.add('two')
    expect(await s.scan()).toBe(0)
    const worker = s.worker()
    await idle(worker)
    const told = JSON.parse((await s.shell.run('engram-scm-status --json')).stdout)
    expect(told.circuit_breakers).toMatchObject({ total_open: 1 })
    expect((await run(4)).rows[0].value_json).toEqual(open)

    expect((await run(no)).rowCount).toBe(1)
    await becomes(await jobOf(repoId), 'completed')
    expect(await s.scan()).toBe(1)
  })
})

describe('what the ledger shows of one job that failed and was retried', () => {
  test('trigger, plan, slice, task, two runs, their pages, the event, the cursor', async () => {
    const upstream = await s.add('one', 5)
    const { repoId } = upstream
    await s.scan()
    s.upstream.refuses = true
    await s.shell.run('engram-scm-worker --drain')
    s.upstream.refuses = false
    await run(8)
    await s.shell.run('engram-scm-worker --drain')

    const [ledger] = (
      await s.db.pool.query(
        `select i.trigger_type_code, i.scheduler_code, i.provenance_config_snapshot is not null as snapshot, p.status_code as plan,
                l.status_code as slice, t.status_code as task
           from ing_task t join ing_plan_slice l on l.id = t.slice_id join ing_plan p on p.id = t.plan_id
           join ing_schedule_instance i on i.id = t.schedule_instance_id where t.repo_id = $1`,
        [repoId],
      )
    ).rows
    expect(ledger).toEqual({
      trigger_type_code: 'SCHEDULE',
      scheduler_code: 'INTERNAL',
      snapshot: true,
      plan: 'COMPLETED',
      slice: 'SUCCEEDED',
      task: 'SUCCEEDED',
    })
    const runs = await s.db.pool.query(
      `select attempt_no, status_code, last_heartbeat >= started_at as beat from ing_task_run order by attempt_no`,
    )
    expect(runs.rows).toEqual([
      { attempt_no: 1, status_code: 'FAILED', beat: true },
      { attempt_no: 2, status_code: 'SUCCEEDED', beat: true },
    ])
    const pages = (await s.db.pool.query('select * from ing_task_run_batch order by batch_no')).rows
    expect(pages.map((p) => [p.status_code, p.record_count])).toEqual([
      ['SUCCEEDED', 2],
      ['SUCCEEDED', 2],
      ['SUCCEEDED', 1],
    ])
    expect(pages.slice(1).map((p) => p.before_token)).toEqual(pages.slice(0, -1).map((p) => p.after_token))
    const [event] = (await s.db.pool.query('select * from ing_cursor_event')).rows
    const [cursor] = (await s.db.pool.query('select * from ing_cursor')).rows
    expect(event).toMatchObject({
      prev_value: null,
      direction_code: 'FORWARD',
      new_value: cursor.cursor_value,
    })
    expect(event.created_at <= cursor.updated_at).toBe(true)
    expect(await s.violations(upstream)).toEqual([])
  })
})
