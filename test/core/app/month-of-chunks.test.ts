import { spawnSync } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { afterAll, expect, test } from 'vitest'
import { underTrigger } from '../../../src/core/app/context.ts'
import { replayCursors } from '../../../src/core/app/manage/cursors.ts'
import { showPlan } from '../../../src/core/app/report/show-ledger.ts'
import { SyncError } from '../../../src/core/domain/errors.ts'
import { ownTrigger } from '../../../src/core/domain/trigger.ts'
import { chance, say, size } from '../../chaos/size.ts'
import { workerName } from '../../helpers/context.ts'
import { embeddedUrl } from '../../helpers/database.ts'
import { violations } from '../../helpers/oracle.ts'
import { openScene, type Scene } from '../../helpers/scene.ts'
import { watched } from '../../helpers/watched-source.ts'

/** A month is 31 days, 186 chunks of four hours; SEED brings a run back. */
const DAYS = size('MONTH_DAYS', 7, 31)
const CHUNKS = DAYS * 6
const START = Date.UTC(2024, 0, 1) / 1000
const HOUR = 3600

let scene: Scene
afterAll(() => scene.drop())

test(`${CHUNKS} chunks, with failures, stops and kills, triggered again until they are done`, async () => {
  const { random, seed } = chance('month of chunks')
  scene = await openScene(embeddedUrl(), { 'scm.git.page_size': 1 })
  let commits = 0
  for (let chunk = 0; chunk < CHUNKS; chunk++)
    for (let i = 0; i < (random() < 0.3 ? 2 : 1); i++, commits++)
      scene.repo.commit(`${chunk} ${i}`, { date: START + chunk * 4 * HOUR + i * 60 })

  const wish = {
    since: new Date(START * 1000).toISOString(),
    until: new Date((START + DAYS * 24 * HOUR) * 1000).toISOString(),
  }
  const asleep: Promise<unknown>[] = []
  const wakes: (() => void)[] = []
  const figures = { triggers: 0, failed: 0, stopped: 0, killed: 0 }
  let mostPending = 0
  const pending = async () => {
    const [row] = await scene.query<{ n: number }>(
      `select count(*)::int as n from scm.sync_jobs where status = 'pending'`,
    )
    mostPending = Math.max(mostPending, row?.n ?? 0)
    // The runbook's alert is for more than 50: only a stop gives a chunk back, and none but the one it was in.
    expect(mostPending).toBeLessThanOrEqual(figures.stopped)
  }

  const moves = () =>
    scene.query(
      `select prev_value as from, new_value as to from ing_cursor_event where direction_code = 'FORWARD'`,
    )

  for (let exitCode = 2; exitCode !== 0; ) {
    figures.triggers += 1
    if (figures.triggers > 1000) throw new Error(`never done, seed ${seed}`)
    const stop = new AbortController()
    let fell = () => {}
    const killed = new Promise<null>((resolve) => {
      fell = () => resolve(null)
    })
    const sources = watched(async () => {
      const dice = random()
      if (dice < 0.15) {
        figures.failed += 1
        throw new SyncError('network', 'no route to host')
      }
      if (dice < 0.18) {
        figures.stopped += 1
        stop.abort(new SyncError('cancelled', 'stopped by SIGTERM'))
      } else if (dice < 0.21) {
        figures.killed += 1
        // As after kill -9: it does nothing more, and its process is gone. Much later it wakes, and must write nothing.
        fell()
        await new Promise<void>((resolve) => wakes.push(resolve))
      }
    })
    const trigger = {
      ...ownTrigger(randomUUID()),
      schedulerCode: 'XXL' as const,
      jobId: '7',
      logId: String(figures.triggers),
    }
    const worker = workerName(spawnSync('true').pid)
    const ctx = underTrigger(scene.ctx({ sources, signal: stop.signal, worker }), trigger)
    const running = scene.backfill({ wish, updateWatermark: true }, ctx)
    const report = await Promise.race([running, killed])
    if (report === null) asleep.push(running.catch(() => {}))
    exitCode = report?.exit_code ?? 2
    await pending()
    if (exitCode !== 0) expect(await moves()).toEqual([])
  }
  say(`month of chunks: ${JSON.stringify({ ...figures, mostPending })}`)

  const [plan, ...others] = await scene.query<{ id: number }>(
    `select id from ing_plan where operation_code = 'BACKFILL'`,
  )
  expect(others).toEqual([])
  const shown = await showPlan(scene.ctx(), plan?.id as number)
  expect(shown.plan).toMatchObject({ status: 'COMPLETED', slices: CHUNKS, slices_succeeded: CHUNKS })
  expect(shown.missing).toEqual([])
  const read = async () =>
    scene.query(
      `select slice_id, before_token, count(*)::int as times, sum(record_count)::int as records from ing_task_run_batch b
        where plan_id = $1 and status_code = 'SUCCEEDED' group by 1, 2 having count(*) > 1`,
      [plan?.id],
    )
  expect(await read()).toEqual([])
  expect(await scene.query('select 1 from scm.git_commits')).toHaveLength(commits)
  expect(await moves()).toEqual([{ from: null, to: wish.until }])
  expect(await replayCursors(scene.ctx(), { repo: null })).toMatchObject({ differences: [] })
  const all = async () =>
    scene.query(`select count(*)::int as runs, max(id)::int as last, (select max(xmin::text::bigint)::int from scm.git_commits) as row
       from ing_task_run`)
  const before = await all()
  for (const wake of wakes) wake()
  await Promise.all(asleep)
  expect(await all()).toEqual(before)
  await scene.incremental()
  expect(await violations(scene)).toEqual([])
}, 120_000)
