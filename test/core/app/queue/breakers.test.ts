import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { registerRepo } from '../../../../src/core/app/manage/repos.ts'
import { tickScheduler } from '../../../../src/core/app/queue/tick-scheduler.ts'
import { readHealth } from '../../../../src/core/app/report/read-health.ts'
import { transaction } from '../../../../src/core/db/connect.ts'
import { findBreakers, writeBreakers } from '../../../../src/core/db/queue/breakers.ts'
import type { Claiming } from '../../../../src/core/db/queue/claim.ts'
import type { CircuitState } from '../../../../src/core/domain/breaker.ts'
import { breakerRow, readBreaker } from '../../../../src/core/domain/breaker-row.ts'
import { isFirst, servers } from '../../../helpers/database.ts'
import { openScene, type Scene } from '../../../helpers/scene.ts'
import { claim, expire, seedJobs } from '../../db/queue/fixture.ts'

const GLOBAL = 'default:global'
const LIMITS = { transactionMs: 60_000, statementMs: 60_000, signal: new AbortController().signal }

describe.each(servers())('breakers on the $name server', ({ url }) => {
  const once = test.skipIf(!isFirst(url))
  let scene: Scene
  beforeEach(async () => {
    scene = await openScene(url)
  })
  afterEach(() => scene.drop())

  const settings = { 'scm.circuit_breaker.enable_smoothing': false }
  const tick = (more: Record<string, unknown> = {}, dryRun = false) =>
    tickScheduler(scene.ctx({ settings: { ...settings, ...more } }), { dryRun, keepLeading: false })
  const stateOf = async (key = GLOBAL): Promise<CircuitState | null> =>
    ((await rowOf(key))?.state as CircuitState | undefined) ?? null
  const rowOf = async (key = GLOBAL) => {
    const found = await scene.query<{ value: Record<string, unknown> }>(
      `select value_json as value from logbook.kv where namespace = 'scm.sync_health' and key = $1`,
      [key],
    )
    return found[0]?.value ?? null
  }
  const set = (key: string, value: Record<string, unknown>) =>
    scene.query(
      `insert into logbook.kv values ('scm.sync_health', $1, $2)
       on conflict (namespace, key) do update set value_json = kv.value_json || excluded.value_json`,
      [key, JSON.stringify(value)],
    )
  const put = (key: string, value: unknown) =>
    scene.query(`update logbook.kv set value_json = $2 where namespace = 'scm.sync_health' and key = $1`, [
      key,
      JSON.stringify(value),
    ])
  /** The row's times, moved into the past. */
  const past = (key: string, seconds: number) =>
    scene.query(
      `update logbook.kv set value_json = value_json || (
         select jsonb_object_agg(k, (value_json->>k)::numeric - $2)
           from unnest(array['opened_at', 'half_open_at', 'closed_at', 'repair_granted_at']) k where jsonb_typeof(value_json->k) = 'number')
        where namespace = 'scm.sync_health' and key = $1`,
      [key, seconds],
    )
  const host = async (n: number, name = 'x') =>
    (await registerRepo(scene.ctx(), { repo: `git:https://h${n}.example.com/${name}.git`, projectKey: null }))
      .repo_id
  /** Runs that ended a moment ago. */
  const runs = (
    count: number,
    of: { category?: string; repoId?: number; status?: string; ago?: number; stats?: object } = {},
  ) => {
    const { category = null, repoId = scene.repoId, ago = 1, stats = {} } = of
    const { status = category ? 'FAILED' : 'SUCCEEDED' } = of
    return scene.query(
      `insert into ing_task_run (task_id, plan_id, slice_id, attempt_no, fence, worker_id, repo_id, job_type, mode, provenance_code,
              operation_code, expr_hash, status_code, started_at, finished_at, error_summary_json, stats)
       select nextval('scm.fence'), 1, 1, 1, nextval('scm.fence'), 'w', $2, 'commits', 'incremental', 'git:1', 'HARVEST', repeat('0', 64),
              $3, now() - make_interval(secs => $5), case when $3 <> 'RUNNING' then now() end,
              jsonb_build_object('error_category', $4::text, 'error_message', 'no answer'), $6
         from generate_series(1, $1)`,
      [count, repoId, status, category, ago, JSON.stringify(stats)],
    )
  }
  const claimed = async (count = 10) => (await claim(scene.db, { count })).map((j) => Object.assign(j, {}))
  const opened = async () => {
    await tick()
    await past(GLOBAL, 10)
    await runs(10, { category: 'timeout' })
    await tick()
    await scene.query('delete from ing_task')
  }
  const halfOpened = async () => {
    await opened()
    await past(GLOBAL, 400)
    await tick()
    await scene.query('delete from ing_task')
  }

  test('the first scan begins a window; failures since then open it, failures before do not', async () => {
    await runs(20, { category: 'timeout', ago: 60 })
    await tick()
    expect(await rowOf()).toMatchObject({ key: GLOBAL, state: 'closed', opened_by: null })
    await tick()
    expect(await stateOf()).toBe('closed')
    await past(GLOBAL, 10)
    await runs(4, { category: 'timeout' })
    await tick()
    expect(await stateOf()).toBe('closed') // four are no sample
    await runs(1, { category: 'network' })
    const report = await tick()
    expect(report.circuit_state).toBe('open')
    expect(await rowOf()).toMatchObject({
      state: 'open',
      opened_by: 'scheduler',
      failure_count: 5,
      last_failure_reason: 'failure_rate=100.00%>=threshold=30.00% (raw=100.00%, smoothed=100.00%)',
    })
  })

  once.each(['lease_lost', 'connection', 'repo_not_found', 'contract_error'])(
    'what is ours or one repository’s own says nothing: %s',
    async (category) => {
      await tick()
      await past(GLOBAL, 10)
      await runs(10, { category })
      await tick()
      expect(await stateOf()).toBe('closed')
    },
  )

  once('a repository that always fails opens it for itself alone, not for the others', async () => {
    const other = await host(1)
    await tick()
    await past(GLOBAL, 10)
    await runs(9, { category: 'server_error' })
    await runs(1, { repoId: other })
    await tick()
    expect(await stateOf()).toBe('closed')
    await runs(1, { category: 'server_error', repoId: other })
    await tick()
    expect(await stateOf()).toBe('open')
  })

  once('a flood of 429 opens it, also where the runs were only given back', async () => {
    await tick()
    await past(GLOBAL, 10)
    const stats = { total_requests: 10, total_429_hits: 5 }
    await runs(5, { category: 'rate_limit', status: 'CANCELLED', stats })
    await tick()
    expect((await rowOf())?.last_failure_reason).toMatch(/^rate_limit_rate=50\.00%/)
  })

  once('who does not write waits for nobody who does: a dry run, a scheduler that stands by', async () => {
    await tick()
    const holder = await scene.db.connect()
    await holder.query(`begin; select 1 from logbook.kv where namespace = 'scm.sync_health' for update`)
    expect((await tick({}, true)).circuit_state).toBe('closed')
    await holder.query(
      `insert into scm.leaders values ('scheduler', 9, 'another', now(), now() + interval '1 hour')
       on conflict (duty) do update set term = 9, held_by = 'another', lease_until = excluded.lease_until`,
    )
    await holder.query(
      `commit; begin; select 1 from logbook.kv where namespace = 'scm.sync_health' for update`,
    )
    expect(await tick()).toMatchObject({ leader: false, circuit_state: 'closed' })
    await holder.query('rollback')
    holder.release()
  })

  once('a dry run judges and writes nothing', async () => {
    await tick()
    await past(GLOBAL, 10)
    await runs(10, { category: 'timeout' })
    expect((await tick({}, true)).circuit_state).toBe('open')
    expect(await stateOf()).toBe('closed')
  })

  test('open: no jobs are made, none is claimed; half open: probes, two a scan, three in all; good ones close it', async () => {
    await opened()
    const repos: number[] = []
    for (let n = 0; n < 6; n++) repos.push(await host(1, `r${n}`))
    await seedJobs(
      scene.db,
      repos.map((repo) => ({ repo, instance: 'h1.example.com' })),
    )
    expect(await tick()).toMatchObject({ circuit_state: 'open', jobs_enqueued: 0 })
    expect(await claimed()).toEqual([])

    await past(GLOBAL, 400)
    expect(await tick()).toMatchObject({ circuit_state: 'half_open' })
    const first = await claimed()
    expect(first.map((j) => (j as { circuit?: string }).circuit)).toEqual(['half_open', 'half_open'])
    expect(await claimed()).toEqual([])
    await tick()
    expect(await claimed()).toHaveLength(1)
    await tick()
    expect(await claimed()).toEqual([])

    // One is good as soon as it has stored a page, the other when it has ended.
    const [a, b] = first.map((j) => j.runId)
    await scene.query(`update ing_task_run set stats = '{"pages": 1}' where id = $1`, [a])
    expect(await tick()).toMatchObject({ circuit_state: 'half_open' })
    await scene.query(
      `update ing_task_run set status_code = 'SUCCEEDED', finished_at = now() where id = $1`,
      [b],
    )
    expect(await tick()).toMatchObject({ circuit_state: 'closed' })
    // The runs that had opened it are still there, and do not open it again.
    expect(await tick()).toMatchObject({ circuit_state: 'closed' })
    expect((await claimed()).length).toBeGreaterThan(0)
  })

  once('a bad probe opens it again', async () => {
    await halfOpened()
    await runs(1, { category: 'server_error', ago: 0 })
    expect(await tick()).toMatchObject({ circuit_state: 'open' })
    expect((await rowOf())?.last_failure_reason).toBe('half_open_probe_failed: server_error: no answer')
  })

  once(
    'the types fit for probing go first, others when there are none: it cannot wait for ever',
    async () => {
      await halfOpened()
      await seedJobs(scene.db, [
        { type: 'reviews', priority: 1 },
        { type: 'mrs', priority: 2 },
        { type: 'commits', priority: 900 },
      ])
      expect((await claimed(1)).map((j) => j.jobType)).toEqual(['commits'])
      expect((await claimed(1)).map((j) => j.jobType)).toEqual(['reviews'])
    },
  )

  once('a sync that has failed before is no probe while others wait: it may be its own fault', async () => {
    await halfOpened()
    await seedJobs(scene.db, [
      { repo: 8888, priority: 1, attempts: 2, status: 'failed', due: -9999 },
      { priority: 300 },
    ])
    expect((await claimed(1)).map((j) => j.repoId === 8888)).toEqual([false])
    expect((await claimed(1)).map((j) => j.repoId === 8888)).toEqual([true])
  })

  once('what is paused at the head of the queue hides no probe', async () => {
    await halfOpened()
    await seedJobs(scene.db, [
      ...Array.from({ length: 60 }, () => ({ repo: 7777, priority: 1, mode: 'backfill' })),
      { priority: 500 },
    ])
    await scene.query(
      `insert into logbook.kv values ('scm.sync_pauses', '7777:commits', '{"paused_until": 4e9}')`,
    )
    expect((await claimed(1)).map((j) => j.repoId === 7777)).toEqual([false])
  })

  once('open with repairs: one an interval, and syncs stay where they are', async () => {
    await opened()
    await seedJobs(scene.db, [
      { priority: 1 },
      { priority: 900, mode: 'backfill' },
      { priority: 901, mode: 'backfill' },
    ])
    const long = { 'scm.circuit_breaker.open_duration_seconds': 100_000 }
    await tick(long)
    expect(await claimed()).toEqual([])
    await past(GLOBAL, 601)
    await tick(long)
    expect((await claimed()).map((j) => j.mode)).toEqual(['backfill'])
    await tick(long)
    expect(await claimed()).toEqual([])
    await past(GLOBAL, 601)
    await tick({ ...long, 'scm.circuit_breaker.backfill_only_mode': false })
    expect(await claimed()).toEqual([])
  })

  once('opened by hand, in the runbook’s form: sticky, and nothing at all passes', async () => {
    await tick()
    await set(GLOBAL, { state: 'open' })
    await seedJobs(scene.db, [{}, { mode: 'backfill' }])
    await past(GLOBAL, 1e6)
    for (let i = 0; i < 3; i++)
      expect(await tick()).toMatchObject({ circuit_state: 'open', jobs_enqueued: 0 })
    expect(await claimed()).toEqual([])
    await set(GLOBAL, { state: 'closed' })
    expect(await tick()).toMatchObject({ circuit_state: 'closed' })
    expect(await claimed()).toHaveLength(3) // with the one of the first scan
  })

  once.each([
    ['in capitals', { state: 'OPEN' }],
    ['with a blank', { state: 'open ' }],
    ['as a bare string', 'open'],
  ])('opened by hand, %s: open, and since when is written down', async (_how, value) => {
    await tick()
    await put(GLOBAL, value)
    await seedJobs(scene.db, [{}])
    for (let i = 0; i < 2; i++)
      expect(await tick()).toMatchObject({ circuit_state: 'open', jobs_enqueued: 0 })
    expect(await claimed()).toEqual([])
    expect(await rowOf()).toMatchObject({
      state: 'open',
      opened_by: 'operator',
      opened_at: expect.any(Number),
    })
    expect((await readHealth(scene.ctx(), { includeDetails: false })).exit_code).toBe(0)
    await set(GLOBAL, { state: ' Closed ' })
    expect(await tick()).toMatchObject({ circuit_state: 'closed' })
    expect(await claimed()).not.toEqual([])
  })

  once.each([
    ['a slip', { state: 'opne', opened_by: 'scheduler', opened_at: 1 }],
    ['no word', { state: true }],
    ['no object', ['open']],
    ['a bare word', 'stop'],
  ])(
    'a state nobody can read, %s: everything is held, the row stays, and it is told',
    async (_how, value) => {
      await tick()
      await put(GLOBAL, value)
      await seedJobs(scene.db, [{}, { mode: 'backfill' }])
      for (let i = 0; i < 2; i++)
        expect(await tick()).toMatchObject({ circuit_state: 'open', jobs_enqueued: 0 })
      expect(await claimed()).toEqual([])
      expect(await rowOf()).toEqual(value)
      expect((await readHealth(scene.ctx(), { includeDetails: false })).violations).toMatchObject([
        { check_id: 'circuit_breaker_inconsistencies', severity: 'warning' },
      ])
    },
  )

  test('closed by hand it stays closed on the runs that had opened it; deleted, too', async () => {
    await opened()
    await set(GLOBAL, { state: 'closed' })
    expect((await tick()).circuit_state).toBe('closed')
    expect((await tick()).circuit_state).toBe('closed')
    await past(GLOBAL, 10)
    expect((await tick()).circuit_state).toBe('open')
    await scene.query(`delete from logbook.kv where namespace = 'scm.sync_health'`)
    expect((await tick()).circuit_state).toBe('closed')
    expect((await tick()).circuit_state).toBe('closed')
  })

  once('of two hosts the one that is down is held back, and the other goes on', async () => {
    const [one, beside, two] = [await host(1), await host(1, 'y'), await host(2)]
    await tick()
    await past(GLOBAL, 100)
    await runs(5, { repoId: one, ago: 50 }) // seen before, so it has a row and a window
    await tick()
    await past('default:instance:h1.example.com', 30)
    await runs(8, { category: 'timeout', repoId: one })
    await runs(4, { repoId: two })
    await scene.query(`delete from ing_task`)
    const report = await tick()
    expect([await stateOf(), await stateOf('default:instance:h1.example.com')]).toEqual(['closed', 'open'])
    expect(report).toMatchObject({ circuit_state: 'closed', instance_paused_count: 1 })
    expect(report.skipped_jobs).toContainEqual({
      repo_id: beside,
      job_type: 'commits',
      reason: 'instance_circuit_open',
      instance: 'h1.example.com',
    })
    expect(report.enqueued_jobs.map((j) => j.repo_id)).toContain(two)
    // The next scan leaves the bad host out of what the others are judged by.
    expect((await tick()).circuit_state).toBe('closed')
    await seedJobs(scene.db, [{ instance: 'h1.example.com' }, { instance: 'h3.example.com' }])
    const hosts = await Promise.all(
      (await claimed()).map(
        async ({ jobId }) =>
          (await scene.query(`select instance_key from ing_task where id = $1`, [jobId]))[0]?.instance_key,
      ),
    )
    expect(hosts).not.toContain('h1.example.com')
    expect(hosts).toContain('h3.example.com')
  })

  once(
    'one host of two that fails stops nobody else, also before its own breaker has seen enough',
    async () => {
      const [one, two] = [await host(1), await host(2)]
      await tick()
      await past(GLOBAL, 30)
      await runs(4, { category: 'timeout', repoId: one })
      await runs(6, { repoId: two })
      expect((await tick()).circuit_state).toBe('closed')
      await runs(1, { category: 'timeout', repoId: two })
      expect((await tick()).circuit_state).toBe('open')
    },
  )

  once('closing the global one by hand closes those the program opened, not what a person did', async () => {
    await host(1)
    await tick()
    await set('default:instance:h1.example.com', {
      state: 'open',
      opened_by: 'scheduler',
      opened_at: Date.now() / 1000,
    })
    await set('default:instance:h2.example.com', { state: 'open' })
    await set(GLOBAL, { state: 'closed', closed_at: null })
    await tick()
    expect([
      await stateOf('default:instance:h1.example.com'),
      await stateOf('default:instance:h2.example.com'),
    ]).toEqual(['closed', 'open'])
  })

  once('one host is all there is: the global breaker alone, as the runbook has it', async () => {
    await opened()
    expect(await scene.query(`select key from logbook.kv where namespace = 'scm.sync_health'`)).toEqual([
      { key: GLOBAL },
    ])
  })

  /** Jobs of repositories of one host that no scan adds to. */
  const backlog = async (jobs: { mode?: string; priority?: number; attempts?: number }[]) => {
    const repos: number[] = []
    for (const n of jobs.keys()) repos.push(await host(1, `r${n}`))
    await scene.query('update scm.repos set enabled = false')
    await seedJobs(
      scene.db,
      jobs.map((job, n) => ({ ...job, repo: repos[n] as number })),
    )
  }
  const succeed = (runId: number) =>
    scene.query(`update ing_task_run set status_code = 'SUCCEEDED', finished_at = now() where id = $1`, [
      runId,
    ])
  const round = async () => {
    for (const { runId } of await claimed()) await succeed(runId)
    return (await tick()).circuit_state
  }

  once('probes whose workers died are not waited for, without a reaper either', async () => {
    await halfOpened()
    await backlog(Array.from({ length: 12 }, () => ({ attempts: 2 }))) // the last try: no claim revives them
    await tick()
    for (let i = 0; i < 4; i++) {
      for (const { jobId } of await claimed()) await expire(scene.db, jobId)
      await tick()
    }
    await round()
    expect(await round()).toBe('closed')
  })

  once('a backlog of chunks in front of the syncs: they are probes as well, and as few', async () => {
    await halfOpened()
    await backlog([...Array(10).fill({ mode: 'backfill', priority: 1 }), { priority: 900 }])
    await tick()
    expect(await claimed()).toHaveLength(2)
    await tick()
    expect(await claimed()).toHaveLength(1)
    await tick()
    expect(await claimed()).toEqual([])
    await scene.query(
      `update ing_task_run set status_code = 'SUCCEEDED', finished_at = now() where status_code = 'RUNNING'`,
    )
    expect((await tick()).circuit_state).toBe('closed')
  })

  once('of two hosts one is removed, the other is open: it closes as well', async () => {
    await tick()
    const key = 'default:instance:h1.example.com'
    await set(key, { state: 'open', opened_by: 'scheduler', opened_at: 1 })
    await backlog([{}, {}, {}])
    await tick()
    expect(await stateOf(key)).toBe('half_open')
    await round()
    expect(await stateOf(key)).toBe('closed')
  })

  once('another project has other breakers', async () => {
    await set(GLOBAL, { state: 'open' })
    expect((await tick({ 'project.project_key': 'acme' })).circuit_state).toBe('closed')
    expect(await stateOf('acme:global')).toBe('closed')
    await seedJobs(scene.db, [{}])
    expect(await claim(scene.db, { project: 'acme' })).toHaveLength(1)
  })

  test('eight claimers spend what was granted, no more, and pass no limit', async () => {
    await seedJobs(
      scene.db,
      Array.from({ length: 90 }, (_, n) => ({ tenant: `t${n % 2}`, instance: `h${n % 3}` })),
    )
    const race = async (limits: Claiming['limits']) => {
      const one = async (n: number) => {
        const mine: number[] = []
        for (let i = 0; i < 4; i++)
          for (const { jobId } of await claim(scene.db, { count: 3, worker: `w${n}`, limits }))
            mine.push(jobId)
        return mine
      }
      const ids = (await Promise.all(Array.from({ length: 8 }, (_, n) => one(n)))).flat()
      const [found] = await scene.query<{ held: number; t0: number; of_host: number; of_tenant: number }>(
        `select count(*)::int as held, count(*) filter (where tenant_id = 't0')::int as t0,
                (select max(n)::int from (select count(*) as n from ing_task where status = 'running' group by instance_key) x) as of_host,
                (select max(n)::int from (select count(*) as n from ing_task where status = 'running' group by tenant_id) x) as of_tenant
           from ing_task where id = any($1)`,
        [ids],
      )
      expect(found?.held).toBe(ids.length)
      return found
    }
    await set(GLOBAL, { state: 'half_open', credits: 9 })
    await set('default:tenant:t0', { state: 'half_open', credits: 2 })
    expect(await race({ running: 99, perInstance: 99, perTenant: 99 })).toMatchObject({ held: 9 })
    expect((await rowOf())?.credits).toBe(0)
    const t0 = (await rowOf('default:tenant:t0'))?.credits as number
    expect(t0).toBeGreaterThanOrEqual(0)
    expect(
      await scene.query(`select from ing_task where status = 'running' and tenant_id = 't0'`),
    ).toHaveLength(2 - t0)

    await scene.query(`delete from scm.sync_locks`)
    await scene.query(`delete from ing_task where status = 'running'`)
    await set(GLOBAL, { credits: 99 })
    await set('default:tenant:t0', { credits: 99 })
    const limited = await race({ running: 5, perInstance: 2, perTenant: 3 })
    expect(limited).toMatchObject({ held: 5, of_host: 2, of_tenant: 3 })
  })

  test('eight connections that update one breaker lose no update', async () => {
    await set(GLOBAL, { state: 'half_open' })
    const one = () =>
      transaction(scene.db, LIMITS, async (tx) => {
        const found = await findBreakers(tx, {
          project: 'default',
          windowMinutes: 30,
          windowCount: 20,
          hold: true,
        })
        const breaker = readBreaker(found[0]?.value)
        const value = breakerRow(GLOBAL, { ...breaker, attempts: breaker.attempts + 1 })
        await writeBreakers(tx, [{ key: GLOBAL, isNew: false, value }])
      })
    await Promise.all(
      Array.from({ length: 8 }, async () => {
        for (let i = 0; i < 25; i++) await one()
      }),
    )
    expect((await rowOf())?.half_open_attempts).toBe(200)
  })
})
