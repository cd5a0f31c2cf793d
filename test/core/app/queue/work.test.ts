import { renameSync } from 'node:fs'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { registerRepo, unregisterRepo } from '../../../../src/core/app/manage/repos.ts'
import { tickScheduler } from '../../../../src/core/app/queue/tick-scheduler.ts'
import { type WorkAsk, work } from '../../../../src/core/app/queue/work.ts'
import { SyncError } from '../../../../src/core/domain/errors.ts'
import { type Wishes, workerName } from '../../../helpers/context.ts'
import { servers } from '../../../helpers/database.ts'
import { makeRepo } from '../../../helpers/git-repo.ts'
import { violations } from '../../../helpers/oracle.ts'
import { openScene, type Scene } from '../../../helpers/scene.ts'
import { watched } from '../../../helpers/watched-source.ts'

const FOREVER: WorkAsk = { once: false, drain: false, jobTypes: [], pool: null }
const DRAIN = { ...FOREVER, drain: true }
const ONCE = { ...FOREVER, once: true }

describe.each(servers())('a worker on the $name server', ({ url }) => {
  let scene: Scene
  beforeEach(async () => {
    scene = await openScene(url, { 'scm.git.page_size': 2 })
    for (let i = 0; i < 5; i++) scene.repo.commit(`commit ${i}`)
  })
  afterEach(() => scene.drop())

  const schedule = () => tickScheduler(scene.ctx(), { dryRun: false, keepLeading: false })
  const another = async () => {
    const repo = makeRepo('--bare')
    repo.commit('one')
    const { repo_id } = await registerRepo(scene.ctx(), { repo: `git:${repo.dir}`, projectKey: null })
    return { repo, repoId: repo_id }
  }
  const jobs = () =>
    scene.query<Record<string, unknown>>(
      `select repo_id, status, attempts, active_key, lease_owner, error_summary_json->>'error_category' as category,
              extract(epoch from scheduled_at - now())::float8 as wait from ing_task order by id`,
    )
  const locks = () => scene.query('select 1 from scm.sync_locks')
  const until = async (holds: () => Promise<boolean>) => {
    for (let n = 0; n < 200 && !(await holds()); n++) await new Promise((resolve) => setTimeout(resolve, 25))
  }

  test('drains the queue, several at a time, and ends when nothing is due', async () => {
    await another()
    await another()
    await schedule()
    const report = await work(scene.ctx({ settings: { 'scm.worker.parallelism': 2 } }), DRAIN)
    expect(report).toMatchObject({
      status: 'success',
      jobs_worked: 3,
      jobs_completed: 3,
      items_synced: 7,
      exit_code: 0,
    })
    expect((await jobs()).map((j) => j.status)).toEqual(['completed', 'completed', 'completed'])
    expect(await violations(scene)).toEqual([])
    expect(await work(scene.ctx(), DRAIN)).toMatchObject({ status: 'success', jobs_worked: 0, exit_code: 0 })
  })

  test('--once works off one job and leaves the other', async () => {
    await another()
    await schedule()
    expect(await work(scene.ctx({ settings: { 'scm.worker.parallelism': 4 } }), ONCE)).toMatchObject({
      jobs_worked: 1,
    })
    expect((await jobs()).map((j) => j.status).sort()).toEqual(['completed', 'pending'])
  })

  test('a job that fails hurts nobody else: it waits its turn, is tried again, and is dead in the end', async () => {
    const { repoId } = await another()
    await schedule()
    renameSync(scene.repo.dir, `${scene.repo.dir}-away`)
    const mine = async () => (await jobs()).find((j) => j.repo_id === scene.repoId)
    try {
      const report = await work(scene.ctx(), DRAIN)
      expect(report).toMatchObject({ status: 'partial', jobs_completed: 1, jobs_failed: 1, exit_code: 1 })
      expect(report.errors[0]).toContain(`git:${scene.repo.dir} commits`)
      expect((await jobs()).find((j) => j.repo_id === repoId)).toMatchObject({ status: 'completed' })
      for (let n = 0; n < 3 && (await mine())?.status === 'failed'; n++) {
        expect((await mine())?.wait).toBeGreaterThan(20)
        await scene.query(
          `update ing_task set scheduled_at = now(), updated_at = clock_timestamp() where status = 'failed'`,
        )
        await work(scene.ctx(), DRAIN)
      }
      expect(await mine()).toMatchObject({ status: 'dead', active_key: null })
      expect(await locks()).toEqual([])
      expect(await work(scene.ctx(), DRAIN)).toMatchObject({ jobs_worked: 0 })
    } finally {
      renameSync(`${scene.repo.dir}-away`, scene.repo.dir)
    }
  })

  test('the job of a disabled repository is cancelled, of an unknown one dead with a clear reason', async () => {
    const other = await another()
    await schedule()
    await unregisterRepo(scene.ctx(), { repo: `git:${scene.repoId}` })
    await scene.query('delete from scm.repos where repo_id = $1', [other.repoId])
    expect(await work(scene.ctx(), DRAIN)).toMatchObject({ jobs_cancelled: 1, jobs_failed: 1 })
    expect(await jobs()).toMatchObject([
      { status: 'cancelled', active_key: null },
      { status: 'dead', category: 'repo_not_found', attempts: 1 },
    ])
    expect(await locks()).toEqual([])
    expect(await scene.query(`select distinct status_code from ing_plan`)).toEqual([
      { status_code: 'FAILED' },
    ])
  })

  test('an operator moves the cursor after the scan: that job is cancelled, and the one that is wanted is done', async () => {
    await schedule()
    await work(scene.ctx(), DRAIN)
    await scene.query(`update logbook.kv set updated_at = now() - interval '2 hours'`)
    await schedule()
    const past = '2001-01-01T00:00:00.000Z'
    await scene.query(`update logbook.kv set value_json = jsonb_build_object('watermark', $1::text)`, [past])

    expect(await work(scene.ctx(), DRAIN)).toMatchObject({
      jobs_worked: 2,
      jobs_cancelled: 1,
      jobs_completed: 1,
      status: 'success',
    })
    expect((await jobs()).map((j) => j.status)).toEqual(['completed', 'cancelled', 'completed'])
    const events = await scene.query(`select direction_code, new_value from ing_cursor_event order by id`)
    expect(events[1]).toEqual({ direction_code: 'BACKFILL', new_value: past })
    expect(await violations(scene)).toEqual([])
  })

  test('stopped in the middle of a job: the page in hand ends, the job goes back without penalty, and is resumed', async () => {
    await schedule()
    const stop = new AbortController()
    const sources = watched(
      (_page, n) => n === 1 && stop.abort(new SyncError('cancelled', 'stopped by SIGTERM')),
    )
    const report = await work(scene.ctx({ signal: stop.signal, sources }), FOREVER)
    expect(report).toMatchObject({ status: 'success', jobs_worked: 1, jobs_released: 1, exit_code: 0 })
    expect(await jobs()).toMatchObject([{ status: 'pending', attempts: 0, lease_owner: null }])
    expect(await locks()).toEqual([])

    expect(await work(scene.ctx(), DRAIN)).toMatchObject({ jobs_completed: 1 })
    expect(await violations(scene)).toEqual([])
  })

  test('idle workers are woken by an enqueue; without a notification the poll finds the job', async () => {
    const stop = new AbortController()
    const idle = (more: Wishes) =>
      work(scene.ctx({ signal: stop.signal, worker: workerName(), ...more }), FOREVER)
    const sleeper = idle({ settings: { 'scm.worker.poll_interval': 3600 } })
    await until(
      async () =>
        (await scene.query(`select 1 from pg_stat_activity where query = 'listen scm_jobs'`)).length > 0,
    )
    await schedule()
    await until(async () => (await jobs())[0]?.status === 'completed')
    expect(await jobs()).toMatchObject([{ status: 'completed' }])

    const poller = idle({ settings: { 'scm.worker.poll_interval': 0.05 } })
    await scene.query(`update ing_task set status = 'pending', attempts = 0, updated_at = clock_timestamp()`)
    await until(async () => (await jobs())[0]?.status !== 'pending')
    stop.abort(new SyncError('cancelled', 'stopped by SIGTERM'))
    const ends = await Promise.all([sleeper, poller])
    expect(ends.map((e) => e.exit_code)).toEqual([0, 0])
    expect((await jobs())[0]?.status).not.toBe('pending')
  })

  test('a worker that has lost its connections listens again, long before its next poll', async () => {
    const stop = new AbortController()
    const worker = work(
      scene.ctx({ signal: stop.signal, settings: { 'scm.worker.poll_interval': 3600 } }),
      FOREVER,
    )
    const listening = async () =>
      (
        await scene.query(
          `select 1 from pg_stat_activity where query = 'listen scm_jobs' and datname = current_database()`,
        )
      ).length > 0
    for (let n = 0; n < 3; n++) {
      await until(listening)
      await scene.query(
        `select pg_terminate_backend(pid, 1000) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()`,
      )
    }
    await until(listening)
    await schedule()
    await until(async () => (await jobs())[0]?.status === 'completed')
    // The row is written before the worker hears of it.
    await new Promise((resolve) => setTimeout(resolve, 300))
    stop.abort(new SyncError('cancelled', 'stopped by SIGTERM'))
    expect(await worker).toMatchObject({ status: 'success', jobs_completed: 1 })
  })

  test('a pool has its own parallelism; what is said for this process goes first', async () => {
    for (let n = 0; n < 4; n++) await another()
    let [open, most] = [0, 0]
    const sources = watched(async () => {
      most = Math.max(most, ++open)
      await new Promise((resolve) => setTimeout(resolve, 100))
      open--
    })
    const drained = async (more: Partial<WorkAsk>) => {
      most = 0
      await scene.query('truncate ing_task, ing_plan, ing_plan_slice, logbook.kv')
      await schedule()
      const ctx = scene.ctx({ sources })
      const wide = { job_types: [], instance_allowlist: [], tenant_allowlist: [], parallelism: 3 }
      const { scm } = ctx.config
      const config = { ...ctx.config, scm: { ...scm, worker: { ...scm.worker, pools: { wide } } } }
      await work({ ...ctx, config }, { ...DRAIN, ...more })
      return most
    }
    expect([await drained({}), await drained({ pool: 'wide' })]).toEqual([1, 3])
    expect(await drained({ pool: 'wide', parallelism: 2 })).toBe(2)
  })

  test('a pool that is not configured is a mistake of whoever asks', async () => {
    await expect(work(scene.ctx(), { ...DRAIN, pool: 'nowhere' })).rejects.toMatchObject({ kind: 'usage' })
  })
})
