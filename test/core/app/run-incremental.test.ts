import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { SyncError } from '../../../src/core/domain/errors.ts'
import { isFirst, servers } from '../../helpers/database.ts'
import { commitsOf } from '../../helpers/git-repo.ts'
import { violations } from '../../helpers/oracle.ts'
import { openScene, type Scene } from '../../helpers/scene.ts'
import { afterPages, watched } from '../../helpers/watched-source.ts'

const PAGE_SIZE = 3

interface BatchRow {
  run: number
  no: number
  before: string
  after: string | null
  records: number
  status: string
}

describe.each(servers())('an incremental sync on the $name server', ({ url }) => {
  const once = test.skipIf(!isFirst(url))
  let scene: Scene
  beforeEach(async () => {
    scene = await openScene(url, { 'scm.git.page_size': PAGE_SIZE })
  })
  afterEach(() => scene.drop())

  const commits = (count: number) => {
    for (let i = 0; i < count; i++) scene.repo.commit(`commit ${i}`, { date: 1_700_000_000 + i })
  }
  const batches = () =>
    scene.query<BatchRow>(
      `select run_id as run, batch_no as no, before_token as before, after_token as after, record_count as records, status_code as status
         from ing_task_run_batch order by id`,
    )
  const runs = () =>
    scene.query<{ status: string; attempt: number; stats: Record<string, number> }>(
      'select status_code as status, attempt_no as attempt, stats from ing_task_run order by id',
    )
  const job = async () =>
    (await scene.query<Record<string, unknown>>('select * from ing_task order by id desc limit 1'))[0]!

  test('the first one stores everything, page by page, and leaves the ledger closed', async () => {
    commits(8)
    const report = await scene.incremental()

    expect(report).toMatchObject({
      status: 'success',
      items_synced: 8,
      exit_code: 0,
      vfacts_refreshed: true,
      error: null,
    })
    expect(await violations(scene)).toEqual([])
    expect((await batches()).map((b) => b.records)).toEqual([3, 3, 2])
    expect(await runs()).toMatchObject([
      { status: 'SUCCEEDED', attempt: 1, stats: { scanned_count: 8, pages: 3 } },
    ])
  })

  once('an empty repository is a success with nothing in it', async () => {
    expect(await scene.incremental()).toMatchObject({ status: 'success', items_synced: 0 })
    expect(await violations(scene)).toEqual([])
  })

  once('a second one without news writes no row, and moves the cursor to now', async () => {
    commits(4)
    await scene.incremental()
    const before = await scene.query(
      'select commit_sha, xmin::text, updated_at from scm.git_commits order by 1',
    )
    const cursor = await scene.kv()

    expect(await scene.incremental()).toMatchObject({
      status: 'success',
      items_synced: 0,
      vfacts_refreshed: false,
    })
    expect(
      await scene.query('select commit_sha, xmin::text, updated_at from scm.git_commits order by 1'),
    ).toEqual(before)
    expect(await scene.kv()).not.toEqual(cursor)
    expect(await violations(scene)).toEqual([])
    expect(await scene.query('select status from scm.sync_runs order by run_id')).toEqual([
      { status: 'completed' },
      { status: 'no_data' },
    ])
  })

  test('each page starts where the one before it ended', async () => {
    commits(7)
    await scene.incremental()
    const [first, second, third] = await batches()
    expect(first?.before).toBe('')
    expect(second?.before).toBe(first?.after)
    expect(third?.before).toBe(second?.after)
    expect(third?.after).toBe(`7:${scene.repo.git('rev-parse', 'main')}`)
  })

  once.each([0, 1, 2, 3])(
    'a failure before page %i is resumed there, and no page before it is read again',
    async (failing) => {
      commits(10)
      const broken = watched((_, n) => {
        if (n === failing) throw new SyncError('network', 'the line is cut')
      })
      const failed = await scene.incremental(scene.ctx({ sources: broken }))
      expect(failed).toMatchObject({ status: 'failed', exit_code: 2, error: 'the line is cut' })
      expect(await job()).toMatchObject({ status: 'failed', attempts: 1 })
      expect(await violations({ ...scene, unsettled: true })).toEqual([])

      const read: number[] = []
      const report = await scene.incremental(
        scene.ctx({ sources: watched((page) => read.push(commitsOf(page).length)) }),
      )
      expect(report.status).toBe('success')

      const all = await batches()
      const stored = all.filter((b) => b.run === 1 && b.status === 'SUCCEEDED')
      const resumed = all.find((b) => b.run === 2)
      expect(stored).toHaveLength(failing)
      expect(resumed?.before).toBe(stored.at(-1)?.after ?? '')
      // What is left of the ten, and then the look for what came meanwhile.
      expect(read.reduce((a, b) => a + b)).toBe(10 - failing * PAGE_SIZE)
      expect((await runs()).slice(0, 2)).toMatchObject([
        { status: 'FAILED', attempt: 1 },
        { status: 'SUCCEEDED', attempt: 2, stats: { scanned_count: 10 - failing * PAGE_SIZE } },
      ])
      expect(await violations(scene)).toEqual([])
    },
  )

  once('what came while a sync lay interrupted is brought by the same command that resumes it', async () => {
    commits(5)
    await scene.incremental(
      scene.ctx({ sources: watched((_, n) => n === 1 && Promise.reject(new Error('bang'))) }),
    )
    scene.repo.commit('late')
    expect(await scene.incremental()).toMatchObject({ status: 'success', items_synced: 3 })
    expect(await violations(scene)).toEqual([])
  })

  once('a read that has to begin anew may come by the very place where it was to be resumed', async () => {
    commits(4)
    const side = scene.repo.commit('side', { branch: 'side', parents: [], date: 1_800_000_000 })
    await scene.incremental(
      scene.ctx({ sources: watched((_, n) => n === 1 && Promise.reject(new Error('bang'))) }),
    )
    scene.repo.git('update-ref', '-d', 'refs/heads/side')
    scene.repo.git('reflog', 'expire', '--expire=now', '--all')
    scene.repo.git('gc', '-q', '--prune=now')
    expect(() => scene.repo.git('cat-file', '-e', side)).toThrow()

    expect(await scene.incremental()).toMatchObject({ status: 'success', error: null })
    expect(await violations(scene)).toEqual([])
  })

  test('a failed job that went on without the active key does not hide the one that holds it', async () => {
    const broken = scene.ctx({ sources: watched(() => Promise.reject(new SyncError('network', 'no'))) })
    await scene.incremental(broken)
    await scene.query(
      `with slice as (
         insert into ing_plan_slice (plan_id, slice_no, slice_signature_hash, slice_spec, expr_hash, expr_snapshot, status_code)
         select plan_id, 1, repeat('b', 64), slice_spec, expr_hash, expr_snapshot, 'DISPATCHED' from ing_plan_slice returning id)
       insert into ing_task (schedule_instance_id, plan_id, slice_id, provenance_code, operation_code, repo_id, job_type, mode,
              idempotent_key, expr_hash, status, scheduled_at)
       select schedule_instance_id, plan_id, slice.id, provenance_code, operation_code, repo_id, job_type, mode,
              repeat('a', 64), expr_hash, 'failed', now() from ing_task, slice`,
    )
    expect(await scene.incremental()).toMatchObject({ status: 'success', error: null })
    expect(await scene.incremental()).toMatchObject({ status: 'success', items_synced: 0 })
  })

  once('a resumed sync whose repository was rewritten meanwhile ends with the new history', async () => {
    commits(7)
    await scene.incremental(
      scene.ctx({ sources: watched((_, n) => n === 1 && Promise.reject(new Error('bang'))) }),
    )
    const ever = new Set(scene.repo.all())
    scene.repo.git('update-ref', 'refs/heads/main', 'main~5')
    scene.repo.commit('another way')
    expect(await scene.incremental()).toMatchObject({ status: 'success' })
    expect(await violations({ ...scene, ever })).toEqual([])
  })

  test('a forced push marks what it left behind, and coming back clears the mark', async () => {
    commits(6)
    const old = scene.repo.git('rev-parse', 'main')
    const ever = new Set(scene.repo.all())
    await scene.incremental()
    scene.repo.git('update-ref', 'refs/heads/main', 'main~3')
    scene.repo.commit('instead')
    await scene.incremental()
    expect(await violations({ ...scene, ever })).toEqual([])
    const marked = await scene.query('select 1 from scm.git_commits where unreachable_since is not null')
    expect(marked).toHaveLength(3)
    expect(await scene.query(`select event from scm.git_ref_events order by ref_event_id`)).toEqual([
      { event: 'created' },
      { event: 'forced' },
    ])

    scene.repo.git('update-ref', 'refs/heads/again', old)
    await scene.incremental()
    expect(await violations({ ...scene, ever })).toEqual([])
  })

  test('a stop leaves the job pending, the lock free and the attempt uncounted', async () => {
    commits(9)
    const stop = new AbortController()
    const stopping = scene.ctx({ signal: stop.signal, sources: afterPages(scene, 2, () => stop.abort()) })
    expect(await scene.incremental(stopping)).toMatchObject({ status: 'cancelled', exit_code: 2 })
    expect(await job()).toMatchObject({ status: 'pending', attempts: 0, lease_owner: null })
    expect(await scene.query('select 1 from scm.sync_locks')).toEqual([])
    expect(await runs()).toMatchObject([{ status: 'CANCELLED' }])

    expect(await scene.incremental()).toMatchObject({ status: 'success', items_synced: 3 })
    expect(await violations(scene)).toEqual([])
  })

  once('a job that failed three times is dead, and still to be had by hand', async () => {
    commits(5)
    const broken = scene.ctx({ sources: watched(() => Promise.reject(new SyncError('network', 'no'))) })
    for (const status of ['failed', 'failed', 'dead']) {
      await scene.incremental(broken)
      expect((await job()).status).toBe(status)
    }
    expect(await scene.incremental()).toMatchObject({ status: 'success', items_synced: 5 })
    expect(await job()).toMatchObject({ status: 'completed' })
    expect((await runs()).map((r) => r.attempt)).toEqual([1, 2, 3, 4, 1])
  })

  once('a failure no retry could mend makes the job dead at once', async () => {
    commits(1)
    await scene.incremental(
      scene.ctx({ sources: watched(() => Promise.reject(new SyncError('auth', 'no'))) }),
    )
    expect(await job()).toMatchObject({ status: 'dead', attempts: 1 })
  })
})
