import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { registerRepo, unregisterRepo } from '../../../../src/core/app/manage-repos.ts'
import { stopLeading, tickScheduler } from '../../../../src/core/app/tick-scheduler.ts'
import { work } from '../../../../src/core/app/work.ts'
import { transaction } from '../../../../src/core/db/connect.ts'
import { lead, leads, resign } from '../../../../src/core/db/leaders.ts'
import { workerName } from '../../../helpers/context.ts'
import { servers } from '../../../helpers/database.ts'
import { violations } from '../../../helpers/oracle.ts'
import { openScene, type Scene } from '../../../helpers/scene.ts'

const ONCE = { dryRun: false, keepLeading: false }
const LOOP = { dryRun: false, keepLeading: true }

describe.each(servers())('a scan on the $name server', ({ url }) => {
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
        'select trigger_type_code, trigger_params->>$1 as reason from ing_schedule_instance',
        ['reason'],
      ),
    ).toEqual([{ trigger_type_code: 'SCHEDULE', reason: 'never_synced' }])
  })

  test('it is due again when its cursor has the age, and not before', async () => {
    await tickScheduler(scene.ctx(), ONCE)
    await drain()
    await aged(3500)
    expect(await tickScheduler(scene.ctx(), ONCE)).toMatchObject({ candidates_selected: 0 })
    await aged(3700)
    expect(await tickScheduler(scene.ctx(), ONCE)).toMatchObject({ jobs_enqueued: 1 })
    await drain()
    expect(await violations(scene)).toEqual([])
  })

  test('a disabled repository, a paused one and an open breaker get nothing', async () => {
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

  test('a dry run shows the jobs and writes nothing at all', async () => {
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

  test('an operator set the cursor back: due at once, and the audit trail says so', async () => {
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

  test('an operator set the cursor ahead: the audited cursor follows in the same scan', async () => {
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
       select n, n, n, 1, nextval('scm.fence'), 'w', $1, 'commits', 'incremental', 'git', 'HARVEST', repeat('0', 64), 'FAILED',
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

  test('a scan takes as many statements for forty repositories as for one', async () => {
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
    const one = await counted()
    await repos(40)
    const forty = await counted()
    expect([one.made, forty.made]).toEqual([1, 40])
    expect(forty.statements).toBe(one.statements)
    expect(forty.statements).toBeLessThanOrEqual(10)
  })

  test('switched off it refuses, and says how to switch it on', async () => {
    const off = scene.ctx({ settings: { 'scm.sync.enabled': false } })
    await expect(tickScheduler(off, ONCE)).rejects.toMatchObject({
      kind: 'config',
      hint: expect.stringContaining('ENGRAM_SCM_SYNC_ENABLED'),
    })
    expect(await jobs()).toEqual([])
  })
})
