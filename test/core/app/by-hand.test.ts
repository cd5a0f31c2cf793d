import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import * as breakers from '../../../src/core/app/manage/breakers.ts'
import * as buckets from '../../../src/core/app/manage/buckets.ts'
import * as cursors from '../../../src/core/app/manage/cursors.ts'
import * as jobs from '../../../src/core/app/manage/jobs.ts'
import * as locks from '../../../src/core/app/manage/locks.ts'
import { type Operator, showHistory } from '../../../src/core/app/manage/operate.ts'
import * as pauses from '../../../src/core/app/manage/pauses.ts'
import { tickScheduler } from '../../../src/core/app/queue/tick-scheduler.ts'
import { work } from '../../../src/core/app/queue/work.ts'
import { embeddedUrl } from '../../helpers/database.ts'
import { violations } from '../../helpers/oracle.ts'
import { openScene, type Scene } from '../../helpers/scene.ts'
import { afterPages, watched } from '../../helpers/watched-source.ts'
import { makeRows } from '../../runbook/rows.ts'
import { claim, seedJobs } from '../db/queue/fixture.ts'

/** What the commands of `admin` do, in process: under a running sync, in a dry run, and to rows that somebody spoiled. */
const ME: Operator = { by: 'me@here', reason: 'because', dryRun: false }
const DRY: Operator = { ...ME, dryRun: true }
const ANY = { repo: null, repoId: null, job: null }
const EVERY_DEAD = { ...ANY, jobIds: [], all: true }
const DAY = 86_400
const FIRST = Date.UTC(2024, 0, 1) / 1000

let scene: Scene
/** Ten commits, one a day from the first of January 2024, all synced; four to a page. */
beforeEach(async () => {
  scene = await openScene(embeddedUrl(), { 'scm.git.page_size': 4 })
  for (let i = 0; i < 10; i++) scene.repo.commit(`day ${i}`, { date: FIRST + i * DAY })
  await scene.incremental()
})
afterEach(() => scene.drop())

const repo = () => ({ repo: `git:${scene.repoId}`, job: 'commits' as const })
const history = async () => (await showHistory(scene.ctx(), { limit: 100 })).events
const more = () => {
  for (let i = 0; i < 12; i++) scene.repo.commit(`more ${i}`)
}
/** A sync of three pages, and what somebody does once the first of them is stored. */
const disturbed = async (act: () => unknown) => {
  more()
  return scene.incremental(scene.ctx({ sources: afterPages(scene, 1, act) }))
}
const pagesOf = async (runId: number) =>
  (
    await scene.query<{ n: number }>(
      `select count(*)::int as n from ing_task_run_batch where status_code = 'SUCCEEDED' and run_id = $1`,
      [runId],
    )
  )[0]?.n
const dead = async () => {
  scene.repo.commit('one more')
  const broken = scene.ctx({ sources: watched(() => Promise.reject(new Error('bang'))) })
  for (let i = 0; i < 3; i++) await scene.incremental(broken)
}

describe('under a running sync', () => {
  test('reset-stuck: the holder stops at its next page, and the next run goes on after the one it stored', async () => {
    const report = await disturbed(() =>
      jobs.resetStuck(scene.ctx(), { ...ANY, ...repo(), olderThanSeconds: 0 }, ME),
    )
    expect(report.error).toMatch(/no longer ours/)
    expect(await pagesOf(2)).toBe(1)
    expect(await scene.query('select status from ing_task order by id')).toEqual([
      { status: 'completed' },
      { status: 'pending' },
    ])
    expect(await scene.query('select 1 from scm.sync_locks')).toEqual([])
    expect(await violations({ ...scene, unsettled: true })).toEqual([])

    expect(await scene.incremental()).toMatchObject({ status: 'success', items_synced: 8 })
    expect(await violations(scene)).toEqual([])
    expect(await history()).toMatchObject([
      {
        by: 'me@here',
        action: 'jobs reset-stuck',
        reason: 'because',
        target: { job_id: 2, repo_id: scene.repoId, job_type: 'commits' },
        before: { status: 'running', run_id: 2, attempts: 1 },
        after: { status: 'pending' },
      },
    ])
  })

  test('mark-dead: the holder stores nothing more; reset-dead brings the job back', async () => {
    const report = await disturbed(() => jobs.markDead(scene.ctx(), { jobIds: [2] }, ME))
    expect(report.error).toMatch(/no longer ours/)
    expect(await pagesOf(2)).toBe(1)
    expect(
      await scene.query(
        `select status, error_summary_json->>'error_message' as why from ing_task where id = 2`,
      ),
    ).toEqual([{ status: 'dead', why: 'marked dead by me@here: because' }])

    const reset = await jobs.resetDead(scene.ctx(), EVERY_DEAD, ME)
    expect(reset).toMatchObject({ status: 'success', reset_count: 1, refused: [] })
    expect(await scene.query('select status_code from ing_plan_slice order by id desc limit 1')).toEqual([
      { status_code: 'DISPATCHED' },
    ])
    expect(await scene.incremental()).toMatchObject({ status: 'success', items_synced: 8 })
    expect(await violations(scene)).toEqual([])
  })

  test('force-release: the former holder stores nothing more', async () => {
    const report = await disturbed(async () => {
      const released = await locks.releaseLocks(scene.ctx(), { ...ANY, ...repo(), expired: null }, ME)
      expect(released).toMatchObject({ released_count: 1, released_locks: [{ job_is_running: true }] })
    })
    expect(report.error).toMatch(/no longer ours/)
    expect(await pagesOf(2)).toBe(1)
    await jobs.resetStuck(scene.ctx(), { ...ANY, olderThanSeconds: 0 }, ME)
    expect(await scene.incremental()).toMatchObject({ status: 'success', items_synced: 8 })
    expect(await violations(scene)).toEqual([])
  })

  test.each([
    ['set', { watermark: '2024-01-05T00:00:00Z', read: 6 }],
    ['deleted', { watermark: null, read: 22 }],
  ])('a cursor that is %s stays so, and the next sync obeys it', async (_, { watermark, read }) => {
    const edit = () =>
      watermark
        ? cursors.setCursor(scene.ctx(), { ...repo(), watermark, skip: false }, ME)
        : cursors.deleteCursor(scene.ctx(), repo(), ME)
    expect(await disturbed(edit)).toMatchObject({ status: 'success', items_synced: 12 })
    expect((await scene.kv()) ?? null).toEqual(
      watermark ? expect.objectContaining({ watermark: '2024-01-05T00:00:00.000Z' }) : null,
    )
    expect(await scene.incremental()).toMatchObject({ status: 'success', items_synced: 0 })
    const [{ n }] = (await scene.query(
      `select (stats->>'scanned_count')::int as n from ing_task_run order by id desc limit 1`,
    )) as [{ n: number }]
    expect(n).toBe(read)
    expect(await violations(scene)).toEqual([])
    expect(await cursors.replayCursors(scene.ctx(), { repo: null })).toMatchObject({ status: 'success' })
    const moves = await cursors.cursorHistory(scene.ctx(), { ...repo(), limit: 3 })
    expect(moves.events.map((e) => [e.direction, e.reason, e.version])).toEqual([
      ['FORWARD', 'sync', 3],
      ['BACKFILL', 'manual_reset', null],
      ['FORWARD', 'sync', 2],
    ])
  })
})

test('a dry run says what would be, and changes nothing', async () => {
  await dead()
  await scene.query(`insert into scm.sync_locks (repo_id, job_type, locked_by, locked_at, fence, job_id)
                     values (99, 'mrs', 'gone', now() - interval '1 day', 9999, 99)`)
  await scene.query(
    `insert into logbook.kv values ('scm.sync_health', 'default:global', '{"state": "open"}')`,
  )
  await pauses.setPause(scene.ctx(), { ...repo(), seconds: 60 }, ME)
  await scene.query(`update scm.repos set instance_key = 'host'`)
  const before = await everything()
  const ctx = scene.ctx()
  const said = [
    await jobs.resetDead(ctx, EVERY_DEAD, DRY),
    await jobs.markDead(ctx, { jobIds: [1, 2] }, DRY),
    await jobs.resetStuck(ctx, { ...ANY, olderThanSeconds: 0 }, DRY),
    await jobs.pruneJobs(ctx, { olderThanSeconds: 0, priorityAbove: 0 }, DRY),
    await locks.releaseLocks(ctx, { ...ANY, job: 'commits', expired: { graceSeconds: 0 } }, DRY),
    await breakers.openBreaker(ctx, { key: 'default:global' }, DRY),
    await breakers.closeBreaker(ctx, { key: 'default:global' }, DRY),
    await breakers.resetBreaker(ctx, { key: 'default:global' }, DRY),
    await pauses.setPause(ctx, { ...repo(), seconds: 3600 }, DRY),
    await pauses.unsetPause(ctx, repo(), DRY),
    await cursors.setCursor(ctx, { ...repo(), watermark: '2024-01-02', skip: false }, DRY),
    await cursors.deleteCursor(ctx, repo(), DRY),
    await buckets.pauseBucket(ctx, { key: 'host', seconds: 60 }, DRY),
    await buckets.unpauseBucket(ctx, { key: 'host' }, DRY),
  ]
  expect(said.every((report) => report.dry_run)).toBe(true)
  expect(said[0]).toMatchObject({ status: 'success', reset_count: 1 })
  expect(said[1]).toMatchObject({
    status: 'not_found',
    refused: [{ job_status: 'completed' }, { job_status: 'dead' }],
  })
  expect(said[4]).toMatchObject({ released_locks: [{ locked_by: 'gone' }] })
  expect(said[7]).toMatchObject({ before: { state: 'open', by_hand: true }, after: null })
  expect(await everything()).toEqual(before)
})

/** Every row of every table. */
async function everything(): Promise<unknown> {
  const tables = await scene.query<{ name: string }>(
    `select format('%I.%I', schemaname, tablename) as name from pg_tables where schemaname in ('public', 'scm', 'logbook') order by 1`,
  )
  const all: Record<string, unknown> = {}
  for (const { name } of tables)
    all[name] = (await scene.query(`select t::text as row, xmin::text from ${name} t order by 1`)) as unknown
  return all
}

describe('jobs', () => {
  test('which dead ones are meant has to be said; those that are not dead are named', async () => {
    await dead()
    await expect(jobs.resetDead(scene.ctx(), { ...EVERY_DEAD, all: false }, ME)).rejects.toMatchObject({
      kind: 'usage',
    })
    await expect(jobs.resetDead(scene.ctx(), { ...EVERY_DEAD, repoId: 77 }, ME)).rejects.toMatchObject({
      kind: 'not_found',
    })
    expect(await jobs.resetDead(scene.ctx(), { ...ANY, jobIds: [2, 1, 77], all: false }, ME)).toMatchObject({
      status: 'partial',
      reset_jobs: [{ job_id: 2 }],
      refused: [
        { job_id: 1, job_status: 'completed' },
        { job_id: 77, job_status: null },
      ],
      exit_code: 1,
    })
  })

  test('of all states are listed, the last changed first', async () => {
    const made = await makeRows(scene.db)
    const listed = await jobs.listJobs(scene.ctx(), { ...ANY, status: 'dead', limit: 10 })
    expect(listed.jobs.map((job) => job.job_id)).toEqual([made.jobs.deadToo, made.jobs.dead])
    expect(listed.jobs[0]).toMatchObject({
      repo: 'git:/srv/project.git',
      error_summary_json: expect.any(Object),
    })
  })

  test('reset-stuck takes what the runbook takes, prune too', async () => {
    const made = await makeRows(scene.db)
    const stuck = await jobs.resetStuck(scene.ctx(), { ...ANY, olderThanSeconds: 600 }, ME)
    expect(stuck.reset_jobs.map((job) => job.job_id)).toEqual([made.jobs.running700s, made.jobs.running2000s])
    const backlog = { olderThanSeconds: 7 * DAY, priorityAbove: 500 }
    expect(await jobs.pruneJobs(scene.ctx(), backlog, DRY)).toMatchObject({ pruned_count: 1 })
    expect(await jobs.pruneJobs(scene.ctx(), backlog, ME)).toMatchObject({ pruned_count: 1 })
    expect(await scene.query('select 1 from ing_task where id = $1', [made.jobs.pendingOldLow])).toEqual([])
  })

  test('a large backlog goes in batches of a thousand, each with its record', async () => {
    const made = await makeRows(scene.db)
    await scene.query(
      `insert into ing_task (schedule_instance_id, plan_id, slice_id, provenance_code, operation_code, repo_id, job_type, mode,
              idempotent_key, expr_hash, priority, created_at)
       select schedule_instance_id, plan_id, slice_id, provenance_code, operation_code, repo_id, job_type, 'backfill',
              encode(sha256(n::text::bytea), 'hex'), expr_hash, 900, now() - interval '8 days'
         from ing_task, generate_series(1, 2500) n where id = $1`,
      [made.jobs.completed],
    )
    const backlog = { olderThanSeconds: 7 * DAY, priorityAbove: 500 }
    expect(await jobs.pruneJobs(scene.ctx(), backlog, ME)).toMatchObject({ pruned_count: 2501 })
    expect((await history()).map((e) => (e.before as { job_ids: number[] }).job_ids.length)).toEqual([
      501, 1000, 1000,
    ])
  })
})

test('locks: expired ones are listed and released, live ones stay', async () => {
  const made = await makeRows(scene.db)
  const before = await locks.listLocks(scene.ctx(), { ...ANY, limit: 100 })
  const expired = await locks.listExpiredLocks(scene.ctx(), { graceSeconds: 0, limit: 100 })
  expect(expired.count).toBe(before.locks.filter((lock) => lock.is_expired).length)
  expect(expired.count).toBeGreaterThan(0)
  expect(expired.expired_locks.map((lock) => lock.repo_id)).toContain(made.repoId)
  const ask = { ...ANY, job: 'commits', expired: { graceSeconds: 0 } }
  expect(await locks.releaseLocks(scene.ctx(), ask, ME)).toMatchObject({ released_count: expired.count })
  expect((await locks.listLocks(scene.ctx(), { ...ANY, limit: 100 })).count).toBe(
    before.count - expired.count,
  )
  expect(await locks.releaseLocks(scene.ctx(), { ...ANY, ...repo(), expired: null }, ME)).toMatchObject({
    status: 'not_found',
    exit_code: 1,
  })
  for (const none of [
    { ...ANY, job: 'commits', expired: null },
    { ...ask, ...repo() },
  ])
    await expect(locks.releaseLocks(scene.ctx(), none, ME)).rejects.toMatchObject({ kind: 'usage' })
})

describe('what stops the queue', () => {
  const due = async () => {
    more()
    await scene.query(
      `update logbook.kv set updated_at = now() - interval '2 hours' where namespace = 'scm.sync'`,
    )
    return (await tickScheduler(scene.ctx(), { dryRun: false, keepLeading: false })).jobs_enqueued
  }
  const drain = async () =>
    (await work(scene.ctx(), { once: false, drain: true, jobTypes: [], pool: null })).jobs_completed

  test('a breaker opened by hand, until it is closed by hand', async () => {
    expect(await due()).toBe(1)
    expect(await breakers.openBreaker(scene.ctx(), { key: 'default:global' }, ME)).toMatchObject({
      after: { state: 'open', by_hand: true, reason: 'because' },
    })
    expect(await drain()).toBe(0)
    expect(await breakers.closeBreaker(scene.ctx(), { key: 'default:global' }, ME)).toMatchObject({
      before: { state: 'open' },
      after: { state: 'closed', by_hand: false },
    })
    expect(await drain()).toBe(1)
    expect(await breakers.resetBreaker(scene.ctx(), { key: 'default:global' }, ME)).toMatchObject({
      after: null,
    })
    expect(await breakers.closeBreaker(scene.ctx(), { key: 'default:global' }, ME)).toMatchObject({
      status: 'not_found',
      exit_code: 1,
    })
    expect(await violations(scene)).toEqual([])
  })

  test('a pause, until it is ended', async () => {
    expect(await due()).toBe(1)
    const { pause } = await pauses.setPause(scene.ctx(), { ...repo(), seconds: 3600 }, ME)
    expect(pause).toMatchObject({ repo_id: scene.repoId, job_type: 'commits', reason: 'because' })
    expect((pause?.paused_until ?? 0) - (pause?.paused_at ?? 0)).toBeCloseTo(3600, 3)
    expect(await drain()).toBe(0)
    expect(await pauses.listPauses(scene.ctx(), { includeExpired: false })).toMatchObject({ count: 1 })
    await pauses.unsetPause(scene.ctx(), repo(), ME)
    expect(await drain()).toBe(1)
    expect(await pauses.unsetPause(scene.ctx(), repo(), ME)).toMatchObject({ exit_code: 1 })
  })

  test.each([
    ['by command', () => buckets.unpauseBucket(scene.ctx(), { key: 'host:1' }, ME)],
    [
      'in SQL',
      () => scene.query(`update scm.sync_rate_limits set paused_until = null where instance_key = 'host:1'`),
    ],
    [
      'by deleting its row',
      () => scene.query(`delete from scm.sync_rate_limits where instance_key = 'host:1'`),
    ],
  ])('a silence that is ended %s brings back what it put off, and nothing else', async (_how, unpause) => {
    await scene.query(`update scm.repos set instance_key = 'host:1', tenant_id = 'acme'`)
    await buckets.pauseBucket(scene.ctx(), { key: 'host:1', seconds: 600 }, ME)
    const put = (repo: number, instance: string, category: string) =>
      scene.query(
        `with job as (select id from unnest($4::bigint[]) id)
         update ing_task set instance_key = $2, repo_id = $1, error_summary_json = jsonb_build_object('error_category', $3::text),
                scheduled_at = now() + interval '10 minutes', parked_until = now() + interval '10 minutes'
           from job where ing_task.id = job.id`,
        [repo, instance, category, ids.splice(0, 1)],
      )
    const ids = await seedJobs(scene.db, [{}, {}, {}])
    const [first] = ids
    await put(101, 'host:1', 'rate_limit')
    await put(102, 'host:2', 'rate_limit')
    await put(103, 'host:1', 'timeout')
    const before = await claim(scene.db, { count: 10 })
    await unpause()
    expect([before.length, (await claim(scene.db, { count: 10 })).map((j) => j.jobId)]).toEqual([0, [first]])
  })

  test('a silence that is shortened puts them off no longer than that', async () => {
    await scene.query(`update scm.repos set instance_key = 'h', tenant_id = 'acme'`)
    await buckets.pauseBucket(scene.ctx(), { key: 'h:tenant:acme', seconds: 600 }, ME)
    await seedJobs(scene.db, [
      { instance: 'h', tenant: 'acme', due: 700 },
      { instance: 'h', tenant: 'other', due: 700 },
    ])
    await scene.query(
      `update ing_task set parked_until = scheduled_at, error_summary_json = '{"error_category": "rate_limit"}' where status = 'pending'`,
    )
    const { paused_until } = await buckets.pauseBucket(scene.ctx(), { key: 'h:tenant:acme', seconds: 60 }, ME)
    const due = await scene.query<{ tenant_id: string; scheduled_at: Date; parked_until: Date }>(
      `select tenant_id, scheduled_at, parked_until from ing_task where status = 'pending' order by 1`,
    )
    expect(due[0]).toEqual({
      tenant_id: 'acme',
      scheduled_at: new Date(paused_until ?? ''),
      parked_until: new Date(paused_until ?? ''),
    })
    expect(due[1]?.scheduled_at.getTime()).toBeGreaterThan(Date.now() + 600_000)
  })

  test('a breaker or a bucket that nobody is behind is refused', async () => {
    const nobody = ['default:instance:typo.example.com', 'default:tenant:typo']
    for (const key of nobody)
      await expect(breakers.openBreaker(scene.ctx(), { key }, ME)).rejects.toMatchObject({
        kind: 'not_found',
      })
    for (const key of ['', 'global', 'default:instance:', 'other:global'])
      await expect(breakers.closeBreaker(scene.ctx(), { key }, ME)).rejects.toMatchObject({ kind: 'usage' })
    await expect(buckets.pauseBucket(scene.ctx(), { key: 'typo', seconds: 1 }, ME)).rejects.toMatchObject({
      kind: 'not_found',
    })
    await scene.query(`update scm.repos set instance_key = 'host:1', tenant_id = 'acme'`)
    for (const key of ['default:instance:host:1', 'default:tenant:acme'])
      expect(await breakers.openBreaker(scene.ctx(), { key }, ME)).toMatchObject({ exit_code: 0 })
    for (const key of ['host:1', 'host:1:tenant:acme'])
      expect(await buckets.pauseBucket(scene.ctx(), { key, seconds: 600 }, ME)).toMatchObject({
        exit_code: 0,
      })
    const paused = await buckets.listBuckets(scene.ctx())
    expect(paused.buckets.map((b) => [b.instance_key, b.is_paused, b.wait_seconds > 590])).toEqual([
      ['host:1', true, true],
      ['host:1:tenant:acme', true, true],
    ])
    await buckets.unpauseBucket(scene.ctx(), { key: 'host:1' }, ME)
    expect((await buckets.listBuckets(scene.ctx())).buckets[0]).toMatchObject({ is_paused: false })
  })
})

describe('cursors', () => {
  test('a watermark that no sync would understand is refused', async () => {
    const bad: [watermark: string, says: RegExp][] = [
      ['gestern', /is not a time/],
      ['12', /is not a time/],
      ['2024-02-30', /"2024-02-30" is not a time/],
      ['2090-01-01T00:00:00Z', /more than a day ahead/],
    ]
    for (const [watermark, says] of bad)
      await expect(
        cursors.setCursor(scene.ctx(), { ...repo(), watermark, skip: true }, ME),
      ).rejects.toMatchObject({ kind: 'usage', message: expect.stringMatching(says) })
  })

  test('a later one has to be meant: nothing brings the audited cursor back', async () => {
    const watermark = new Date(Date.now() + 3_600_000).toISOString()
    await expect(
      cursors.setCursor(scene.ctx(), { ...repo(), watermark, skip: false }, ME),
    ).rejects.toMatchObject({ kind: 'usage', hint: expect.stringContaining('--yes') })
    expect(await cursors.setCursor(scene.ctx(), { ...repo(), watermark, skip: true }, ME)).toMatchObject({
      exit_code: 0,
      after: { watermark },
    })
    await scene.incremental()
    const { cursor } = await cursors.getCursor(scene.ctx(), repo())
    expect(cursor).toMatchObject({ audited: watermark, audited_version: 2 })
  })

  test('one that is gone is shown by its audited one', async () => {
    await cursors.deleteCursor(scene.ctx(), repo(), ME)
    expect(await cursors.getCursor(scene.ctx(), repo())).toMatchObject({
      found: false,
      cursor: { key: `git_cursor:${scene.repoId}`, value: null, audited_version: 1 },
      exit_code: 1,
    })
    expect(await cursors.deleteCursor(scene.ctx(), repo(), ME)).toMatchObject({ exit_code: 1 })
  })

  test('replay finds whatever is not what the events say', async () => {
    for (let i = 0; i < 2; i++) {
      scene.repo.commit(`${i}`)
      await scene.incremental()
    }
    expect(await cursors.replayCursors(scene.ctx(), repo())).toMatchObject({
      status: 'success',
      cursors_checked: 1,
      events_folded: 3,
    })
    const spoilt: [sql: string, wrong: string][] = [
      [`update ing_cursor set cursor_value = '2020-01-01T00:00:00.000Z'`, 'value'],
      ['update ing_cursor set version = 9', 'value'],
      [`update ing_cursor set normalized_instant = '2020-01-01'`, 'value'],
      ['delete from ing_cursor', 'no_cursor'],
      ['delete from ing_cursor_event', 'no_events'],
      ['delete from ing_cursor_event where cursor_version = 2', 'chain'],
      [
        'update ing_cursor_event set cursor_version = 9 where cursor_version = 3; update ing_cursor set version = 9',
        'chain',
      ],
      [`update ing_cursor_event set prev_value = 'x' where cursor_version = 2`, 'chain'],
      [`update ing_cursor_event set new_instant = '2000-01-01' where cursor_version = 2`, 'chain'],
    ]
    const client = await scene.db.connect()
    const ctx = { ...scene.ctx(), db: client as unknown as Scene['db'] }
    try {
      for (const [sql, wrong] of spoilt) {
        await client.query(`begin; set local session_replication_role = replica; ${sql}`)
        expect(await cursors.replayCursors(ctx, { repo: null }), sql).toMatchObject({
          status: 'failed',
          differences: [{ provenance: `git:${scene.repoId}`, job_type: 'commits', wrong }],
          exit_code: 2,
        })
        await client.query('rollback')
      }
    } finally {
      client.release(true)
    }
  })
})

test('rows that somebody spoiled are listed all the same', async () => {
  const spoiled = [
    'null',
    '7',
    '"x"',
    '[]',
    '{}',
    '{"state": 7, "watermark": {}, "paused_until": "x", "opened_at": 1e300}',
  ]
  for (const [i, value] of spoiled.entries())
    await scene.query(
      `insert into logbook.kv values ('scm.sync_health', $1, $2), ('scm.sync_pauses', $1, $2), ('scm.sync', $1 || '_cursor:x', $2),
              ('scm.sync', 'git_mr_cursor:' || $3::text, $2)`,
      [`${i}`, value, 1000 + i],
    )
  await scene.query(
    `insert into logbook.kv values ('scm.sync_pauses', 'x', '{"paused_until": 1e300}'), ('scm.sync_health', 'default:global', '[]')`,
  )
  await scene.query(
    `insert into scm.sync_rate_limits (instance_key, tokens, paused_until) values ('x', 'NaN', 'infinity'), ('y', 0, '-infinity')`,
  )
  const ctx = scene.ctx()
  // What nobody can read may be an emergency stop.
  const states = (await breakers.listBreakers(ctx)).breakers.map((b) => b.state).join(' ')
  expect(states).toBe('closed open open open closed open open')
  expect((await pauses.listPauses(ctx, { includeExpired: true })).pauses).toMatchObject([
    { key: 'x', repo: null },
  ])
  expect((await cursors.listCursors(ctx, { repo: null, job: null, limit: 200 })).count).toBe(13)
  expect((await buckets.listBuckets(ctx)).buckets).toMatchObject([
    { is_paused: true, paused_until: null },
    { is_paused: false, paused_until: null },
  ])
  expect(await breakers.openBreaker(ctx, { key: 'default:global' }, ME)).toMatchObject({
    before: { state: 'open', by_hand: true, reason: 'in a state nobody knows' },
  })
})

test('writers race for one breaker: none is lost, and each saw what the one before it left', async () => {
  await breakers.openBreaker(scene.ctx(), { key: 'default:global' }, ME)
  const by = (n: number) => ({ ...ME, by: `${n}`, reason: `${n}` })
  await Promise.all(
    Array.from({ length: 24 }, (_, n) =>
      n % 3 === 0
        ? breakers.closeBreaker(scene.ctx(), { key: 'default:global' }, by(n))
        : breakers.openBreaker(scene.ctx(), { key: 'default:global' }, by(n)),
    ),
  )
  const events = (await history()).sort((a, b) => a.id - b.id)
  expect(events).toHaveLength(25)
  for (const [i, event] of events.entries()) if (i > 0) expect(event.before).toEqual(events[i - 1]?.after)
  expect(events[24]?.after).toEqual((await breakers.listBreakers(scene.ctx())).breakers[0]?.value)
})

test('what was recorded stays', async () => {
  await breakers.openBreaker(scene.ctx(), { key: 'default:global' }, ME)
  for (const sql of [
    'update scm.operator_events set actor = null',
    'delete from scm.operator_events',
    'truncate scm.operator_events',
  ])
    await expect(scene.query(sql)).rejects.toThrow(/append-only/)
  expect(await history()).toHaveLength(1)
})
