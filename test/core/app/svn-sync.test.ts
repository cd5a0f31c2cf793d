import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { registerRepo } from '../../../src/core/app/manage/repos.ts'
import { tickScheduler } from '../../../src/core/app/queue/tick-scheduler.ts'
import { work } from '../../../src/core/app/queue/work.ts'
import type { Source } from '../../../src/core/sources/source.ts'
import { servers } from '../../helpers/database.ts'
import {
  dumpOf,
  hasSvn,
  load,
  makeRepository,
  type SvnRepo,
  type SvnServer,
  startServer,
  tool,
} from '../../helpers/svn.ts'
import { grow, openSvnScene, type SvnScene } from '../../helpers/svn-scene.ts'
import { watchedSource } from '../../helpers/watched-source.ts'

const upTo = (n: number, first = 1) => Array.from({ length: n - first + 1 }, (_, i) => first + i)
/** From minute `from` on, of revisions that are a minute apart. */
const minute = (n: number) => new Date(1_700_000_000_000 + n * 60_000).toISOString()

describe.runIf(hasSvn).each(servers().slice(0, 1))('Subversion, into the $name server', ({ url }) => {
  let server: SvnServer
  let repo: SvnRepo
  let scene: SvnScene
  let made = 0
  beforeAll(async () => {
    server = await startServer()
  })
  beforeEach(async () => {
    repo = makeRepository(server, `r${made++}`)
    scene = await openSvnScene(url, repo.url, { 'scm.svn.batch_size': 5 })
  })
  afterEach(() => scene.drop())

  const cursor = async () =>
    (
      await scene.query(
        `select cursor_type_code as type, cursor_value as value, normalized_numeric as number, normalized_instant as instant,
                observed_max_value as seen, version from ing_cursor`,
      )
    )[0]
  const events = () =>
    scene.query<{ direction: string; reason: string; prev: number | null; next: number }>(
      `select direction_code as direction, reason, prev_numeric as prev, new_numeric as next from ing_cursor_event
        where operation_code = 'HARVEST' and cursor_type_code = 'ID' order by id`,
    )
  const tables = async () => {
    const [n] = await scene.query(
      `select (select count(*)::int from ing_task_run) as runs, (select count(*)::int from ing_task_run_batch) as batches,
              (select count(*)::int from ing_cursor_event) as events, (select count(*)::int from scm.svn_revisions) as revisions`,
    )
    return n as { runs: number; batches: number; events: number; revisions: number }
  }
  const rescanIsDue = () => scene.query(`update scm.repos set settings = settings - 'rescanned_at'`)
  /** Hides a folder, or nothing, from everybody. svnserve reads it with the next connection. */
  const hide = (folder: string | null) => {
    writeFileSync(join(repo.dir, 'conf/svnserve.conf'), '[general]\nanon-access = read\nauthz-db = authz\n')
    writeFileSync(join(repo.dir, 'conf/authz'), `[/]\n* = r\n${folder === null ? '' : `[/${folder}]\n* =\n`}`)
  }
  /** Breaks, or does something else, before it hands over page `n` of the next run. */
  const atPage = (n: number, act: () => unknown) => {
    const { svn } = scene.ctx().sources
    return scene.ctx({ sources: { svn: watchedSource(svn as Source, (_, at) => at === n && act()) } })
  }
  const bang = () => Promise.reject(new Error('bang'))

  test('the first sync stores every revision in pages, and the cursor stands at the last one', async () => {
    grow(repo, 12)
    expect(await scene.incremental()).toMatchObject({ status: 'success', items_synced: 12 })
    expect(await scene.stored()).toEqual(upTo(12))
    expect(await cursor()).toEqual({
      type: 'ID',
      value: '12',
      number: 12,
      instant: null,
      seen: '12',
      version: 1,
    })
    expect(await scene.kv()).toEqual({ watermark: '12', run_id: '1', updated_at: expect.any(String) })
    expect(await events()).toEqual([{ direction: 'FORWARD', reason: 'sync', prev: null, next: 12 }])
    expect(await tables()).toMatchObject({ runs: 1, batches: 3 })
    expect(await scene.query('select window_spec, window_from, window_to from ing_plan')).toMatchObject([
      { window_spec: { from: null, to: null }, window_from: null, window_to: null },
    ])
    expect(
      await scene.query(
        `select author, message, path_count, paths->0->>'path' as path, ts, is_bulk from scm.svn_revisions where rev_num = 7`,
      ),
    ).toEqual([
      {
        author: 'mara',
        message: 'change 7',
        path_count: 1,
        path: '/trunk/f7',
        ts: new Date(minute(7)),
        is_bulk: false,
      },
    ])
    expect(await scene.violations()).toEqual([])
  })

  test('then only what is new is read, and a look that finds nothing leaves a run and nothing else', async () => {
    grow(repo, 6)
    await scene.incremental()
    for (const more of [1, 7, 3]) {
      grow(repo, more)
      expect(await scene.incremental()).toMatchObject({ status: 'success', items_synced: more })
      expect(await scene.read()).toBe(more)
    }
    const before = await tables()
    const kv = await scene.query('select updated_at from logbook.kv')
    expect(await scene.incremental()).toMatchObject({ status: 'success', items_synced: 0 })
    expect(await tables()).toEqual({ ...before, runs: before.runs + 1 })
    expect(await scene.kv()).toMatchObject({ watermark: '17' })
    expect(await scene.query('select updated_at from logbook.kv')).not.toEqual(kv)
    expect(await scene.violations()).toEqual([])
  })

  test('an empty repository is a success, and its first revision is found', async () => {
    expect(await scene.incremental()).toMatchObject({ status: 'success', items_synced: 0 })
    expect(await scene.kv()).toMatchObject({ watermark: '0' })
    expect(await scene.incremental()).toMatchObject({ status: 'success' })
    grow(repo, 1)
    expect(await scene.incremental()).toMatchObject({ status: 'success', items_synced: 1 })
    expect(await scene.violations()).toEqual([])
  })

  test.each([0, 1, 2])(
    'a crash before page %i: the next one goes on there, and brings what came since',
    async (page) => {
      grow(repo, 13)
      expect(await scene.incremental(atPage(page, bang))).toMatchObject({ status: 'failed' })
      expect(await scene.stored()).toEqual(upTo(page * 5))
      expect(await scene.kv()).toBe(null)
      grow(repo, 2)
      expect(await scene.incremental()).toMatchObject({ status: 'success', items_synced: 15 - page * 5 })
      expect(await scene.stored()).toEqual(upTo(15))
      const pages = await scene.query<{ after: string }>(
        `select after_token as after from ing_task_run_batch where status_code = 'SUCCEEDED' order by id`,
      )
      expect(pages.map((p) => p.after)).toEqual(page === 0 ? ['5', '10', '15'] : ['5', '10', '13', '15'])
      expect(await scene.violations()).toEqual([])
    },
  )

  describe('what operators do to the cursor', () => {
    beforeEach(async () => {
      grow(repo, 12)
      await scene.incremental()
    })

    test.each<[form: string, value: unknown]>([
      ['digits', { watermark: '8', run_id: 'manual_reset' }],
      ['a number', { watermark: 8 }],
      ['bare digits', '8'],
      ['a bare number', 8],
      ['last_rev', { last_rev: 8 }],
      ['last_rev below watermark', { version: 2, watermark: { last_rev: 8 } }],
    ])('set back, as %s: read again from there, nothing written twice', async (_form, value) => {
      await scene.edit(value)
      repo.revprop(10, 'svn:log', 'edited')
      grow(repo, 1)
      expect(await scene.incremental()).toMatchObject({ status: 'success', items_synced: 2 })
      expect(await scene.read()).toBe(6) // 8 to 13
      expect((await events()).slice(1)).toEqual([
        { direction: 'BACKFILL', reason: 'manual_reset', prev: 12, next: 8 },
        { direction: 'FORWARD', reason: 'sync', prev: 12, next: 13 },
      ])
      expect(await scene.kv()).toMatchObject({ watermark: '13' })
      expect(await scene.violations()).toEqual([])
    })

    test.each<[what: string, value: unknown]>([
      ['deleted', undefined],
      ['a time', { watermark: '2024-01-01T00:00:00Z' }],
      ['a word', 'r8'],
      ['beneath zero', { watermark: -8 }],
      ['nothing', null],
    ])('%s counts as none: everything is read again', async (_what, value) => {
      await scene.edit(value)
      expect(await scene.incremental()).toMatchObject({ status: 'success', items_synced: 0 })
      expect(await scene.read()).toBe(12)
      expect((await events()).slice(1)).toEqual([
        { direction: 'BACKFILL', reason: 'manual_reset', prev: 12, next: 0 },
      ])
      expect(await scene.kv()).toMatchObject({ watermark: '12' })
      expect(await scene.violations()).toEqual([])
    })

    test('set ahead: goes on from there, and the audit follows', async () => {
      grow(repo, 8)
      await scene.edit({ watermark: '17' })
      expect(await scene.incremental()).toMatchObject({ status: 'success', items_synced: 3 })
      expect(await scene.stored()).toEqual([...upTo(12), ...upTo(20, 18)])
      expect((await events()).slice(1)).toEqual([
        { direction: 'FORWARD', reason: 'force_forward', prev: 12, next: 17 },
        { direction: 'FORWARD', reason: 'sync', prev: 17, next: 20 },
      ])
      expect(await scene.violations()).toEqual([])
    })

    test('set beyond the end: stopped with the reason; set right again, it goes on without an edit each time', async () => {
      await scene.edit({ watermark: '9000' })
      expect(await scene.incremental()).toMatchObject({
        status: 'failed',
        kind: 'anomaly',
        error: expect.stringMatching(/ends at r12, and was read up to r9000/),
      })
      await scene.edit({ watermark: '12' })
      grow(repo, 1)
      expect(await scene.incremental()).toMatchObject({ status: 'success', items_synced: 1 })
      expect(await scene.kv()).toMatchObject({ watermark: '13', landed: '13' })
      const before = (await events()).length
      grow(repo, 1)
      expect(await scene.incremental()).toMatchObject({ status: 'success', items_synced: 1 })
      expect(await scene.read()).toBe(1)
      expect((await events()).length).toBe(before)

      await scene.edit({ ...((await scene.kv()) as object), watermark: '5' })
      expect(await scene.incremental()).toMatchObject({ status: 'success' })
      expect(await scene.read()).toBe(10)
    })

    test('deleted: patches come again and change nothing, whatever the tier is by then', async () => {
      grow(repo, 3)
      const patches = () => scene.query('select *, xmin::text from scm.patch_blobs order by source_key')
      const at = (tier: string) => scene.incremental(scene.ctx({ settings: { 'scm.svn.tier': tier } }))
      await scene.edit(undefined)
      await at('patch')
      const kept = await patches()
      expect(kept).toHaveLength(repo.youngest())
      for (const tier of ['patch', 'numstat', 'paths']) {
        await scene.edit(undefined)
        expect(await at(tier)).toMatchObject({ status: 'success', items_synced: 0 })
        expect([tier, await patches()]).toEqual([tier, kept])
      }
      // A higher one adds what was not there.
      grow(repo, 2)
      await at('paths')
      expect(await patches()).toEqual(kept)
      await scene.edit(undefined)
      await at('patch')
      expect(await patches()).toHaveLength(kept.length + 2)
      expect(await scene.violations({ edited: true })).toEqual([])
    })

    test('an edit made during a run survives it, and the next one obeys', async () => {
      grow(repo, 9)
      const edit = { watermark: '3', run_id: 'manual_reset' }
      expect(await scene.incremental(atPage(1, () => scene.edit(edit)))).toMatchObject({ status: 'success' })
      expect(await scene.kv()).toEqual(edit)
      expect(await scene.incremental()).toMatchObject({ status: 'success' })
      expect(await scene.read()).toBe(19)
      expect(await scene.kv()).toMatchObject({ watermark: '21' })
      expect(await scene.violations()).toEqual([])
    })

    test('an edit while a sync lies interrupted cancels it', async () => {
      grow(repo, 9)
      await scene.incremental(atPage(1, bang))
      await scene.edit({ watermark: 3 })
      expect(await scene.incremental()).toMatchObject({ status: 'success' })
      expect(await scene.read()).toBe(19)
      expect(await scene.query('select status from ing_task order by id')).toEqual([
        { status: 'completed' },
        { status: 'cancelled' },
        { status: 'completed' },
      ])
      expect(await scene.violations()).toEqual([])
    })

    test('the scheduler sees it, and a worker obeys; a job planned before it is put away', async () => {
      grow(repo, 1)
      const tick = () => tickScheduler(scene.ctx(), { dryRun: false, keepLeading: false })
      const drain = () => work(scene.ctx(), { once: false, drain: true, jobTypes: [], pool: null })
      expect(await tick()).toMatchObject({ jobs_enqueued: 0 })
      await scene.edit({ last_rev: 10 })
      expect(await tick()).toMatchObject({ jobs_enqueued: 1 })
      await scene.edit({ watermark: '6' })
      await drain()
      expect(await scene.read()).toBe(8)
      expect(await scene.kv()).toMatchObject({ watermark: '13' })
      expect(await tick()).toMatchObject({ jobs_enqueued: 0 })
      expect((await events()).slice(1).map(({ direction, next }) => [direction, next])).toEqual([
        ['BACKFILL', 10],
        ['BACKFILL', 6],
        ['FORWARD', 13],
      ])
      expect(await scene.violations()).toEqual([])
    })
  })

  describe('what cannot be seen', () => {
    test('revisions about other folders move the cursor all the same', async () => {
      grow(repo, 3)
      const below = await openSvnScene(url, `${repo.url}/trunk`)
      await below.incremental()
      grow(repo, 4, 'elsewhere')
      expect(await below.incremental()).toMatchObject({ status: 'success', items_synced: 0 })
      expect(await below.kv()).toMatchObject({ watermark: '7' })
      expect(await below.stored()).toEqual([1, 2, 3])
      expect(await below.violations()).toEqual([])
      await below.drop()
    })

    test('hidden revisions are recorded as such, also at the end, and give way when they show', async () => {
      grow(repo, 3)
      grow(repo, 4, 'secret')
      hide('secret')
      expect(await scene.incremental()).toMatchObject({ status: 'success', items_synced: 7 })
      expect(await scene.kv()).toMatchObject({ watermark: '7' })
      const seen = () =>
        scene.query('select visibility, message from scm.svn_revisions order by rev_num offset 4')
      expect(await seen()).toEqual(Array(3).fill({ visibility: 'none', message: null }))

      hide(null)
      expect(await scene.backfill({ wish: { startRev: 4 } })).toMatchObject({ total_items_synced: 4 })
      expect((await seen())[2]).toEqual({ visibility: 'full', message: 'change 7' })
      expect(await scene.violations()).toEqual([])
    })

    test('a revision that is hidden by now stays as it was seen, with its patch', async () => {
      const patches = () => scene.query('select source_key, format, sha256 from scm.patch_blobs order by 1')
      grow(repo, 2)
      grow(repo, 2, 'secret')
      const file = { kind: 'file', action: 'add', text: 'told\n', props: {} } as const
      const nodes = [
        { path: 'trunk/told', ...file },
        { path: 'secret/told', ...file },
      ]
      load(repo, dumpOf([{ props: { 'svn:date': minute(5), 'svn:log': 'in both' }, nodes }], 5))
      const settings = { 'scm.svn.tier': 'patch' }
      await scene.incremental(scene.ctx({ settings }))
      const rows = await scene.query('select *, xmin::text from scm.svn_revisions order by rev_num')
      const kept = await patches()
      expect(kept).toHaveLength(5)
      hide('secret')
      const report = await scene.backfill({ wish: { startRev: 1 } }, scene.ctx({ settings }))
      expect(report).toMatchObject({ status: 'success', total_items_synced: 0, total_items_skipped: 5 })
      expect(await scene.query('select *, xmin::text from scm.svn_revisions order by rev_num')).toEqual(rows)
      expect(await patches()).toEqual(kept)

      // Nor does a lower tier take anything away.
      hide(null)
      expect(await scene.backfill({ wish: { startRev: 1 } })).toMatchObject({ total_items_synced: 0 })
      expect(await patches()).toEqual(kept)
    })
  })

  test('a message edited later is found by the daily look back, and by a backfill at once', async () => {
    grow(repo, 12)
    await scene.incremental()
    repo.revprop(4, 'svn:log', 'what was meant')
    expect(await scene.incremental()).toMatchObject({ items_synced: 0 })
    const four = () => scene.query('select message from scm.svn_revisions where rev_num = 4')
    expect(await four()).toEqual([{ message: 'change 4' }])

    await rescanIsDue()
    expect(await scene.previewIncremental()).toMatchObject({
      since: '12',
      refetch_since: '1',
      items_found: 12,
    })
    const before = (await events()).length
    expect(await scene.incremental()).toMatchObject({ status: 'success', items_synced: 1 })
    expect(await four()).toEqual([{ message: 'what was meant' }])
    expect(await events()).toHaveLength(before) // nobody edited anything
    expect(await scene.incremental()).toMatchObject({ items_synced: 0 })
    expect(await scene.read()).toBe(0)

    repo.revprop(5, 'svn:author', 'nils')
    expect(await scene.backfill({ wish: { startRev: 5, endRev: 5 } })).toMatchObject({
      total_items_synced: 1,
    })
    expect(await scene.violations()).toEqual([])
  })

  describe('a backfill', () => {
    test('of revisions 100 to 500 is five chunks, both ends included', async () => {
      grow(repo, 505)
      const report = await scene.backfill({ wish: { startRev: 100, endRev: 500 } })
      expect(report).toMatchObject({
        status: 'success',
        total_chunks: 5,
        total_items_synced: 401,
        watermark_updated: false,
        exit_code: 0,
      })
      expect(
        report.chunk_results.map((c) => [c.window_type, c.start_rev, c.end_rev, c.synced_count]),
      ).toEqual([
        ['revision', 100, 199, 100],
        ['revision', 200, 299, 100],
        ['revision', 300, 399, 100],
        ['revision', 400, 499, 100],
        ['revision', 500, 500, 1],
      ])
      expect(await scene.stored()).toEqual(upTo(500, 100))
      expect(await scene.kv()).toBe(null)
      expect(await scene.query('select slice_strategy_code, window_spec from ing_plan')).toMatchObject([
        { slice_strategy_code: 'ID_RANGE', window_spec: { from: '100', to: '501' } },
      ])
      expect(
        await scene.query(
          `select cursor_type_code as type, direction_code as direction, prev_numeric as prev, new_numeric as next, namespace_scope_code as scope
             from ing_cursor_event order by id limit 2`,
        ),
      ).toEqual([
        { type: 'ID', direction: 'BACKFILL', prev: 99, next: 199, scope: 'CUSTOM' },
        { type: 'ID', direction: 'BACKFILL', prev: 199, next: 299, scope: 'CUSTOM' },
      ])
      expect(await scene.violations()).toEqual([])

      // The same again is the same plan, and writes nothing twice.
      expect(await scene.backfill({ wish: { startRev: 100, endRev: 500 } })).toMatchObject({
        total_items_synced: 0,
        total_items_skipped: 401,
      })
      expect(await scene.query('select count(*)::int as n from ing_plan')).toEqual([{ n: 1 }])
    })

    test('without an end goes to HEAD as it was when asked, also when taken up again', async () => {
      grow(repo, 12)
      const settings = { 'scm.backfill.chunk_revisions': 5 }
      const broken = scene.ctx({ settings, sources: atPage(0, bang).sources })
      expect(await scene.backfill({ wish: { startRev: 3 } }, broken)).toMatchObject({ status: 'failed' })
      grow(repo, 5)
      expect(await scene.backfill({ wish: { startRev: 3 } }, scene.ctx({ settings }))).toMatchObject({
        status: 'success',
        total_chunks: 2,
        total_items_synced: 10,
        message: expect.stringContaining('taken up again'),
      })
      expect(await scene.stored()).toEqual(upTo(12, 3))
      expect(await scene.backfill({ wish: { endRev: 2 } })).toMatchObject({ total_items_synced: 2 })
      expect(await scene.violations()).toEqual([])
    })

    test('a failed chunk does not stop the next, and the same command runs what is missing', async () => {
      grow(repo, 12)
      const settings = { 'scm.backfill.chunk_revisions': 4, 'scm.svn.batch_size': 2 }
      let n = 0
      const { svn } = scene.ctx({ settings }).sources
      const sources = { svn: watchedSource(svn as Source, () => ++n === 4 && bang()) }
      const ask = { wish: { startRev: 1, endRev: 12 }, updateWatermark: true }
      expect(await scene.backfill(ask, scene.ctx({ settings, sources }))).toMatchObject({
        status: 'partial',
        success_chunks: 2,
        watermark_updated: false,
        exit_code: 1,
        errors: [expect.stringContaining('chunk 1 failed')],
      })
      expect(await scene.stored()).toEqual([...upTo(6), ...upTo(12, 9)])
      expect(await scene.backfill(ask, scene.ctx({ settings }))).toMatchObject({
        status: 'success',
        total_items_synced: 2,
        watermark_updated: true,
        watermark_before: null,
        watermark_after: '12',
      })
      expect(await cursor()).toMatchObject({ type: 'ID', value: '12', number: 12 })
      expect(await scene.incremental()).toMatchObject({ items_synced: 0 })
      expect(await scene.violations()).toEqual([])
    })

    test('moves the watermark forward only, never past HEAD, and says what was not read', async () => {
      grow(repo, 20)
      await scene.backfill({ wish: { startRev: 1, endRev: 5 }, updateWatermark: true })
      expect(await scene.backfill({ wish: { startRev: 2, endRev: 4 }, updateWatermark: true })).toMatchObject(
        {
          watermark_updated: false,
          watermark_before: '5',
          watermark_after: '5',
        },
      )
      await expect(
        scene.backfill({ wish: { startRev: 1, endRev: 21 }, updateWatermark: true }),
      ).rejects.toMatchObject({ kind: 'usage', message: expect.stringContaining('ends at r20') })
      await scene.backfill({ wish: { startRev: 6, endRev: 9 }, updateWatermark: true })
      await scene.backfill({ wish: { startRev: 15, endRev: 18 }, updateWatermark: true })
      expect(await scene.kv()).toMatchObject({ watermark: '18' })
      expect(
        await scene.query('select record_remarks from ing_plan where record_remarks is not null'),
      ).toMatchObject([{ record_remarks: [{ gap: { from: '9', to: '14' } }] }])
      expect(await scene.violations()).toEqual([])
    })

    test('beyond the end finds nothing; one that begins there is refused', async () => {
      grow(repo, 3)
      expect(await scene.backfill({ wish: { startRev: 2, endRev: 300 } })).toMatchObject({
        status: 'success',
        total_chunks: 3,
        total_items_synced: 2,
      })
      await expect(scene.backfill({ wish: { startRev: 4 } })).rejects.toMatchObject({
        kind: 'usage',
        message: '--start-rev 4 is after r3, where the repository ends',
      })
      await expect(scene.backfill({ wish: { startRev: 1, endRev: 2_000_000 } })).rejects.toMatchObject({
        message: expect.stringContaining('makes 20000 chunks'),
      })
    })

    test('by time takes the revisions of that time, wherever they stand', async () => {
      grow(repo, 10)
      repo.revprop(9, 'svn:date', minute(3)) // loaded late, from an older repository
      const wish = { since: minute(2), until: minute(5) }
      const report = await scene.backfill({ wish })
      expect(report).toMatchObject({ status: 'success', total_items_synced: 4 })
      expect(report.chunk_results[0]).toMatchObject({ window_type: 'time', since: wish.since })
      expect(await scene.stored()).toEqual([2, 3, 4, 9])
      await expect(scene.backfill({ wish, updateWatermark: true })).rejects.toMatchObject({
        kind: 'usage',
        message: expect.stringContaining('a time moves it nowhere'),
      })
      expect(await scene.violations()).toEqual([])
    })

    test('its dry run asks the server, and writes nothing', async () => {
      grow(repo, 250)
      expect(await scene.previewBackfill({ wish: { startRev: 100 } })).toMatchObject({
        start_rev: 100,
        end_rev: 250,
        total_chunks: 2,
        chunks: [
          { chunk_index: 0, start_rev: 100, end_rev: 199, items_found: 100 },
          { chunk_index: 1, start_rev: 200, end_rev: 250, items_found: 51 },
        ],
      })
      expect(await scene.previewIncremental()).toMatchObject({
        since: null,
        refetch_since: null,
        items_found: 250,
        pages: 50,
        refs: null,
      })
      expect(await tables()).toEqual({ runs: 0, batches: 0, events: 0, revisions: 0 })
      expect(await scene.query('select settings from scm.repos')).toEqual([{ settings: {} }])
    })
  })

  describe('a repository that is not the one it was', () => {
    beforeEach(async () => {
      grow(repo, 8)
      await scene.incremental()
    })
    const replace = (revisions: number, uuid: string | null) => {
      const old = tool('svnlook', ['uuid', repo.dir]).toString().trim()
      rmSync(repo.dir, { recursive: true })
      tool('svnadmin', ['create', repo.dir])
      writeFileSync(join(repo.dir, 'hooks/pre-revprop-change'), '#!/bin/sh\nexit 0\n', { mode: 0o755 })
      tool('svnadmin', ['setuuid', repo.dir, uuid ?? old])
      grow(repo, revisions)
    }
    const job = async () =>
      (
        await scene.query(
          `select status, error_summary_json->>'error_message' as why from ing_task order by id desc limit 1`,
        )
      )[0]

    test('another UUID: the job is dead at once, and says which', async () => {
      replace(9, '11111111-2222-3333-4444-555555555555')
      expect(await scene.incremental()).toMatchObject({ status: 'failed', kind: 'anomaly', exit_code: 2 })
      expect(await job()).toMatchObject({
        status: 'dead',
        why: expect.stringContaining('UUID 11111111-2222-3333-4444-555555555555'),
      })
      expect(await scene.stored()).toEqual(upTo(8))
      expect(await scene.kv()).toMatchObject({ watermark: '8' })
    })

    /** A dump of it loaded into an empty one, with one word for another. */
    const rewrite = (word: string, other: string, uuid: string | null) => {
      const dump = tool('svnadmin', ['dump', '-q', repo.dir]).toString().replaceAll(word, other)
      const kept = tool('svnlook', ['uuid', repo.dir]).toString().trim()
      rmSync(repo.dir, { recursive: true })
      tool('svnadmin', ['create', repo.dir])
      tool('svnadmin', ['load', '-q', '--force-uuid', repo.dir], dump)
      tool('svnadmin', ['setuuid', repo.dir, uuid ?? kept])
    }
    const everything = { wish: { startRev: 1, endRev: 8 } }
    const atTier = (tier: string) => scene.ctx({ settings: { 'scm.svn.tier': tier } })
    const rows = () =>
      scene.query(
        `select rev_num as rev, author, message, visibility, tier, paths->0->>'path' as path, r.meta_json->>'uuid' as uuid, content
           from scm.svn_revisions r
           left join scm.patch_blobs p on p.repo_id = r.repo_id and source_key = rev_num::text where rev_num = 3`,
      )

    test('other paths, as many, under the same numbers and dates: rows are rewritten, patches with them', async () => {
      rewrite('trunk', 'hidem', null)
      expect(await scene.backfill(everything)).toMatchObject({ total_items_synced: 8 })
      expect(await rows()).toMatchObject([{ path: '/hidem/f3', tier: 'paths', content: null }])
      await scene.backfill(everything, atTier('patch'))
      expect(await rows()).toMatchObject([{ tier: 'patch', content: expect.stringContaining('hidem/f3') }])
      rewrite('hidem', 'shown', null)
      expect(await scene.backfill(everything)).toMatchObject({ total_items_synced: 8 })
      expect(await rows()).toMatchObject([{ path: '/shown/f3', tier: 'paths', content: null }])
      expect(await scene.backfill(everything)).toMatchObject({ total_items_synced: 0 })
      expect(await scene.violations()).toEqual([])
    })

    test('another one that is accepted: of the old one nothing is left under its numbers', async () => {
      await scene.backfill(everything, atTier('patch'))
      const [old] = await rows()
      const uuid = '11111111-2222-3333-4444-555555555555'
      rewrite('trunk', 'other', uuid)
      hide('other/f3') // shows less than what was stored
      await scene.edit(undefined)
      await registerRepo(scene.ctx(), { repo: `svn:${repo.url}`, projectKey: null })
      expect(await scene.incremental()).toMatchObject({ status: 'success', items_synced: 8 })
      expect(await rows()).toEqual([
        // Its only path is hidden, and so is all of it.
        {
          ...old,
          author: null,
          message: null,
          visibility: 'none',
          tier: 'paths',
          path: null,
          uuid,
          content: null,
        },
      ])
      expect(await scene.query('select * from scm.patch_blobs')).toEqual([])
      expect(await scene.incremental()).toMatchObject({ status: 'success', items_synced: 0 })
      expect(await scene.violations()).toEqual([])
    })

    test('fewer revisions than were read: the same; after a reset by hand it goes on from there', async () => {
      repo.svn('mkdir', '-m', 'three at once', '^/a', '^/b', '^/c')
      await scene.incremental()
      replace(5, null)
      expect(await scene.incremental()).toMatchObject({ status: 'failed', kind: 'anomaly' })
      expect(await job()).toMatchObject({
        status: 'dead',
        why: expect.stringContaining('ends at r5, and was read up to r9'),
      })

      await scene.edit(undefined)
      expect(await scene.incremental()).toMatchObject({ status: 'success' })
      const before = (await events()).length
      for (let n = 6; n <= 10; n++) {
        grow(repo, 1)
        await rescanDone()
        expect(await scene.incremental()).toMatchObject({ status: 'success' })
        expect(await scene.kv()).toMatchObject({ watermark: String(n) })
      }
      expect(await cursor()).toMatchObject({ value: '10' })
      expect((await events()).slice(before)).toEqual([
        { direction: 'FORWARD', reason: 'sync', prev: 9, next: 10 },
      ])
      expect(await scene.kv()).not.toHaveProperty('landed')
      expect(
        await scene.query('select message, path_count from scm.svn_revisions where rev_num = 9'),
      ).toEqual([{ message: 'change 9', path_count: 1 }])
      expect(await scene.violations()).toEqual([])
    })
    const rescanDone = () =>
      scene.query(`update scm.repos set settings = settings || jsonb_build_object('rescanned_at', now())`)
  })

  test('a revision of many paths counts as bulk, strictly above the threshold', async () => {
    for (const [at, paths] of [5, 6].entries()) {
      const files = Array.from({ length: paths }, (_, i) => `^/d${at}f${i}`)
      repo.svn('mkdir', '-m', `${paths} paths`, ...files)
    }
    const settings = { 'scm.bulk_thresholds.svn_changed_paths': 5 }
    await scene.incremental(scene.ctx({ settings }))
    expect(await scene.query('select is_bulk, bulk_reason from scm.svn_revisions order by rev_num')).toEqual([
      { is_bulk: false, bulk_reason: null },
      { is_bulk: true, bulk_reason: 'changed_paths:6>5' },
    ])
    expect(await scene.query(`select stats->>'bulk_count' as n from ing_task_run`)).toEqual([{ n: '1' }])
    expect(
      await scene.query('select source_type, source_id, is_bulk from scm.v_facts order by 2'),
    ).toMatchObject([
      { source_type: 'svn', source_id: 'svn:1:1' },
      { source_type: 'svn', source_id: 'svn:1:2', is_bulk: true },
    ])
  })
})
