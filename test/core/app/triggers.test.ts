import { randomUUID } from 'node:crypto'
import { Writable } from 'node:stream'
import { pino } from 'pino'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { underTrigger } from '../../../src/core/app/context.ts'
import { registerRepo } from '../../../src/core/app/manage/repos.ts'
import { tickScheduler } from '../../../src/core/app/queue/tick-scheduler.ts'
import { listPlans, listRuns, showPlan, showRun, traceRow } from '../../../src/core/app/report/show-ledger.ts'
import { SyncError } from '../../../src/core/domain/errors.ts'
import { ownTrigger, type Trigger } from '../../../src/core/domain/trigger.ts'
import { afterStatement } from '../../helpers/after-statement.ts'
import type { Wishes } from '../../helpers/context.ts'
import { embeddedUrl } from '../../helpers/database.ts'
import { commitsOf, makeRepo } from '../../helpers/git-repo.ts'
import { violations } from '../../helpers/oracle.ts'
import { openScene, type Scene } from '../../helpers/scene.ts'
import { watched } from '../../helpers/watched-source.ts'

const DAY = { since: '2024-03-01T00:00:00Z', until: '2024-03-02T00:00:00Z' }
const START = Date.parse(DAY.since) / 1000

let scene: Scene
beforeEach(async () => {
  scene = await openScene(embeddedUrl(), { 'scm.git.page_size': 2 })
  for (let i = 0; i < 12; i++) scene.repo.commit(`${i}`, { date: START + Math.floor(i / 2) * 4 * 3600 + i })
})
afterEach(() => scene.drop())

const xxl = (logId: string | null, more: Partial<Trigger> = {}): Trigger => ({
  ...ownTrigger(randomUUID()),
  schedulerCode: 'XXL',
  jobId: '7',
  logId,
  triggerType: 'SCHEDULE',
  ...more,
})
const by = (trigger: Trigger, wishes: Wishes = {}) => underTrigger(scene.ctx(wishes), trigger)
const counts = async () =>
  (
    await scene.query<Record<string, number>>(
      `select (select count(*) from ing_schedule_instance)::int as triggers, (select count(*) from ing_plan)::int as plans,
              (select count(*) from ing_plan_slice)::int as slices, (select count(*) from ing_task)::int as jobs,
              (select count(*) from ing_task_run)::int as runs, (select count(*) from ing_task_run_batch)::int as pages,
              (select count(*) from ing_cursor_event)::int as events`,
    )
  )[0]!
/** Fails whatever comes after so many pages. */
const failing = (pages: number) => ({
  sources: watched((_, n) => {
    if (n >= pages) throw new SyncError('network', 'no route to host')
  }),
})
/** Fails the chunk its first commit belongs to. */
const failingChunk = (chunk: number) => ({
  sources: watched((page) => {
    const at = commitsOf(page)[0]?.committer.epochSeconds ?? 0
    if (Math.floor((at - START) / (4 * 3600)) === chunk) throw new SyncError('network', 'no route to host')
  }),
})

describe('a trigger', () => {
  test('is kept with all that its scheduler said, and the configuration without its secrets', async () => {
    const snapshot = { gitlab: { token: '[set]' } }
    const trigger = xxl('4711', {
      triggeredAt: new Date('2025-01-01T00:00:00Z'),
      params: { repo: 'git:1' },
      correlationId: 'nightly-7',
      shard: { index: 1, total: 3 },
    })
    await scene.incremental(by(trigger, { configSnapshot: snapshot }))
    expect(await scene.query('select * from ing_schedule_instance')).toMatchObject([
      {
        scheduler_code: 'XXL',
        scheduler_job_id: '7',
        scheduler_log_id: '4711',
        trigger_type_code: 'SCHEDULE',
        triggered_at: new Date('2025-01-01T00:00:00Z'),
        trigger_params: {
          phase: 'incremental',
          repo: `git:${scene.repo.dir}`,
          job: 'commits',
          param: { repo: 'git:1' },
          shard: '1/3',
        },
        correlation_id: 'nightly-7',
        provenance_config_snapshot: snapshot,
      },
    ])
  })

  test('a person’s command is one too: by hand, and always another', async () => {
    await scene.incremental()
    await scene.incremental()
    const rows = await scene.query('select scheduler_code, trigger_type_code from ing_schedule_instance')
    expect(rows).toEqual([
      { scheduler_code: 'INTERNAL', trigger_type_code: 'MANUAL' },
      { scheduler_code: 'INTERNAL', trigger_type_code: 'MANUAL' },
    ])
  })

  test('is another one where another thing is asked, although the log id is the same', async () => {
    const step = () => by(xxl('1'))
    const [first, second] = [
      { since: DAY.since, until: '2024-03-01T08:00:00Z' },
      { since: '2024-03-01T08:00:00Z', until: DAY.until },
    ]
    expect(await scene.backfill({ wish: first }, step())).toMatchObject({ total_items_synced: 4 })
    expect(await scene.backfill({ wish: second }, step())).toMatchObject({
      total_chunks: 4,
      total_items_synced: 8,
    })
    expect(await scene.incremental(step())).toMatchObject({ message: null, items_synced: 0 })
    const before = await counts()
    expect(before).toMatchObject({ triggers: 3, plans: 3 })
    await scene.backfill({ wish: first }, step())
    await scene.backfill({ wish: second }, step())
    expect((await scene.incremental(step())).message).toMatch(/handled before/)
    expect(await counts()).toEqual(before)
    expect(await violations(scene)).toEqual([])
  })

  test('is another one when it is fired at another time: log numbers may begin again', async () => {
    const fired = (day: string) => by(xxl('1', { triggeredAt: new Date(`2025-01-${day}T00:00:00Z`) }))
    expect(await scene.incremental(fired('01'))).toMatchObject({ items_synced: 12 })
    scene.repo.commit('later')
    expect((await scene.incremental(fired('01'))).message).toMatch(/handled before/)
    expect(await scene.incremental(fired('02'))).toMatchObject({ message: null, items_synced: 1 })
  })

  test('its number is on every line of its runs, and leads from there to the cursor event', async () => {
    const lines: Record<string, unknown>[] = []
    const out = new Writable({
      write: (line, _, done) => {
        lines.push(JSON.parse(String(line)))
        done()
      },
    })
    await scene.incremental(
      by(xxl('1', { correlationId: 'follow-me' }), { log: pino({ level: 'debug' }, out) }),
    )
    expect(lines.length).toBeGreaterThan(6)
    expect(new Set(lines.map((l) => l.correlationId))).toEqual(new Set(['follow-me']))
    const found = await scene.query(
      `select e.new_value, k.cursor_value from ing_schedule_instance i
         join ing_plan p on p.schedule_instance_id = i.id join ing_plan_slice s on s.plan_id = p.id
         join ing_task t on t.slice_id = s.id and t.correlation_id = i.correlation_id
         join ing_task_run r on r.task_id = t.id and r.correlation_id = i.correlation_id and r.schedule_instance_id = i.id
         join ing_task_run_batch b on b.run_id = r.id
         join ing_cursor_event e on e.run_id = r.id and e.batch_id = b.id and e.schedule_instance_id = i.id
         join ing_cursor k on k.last_run_id = r.id and k.schedule_instance_id = i.id
        where i.correlation_id = 'follow-me'`,
    )
    expect(found).toHaveLength(1)
    expect(found[0]?.new_value).toBe(found[0]?.cursor_value)
  })
})

describe('a sync that is triggered twice', () => {
  test('by the same trigger: nothing is made twice, and the answer is what it came to', async () => {
    expect(await scene.incremental(by(xxl('1')))).toMatchObject({ status: 'success', items_synced: 12 })
    const before = await counts()
    scene.repo.commit('later')
    expect(await scene.incremental(by(xxl('1')))).toMatchObject({
      status: 'success',
      items_synced: 12,
      message: 'this trigger was handled before; nothing was done again',
      exit_code: 0,
    })
    expect(await counts()).toEqual(before)
    expect(await scene.incremental(by(xxl('2')))).toMatchObject({ items_synced: 1 })
  })

  test('by the same trigger after it failed: the same failure; by the next one: only what is missing', async () => {
    const error = 'no route to host'
    expect(await scene.incremental(by(xxl('1'), failing(2)))).toMatchObject({ status: 'failed', error })
    const before = await counts()
    expect(await scene.incremental(by(xxl('1')))).toMatchObject({ status: 'failed', error, exit_code: 2 })
    expect(await counts()).toEqual(before)

    expect(await scene.incremental(by(xxl('2')))).toMatchObject({ status: 'success', items_synced: 8 })
    const runs = await scene.query<{ log: string; tokens: string[]; own: boolean }>(
      `select i.scheduler_log_id as log, p.schedule_instance_id = i.id as own,
              (select array_agg(before_token order by batch_no) from ing_task_run_batch where run_id = r.id and status_code = 'SUCCEEDED') as tokens
         from ing_task_run r join ing_schedule_instance i on i.id = r.schedule_instance_id join ing_plan p on p.id = r.plan_id order by r.id`,
    )
    // The second trigger takes the first one's plan up, and then has one of its own to the present.
    expect(runs.map(({ log, own }) => `${log} ${own}`)).toEqual(['1 true', '2 false', '2 true'])
    const read = runs.flatMap((r) => r.tokens ?? [])
    expect(new Set(read).size).toBe(read.length)
    expect(await violations(scene)).toEqual([])
  })

  test('by the same trigger after it was killed: it is finished, in the name of that trigger', async () => {
    const stop = new AbortController()
    const sources = watched((_, n) => {
      if (n === 2) stop.abort(new SyncError('cancelled', 'stopped by SIGTERM'))
    })
    expect(await scene.incremental(by(xxl('1'), { sources, signal: stop.signal }))).toMatchObject({
      status: 'cancelled',
      exit_code: 2,
    })
    expect(await scene.incremental(by(xxl('1')))).toMatchObject({ status: 'success' })
    const after = await counts()
    expect(after).toMatchObject({ triggers: 1, plans: 1, jobs: 1, runs: 2, pages: 7 })
    expect(await scene.incremental(by(xxl('1')))).toMatchObject({ status: 'success', items_synced: 12 })
    expect(await counts()).toEqual(after)
    expect(await violations(scene)).toEqual([])
  })

  test('a deadline leaves a part: 1 when something was stored, 2 when nothing was', async () => {
    const over = (page: number) => {
      const stop = new AbortController()
      const sources = watched((_, n) => {
        if (n === page) stop.abort(new SyncError('deadline', 'the deadline of 60 s is over'))
      })
      return { sources, signal: stop.signal }
    }
    expect(await scene.incremental(by(xxl('1'), over(0)))).toMatchObject({
      status: 'cancelled',
      exit_code: 2,
    })
    expect(await scene.incremental(by(xxl('2'), over(3)))).toMatchObject({
      status: 'partial',
      kind: 'deadline',
      exit_code: 1,
    })
    expect(await scene.incremental(by(xxl('3')))).toMatchObject({ status: 'success' })
    expect(await violations(scene)).toEqual([])
  })

  test('sent again at the moment it ends: that is its answer, and nothing is planned anew', async () => {
    let lastPage = () => {}
    let release = () => {}
    const isAtLastPage = new Promise<void>((resolve) => {
      lastPage = resolve
    })
    const mayEnd = new Promise<void>((resolve) => {
      release = resolve
    })
    const sources = watched((_, n) => {
      if (n !== 5) return
      lastPage()
      return mayEnd
    })
    const first = scene.incremental(by(xxl('1'), { sources }))
    await isAtLastPage

    const db = afterStatement(scene.db, 'trigger_deed', async () => {
      release()
      await new Promise((resolve) => setTimeout(resolve, 500))
    })
    const again = await scene.incremental({ ...by(xxl('1')), db }, 30)
    expect(await first).toMatchObject({ status: 'success', items_synced: 12 })
    expect(again).toMatchObject({ status: 'success', items_synced: 12 })
    expect(await counts()).toMatchObject({ triggers: 1, plans: 1, jobs: 1, runs: 1, events: 1 })
  })

  test('20 times at once by one trigger, and 20 different ones at once: one effect', async () => {
    const all = await Promise.all(Array.from({ length: 20 }, () => scene.incremental(by(xxl('1')), 30)))
    expect(all.map((r) => r.exit_code)).toEqual(Array(20).fill(0))
    expect(all.map((r) => r.items_synced)).toEqual(Array(20).fill(12))
    expect(await counts()).toMatchObject({ triggers: 1, plans: 1, jobs: 1, runs: 1, pages: 6, events: 1 })

    scene.repo.commit('later')
    const others = await Promise.all(
      Array.from({ length: 20 }, (_, i) => scene.incremental(by(xxl(`other ${i}`.replace(' ', '-'))), 30)),
    )
    expect(others.map((r) => r.exit_code)).toEqual(Array(20).fill(0))
    expect(others.reduce((n, r) => n + r.items_synced, 0)).toBe(1)
    expect(await counts()).toMatchObject({ triggers: 21, pages: 7, events: 2 })
    expect(await violations(scene)).toEqual([])
  })
})

describe('a backfill that is triggered twice', () => {
  test('by the same trigger, whatever the clock says: the plan it made, and no run', async () => {
    const wish = { lastHours: 24 }
    scene.repo.commit('of today', { date: Math.trunc(Date.now() / 1000) - 3 * 3600 })
    const first = await scene.backfill({ wish }, by(xxl('1')))
    expect(first).toMatchObject({ status: 'success', total_chunks: 6, total_items_synced: 1 })
    const before = await counts()
    const second = await scene.backfill({ wish }, by(xxl('1')))
    expect(second.chunk_results).toEqual(first.chunk_results)
    expect(await counts()).toEqual(before)
  })

  test('by the next one: only the chunk that failed; and when nothing is missing, nothing', async () => {
    const first = await scene.backfill({ wish: DAY }, by(xxl('1'), failingChunk(3)))
    expect(first).toMatchObject({ status: 'partial', success_chunks: 5, exit_code: 1 })
    const again = await scene.backfill({ wish: DAY }, by(xxl('1')))
    expect(again).toMatchObject({ status: 'partial', exit_code: 1, errors: first.errors })
    expect(await counts()).toMatchObject({ plans: 1, slices: 6, jobs: 6, runs: 6 })

    expect(await scene.backfill({ wish: DAY }, by(xxl('2')))).toMatchObject({
      status: 'success',
      exit_code: 0,
    })
    expect(await counts()).toMatchObject({ triggers: 2, plans: 1, slices: 6, jobs: 6, runs: 7 })
    // A scheduler may only have missed the answer; a person who asks again wants it read again.
    expect(await scene.backfill({ wish: DAY }, by(xxl('3')))).toMatchObject({
      status: 'success',
      exit_code: 0,
    })
    expect(await counts()).toMatchObject({ jobs: 6, runs: 7 })
    await scene.backfill({ wish: DAY })
    expect(await counts()).toMatchObject({ jobs: 6, runs: 13 })
  })
})

describe('a scan that is triggered', () => {
  const scan = { dryRun: false, keepLeading: false }

  test('twice by the same trigger makes its jobs once and names them again', async () => {
    const first = await tickScheduler(by(xxl('1')), scan)
    expect(first).toMatchObject({ jobs_enqueued: 1 })
    const before = await counts()
    const { jobs_enqueued, enqueued_jobs } = await tickScheduler(by(xxl('1')), scan)
    expect({ jobs_enqueued, enqueued_jobs }).toEqual({
      jobs_enqueued: 1,
      enqueued_jobs: first.enqueued_jobs,
    })
    expect(await counts()).toEqual(before)
  })

  test('in shards: each repository by one of them, and none stands in another’s way', async () => {
    const ids = [scene.repoId]
    for (let i = 0; i < 5; i++) {
      const { dir } = makeRepo('--bare')
      ids.push((await registerRepo(scene.ctx(), { repo: `git:${dir}`, projectKey: null })).repo_id)
    }
    const reports = await Promise.all(
      [0, 1, 2].map((index) => tickScheduler(by(xxl('the same', { shard: { index, total: 3 } })), scan)),
    )
    const made = reports.map((r) => r.enqueued_jobs.map((job) => job.repo_id).sort())
    expect(reports.map((r) => r.leader)).toEqual([true, true, true])
    expect(made).toEqual([0, 1, 2].map((index) => ids.filter((id) => id % 3 === index)))
  })
})

describe('what is shown', () => {
  const ask = { repo: null, job: null, status: null, correlationId: null, logId: null, limit: 50 }

  test('a plan says what of it is missing, a run its pages and the cursor, a row who wrote it', async () => {
    await scene.backfill({ wish: DAY }, by(xxl('1'), failingChunk(3)))
    const ctx = scene.ctx()
    const { plans } = await listPlans(ctx, { ...ask, logId: '1' })
    expect(plans).toMatchObject([{ status: 'READY', slices: 6, slices_succeeded: 5, operation: 'BACKFILL' }])
    const shown = await showPlan(ctx, plans[0]?.plan_id as number)
    expect(shown.missing).toEqual([{ from: '2024-03-01T12:00:00.000Z', to: '2024-03-01T16:00:00.000Z' }])
    expect(shown.slices[3]).toMatchObject({ slice_no: 3, job_status: 'failed', error: 'no route to host' })
    expect(shown.trigger).toMatchObject({ scheduler_code: 'XXL', scheduler_log_id: '1' })

    await scene.backfill({ wish: DAY }, by(xxl('2')))
    expect((await showPlan(ctx, plans[0]?.plan_id as number)).missing).toEqual([])
    expect(await listPlans(ctx, { ...ask, logId: '2' })).toMatchObject({ count: 1 })
    const { runs } = await listRuns(ctx, { ...ask, logId: '2', planId: plans[0]?.plan_id as number })
    expect(runs).toMatchObject([{ slice_no: 3, attempt: 2, status: 'SUCCEEDED', synced: 2 }])
    const run = await showRun(ctx, runs[0]?.run_id as number)
    expect(run.batches).toMatchObject([
      { batch_no: 1, before_token: '', record_count: 2, status: 'SUCCEEDED' },
    ])
    expect(run.cursor_events).toMatchObject([{ direction: 'BACKFILL', to: '2024-03-01T16:00:00.000Z' }])

    const [row] = await scene.query<{ sha: string }>(
      `select commit_sha as sha from scm.git_commits where run_id = $1`,
      [runs[0]?.run_id],
    )
    const repo = `git:${scene.repoId}`
    expect(await traceRow(ctx, { repo, what: row?.sha.slice(0, 10) as string })).toMatchObject({
      kind: 'commit',
      id: row?.sha,
      run: { run_id: runs[0]?.run_id },
      plan: { plan_id: plans[0]?.plan_id },
      trigger: { scheduler_log_id: '2' },
      planned_by: { scheduler_log_id: '1' },
      batch: { batch_no: 1 },
    })
    for (const [what, kind] of [
      ['mr:1', 'not_found'],
      ['rev:1', 'not_found'],
      ['ffffffff', 'not_found'],
      ["x' or 1=1", 'usage'],
    ] as const)
      await expect(traceRow(ctx, { repo, what })).rejects.toMatchObject({ kind })
    await expect(showPlan(ctx, 999)).rejects.toMatchObject({ kind: 'not_found' })
    await expect(showRun(ctx, 999)).rejects.toMatchObject({ kind: 'not_found' })
  })
})
