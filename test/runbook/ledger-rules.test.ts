import { spawnSync } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Context, underLease, underTrigger } from '../../src/core/app/context.ts'
import { dictionary } from '../../src/core/app/examine/database.ts'
import type { Examined } from '../../src/core/app/examine/examined.ts'
import { replayCursors } from '../../src/core/app/manage/cursors.ts'
import { readHealth } from '../../src/core/app/report/read-health.ts'
import { readMetrics } from '../../src/core/app/report/read-metrics.ts'
import { showPlan } from '../../src/core/app/report/show-ledger.ts'
import { mainLine } from '../../src/core/app/sync/land-cursor.ts'
import { transaction } from '../../src/core/db/connect.ts'
import { advanceCursor, lockCursor } from '../../src/core/db/ledger/cursors.ts'
import { migrate, schemaState } from '../../src/core/db/migrate.ts'
import { SyncError } from '../../src/core/domain/errors.ts'
import { canonical, hashOf, type Json, sha256 } from '../../src/core/domain/ledger.ts'
import { timeSpan } from '../../src/core/domain/ledger-window.ts'
import { timeMark } from '../../src/core/domain/mark.ts'
import { ownTrigger, SCHEDULER_CODES, TRIGGER_TYPES, type Trigger } from '../../src/core/domain/trigger.ts'
import { claim, seedJobs } from '../core/db/queue/fixture.ts'
import { contextOn, workerName } from '../helpers/context.ts'
import { embeddedUrl, freshDatabase, type TestDatabase } from '../helpers/database.ts'
import { commitsOf } from '../helpers/git-repo.ts'
import { openGitLabScene } from '../helpers/gitlab/scene.ts'
import { startGitLab } from '../helpers/gitlab/server.ts'
import { violations } from '../helpers/oracle.ts'
import { openScene, type Scene } from '../helpers/scene.ts'
import { afterPages, watched } from '../helpers/watched-source.ts'

/** The sentences of the ingest runbook, one by one, as rules that the ledger is held to. */

const DAY = { since: '2024-03-01T00:00:00Z', until: '2024-03-02T00:00:00Z' }
const START = Date.parse(DAY.since) / 1000
const HOUR = 3600

const opened: { drop: () => Promise<void> }[] = []
afterAll(async () => {
  for (const one of opened.toReversed()) await one.drop()
})
/** Two commits in each of the six chunks of a day, pages of two. */
async function day(max?: number): Promise<Scene> {
  const scene = await openScene(embeddedUrl(), { 'scm.git.page_size': 2 }, max)
  opened.push(scene)
  for (let i = 0; i < 12; i++)
    scene.repo.commit(`${i}`, { date: START + Math.floor(i / 2) * 4 * HOUR + (i % 2) })
  return scene
}
const xxl = (logId: string, more: Partial<Trigger> = {}): Trigger => ({
  ...ownTrigger(randomUUID()),
  schedulerCode: 'XXL',
  jobId: '7',
  logId,
  triggerType: 'SCHEDULE',
  ...more,
})
const failingChunk = (chunk: number) => ({
  sources: watched((page) => {
    const at = commitsOf(page)[0]?.committer.epochSeconds ?? 0
    if (Math.floor((at - START) / (4 * HOUR)) === chunk) throw new SyncError('network', 'no route to host')
  }),
})
function gate() {
  let open = () => {}
  const opened = new Promise<void>((resolve) => {
    open = resolve
  })
  return { open, opened }
}
const ofLedger = (scene: Scene) =>
  scene.query<Record<string, number>>(
    `select (select count(*) from ing_schedule_instance)::int as triggers, (select count(*) from ing_plan)::int as plans,
            (select count(*) from ing_plan_slice)::int as slices, (select count(*) from ing_task)::int as tasks,
            (select count(*) from ing_task_run)::int as runs, (select count(*) from ing_task_run_batch)::int as batches,
            (select count(*) from ing_cursor_event)::int as events`,
  )

describe('initialisation and inspection', () => {
  let db: TestDatabase
  beforeAll(async () => {
    db = await freshDatabase(embeddedUrl(), { empty: true })
    opened.push(db)
  })

  test('A1: the migration makes every object, once', async () => {
    expect(await schemaState(db.pool)).toBe('missing')
    expect((await migrate(db.pool)).applied).toBeGreaterThan(0)
    expect((await migrate(db.pool)).applied).toBe(0)
    expect(await schemaState(db.pool)).toBe('current')
  })

  test('A2: the codes are the dictionary’s, in the code and in the database', async () => {
    const { rows } = await db.pool.query(
      `select conname as name, pg_get_constraintdef(oid) as def from pg_constraint where conname in ('ck_sched_code', 'ck_sched_trigger')`,
    )
    const codes = Object.fromEntries(
      rows.map(({ name, def }) => [name, [...def.matchAll(/'(\w+)'::text/g)].map((m: string[]) => m[1])]),
    )
    expect(codes).toEqual({ ck_sched_code: [...SCHEDULER_CODES], ck_sched_trigger: [...TRIGGER_TYPES] })
    const wrong = [
      ['ing_schedule_instance', 'scheduler_code', 'ck_sched_code'],
      ['ing_plan', 'status_code', 'ck_plan_status'],
      ['ing_plan_slice', 'status_code', 'ck_slice_status'],
      ['ing_task', 'status', 'ck_task_status'],
      ['ing_task_run', 'status_code', 'ck_run_status'],
      ['ing_task_run_batch', 'status_code', 'ck_batch_status'],
      ['ing_cursor', 'cursor_type_code', 'ck_cursor_type'],
    ]
    for (const [table, column, check] of wrong) {
      const { rows: found } = await db.pool.query(
        `select 1 from pg_constraint where conrelid = $1::regclass and conname = $2 and contype = 'c' and convalidated
            and pg_get_constraintdef(oid) like '%' || $3 || '%'`,
        [table, check, column],
      )
      expect(found, `${table}.${column}`).toHaveLength(1)
    }
  })

  test('A3: the eight tables are there, in UTF8, compared byte by byte', async () => {
    const { rows } = await db.pool.query(
      `select (select count(*)::int from pg_tables where schemaname = 'public' and tablename like 'ing\\_%') as tables,
              current_setting('server_encoding') as encoding,
              (select count(*)::int from pg_attribute a join pg_class c on c.oid = a.attrelid join pg_collation k on k.oid = a.attcollation
                where c.relname like 'ing\\_%' and c.relkind = 'r' and not k.collisdeterministic) as loose`,
    )
    expect(rows).toEqual([{ tables: 8, encoding: 'UTF8', loose: 0 }])
  })

  test('A4: the core keys are in force, and the doctor misses one that is not', async () => {
    const look = () => dictionary({ db: db.pool } as unknown as Examined)
    expect(await look()).toMatchObject({ status: 'ok' })
    const health = () => readHealth(contextOn(db.pool), { includeDetails: true })
    expect((await health()).violations).toEqual([])
    for (const [table, key] of [
      ['ing_task', 'uk_task_idem'],
      ['ing_task_run', 'uk_run_attempt'],
      ['ing_task_run_batch', 'uk_batch_idem'],
    ]) {
      const { rows } = await db.pool.query(
        `select pg_get_constraintdef(oid) as def from pg_constraint where conname = $1`,
        [key],
      )
      await db.pool.query(`alter table ${table} drop constraint ${key}`)
      expect((await health()).violations).toMatchObject([
        { check_id: 'unique_keys', details: [{ name: key }] },
      ])
      expect(await look()).toMatchObject({ status: 'failed', found: expect.stringContaining(key as string) })
      await db.pool.query(`alter table ${table} add constraint ${key} ${rows[0].def}`)
    }
  })

  test('A25: no foreign keys', async () => {
    const { rows } = await db.pool.query(`select conname from pg_constraint where contype = 'f'`)
    expect(rows).toEqual([])
  })
})

describe('from the trigger to the cursor', () => {
  let scene: Scene
  const by = (trigger: Trigger, wishes = {}) =>
    underTrigger(scene.ctx({ configSnapshot: { gitlab: { token: '[set]' } }, ...wishes }), trigger)
  beforeAll(async () => {
    scene = await day()
    await scene.incremental(by(xxl('1', { params: { asked: 'nightly' } })))
    await scene.backfill({ wish: DAY }, by(xxl('2'), failingChunk(3)))
  })

  test('A5: a trigger is kept with code, job, log, type and parameters', async () => {
    const rows = await scene.query(
      'select scheduler_code, scheduler_job_id, scheduler_log_id, trigger_type_code, trigger_params from ing_schedule_instance order by id',
    )
    const kept = { scheduler_code: 'XXL', scheduler_job_id: '7', trigger_type_code: 'SCHEDULE' }
    expect(rows).toMatchObject([
      {
        ...kept,
        scheduler_log_id: '1',
        trigger_params: { phase: 'incremental', param: { asked: 'nightly' } },
      },
      { ...kept, scheduler_log_id: '2', trigger_params: { phase: 'backfill', window: DAY } },
    ])
  })

  test('A6: with the configuration of then; a later one changes nothing of a retry', async () => {
    const slices = () => scene.query('select id, slice_spec, expr_hash from ing_plan_slice order by id')
    const before = await slices()
    const settings = { 'scm.backfill.chunk_hours': 4, 'scm.git.page_size': 1 }
    await scene.backfill({ wish: DAY }, by(xxl('3'), { ...failingChunk(3), settings }))
    expect(await slices()).toEqual(before)
    const [first] = await scene.query(
      'select provenance_config_snapshot as kept from ing_schedule_instance order by id',
    )
    expect(first?.kept).toEqual({ gitlab: { token: '[set]' } })
  })

  test('A7: the plan is the window that was asked for, and its slices tile it', async () => {
    const { rows } = await scene.db.query(
      `select p.window_from, p.window_to, p.slice_params, s.slice_spec->'window'->>'from' as from, s.slice_spec->'window'->>'to' as to
         from ing_plan p join ing_plan_slice s on s.plan_id = p.id where p.operation_code = 'BACKFILL' order by s.slice_no`,
    )
    expect(rows).toHaveLength(6)
    expect(rows[0]).toMatchObject({
      window_from: new Date(DAY.since),
      window_to: new Date(DAY.until),
      slice_params: { step_hours: 4 },
    })
    expect([rows[0].from, ...rows.map((r) => r.to)]).toEqual([
      ...rows.map((r) => r.from),
      new Date(DAY.until).toISOString(),
    ])
  })

  test('A8: the same trigger again derives nothing', async () => {
    const before = await ofLedger(scene)
    await scene.incremental(by(xxl('1')))
    await scene.backfill({ wish: DAY }, by(xxl('2')))
    expect(await ofLedger(scene)).toEqual(before)
  })

  test('A13: a plan is complete when its runs are, and a run when its pages are', async () => {
    const plan = async () =>
      (await scene.query(`select id, status_code from ing_plan where operation_code = 'BACKFILL'`))[0]
    expect((await plan())?.status_code).not.toBe('COMPLETED')
    const shown = await showPlan(scene.ctx(), (await plan())?.id as number)
    expect(shown.missing).toEqual([{ from: '2024-03-01T12:00:00.000Z', to: '2024-03-01T16:00:00.000Z' }])

    await scene.backfill({ wish: DAY }, by(xxl('4')))
    expect((await plan())?.status_code).toBe('COMPLETED')
    const broken = await scene.query(
      `select r.id from ing_task_run r join ing_task_run_batch b on b.run_id = r.id
        where r.status_code = 'SUCCEEDED' and b.status_code <> 'SUCCEEDED'
       union select t.id from ing_task t join ing_task_run r on r.id = t.last_run_id
        where t.status_code = 'SUCCEEDED' and r.status_code <> 'SUCCEEDED'`,
    )
    expect(broken).toEqual([])
  })

  test('A10: a run is the try after the last one, RUNNING with a heartbeat', async () => {
    let seen: Record<string, unknown> | undefined
    const sources = afterPages(scene, 1, async () => {
      seen = (
        await scene.query(
          `select status_code, attempt_no, last_heartbeat >= started_at as alive from ing_task_run order by id desc limit 1`,
        )
      )[0]
    })
    for (let i = 0; i < 4; i++) scene.repo.commit(`later ${i}`)
    await scene.incremental(by(xxl('5'), { sources }))
    expect(seen).toEqual({ status_code: 'RUNNING', attempt_no: 1, alive: true })
    const tries = await scene.query<{ tries: number[] }>(
      `select array_agg(attempt_no order by id) as tries from ing_task_run group by task_id having count(*) > 1`,
    )
    expect(tries).toEqual([{ tries: [1, 2, 3] }])
  })

  test('A11: one batch a page, each where the last one ended', async () => {
    const runs = await scene.query<{ before: string[]; after: string[]; pages: number }>(
      `select array_agg(before_token order by batch_no) as before, array_agg(after_token order by batch_no) as after, max((r.stats->>'pages')::int) as pages
         from ing_task_run r join ing_task_run_batch b on b.run_id = r.id where r.status_code = 'SUCCEEDED' group by r.id`,
    )
    expect(runs.length).toBeGreaterThan(6)
    for (const { before, after, pages } of runs) {
      expect(before).toEqual(['', ...after.slice(0, -1)])
      expect(pages).toBe(before.length)
    }
  })

  test('A12: its count is what the source answered', async () => {
    const rows = await scene.query<{ counted: number; scanned: number }>(
      `select sum(b.record_count)::int as counted, max((r.stats->>'scanned_count')::int) as scanned
         from ing_task_run r join ing_task_run_batch b on b.run_id = r.id where r.status_code = 'SUCCEEDED' group by r.id`,
    )
    for (const { counted, scanned } of rows) expect(counted).toBe(scanned)
    expect(rows.reduce((n, r) => n + r.counted, 0)).toBe(12 + 12 + 4)
  })

  test('A16: the same again by hand: no new task, one more run each', async () => {
    const [before] = await ofLedger(scene)
    await scene.backfill({ wish: DAY })
    const [after] = await ofLedger(scene)
    expect(after).toMatchObject({ plans: before?.plans, slices: before?.slices, tasks: before?.tasks })
    expect((after?.runs ?? 0) - (before?.runs ?? 0)).toBe(6)
  })

  test('A17: an event has both values, window, direction, and a lineage that resolves', async () => {
    const rows = await scene.query(
      `select e.id from ing_cursor_event e
         join ing_schedule_instance i on i.id = e.schedule_instance_id join ing_plan p on p.id = e.plan_id
         join ing_plan_slice s on s.id = e.slice_id and s.plan_id = p.id join ing_task t on t.id = e.task_id and t.slice_id = s.id
         join ing_task_run r on r.id = e.run_id and r.task_id = t.id and r.schedule_instance_id = i.id
         join ing_task_run_batch b on b.id = e.batch_id and b.run_id = r.id
        where e.new_value is not null and e.window_to is not null and e.direction_code in ('FORWARD', 'BACKFILL')
          and (e.prev_value is not null or e.cursor_version = 1)`,
    )
    expect(rows).toHaveLength((await ofLedger(scene))[0]?.events as number)
  })

  test('A19: the events rebuild every cursor, and say so of one that was changed', async () => {
    const replay = () => replayCursors(scene.ctx(), { repo: null })
    expect(await replay()).toMatchObject({ differences: [], exit_code: 0 })
    await scene.query('alter table ing_cursor disable trigger user')
    await scene.query(`update ing_cursor set version = version + 1`)
    expect((await replay()).differences).toHaveLength(1)
    await scene.query(`update ing_cursor set version = version - 1`)
    await scene.query('alter table ing_cursor enable trigger user')
    expect(await replay()).toMatchObject({ differences: [] })
  })

  test('A26: a page’s key is run and place, a slice’s its window, a task’s all that was asked', async () => {
    const pages = await scene.query<{ run: number; before: string; key: string }>(
      'select run_id as run, before_token as before, idempotent_key as key from ing_task_run_batch',
    )
    expect(pages).toHaveLength(20)
    for (const { run, before, key } of pages) expect(key).toBe(sha256([run, 't', before].join('\u001f')))
    const slices = await scene.query<{ spec: Json; signature: string }>(
      'select slice_spec as spec, slice_signature_hash as signature from ing_plan_slice',
    )
    for (const { spec, signature } of slices) expect(signature).toBe(sha256(canonical(spec)))
    expect(
      sha256(
        canonical({
          window: {
            to: '2025-01-01T04:00:00Z',
            from: '2025-01-01T00:00:00Z',
            timezone: 'UTC',
            boundary: { to: 'OPEN', from: 'CLOSED' },
          },
          strategy: 'TIME',
          nothing: null,
        }),
      ),
    ).toBe('7bd167e294e05648b7a0af1758842c47e20c6de60207102a52b78cec3a01f20e')
  })

  test('A27: each slice has the expression of its own window, and all below carry its hash', async () => {
    const slices = await scene.query<{ expr: Json; hash: string; proto: Json; from: string; to: string }>(
      `select s.expr_snapshot as expr, s.expr_hash as hash, p.expr_proto_snapshot as proto, s.slice_spec->'window'->>'from' as from,
              s.slice_spec->'window'->>'to' as to from ing_plan_slice s join ing_plan p on p.id = s.plan_id where p.operation_code = 'BACKFILL'`,
    )
    expect(new Set(slices.map((s) => s.hash)).size).toBe(6)
    for (const { expr, hash, proto, from, to } of slices) {
      expect(hash).toBe(hashOf(expr))
      expect(expr).toMatchObject({
        type: 'AND',
        children: [proto, { field: 'committed_date', op: 'RANGE', value: { from, to } }],
      })
    }
    const others = await scene.query(
      `select 1 from ing_plan_slice s join ing_task t on t.slice_id = s.id join ing_task_run r on r.task_id = t.id
         join ing_task_run_batch b on b.run_id = r.id
        where s.expr_hash <> t.expr_hash or t.expr_hash <> r.expr_hash or r.expr_hash <> b.expr_hash`,
    )
    expect(others).toEqual([])
  })

  test('and after all this nothing is broken', async () => {
    expect(await violations(scene)).toEqual([])
  })
})

describe('running, failing, taking over', () => {
  test('A9: what is QUEUED and due is pulled, by priority and then by time', async () => {
    const db = await freshDatabase(embeddedUrl())
    opened.push(db)
    const [late, first, , second] = await seedJobs(db.pool, [
      { repo: 1, priority: 100, due: -10 },
      { repo: 2, priority: 50, due: -5 },
      { repo: 3, priority: 1, due: 600 },
      { repo: 4, priority: 100, due: -20 },
    ])
    const held = []
    for (let i = 0; i < 4; i++) held.push(...(await claim(db.pool, { count: 1 })))
    expect(held.map((h) => h.jobId)).toEqual([first, second, late])
  })

  test('A14: a page that fails once is asked for again, under the same row', async () => {
    const gitlab = await startGitLab({ token: 'glpat-of-the-test' })
    opened.push({ drop: () => gitlab.stop() })
    const project = gitlab.project()
    for (let i = 0; i < 6; i++) project.mr({ at: (START + i) * 1000 })
    const scene = await openGitLabScene(embeddedUrl(), gitlab, project, { 'scm.worker.batch_size': 2 })
    opened.push(scene)
    const pages = () =>
      scene.query<{ run: number; no: number; status: string; error: string | null }>(
        `select b.run_id as run, b.batch_no as no, b.status_code as status, b.error
           from ing_task_run_batch b join ing_task_run r on r.id = b.run_id where r.job_type = 'reviews' order by b.id`,
      )
    /** From the first question about this merge request on, so many are answered with an error. */
    const failing = (iid: number, times: number) => {
      let isDown = false
      let left = times
      return gitlab.fault(({ path }) => {
        isDown ||= path.includes(`/merge_requests/${iid}/`)
        return isDown && left-- > 0 ? { status: 503 } : null
      })
    }
    await scene.incremental('mrs')
    const unfaultOnce = failing(3, 1)
    expect(await scene.incremental('reviews')).toMatchObject({ error: null, status: 'success' })
    unfaultOnce()
    const once = await pages()
    expect(once.map(({ no, status, error }) => ({ no, status, error }))).toEqual(
      [1, 2, 3].map((no) => ({ no, status: 'SUCCEEDED', error: null })),
    )
    const [run] = await scene.query<{ retries: number }>(
      `select (stats->>'total_retries')::int as retries from ing_task_run order by id desc limit 1`,
    )
    expect(run?.retries).toBe(1)

    expect(await scene.wrongs()).toEqual([])
  })

  test('A14: one that goes on failing is FAILED, and it alone is read again', async () => {
    const scene = await day()
    const down = watched((_, n) => {
      if (n >= 2) throw new SyncError('network', 'no route to host')
    })
    expect(await scene.incremental(scene.ctx({ sources: down }))).toMatchObject({ status: 'failed' })
    const read: number[] = []
    const counting = watched((page) => read.push(commitsOf(page).length))
    const [first] = await scene.query<{ id: number }>('select id from ing_task_run')
    await scene.incremental(scene.ctx({ sources: counting }))
    const pages = await scene.query<{ first: boolean; status: string; error: string | null; before: string }>(
      `select run_id = $1 as first, status_code as status, error, before_token as before from ing_task_run_batch order by id`,
      [first?.id],
    )
    const failed = pages.filter((b) => b.status === 'FAILED')
    expect(failed).toMatchObject([{ first: true, error: 'no route to host' }])
    expect(pages.filter((b) => b.first).map((b) => b.status)).toEqual(['SUCCEEDED', 'SUCCEEDED', 'FAILED'])
    expect(pages.find((b) => !b.first)?.before).toBe(failed[0]?.before)
    const good = pages.filter((b) => b.status === 'SUCCEEDED').map((b) => b.before)
    expect(new Set(good).size).toBe(good.length)
    expect(good).toHaveLength(6)
    expect(read.reduce((a, b) => a + b, 0)).toBe(8)
    expect(await violations(scene)).toEqual([])
  })

  test('A15: a whole retry begins where the last good page ended', async () => {
    const scene = await day()
    const worker = workerName(spawnSync('true').pid)
    const over = gate()
    const reached = gate()
    const sources = afterPages(scene, 3, () => {
      reached.open()
      return over.opened
    })
    const killed = scene.incremental(scene.ctx({ worker, sources }))
    await reached.opened
    const read: number[] = []
    const counting = watched((page) => read.push(commitsOf(page).length))
    expect(await scene.incremental(scene.ctx({ sources: counting }))).toMatchObject({ status: 'success' })
    over.open()
    expect(await killed).toMatchObject({ status: 'failed' })
    const [resumed] = await scene.query<{ fits: boolean }>(
      `select b.before_token = (select after_token from ing_task_run_batch where run_id = (select min(id) from ing_task_run)
                                   and status_code = 'SUCCEEDED' order by batch_no desc limit 1) as fits
         from ing_task_run_batch b where b.run_id = (select min(id) + 1 from ing_task_run) and b.batch_no = 1`,
    )
    expect(resumed).toEqual({ fits: true })
    expect(read.reduce((a, b) => a + b, 0)).toBe(6)
    expect(await violations(scene)).toEqual([])
  })

  test('A22: a run without a heartbeat is found, taken over, and its late owner writes nothing', async () => {
    const scene = await day()
    const over = gate()
    const reached = gate()
    const sources = afterPages(scene, 1, () => {
      reached.open()
      return over.opened
    })
    const asleep = scene.incremental(scene.ctx({ worker: 'elsewhere-1-0123abcd', sources }))
    await reached.opened
    await scene.query(
      `update ing_task set leased_at = now() - interval '1 h', lease_until = now() - interval '50 min', updated_at = clock_timestamp() where status = 'running'`,
    )
    await scene.query(`update scm.sync_locks set locked_at = now() - interval '1 h'`)
    await scene.query(`update ing_task_run set last_heartbeat = now() - interval '1 h'`)
    const found = async (settings = {}) =>
      (await readHealth(scene.ctx({ settings }), { includeDetails: false })).violations.map((v) => v.check_id)
    expect(await found()).toEqual(expect.arrayContaining(['expired_running_jobs', 'run_heartbeat_stall']))
    expect(await found({ 'scm.health.heartbeat_grace_seconds': 7200 })).toEqual([])
    await scene.incremental()
    const after = await ofLedger(scene)
    over.open()
    expect(await asleep).toMatchObject({ status: 'failed', kind: 'lease_lost' })
    expect(await ofLedger(scene)).toEqual(after)
    expect(await violations(scene)).toEqual([])
  })
})

describe('the cursor', () => {
  const advance = (ctx: Context, repoId: number, to: Date) =>
    transaction(ctx.db, underLease(ctx, 60), async (tx) => {
      const namespace = mainLine({ provenance: `git:${repoId}`, jobType: 'commits' })
      const seen = await lockCursor(tx, namespace)
      return advanceCursor(tx, seen, {
        namespace,
        to: timeMark(to),
        observedMax: null,
        window: timeSpan(null, to.toISOString()),
        reason: 'sync',
        lineage: { scheduleInstanceId: 1, planId: 1, runId: to.getTime() },
      })
    })

  test('A18: event and cursor move together, forward only, whoever races', async () => {
    const scene = await day(10)
    await scene.incremental()
    const now = Date.now()
    const moved = await Promise.all(
      Array.from({ length: 40 }, (_, i) =>
        advance(scene.ctx(), scene.repoId, new Date(now + ((i * 7) % 40) * 1000)),
      ),
    )
    const [{ version, value } = { version: 0, value: '' }] = await scene.query<{
      version: number
      value: string
    }>('select version, cursor_value as value from ing_cursor')
    const [before] = await ofLedger(scene)
    expect(version).toBe(1 + moved.filter(Boolean).length)
    expect(before?.events).toBe(version)
    expect(value).toBe(new Date(now + 39_000).toISOString())
    expect(await advance(scene.ctx(), scene.repoId, new Date(now - 1000))).toBe(false)
    expect((await ofLedger(scene))[0]).toEqual(before)
    expect(await replayCursors(scene.ctx(), { repo: null })).toMatchObject({ differences: [] })
  })

  test('A20: set back by the runbook’s SQL: a BACKFILL event, the cursor stays, and it is read again from there', async () => {
    const scene = await day()
    await scene.incremental()
    const audited = () => scene.query('select cursor_value, version from ing_cursor')
    const [before] = await audited()
    await scene.query(
      `UPDATE logbook.kv SET value_json = '{"watermark": "2024-03-01T12:00:00Z", "run_id": "manual_reset"}'
        WHERE namespace = 'scm.sync' AND key = 'git_cursor:${scene.repoId}'`,
    )
    await scene.incremental(
      scene.ctx({ sources: watched(() => Promise.reject(new SyncError('network', 'down'))) }),
    )
    expect(await audited()).toEqual([before])
    expect(
      await scene.query(
        `select direction_code, new_value, run_id from ing_cursor_event order by id desc limit 1`,
      ),
    ).toEqual([{ direction_code: 'BACKFILL', new_value: '2024-03-01T12:00:00.000Z', run_id: null }])
    expect(await scene.incremental()).toMatchObject({ status: 'success' })
    const [read] = await scene.query<{ from: string }>(
      `select slice_spec->'window'->>'from' as from from ing_plan_slice order by id offset 1 limit 1`,
    )
    expect(read).toEqual({ from: '2024-03-01T12:00:00.000Z' })
    expect(await violations(scene)).toEqual([])
  })

  test('A28: compared and set by version and by value: neither alone lets it back', async () => {
    const scene = await day()
    await scene.incremental()
    const set = (change: string) => scene.query(`update ing_cursor set ${change}`)
    await expect(
      set(`normalized_instant = normalized_instant - interval '1 s', version = version + 1`),
    ).rejects.toThrow()
    const namespace = mainLine({ provenance: `git:${scene.repoId}`, jobType: 'commits' })
    const ctx = scene.ctx()
    const stale = await transaction(ctx.db, underLease(ctx, 60), (tx) => lockCursor(tx, namespace))
    await advance(ctx, scene.repoId, new Date())
    const late = transaction(ctx.db, underLease(ctx, 60), (tx) =>
      advanceCursor(tx, stale, {
        namespace,
        to: timeMark(new Date(Date.now() + 1000)),
        observedMax: null,
        window: timeSpan(null, new Date().toISOString()),
        reason: 'sync',
        lineage: { scheduleInstanceId: 1, planId: 1, runId: 1 },
      }),
    )
    await expect(late).rejects.toMatchObject({ kind: 'database' })
    expect((await scene.query('select version from ing_cursor'))[0]).toEqual({ version: 2 })
    expect(await replayCursors(ctx, { repo: null })).toMatchObject({ differences: [] })
  })
})

describe('health', () => {
  let scene: Scene
  const found = async (settings = {}) =>
    (await readHealth(scene.ctx({ settings }), { includeDetails: false })).violations.map(
      (v) => `${v.check_id}: ${v.description}`,
    )
  beforeAll(async () => {
    scene = await day()
    await scene.incremental()
  })

  test('A21: a queue that nobody works off', async () => {
    const [id] = await seedJobs(scene.db, [{ repo: scene.repoId, due: -100 }])
    expect(await found()).toEqual([])
    expect(await found({ 'scm.health.queue_stall_seconds': 90 })).toEqual([
      'queue_stall: 1 due for more than 90 s while no job runs at all',
    ])
    await scene.query('delete from ing_task where id = $1', [id])
  })

  test('A23: a job that is tried again and again', async () => {
    scene.repo.commit('never read')
    const failing = scene.ctx({ sources: watched(() => Promise.reject(new SyncError('network', 'down'))) })
    for (let i = 0; i < 3; i++) await scene.incremental(failing)
    expect((await found()).join()).not.toContain('retry_storm')
    const storm = { 'scm.health.retry_storm_runs': 3, 'scm.health.retry_storm_seconds': 600 }
    expect((await found(storm)).join()).toContain('retry_storm: 1 jobs tried 3 times or more within 600 s')
    const { metrics } = await readMetrics(scene.ctx({ settings: storm }))
    await scene.query(`update ing_task_run set started_at = started_at - interval '700 s'`)
    expect((await found(storm)).join()).not.toContain('retry_storm')
    expect(metrics.find((m) => m.name === 'scm_retry_storm_jobs')).toMatchObject({ samples: [{ value: 1 }] })
  })

  test('A24: a cursor that stands still, by repository and kind', async () => {
    await scene.query(
      `update logbook.kv set updated_at = now() - interval '2 h' where namespace = 'scm.sync'`,
    )
    expect((await found()).join()).not.toContain('cursor_stall')
    expect((await found({ 'scm.health.cursor_stall_seconds': 3600 })).join()).toContain(
      'cursor_stall: 1 cursors of enabled repositories that stood still for more than 3600 s',
    )
    const { metrics } = await readMetrics(scene.ctx())
    expect(metrics.find((m) => m.name === 'scm_cursors_age_seconds')).toMatchObject({
      samples: [{ labels: { repo_id: scene.repoId, job_type: 'commits' } }],
    })
  })
})
