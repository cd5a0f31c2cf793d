import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { registerRepo, unregisterRepo } from '../../../../src/core/app/manage/repos.ts'
import { stopLeading, tickScheduler } from '../../../../src/core/app/queue/tick-scheduler.ts'
import { work } from '../../../../src/core/app/queue/work.ts'
import { transaction } from '../../../../src/core/db/connect.ts'
import { lead, leads, resign } from '../../../../src/core/db/queue/leaders.ts'
import { workerName } from '../../../helpers/context.ts'
import { isFirst, servers } from '../../../helpers/database.ts'
import { violations } from '../../../helpers/oracle.ts'
import { openScene, type Scene } from '../../../helpers/scene.ts'

const ONCE = { dryRun: false, keepLeading: false }
const LOOP = { dryRun: false, keepLeading: true }

describe.each(servers())('a scan on the $name server', ({ url }) => {
  const once = test.skipIf(!isFirst(url))
  let scene: Scene
  beforeEach(async () => {
    scene = await openScene(url)
  })
  afterEach(() => scene.drop())

  const jobs = () =>
    scene.query<{ repo_id: number; status: string; priority: number }>(
      'select repo_id, status, priority from ing_task order by id',
    )
  const repos = async (count: number, projectKey: string | null = null) => {
    for (let i = 0; i < count; i++)
      await registerRepo(scene.ctx(), {
        repo: `git:https://h${i % 2}.example.com/${projectKey}/${i}.git`,
        projectKey,
      })
  }
  const drain = () => work(scene.ctx(), { once: false, drain: true, jobTypes: [], pool: null })
  const aged = (seconds: number) =>
    scene.query(`update logbook.kv set updated_at = now() - make_interval(secs => $1)`, [seconds])

  test('a repository that was never synced gets a job, and only one', async () => {
    const first = await tickScheduler(scene.ctx(), ONCE)
    expect(first).toMatchObject({
      leader: true,
      repos_scanned: 1,
      candidates_selected: 1,
      jobs_enqueued: 1,
      budget_snapshot: { global_running: 0, global_pending: 0 },
      enqueued_jobs: [{ repo_id: scene.repoId, job_type: 'commits', priority: 0, mode: 'incremental' }],
      exit_code: 0,
    })
    expect(await tickScheduler(scene.ctx(), ONCE)).toMatchObject({
      jobs_enqueued: 0,
      budget_snapshot: { global_pending: 1 },
    })
    expect(await jobs()).toEqual([{ repo_id: scene.repoId, status: 'pending', priority: 0 }])
    expect(
      await scene.query(
        `select i.trigger_type_code, i.trigger_params->>'phase' as phase, t.params->>'reason' as reason
           from ing_schedule_instance i join ing_task t on t.schedule_instance_id = i.id`,
      ),
    ).toEqual([{ trigger_type_code: 'SCHEDULE', phase: 'scan', reason: 'never_synced' }])
  })

  once('it is due again when its cursor has the age, and not before', async () => {
    await tickScheduler(scene.ctx(), ONCE)
    await drain()
    await aged(3500)
    expect(await tickScheduler(scene.ctx(), ONCE)).toMatchObject({ candidates_selected: 0 })
    await aged(3700)
    expect(await tickScheduler(scene.ctx(), ONCE)).toMatchObject({ jobs_enqueued: 1 })
    await drain()
    expect(await violations(scene)).toEqual([])
  })

  once('a disabled repository, a paused one and an open breaker get nothing', async () => {
    await scene.query(`insert into logbook.kv values ('scm.sync_pauses', $1, '{"paused_until": 4e9}')`, [
      `${scene.repoId}:commits`,
    ])
    expect(await tickScheduler(scene.ctx(), ONCE)).toMatchObject({ candidates_selected: 0 })
    await scene.query(`delete from logbook.kv`)
    await scene.query(
      `insert into logbook.kv values ('scm.sync_health', 'default:global', '{"state": "open"}')`,
    )
    expect(await tickScheduler(scene.ctx(), ONCE)).toMatchObject({
      candidates_selected: 1,
      jobs_enqueued: 0,
      circuit_state: 'open',
      exit_code: 0,
    })
    await scene.query(`delete from logbook.kv`)
    await unregisterRepo(scene.ctx(), { repo: `git:${scene.repoId}` })
    expect(await tickScheduler(scene.ctx(), ONCE)).toMatchObject({ repos_scanned: 0, jobs_enqueued: 0 })
    expect(await jobs()).toEqual([])
  })

  test('the queue is filled to its depth, no host and no tenant beyond its limit', async () => {
    await repos(8, 'a')
    await repos(8, 'b')
    const ctx = scene.ctx({
      settings: { 'scm.scheduler.per_instance_concurrency': 4, 'scm.scheduler.per_tenant_concurrency': 3 },
    })
    const report = await tickScheduler(ctx, ONCE)
    const counts = await scene.query(
      `select instance_key, tenant_id, count(*)::int as n from ing_task group by 1, 2 order by 1, 2`,
    )
    const of = (key: 'instance_key' | 'tenant_id', value: string) =>
      counts.filter((c) => c[key] === value).reduce((n, c) => n + Number(c.n), 0)
    expect([of('tenant_id', 'a'), of('tenant_id', 'b'), of('tenant_id', '')]).toEqual([3, 3, 1])
    expect(of('instance_key', 'h0.example.com')).toBeLessThanOrEqual(4)
    expect(report).toMatchObject({ jobs_enqueued: 7, jobs_skipped: 10 })
  })

  once('a dry run shows the jobs and writes nothing at all', async () => {
    expect(await tickScheduler(scene.ctx(), { dryRun: true, keepLeading: false })).toMatchObject({
      jobs_enqueued: 0,
      enqueued_jobs: [{ repo_id: scene.repoId, job_id: null }],
    })
    expect(await jobs()).toEqual([])
    expect(await scene.query('select 1 from scm.leaders union all select 1 from ing_plan')).toEqual([])
  })

  test('schedulers that scan at the same moment make one job per repository', async () => {
    await repos(5)
    const wide = { 'scm.scheduler.global_concurrency': 1000, 'scm.scheduler.per_instance_concurrency': 1000 }
    const ticks = await Promise.all(
      Array.from({ length: 6 }, () =>
        tickScheduler(scene.ctx({ worker: workerName(), settings: wide }), ONCE),
      ),
    )
    expect(ticks.reduce((n, t) => n + t.jobs_enqueued, 0)).toBe(6)
    expect((await jobs()).length).toBe(6)
  })

  once('an operator set the cursor back: due at once, and the audit trail says so', async () => {
    await tickScheduler(scene.ctx(), ONCE)
    await drain()
    const past = '2020-01-01T00:00:00.000Z'
    await scene.query(
      `update logbook.kv set value_json = jsonb_build_object('watermark', $1::text, 'run_id', 'manual_reset')`,
      [past],
    )
    expect(await tickScheduler(scene.ctx(), ONCE)).toMatchObject({
      enqueued_jobs: [{ payload_json: { reason: 'cursor_edited' } }],
    })
    expect(
      await scene.query(
        `select direction_code, new_value, reason from ing_cursor_event order by id desc limit 1`,
      ),
    ).toEqual([{ direction_code: 'BACKFILL', new_value: past, reason: 'manual_reset' }])
    await drain()
    expect(await violations(scene)).toEqual([])
  })

  once('an operator set the cursor ahead: the audited cursor follows in the same scan', async () => {
    await tickScheduler(scene.ctx(), ONCE)
    await drain()
    const ahead = new Date(Date.now() + 5_000).toISOString()
    await scene.query(`update logbook.kv set value_json = jsonb_build_object('watermark', $1::text)`, [ahead])
    await tickScheduler(scene.ctx(), ONCE)
    expect(await scene.query('select cursor_value, version from ing_cursor')).toEqual([
      { cursor_value: ahead, version: 2 },
    ])
  })

  test('a spent error budget is a pause with an end; after it one more try; a success forgives', async () => {
    await scene.query(
      `insert into ing_task_run (task_id, plan_id, slice_id, attempt_no, fence, worker_id, repo_id, job_type, mode, provenance_code, operation_code,
              expr_hash, status_code, started_at, finished_at)
       select 1000 + n, n, n, 1, nextval('scm.fence'), 'w', $1, 'commits', 'incremental', 'git', 'HARVEST', repeat('0', 64), 'FAILED',
              now() - interval '10 minutes', now() - interval '9 minutes' from generate_series(1, 4) n`,
      [scene.repoId],
    )
    expect(await tickScheduler(scene.ctx(), ONCE)).toMatchObject({
      jobs_enqueued: 0,
      skipped_jobs: [{ reason: 'error_budget_exceeded' }],
    })
    const [pause] = await scene.query<{ value_json: Record<string, number> }>(
      `select value_json from logbook.kv where namespace = 'scm.sync_pauses'`,
    )
    expect(pause?.value_json).toMatchObject({
      repo_id: scene.repoId,
      job_type: 'commits',
      reason_code: 'error_budget',
      failure_rate: 1,
    })
    expect(Math.round(pause!.value_json.paused_until! - pause!.value_json.paused_at!)).toBe(300)
    expect(await tickScheduler(scene.ctx(), ONCE)).toMatchObject({ candidates_selected: 0, jobs_skipped: 0 })

    await scene.query(
      `update logbook.kv set value_json = value_json || jsonb_build_object('paused_until', extract(epoch from now()) - 1)`,
    )
    expect(await tickScheduler(scene.ctx(), ONCE)).toMatchObject({ jobs_enqueued: 1 })
    await drain()
    await aged(4000)
    expect(await tickScheduler(scene.ctx(), ONCE)).toMatchObject({ jobs_enqueued: 1, jobs_skipped: 0 })
  })

  test('of two schedulers one leads; the other takes over when it is gone, with a higher term', async () => {
    const [one, two] = [scene.ctx({ worker: 'one-1-00000001' }), scene.ctx({ worker: 'two-2-00000002' })]
    expect(await tickScheduler(one, LOOP)).toMatchObject({ leader: true })
    expect(await tickScheduler(two, LOOP)).toMatchObject({ leader: false, repos_scanned: 0 })
    await scene.query(`update scm.leaders set lease_until = now() - interval '1 second'`)
    expect(await tickScheduler(two, LOOP)).toMatchObject({ leader: true })
    expect(await scene.query('select held_by, term from scm.leaders')).toEqual([
      { held_by: two.worker, term: 2 },
    ])
    await stopLeading(one)
    expect(await tickScheduler(one, LOOP)).toMatchObject({ leader: false })
    await stopLeading(two)
    expect(await tickScheduler(one, LOOP)).toMatchObject({ leader: true })
  })

  test('a leader that slept through its lease writes nothing, and cannot end the lease of its successor', async () => {
    const duty = 'scheduler'
    const asleep = { duty, term: (await lead(scene.db, { duty, by: 'one', leaseSeconds: 60 })) as number }
    await scene.query(`update scm.leaders set lease_until = now() - interval '1 second'`)
    const awake = { duty, term: (await lead(scene.db, { duty, by: 'two', leaseSeconds: 60 })) as number }
    const inTx = <T>(ask: (tx: Parameters<typeof leads>[0]) => Promise<T>) =>
      transaction(
        scene.db,
        { transactionMs: 5000, statementMs: 5000, signal: new AbortController().signal },
        ask,
      )

    expect(await inTx((tx) => leads(tx, asleep))).toBe(false)
    await resign(scene.db, { duty, by: 'one' })
    expect(await inTx((tx) => leads(tx, awake))).toBe(true)
  })

  once('a scan takes as many statements for forty repositories as for one', async () => {
    const worker = workerName()
    const counted = async () => {
      let statements = 0
      const counting = <T extends { query: (...args: never[]) => unknown }>(on: T): T =>
        new Proxy(on, {
          get: (target, name) => {
            if (name === 'query') {
              statements += 1
              return target.query.bind(target)
            }
            const found = Reflect.get(target, name)
            if (name !== 'connect') return typeof found === 'function' ? found.bind(target) : found
            return async () => counting(await (found as () => Promise<T>).call(target))
          },
        })
      const ctx = scene.ctx({
        worker,
        settings: {
          'scm.scheduler.global_concurrency': 1000,
          'scm.scheduler.per_instance_concurrency': 1000,
        },
      })
      const report = await tickScheduler({ ...ctx, db: counting(scene.db) }, LOOP)
      return { statements, made: report.jobs_enqueued }
    }
    await counted() // the first scan writes the row of the breaker besides
    await scene.query('delete from ing_task')
    const one = await counted()
    await repos(40)
    const forty = await counted()
    expect([one.made, forty.made]).toEqual([1, 40])
    expect(forty.statements).toBe(one.statements)
    expect(forty.statements).toBeLessThanOrEqual(10)
  })

  once('when nothing is due nothing is written but who leads', async () => {
    await tickScheduler(scene.ctx(), LOOP)
    await drain()
    const rowsOf = async () =>
      (
        await scene.query<{ rows: string }>(
          `select string_agg(x.t || ' ' || x.xmin || ' ' || x.ctid, ',' order by x.t, x.ctid) as rows from (
             select 'task' as t, xmin::text, ctid from ing_task union all select 'plan', xmin::text, ctid from ing_plan
             union all select 'trigger', xmin::text, ctid from ing_schedule_instance union all select 'kv', xmin::text, ctid from logbook.kv
             union all select 'cursor', xmin::text, ctid from ing_cursor union all select 'event', xmin::text, ctid from ing_cursor_event) x`,
        )
      )[0]?.rows
    const before = await rowsOf()
    for (let i = 0; i < 3; i++)
      expect(await tickScheduler(scene.ctx(), LOOP)).toMatchObject({ candidates_selected: 0 })
    expect(await rowsOf()).toBe(before)
  })

  once('each job says why, and the same stands in the record of its trigger', async () => {
    await registerRepo(scene.ctx(), { repo: 'git:https://h.example.com/a.git', projectKey: 'team' })
    const { enqueued_jobs: jobs, scheduled_at } = await tickScheduler(scene.ctx(), ONCE)
    expect(jobs[1]?.payload_json).toEqual({
      reason: 'never_synced',
      scheduled_at,
      logical_job_type: 'commits',
      gitlab_instance: 'h.example.com',
      tenant_id: 'team',
      cursor_age_seconds: -1,
      failure_rate: 0,
      rate_limit_rate: 0,
      bucket_paused: false,
      bucket_pause_remaining_seconds: 0,
      bucket_penalty_reason: null,
      bucket_penalty_value: 0,
      circuit_state: 'closed',
    })
    const kept = await scene.query<{ params: object }>(
      'select payload_json as params from scm.sync_jobs order by job_id',
    )
    expect(kept.map((k) => k.params)).toEqual(jobs.map((j) => j.payload_json))
    expect(await scene.query('select 1 from ing_schedule_instance')).toHaveLength(1)
  })

  once(
    'a host that rests, or grants little, stands behind the others; none of its repositories is forgotten',
    async () => {
      await registerRepo(scene.ctx(), { repo: 'git:https://rests.example.com/a.git', projectKey: null })
      await registerRepo(scene.ctx(), { repo: 'git:https://low.example.com/a.git', projectKey: null })
      await registerRepo(scene.ctx(), { repo: 'git:https://odd.example.com/a.git', projectKey: null })
      await scene.query(
        `insert into scm.sync_rate_limits (instance_key, tokens, rate, burst, paused_until, updated_at) values
         ('rests.example.com', 20, 0, 20, now() + interval '90 seconds', now()),
         ('low.example.com', 3.9, 0, 20, now() - interval '1 second', now()),
         ('odd.example.com', 1, 1, 0, 'infinity', '-infinity')`,
      )
      await registerRepo(scene.ctx(), { repo: 'git:https://scarce.example.com/a.git', projectKey: null })
      await scene.query(
        `insert into scm.sync_rate_limits (instance_key, tokens, hour_remaining, hour_resets_at)
       values ('scarce.example.com', 20, 3, now() + interval '40 minutes')`,
      )
      const { enqueued_jobs: jobs } = await tickScheduler(scene.ctx(), ONCE)
      expect(jobs.map((j) => [j.payload_json.gitlab_instance, j.priority])).toEqual([
        [null, 0],
        ['low.example.com', 200],
        ['scarce.example.com', 200],
        ['rests.example.com', 1000],
        ['odd.example.com', 1000],
      ])
      expect(jobs[3]?.payload_json).toMatchObject({
        bucket_paused: true,
        bucket_penalty_reason: 'bucket_paused',
        bucket_penalty_value: 1000,
      })
      expect(jobs[3]?.payload_json.bucket_pause_remaining_seconds).toBeGreaterThan(80)
    },
  )

  once('times that somebody set to infinity do not stop the scan', async () => {
    await tickScheduler(scene.ctx(), ONCE)
    await drain()
    await scene.query(`update logbook.kv set updated_at = 'infinity'`)
    expect(await tickScheduler(scene.ctx(), ONCE)).toMatchObject({ candidates_selected: 0 })
    await scene.query(`update logbook.kv set updated_at = '-infinity'`)
    expect(await tickScheduler(scene.ctx(), ONCE)).toMatchObject({ candidates_selected: 1 })
  })

  once('whoever is passed over is named, with whose limit it is', async () => {
    await repos(8, 'team')
    const ctx = scene.ctx({
      settings: { 'scm.scheduler.per_instance_concurrency': 1, 'scm.scheduler.per_tenant_concurrency': 1 },
    })
    const { skipped_jobs: skipped, jobs_skipped } = await tickScheduler(ctx, ONCE)
    expect(jobs_skipped).toBe(7)
    expect(skipped[0]).toEqual({
      repo_id: scene.repoId + 2,
      job_type: 'commits',
      reason: 'tenant_limit',
      tenant: 'team',
    })
    expect(skipped[1]).toMatchObject({ reason: 'instance_limit', instance: 'h0.example.com' })
  })

  once('a pause whose end is text holds as one with a number', async () => {
    await scene.query(
      `insert into logbook.kv values ('scm.sync_pauses', $1, '{"paused_until": "2100-01-01T00:00:00Z"}')`,
      [`${scene.repoId}:commits`],
    )
    expect(await tickScheduler(scene.ctx(), ONCE)).toMatchObject({ candidates_selected: 0 })
    await scene.query(`update logbook.kv set value_json = '{"paused_until": "tomorrow"}'`)
    expect(await tickScheduler(scene.ctx(), ONCE)).toMatchObject({ candidates_selected: 1 })
  })

  once('job types that MVP mode does not list wait until it is over', async () => {
    const only = (...types: string[]) =>
      scene.ctx({
        settings: { 'scm.scheduler.mvp_mode_enabled': true, 'scm.scheduler.mvp_job_type_allowlist': types },
      })
    expect(await tickScheduler(only('mrs'), ONCE)).toMatchObject({ repos_scanned: 1, candidates_selected: 0 })
    expect(await tickScheduler(only('commits'), ONCE)).toMatchObject({ jobs_enqueued: 1 })
  })

  once('a full queue of paused repositories does not stop the others', async () => {
    await repos(12)
    const narrow = scene.ctx({
      settings: { 'scm.scheduler.global_concurrency': 2, 'scm.scheduler.per_instance_concurrency': 9 },
    })
    expect(await tickScheduler(narrow, ONCE)).toMatchObject({ jobs_enqueued: 2 })
    expect(await tickScheduler(narrow, ONCE)).toMatchObject({ jobs_enqueued: 0 })
    await scene.query(
      `insert into logbook.kv select 'scm.sync_pauses', repo_id || ':commits', '{"paused_until": 4e9}' from ing_task`,
    )
    expect(await tickScheduler(narrow, ONCE)).toMatchObject({
      jobs_enqueued: 2,
      budget_snapshot: { global_pending: 0, by_instance: {} },
    })
    await scene.query(`update logbook.kv set value_json = '{"paused_until": "soon"}'`)
    expect(await tickScheduler(narrow, ONCE)).toMatchObject({ budget_snapshot: { global_pending: 4 } })
  })

  once('jobs that wait for their next try do not stop the others of their host and tenant', async () => {
    await scene.query('update scm.repos set enabled = false')
    await repos(8, 'team')
    await scene.query(`update scm.repos set instance_key = 'h.example.com'`)
    const narrow = scene.ctx({
      settings: { 'scm.scheduler.global_concurrency': 4, 'scm.scheduler.per_tenant_concurrency': 3 },
    })
    const ended = (status: string, attempts: number) =>
      scene.query(
        `update ing_task set status = $1, attempts = $2, scheduled_at = now() + interval '5 minutes',
                parked_until = now() + interval '5 minutes'`,
        [status, attempts],
      )
    expect(await tickScheduler(narrow, ONCE)).toMatchObject({ jobs_enqueued: 3 })
    expect(await tickScheduler(narrow, ONCE)).toMatchObject({ jobs_enqueued: 0 }) // due: they count
    await ended('failed', 1)
    expect(await tickScheduler(narrow, ONCE)).toMatchObject({
      jobs_enqueued: 3,
      budget_snapshot: { global_pending: 0, by_instance: {}, by_tenant: {} },
    })
    await scene.query(`update ing_task set scheduled_at = now(), parked_until = null`)
    expect(await tickScheduler(narrow, ONCE)).toMatchObject({
      jobs_enqueued: 0,
      budget_snapshot: { global_pending: 6, by_instance: { 'h.example.com': 6 }, by_tenant: { team: 6 } },
    })
  })

  once(
    'what a silent host has put off leaves the places of the others; that host gets no more of them',
    async () => {
      await repos(20, 'team')
      const narrow = scene.ctx({
        settings: { 'scm.scheduler.global_concurrency': 6, 'scm.scheduler.per_tenant_concurrency': 6 },
      })
      await tickScheduler(narrow, ONCE)
      await scene.query(`delete from ing_task where instance_key <> 'h0.example.com'`)
      await scene.query(
        `update ing_task set scheduled_at = now() + interval '5 minutes', parked_until = now() + interval '5 minutes'`,
      )
      await scene.query(
        `insert into scm.sync_rate_limits (instance_key, tokens, paused_until) values ('h0.example.com', 0, now() + interval '4 minutes')`,
      )
      const { enqueued_jobs, budget_snapshot } = await tickScheduler(narrow, ONCE)
      expect(budget_snapshot).toMatchObject({
        global_pending: 0,
        by_instance: { 'h0.example.com': 3 },
        by_tenant: {},
      })
      const hosts = enqueued_jobs.map((j) => j.payload_json.gitlab_instance)
      expect(hosts.filter((h) => h === 'h1.example.com')).toHaveLength(3)
      expect(hosts).not.toContain('h0.example.com')
    },
  )

  test('the chunks of a backfill whose runner died take one place, not all of them', async () => {
    await repos(3)
    await scene.query(
      `insert into ing_task (schedule_instance_id, plan_id, slice_id, provenance_code, operation_code, repo_id, job_type, mode, idempotent_key, expr_hash, status)
       select 1, 1, n, 'git:' || $1::int, 'BACKFILL', $1, 'commits', 'backfill', lpad(n::text, 64, '0'), repeat('0', 64), 'pending' from generate_series(1, 42) n`,
      [scene.repoId],
    )
    expect(await tickScheduler(scene.ctx(), ONCE)).toMatchObject({
      jobs_enqueued: 4,
      budget_snapshot: { global_pending: 1 },
    })
  })

  describe('out of sight for longer than the repair window', () => {
    const synced = async () => {
      scene.repo.commit('one', { date: Math.floor(Date.now() / 1000) - 3600 })
      await tickScheduler(scene.ctx(), ONCE)
      await drain()
    }
    const modes = (report: Awaited<ReturnType<typeof tickScheduler>>) =>
      report.enqueued_jobs.map((j) => [j.mode, j.priority])

    test('a repair is made beside the sync: the time since the last good one, and no cursor moves for it', async () => {
      await synced()
      const [before] = await scene.query('select cursor_value, version from ing_cursor')
      await aged(30 * 3600)
      const report = await tickScheduler(scene.ctx(), ONCE)
      expect(modes(report)).toEqual([
        ['incremental', 76],
        ['backfill', 150],
      ])
      const { since, until, ...why } = report.enqueued_jobs[1]!.payload_json
      expect(why).toMatchObject({ reason: expect.stringMatching(/^repair:cursor_age=108\d{3}s$/) })
      expect((Date.parse(until!) - Date.parse(since!)) / 3_600_000).toBeCloseTo(30, 1)
      expect(
        await scene.query(
          `select p.operation_code, p.update_watermark, t.status, i.trigger_params->>'phase' as phase, i.trigger_type_code,
                  (select count(*)::int from ing_plan_slice s where s.plan_id = p.id) as slices
             from ing_plan p join ing_task t on t.plan_id = p.id join ing_schedule_instance i on i.id = p.schedule_instance_id
            where t.status = 'pending' order by t.id`,
        ),
      ).toEqual([
        {
          operation_code: 'HARVEST',
          update_watermark: true,
          status: 'pending',
          phase: 'scan',
          trigger_type_code: 'SCHEDULE',
          slices: 1,
        },
        {
          operation_code: 'BACKFILL',
          update_watermark: false,
          status: 'pending',
          phase: 'scan',
          trigger_type_code: 'SCHEDULE',
          slices: 1,
        },
      ])
      await scene.query(
        `update ing_task set status = 'cancelled', active_key = null where mode = 'incremental' and status = 'pending'`,
      )
      await drain()
      expect(
        await scene.query('select cursor_value, version from ing_cursor where operation_code = $1', [
          'HARVEST',
        ]),
      ).toEqual([before])
    })

    once('it works as any backfill does, and all is whole afterwards', async () => {
      await synced()
      await aged(30 * 3600)
      await scene.query('delete from scm.git_commits')
      await tickScheduler(scene.ctx(), ONCE)
      await drain()
      expect(await scene.query(`select status, mode from ing_task order by id`)).toEqual([
        { status: 'completed', mode: 'incremental' },
        { status: 'completed', mode: 'incremental' },
        { status: 'completed', mode: 'backfill' },
      ])
      expect(await violations(scene)).toEqual([])
    })

    once('one within the window, whatever becomes of it; none for one that was never synced', async () => {
      expect(modes(await tickScheduler(scene.ctx(), ONCE))).toEqual([['incremental', 0]])
      await drain()
      const again = async (kvHours: number, planHours: number) => {
        await scene.query(
          `update ing_task set status = 'cancelled', active_key = null where mode = 'incremental' and status = 'pending'`,
        )
        await scene.query(
          `update ing_plan set created_at = now() - make_interval(hours => $1) where operation_code = 'BACKFILL'`,
          [planHours],
        )
        await aged(kvHours * 3600)
        return modes(await tickScheduler(scene.ctx(), ONCE)).map(([mode]) => mode)
      }
      expect(await again(23, 0)).toEqual(['incremental'])
      expect(await again(24, 0)).toEqual(['incremental', 'backfill'])
      expect(await again(47, 23)).toEqual(['incremental'])
      expect(await again(99, 75)).toEqual(['incremental']) // it still waits
      await scene.query(`update ing_plan set status_code = 'FAILED' where operation_code = 'BACKFILL'`)
      expect(await again(47, 23)).toEqual(['incremental'])
      expect(await again(48, 24)).toEqual(['incremental', 'backfill'])
    })

    once('it reads no further back than it may, and takes no place that a sync wants', async () => {
      await synced()
      await aged(1000 * 3600)
      const far = await tickScheduler(
        scene.ctx({ settings: { 'scm.scheduler.max_backfill_window_hours': 48 } }),
        {
          dryRun: true,
          keepLeading: false,
        },
      )
      const { since, until } = far.enqueued_jobs[1]!.payload_json
      expect(Date.parse(until!) - Date.parse(since!)).toBe(48 * 3_600_000)

      await repos(9)
      const report = await tickScheduler(
        scene.ctx({ settings: { 'scm.scheduler.per_instance_concurrency': 9 } }),
        ONCE,
      )
      expect(modes(report).map(([mode]) => mode)).toEqual(Array(10).fill('incremental'))
    })
  })

  test('of many that reach for the lead at the same moment one gets it, each time under a higher term', async () => {
    const won: number[] = []
    for (let round = 0; round < 20; round++) {
      await scene.query(`update scm.leaders set lease_until = now() - interval '1 second'`)
      const terms = await Promise.all(
        Array.from({ length: 8 }, (_, i) =>
          lead(scene.db, { duty: 'scheduler', by: `${round}-${i}`, leaseSeconds: 60 }),
        ),
      )
      won.push(...terms.filter((term) => term !== null))
    }
    expect(won).toEqual(Array.from({ length: 20 }, (_, i) => i + 1))
  })

  once('whoever stands by does not wait for the leader’s scan', async () => {
    const duty = 'scheduler'
    const term = (await lead(scene.db, { duty, by: 'one', leaseSeconds: 60 })) as number
    const limits = { transactionMs: 20_000, statementMs: 20_000, signal: new AbortController().signal }
    await transaction(scene.db, limits, async (tx) => {
      expect(await leads(tx, { duty, term })).toBe(true)
      await scene.query(`set lock_timeout = '1s'`)
      expect(await tickScheduler(scene.ctx(), LOOP)).toMatchObject({
        leader: false,
        status: 'success',
        repos_scanned: 0,
        exit_code: 0,
      })
    })
  })

  once('switched off it refuses, and says how to switch it on', async () => {
    const off = scene.ctx({ settings: { 'scm.sync.enabled': false } })
    await expect(tickScheduler(off, ONCE)).rejects.toMatchObject({
      kind: 'config',
      hint: expect.stringContaining('ENGRAM_SCM_SYNC_ENABLED'),
    })
    expect(await jobs()).toEqual([])
  })
})
