import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { underTrigger } from '../../../src/core/app/context.ts'
import { SyncError } from '../../../src/core/domain/errors.ts'
import { ownTrigger } from '../../../src/core/domain/trigger.ts'
import { afterStatement } from '../../helpers/after-statement.ts'
import { servers } from '../../helpers/database.ts'
import { commitsOf } from '../../helpers/git-repo.ts'
import { violations } from '../../helpers/oracle.ts'
import { openScene, type Scene } from '../../helpers/scene.ts'
import { watched } from '../../helpers/watched-source.ts'

const HOUR = 3600
const DAY = { since: '2024-03-01T00:00:00Z', until: '2024-03-02T00:00:00Z' }
const START = Date.parse(DAY.since) / 1000

describe.each(servers().slice(0, 1))('a backfill on the $name server', ({ url }) => {
  let scene: Scene
  beforeEach(async () => {
    scene = await openScene(url, { 'scm.git.page_size': 2 })
    // Three commits in each of the six chunks of the day, and one before and one after it.
    scene.repo.commit('before', { date: START - 1 })
    for (let i = 0; i < 18; i++)
      scene.repo.commit(`${i}`, { date: START + Math.floor(i / 3) * 4 * HOUR + (i % 3) })
    scene.repo.commit('after', { date: START + 24 * HOUR })
  })
  afterEach(() => scene.drop())

  const counts = async () =>
    (
      await scene.query(
        `select (select count(*) from ing_plan)::int as plans, (select count(*) from ing_plan_slice)::int as slices,
                (select count(*) from ing_task)::int as jobs, (select count(*) from ing_task_run)::int as runs`,
      )
    )[0]
  const stored = async () => (await scene.query('select 1 from scm.git_commits')).length
  const plan = async () =>
    (
      await scene.query<{ status_code: string; record_remarks: unknown }>(
        'select * from ing_plan order by id desc',
      )
    )[0]!
  /** Fails whatever chunk its first commit belongs to. */
  const failing = (...chunks: number[]) =>
    scene.ctx({
      sources: watched((page) => {
        const at = commitsOf(page)[0]?.committer.epochSeconds ?? 0
        if (chunks.includes(Math.floor((at - START) / (4 * HOUR)))) throw new Error('bang')
      }),
    })

  test('a lock that is taken between a look and the grasp is waited for', async () => {
    // As another sync of the repository that comes in just then, and is done 300 ms later.
    const db = afterStatement(scene.db, 'lock_holder', async () => {
      await scene.query(
        `insert into scm.sync_locks (repo_id, job_type, locked_by, lease_seconds, fence, job_id) values ($1, 'commits', 'other-1', 60, nextval('scm.fence'), 0)`,
        [scene.repoId],
      )
      setTimeout(() => void scene.query(`delete from scm.sync_locks where locked_by = 'other-1'`), 300)
    })
    const report = await scene.backfill({ wish: DAY, lockWaitSeconds: 20 }, { ...scene.ctx(), db })
    expect(report).toMatchObject({ status: 'success', success_chunks: 6, errors: [] })
  })

  test('a window that was not over when it was read is read again, a chunk that was, is not', async () => {
    const now = Math.floor(Date.now() / 1000)
    const wish = {
      since: new Date((now - 6 * HOUR) * 1000).toISOString(),
      until: new Date((now + 2 * HOUR) * 1000).toISOString(),
    }
    const trigger = (logId: string) =>
      underTrigger(scene.ctx(), { ...ownTrigger(logId), schedulerCode: 'CRON', jobId: 'today', logId })
    expect(await scene.backfill({ wish }, trigger('1'))).toMatchObject({ total_chunks: 2, exit_code: 0 })
    scene.repo.commit('meanwhile', { date: now })
    scene.repo.commit('late', { date: now - 5 * HOUR })
    expect(await scene.backfill({ wish }, trigger('2'))).toMatchObject({
      total_items_synced: 1,
      exit_code: 0,
    })
    expect(await scene.query('select message from scm.git_commits')).toMatchObject([
      { message: expect.stringContaining('meanwhile') },
    ])
  })

  test('the cursor is not moved to what is still to come', async () => {
    const until = new Date(Date.now() + HOUR * 1000).toISOString()
    const asked = scene.backfill({ wish: { since: DAY.since, until }, updateWatermark: true })
    await expect(asked).rejects.toMatchObject({
      kind: 'usage',
      message: expect.stringContaining('still to come'),
    })
    expect(await scene.query('select 1 from ing_plan')).toEqual([])
  })

  test('24 hours are six chunks that tile the window', async () => {
    const report = await scene.backfill({ wish: DAY })
    expect(report).toMatchObject({
      status: 'success',
      total_chunks: 6,
      success_chunks: 6,
      total_items_synced: 18,
      exit_code: 0,
    })
    const [first, ...rest] = report.chunk_results
    expect(first?.since).toBe('2024-03-01T00:00:00.000Z')
    expect(rest.map((c) => c.since)).toEqual(report.chunk_results.slice(0, -1).map((c) => c.until))
    expect(rest.at(-1)?.until).toBe('2024-03-02T00:00:00.000Z')
    expect(await stored()).toBe(18)
    expect(await counts()).toEqual({ plans: 1, slices: 6, jobs: 6, runs: 6 })
    expect((await plan()).status_code).toBe('COMPLETED')
  })

  test('a chunk whose job was cancelled is no success: it is read when asked for again, and only then moves the cursor', async () => {
    await scene.backfill({ wish: DAY }, failing(2))
    await scene.query(
      `update scm.sync_jobs set status = 'cancelled', locked_by = null, locked_at = null where status = 'failed'`,
    )
    await scene.query(`update ing_plan_slice set status_code = 'CANCELLED' where slice_no = 2`)

    const report = await scene.backfill({ wish: DAY, updateWatermark: true })
    expect(report).toMatchObject({ status: 'success', total_items_synced: 3, watermark_updated: true })
    expect(await stored()).toBe(18)
    expect((await plan()).status_code).toBe('COMPLETED')
  })

  test('an upstream that cannot be opened is asked once, not once a chunk', async () => {
    let opened = 0
    const { git } = watched(() => {})
    const closed = {
      git: { ...git, open: () => Promise.reject(new SyncError('network', `refused ${++opened}`)) },
    }
    const report = await scene.backfill({ wish: DAY }, scene.ctx({ sources: closed }))
    expect(report).toMatchObject({ status: 'failed', failed_chunks: 6, exit_code: 2 })
    expect(opened).toBe(1)
    expect(await scene.backfill({ wish: DAY })).toMatchObject({ status: 'success', total_items_synced: 18 })
  })

  test('the last 24 hours are six chunks too, whatever the clock says', async () => {
    expect(await scene.backfill()).toMatchObject({ status: 'success', total_chunks: 6 })
  })

  test('a window before 1970 has what was committed in it', async () => {
    const { repo } = scene
    const dated = (seconds: number) =>
      repo.rawCommit(
        `tree ${repo.git('mktree')}\nauthor A <a@x> ${seconds} +0000\ncommitter A <a@x> ${seconds} +0000\n\n${seconds}\n`,
      )
    for (const seconds of [-60, -1, -2_208_988_800])
      repo.git('update-ref', `refs/heads/at${seconds}`, dated(seconds))
    const wish = { since: '1969-12-31T12:00:00Z', until: '1970-01-01' }
    expect(await scene.backfill({ wish })).toMatchObject({ status: 'success', total_chunks: 3 })
    expect(await stored()).toBe(2)
    await scene.backfill({ wish: { since: '1900-01-01', until: '1900-01-02' } })
    const kept = await scene.query<{ at: number }>(
      'select extract(epoch from ts)::bigint::float8 as at from scm.git_commits order by ts',
    )
    expect(kept.map(({ at }) => at)).toEqual([-2_208_988_800, -60, -1])
    await scene.incremental()
    expect(await violations(scene)).toEqual([])
  })

  test('the main cursor stays, and each chunk leaves one event in the plan’s own line', async () => {
    await scene.incremental()
    const [cursor, kv] = [await scene.query('select * from ing_cursor'), await scene.kv()]
    await scene.backfill({ wish: DAY })
    expect(await scene.query('select * from ing_cursor')).toEqual(cursor)
    expect(await scene.kv()).toEqual(kv)
    const events = await scene.query(
      `select distinct direction_code, namespace_scope_code from ing_cursor_event where operation_code = 'BACKFILL'`,
    )
    expect(events).toEqual([{ direction_code: 'BACKFILL', namespace_scope_code: 'CUSTOM' }])
    expect(await violations(scene)).toEqual([])
  })

  test('a failed chunk does not stop the next, and the same command again runs only what is missing', async () => {
    const report = await scene.backfill({ wish: DAY, updateWatermark: true }, failing(1, 4))
    expect(report).toMatchObject({
      status: 'partial',
      success_chunks: 4,
      failed_chunks: 2,
      exit_code: 1,
      watermark_updated: false,
    })
    expect(report.errors).toEqual(['chunk 1 failed: bang', 'chunk 4 failed: bang'])
    expect(await counts()).toEqual({ plans: 1, slices: 6, jobs: 6, runs: 6 })
    expect(await scene.kv()).toBe(null)

    const again = await scene.backfill({ wish: DAY, updateWatermark: true })
    expect(again).toMatchObject({
      status: 'success',
      total_items_synced: 6,
      watermark_updated: true,
      watermark_after: '2024-03-02T00:00:00.000Z',
    })
    expect(await counts()).toEqual({ plans: 1, slices: 6, jobs: 6, runs: 8 })
    expect(await stored()).toBe(18)
  })

  test('a relative window is the same request for an hour: what failed is taken up, not asked for anew', async () => {
    const now = Math.floor(Date.now() / 1000)
    scene.repo.commit('now', { date: now - 60 })
    const broken = scene.ctx({
      sources: watched((page) => commitsOf(page).length > 0 && Promise.reject(new Error('bang'))),
    })
    expect(await scene.backfill({}, broken)).toMatchObject({ status: 'partial', failed_chunks: 1 })
    expect(await scene.backfill()).toMatchObject({ status: 'success', total_items_synced: 1 })
    expect(await counts()).toMatchObject({ plans: 1, jobs: 6, runs: 7 })

    await scene.backfill()
    expect(await counts()).toMatchObject({ plans: 2, jobs: 12 })
  })

  test('asked again when all is done, it adds runs and nothing else', async () => {
    await scene.backfill({ wish: DAY })
    const rows = await scene.query('select commit_sha, xmin::text from scm.git_commits order by 1')
    expect(await scene.backfill({ wish: DAY })).toMatchObject({
      status: 'success',
      total_items_synced: 0,
      total_items_skipped: 18,
    })
    expect(await counts()).toEqual({ plans: 1, slices: 6, jobs: 6, runs: 12 })
    expect(await scene.query('select commit_sha, xmin::text from scm.git_commits order by 1')).toEqual(rows)
  })

  test('a chunk that failed in the middle is resumed there', async () => {
    const cut = scene.ctx({
      sources: watched((page, n) => n === 1 && page.total === 3 && Promise.reject(new Error('bang'))),
    })
    expect(await scene.backfill({ wish: DAY }, cut)).toMatchObject({ status: 'failed', failed_chunks: 6 })
    expect(await stored()).toBe(12)
    const read: number[] = []
    const sources = watched((page) => read.push(commitsOf(page).length))
    expect(await scene.backfill({ wish: DAY }, scene.ctx({ sources }))).toMatchObject({ status: 'success' })
    expect(read).toEqual([1, 1, 1, 1, 1, 1])
  })

  test('--update-watermark moves cursor, event and kv together, and says what was not read', async () => {
    const report = await scene.backfill({ wish: DAY, updateWatermark: true })
    expect(report).toMatchObject({
      watermark_updated: true,
      watermark_before: null,
      watermark_after: '2024-03-02T00:00:00.000Z',
    })
    expect(await scene.kv()).toMatchObject({ watermark: '2024-03-02T00:00:00.000Z' })
    expect((await plan()).record_remarks).toMatchObject([
      { gap: { from: null, to: '2024-03-01T00:00:00.000Z' } },
    ])

    // Heads decide what is new, not the mark: nothing is lost.
    expect(await scene.incremental()).toMatchObject({ status: 'success', items_synced: 2 })
    expect(await violations(scene)).toEqual([])
  })

  test('--update-watermark never goes back', async () => {
    await scene.incremental()
    const [cursor, kv] = [await scene.query('select * from ing_cursor'), await scene.kv()]
    expect(await scene.backfill({ wish: DAY, updateWatermark: true })).toMatchObject({
      status: 'success',
      watermark_updated: false,
    })
    expect(await scene.query('select * from ing_cursor')).toEqual(cursor)
    expect(await scene.kv()).toEqual(kv)
    expect(await violations(scene)).toEqual([])
  })

  test('events fold to the cursor through syncs, backfills and watermark moves', async () => {
    await scene.backfill({ wish: DAY, updateWatermark: true })
    await scene.backfill({
      wish: { since: '2024-03-02T00:00:00Z', until: '2024-03-03T00:00:00Z' },
      updateWatermark: true,
    })
    await scene.incremental()
    await scene.backfill({ wish: DAY })
    scene.repo.commit('more')
    await scene.incremental()
    expect(await violations(scene)).toEqual([])
    const forward = await scene.query(
      `select cursor_version as v from ing_cursor_event where direction_code = 'FORWARD' order by id`,
    )
    expect(forward.map((e) => e.v)).toEqual([1, 2, 3, 4])
  })

  test('a stopped backfill leaves what it had not begun, and goes on there', async () => {
    const stop = new AbortController()
    let pages = 0
    const sources = watched(() => ++pages === 3 && stop.abort())
    const report = await scene.backfill({ wish: DAY }, scene.ctx({ sources, signal: stop.signal }))
    expect(report.status).toBe('cancelled')
    expect(report.chunk_results.map((c) => c.status)).toEqual(['success', ...Array(5).fill('cancelled')])
    expect(await scene.backfill({ wish: DAY })).toMatchObject({ status: 'success' })
    expect(await stored()).toBe(18)
    expect(await counts()).toEqual({ plans: 1, slices: 6, jobs: 6, runs: 7 })
  })
})

/** Known and open: heads that only an unfinished sync or a backfill has read are not compared with the next ones. */
describe('commits that were stored before any sync had landed their heads', () => {
  const [server] = servers()
  let scene: Scene
  beforeEach(async () => {
    scene = await openScene(server!.url, { 'scm.git.page_size': 2 })
    for (let i = 0; i < 6; i++) scene.repo.commit(`${i}`, { date: START + i })
  })
  afterEach(() => scene.drop())
  const rewrite = () => {
    scene.repo.git('update-ref', 'refs/heads/main', 'main~3')
    scene.repo.commit('instead', { date: START + 9 })
  }

  test('what only a backfill has seen is marked when it is gone at the next sync', async () => {
    const ever = new Set(scene.repo.all())
    await scene.backfill({ wish: DAY })
    rewrite()
    await scene.incremental()
    expect(await violations({ ...scene, ever })).toEqual([])
  })

  test('what a resumed chunk brings back after a sync has marked it is marked again by the next sync', async () => {
    await scene.incremental()
    const ever = new Set(scene.repo.all())
    await scene.backfill(
      { wish: DAY },
      scene.ctx({ sources: watched((_, n) => n === 1 && Promise.reject(new Error('bang'))) }),
    )
    rewrite()
    await scene.incremental()
    await scene.backfill({ wish: DAY })
    await scene.incremental()
    expect(await violations({ ...scene, ever })).toEqual([])
  })

  test('a sync cancelled by an operator’s edit leaves no unmarked commit behind', async () => {
    const ever = new Set(scene.repo.all())
    await scene.incremental(
      scene.ctx({ sources: watched((_, n) => n === 2 && Promise.reject(new Error('bang'))) }),
    )
    await scene.query(
      `insert into logbook.kv values ('scm.sync', $1, '{"watermark": "2024-01-01T00:00:00Z"}')`,
      [`git_cursor:${scene.repoId}`],
    )
    scene.repo.git(
      'update-ref',
      'refs/heads/main',
      scene.repo.rawCommit(`${scene.repo.git('cat-file', '-p', 'main~5')}\n\nanother root\n`),
    )
    await scene.incremental()
    expect(await violations({ ...scene, ever })).toEqual([])
  })
})
