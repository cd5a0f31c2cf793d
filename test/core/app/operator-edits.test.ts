import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { servers } from '../../helpers/database.ts'
import { violations } from '../../helpers/oracle.ts'
import { openScene, type Scene } from '../../helpers/scene.ts'
import { afterPages, watched } from '../../helpers/watched-source.ts'

const DAY = 86_400
const FIRST = Date.UTC(2024, 0, 1) / 1000

describe.each(servers().slice(0, 1))('what operators do by hand, on the $name server', ({ url }) => {
  let scene: Scene
  let before: unknown
  /** Ten commits, one a day from the first of January 2024, all synced. */
  beforeEach(async () => {
    scene = await openScene(url, { 'scm.git.page_size': 4 })
    for (let i = 0; i < 10; i++) scene.repo.commit(`day ${i}`, { date: FIRST + i * DAY })
    await scene.incremental()
    before = await rows()
  })
  afterEach(() => scene.drop())

  const rows = () => scene.query('select commit_sha, xmin::text from scm.git_commits order by 1')
  const events = () =>
    scene.query<{ direction: string; reason: string; prev: string | null; next: string; run: number | null }>(
      `select direction_code as direction, reason, prev_value as prev, new_value as next, run_id as run from ing_cursor_event order by id`,
    )
  const read = async () =>
    (
      await scene.query<{ n: number }>(
        `select (stats->>'scanned_count')::int as n from ing_task_run order by id desc limit 1`,
      )
    )[0]?.n
  const audited = async () =>
    (await scene.query<{ value: string }>('select cursor_value as value from ing_cursor'))[0]!.value
  const key = () => `git_cursor:${scene.repoId}`
  const write = (value: unknown) =>
    scene.query(
      `insert into logbook.kv (namespace, key, value_json) values ('scm.sync', $1, $2)
       on conflict (namespace, key) do update set value_json = excluded.value_json`,
      [key(), JSON.stringify(value)],
    )

  test('DELETE of the cursor: a BACKFILL event to the beginning, everything read again, nothing written twice', async () => {
    const mark = await audited()
    await scene.query(`DELETE FROM logbook.kv \nWHERE namespace = 'scm.sync' AND key = '${key()}'`)
    expect(await scene.incremental()).toMatchObject({ status: 'success', items_synced: 0 })

    expect((await events()).slice(1)).toMatchObject([
      {
        direction: 'BACKFILL',
        reason: 'manual_reset',
        prev: mark,
        next: '1970-01-01T00:00:00.000Z',
        run: null,
      },
      { direction: 'FORWARD', reason: 'sync', prev: mark },
    ])
    expect(await read()).toBe(10)
    expect(await rows()).toEqual(before)
    expect(await violations(scene)).toEqual([])
  })

  test('UPDATE to an earlier time: a BACKFILL event, and what was committed since then is read again', async () => {
    const mark = await audited()
    await scene.query(
      `UPDATE logbook.kv SET value_json = '{"watermark": "2024-01-07T00:00:00Z", "run_id": "manual_reset"}'::jsonb
        WHERE namespace = 'scm.sync' AND key = '${key()}'`,
    )
    scene.repo.commit('an old one, pushed late', { date: FIRST - DAY })
    expect(await scene.incremental()).toMatchObject({ status: 'success', items_synced: 1 })

    expect((await events()).slice(1)).toMatchObject([
      {
        direction: 'BACKFILL',
        reason: 'manual_reset',
        prev: mark,
        next: '2024-01-07T00:00:00.000Z',
        run: null,
      },
      { direction: 'FORWARD', reason: 'sync', prev: mark },
    ])
    expect(await read()).toBe(5)
    expect(await violations(scene)).toEqual([])
  })

  test('the cursor was never moved back in the audit: only an event says so', async () => {
    const mark = await audited()
    await write({ watermark: '2024-01-07T00:00:00Z' })
    await scene.incremental(scene.ctx({ sources: watched(() => Promise.reject(new Error('bang'))) }))
    expect(await audited()).toBe(mark)
    expect(await scene.kv()).toEqual({ watermark: '2024-01-07T00:00:00Z' })
    await scene.incremental()
    // One edit, one event, however many attempts it takes.
    expect((await events()).filter((e) => e.direction === 'BACKFILL')).toHaveLength(1)
    expect(await violations(scene)).toEqual([])
  })

  test('a time ahead: a FORWARD event, the audit follows, and commits are found all the same', async () => {
    const mark = await audited()
    const ahead = new Date(Date.now() + 3_600_000).toISOString()
    await write({ watermark: ahead, run_id: 'manual' })
    scene.repo.commit('now')
    expect(await scene.incremental()).toMatchObject({ status: 'success', items_synced: 1 })
    expect((await events()).slice(1)).toMatchObject([
      {
        direction: 'FORWARD',
        reason: 'force_forward',
        prev: mark,
        next: ahead,
        run: null,
      },
    ])
    expect(await audited()).toBe(ahead)

    scene.repo.commit('after')
    expect(await scene.incremental()).toMatchObject({ status: 'success', items_synced: 1 })
    expect(await events()).toHaveLength(2)
    expect(await violations({ ...scene, edited: true })).toEqual([])
  })

  test.each([
    ['an object that says nothing', { watermark: 7 }],
    ['a word', 'yesterday'],
    ['a number', 42],
    ['JSON written as text', '{"watermark": "2024-01-07T00:00:00Z"}'],
    ['an impossible date', { watermark: '2024-99-99T00:00:00Z' }],
    ['nothing', null],
    ['a time years ahead', { watermark: '2090-01-01T00:00:00Z' }],
  ])('%s counts as no cursor: everything is read again, nothing doubled', async (_, value) => {
    await write(value)
    expect(await scene.incremental()).toMatchObject({ status: 'success', items_synced: 0 })
    expect(await read()).toBe(10)
    expect((await events())[1]).toMatchObject({ direction: 'BACKFILL', next: '1970-01-01T00:00:00.000Z' })
    expect(await rows()).toEqual(before)
    expect(await violations(scene)).toEqual([])
  })

  test('a plain string with a time is obeyed as one', async () => {
    await write('2024-01-09T00:00:00+00:00')
    expect(await scene.incremental()).toMatchObject({ status: 'success' })
    expect(await read()).toBe(2)
    expect(await violations(scene)).toEqual([])
  })

  test('a cursor imported before the first sync is recorded, and everything is read', async () => {
    const other = await openScene(url)
    await other.query(
      `insert into logbook.kv values ('scm.sync', $1, '{"watermark": "2024-01-05T00:00:00Z"}')`,
      [`git_cursor:${other.repoId}`],
    )
    for (let i = 0; i < 3; i++) other.repo.commit(`${i}`, { date: FIRST })
    expect(await other.incremental()).toMatchObject({ status: 'success', items_synced: 3 })
    const [imported] = await other.query(
      'select direction_code, reason, prev_value from ing_cursor_event order by id',
    )
    expect(imported).toEqual({ direction_code: 'FORWARD', reason: 'import', prev_value: null })
    expect(await violations(other)).toEqual([])
    await other.drop()
  })

  test('an edit made during a run survives it, and the next run obeys it', async () => {
    for (let i = 0; i < 9; i++) scene.repo.commit(`more ${i}`)
    const edit = { watermark: '2024-01-05T00:00:00Z', run_id: 'manual_reset' }
    await scene.incremental(scene.ctx({ sources: afterPages(scene, 1, () => write(edit)) }))
    expect(await scene.kv()).toEqual(edit)
    expect(await violations({ ...scene, edited: true })).toEqual([])

    await scene.incremental()
    expect(await read()).toBe(6)
    expect(await violations(scene)).toEqual([])
  })

  test('a cursor deleted during a run stays deleted, and the next run reads everything', async () => {
    for (let i = 0; i < 9; i++) scene.repo.commit(`more ${i}`)
    const remove = () => scene.query(`delete from logbook.kv where namespace = 'scm.sync'`)
    await scene.incremental(scene.ctx({ sources: afterPages(scene, 1, () => remove()) }))
    expect(await scene.kv()).toBe(null)
    await scene.incremental()
    expect(await read()).toBe(19)
    expect(await violations(scene)).toEqual([])
  })

  test('an edit while a sync lies interrupted cancels it: the new place is what is wanted', async () => {
    for (let i = 0; i < 9; i++) scene.repo.commit(`more ${i}`)
    await scene.incremental(
      scene.ctx({ sources: watched((_, n) => n === 1 && Promise.reject(new Error('bang'))) }),
    )
    await write({ watermark: '2024-01-03T00:00:00Z' })
    expect(await scene.incremental()).toMatchObject({ status: 'success' })
    expect(await read()).toBe(8 + 9)
    expect(await scene.query('select status from ing_task order by id')).toEqual([
      { status: 'completed' },
      { status: 'cancelled' },
      { status: 'completed' },
    ])
    expect(await violations(scene)).toEqual([])
  })

  test('DELETE FROM scm.sync_locks during a run stops its owner at the next page', async () => {
    for (let i = 0; i < 12; i++) scene.repo.commit(`more ${i}`)
    const release = () =>
      scene.query(`DELETE FROM scm.sync_locks \nWHERE repo_id = ${scene.repoId} AND job_type = 'commits'`)
    const report = await scene.incremental(scene.ctx({ sources: afterPages(scene, 1, () => release()) }))
    expect(report).toMatchObject({ status: 'failed' })
    expect(report.error).toMatch(/no longer ours/)
    const [{ n }] = (await scene.query(
      `select count(*)::int as n from ing_task_run_batch b where status_code = 'SUCCEEDED' and run_id = 2`,
    )) as [{ n: number }]
    expect(n).toBe(1)
    expect(await violations({ ...scene, unsettled: true })).toEqual([])
  })

  test('what a deleted lock left running is taken up by the next command once its lease is over', async () => {
    for (let i = 0; i < 12; i++) scene.repo.commit(`more ${i}`)
    const release = () => scene.query('delete from scm.sync_locks')
    const stopped = await scene.incremental(scene.ctx({ sources: afterPages(scene, 1, () => release()) }))
    expect(stopped.error).toMatch(/no longer ours/)
    await scene.query(
      `update ing_task set lease_until = now() - interval '1 s', updated_at = clock_timestamp() where status = 'running'`,
    )
    expect(await scene.incremental()).toMatchObject({ status: 'success', items_synced: 8 })
    expect(await violations(scene)).toEqual([])
  })

  test('a job set to pending by hand during its run fences its owner out', async () => {
    for (let i = 0; i < 12; i++) scene.repo.commit(`more ${i}`)
    const reset = () =>
      scene.query(
        `UPDATE scm.sync_jobs SET status = 'pending', locked_by = NULL, locked_at = NULL, not_before = NOW() WHERE status = 'running'`,
      )
    const report = await scene.incremental(scene.ctx({ sources: afterPages(scene, 1, () => reset()) }))
    expect(report.error).toMatch(/no longer ours/)
    expect(
      (await scene.query<{ status: string }>('select status from scm.sync_jobs order by job_id desc'))[0]
        ?.status,
    ).toBe('pending')
    expect(await violations({ ...scene, unsettled: true })).toEqual([])

    // Its lock stands until its lease is over: an operator who resets jobs deletes locks too.
    await scene.query('DELETE FROM scm.sync_locks')
    expect(await scene.incremental()).toMatchObject({ status: 'success', items_synced: 8 })
    expect(await violations(scene)).toEqual([])
  })

  test('a dead job reset by hand is worked off by the next command', async () => {
    scene.repo.commit('one more')
    const broken = scene.ctx({ sources: watched(() => Promise.reject(new Error('bang'))) })
    for (let i = 0; i < 3; i++) await scene.incremental(broken)
    const reset = await scene.query(
      `UPDATE scm.sync_jobs SET status = 'pending', attempts = 0, not_before = NOW(), locked_by = NULL, locked_at = NULL,
              error_summary_json = NULL WHERE status = 'dead' RETURNING job_id`,
    )
    expect(reset).toHaveLength(1)
    expect(await scene.incremental()).toMatchObject({ status: 'success', items_synced: 1 })
    expect(await violations(scene)).toEqual([])
  })
})
