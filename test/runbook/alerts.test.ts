import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { registerRepo } from '../../src/core/app/manage/repos.ts'
import { readMetrics } from '../../src/core/app/report/read-metrics.ts'
import { exposition } from '../../src/shell/text/metrics.ts'
import { seedJobs } from '../core/db/queue/fixture.ts'
import { contextOn } from '../helpers/context.ts'
import { embeddedUrl, freshDatabase, type TestDatabase } from '../helpers/database.ts'

const RULES = new URL('../../docs/alerts.yml', import.meta.url).pathname
const RUNBOOK = new URL('../../../shared/runbooks/scm-sync-ops.md', import.meta.url).pathname
const hasPromtool = spawnSync('promtool', ['--version']).status === 0

interface Rule {
  alert: string
  expr: string
  for: string
  severity: string
}

function rulesIn(yaml: string): Rule[] {
  const of = (block: string, key: string) => new RegExp(`^\\s*${key}: (.*)$`, 'm').exec(block)?.[1] ?? ''
  return yaml
    .split(/^\s*- (?=alert: )/m)
    .slice(1)
    .map((block) => ({
      alert: of(block, 'alert'),
      expr: of(block, 'expr'),
      for: of(block, 'for'),
      severity: of(block, 'severity'),
    }))
}

const ours = rulesIn(readFileSync(RULES, 'utf8'))

const absent = existsSync(RUNBOOK) ? '' : ' (skipped: the runbook is not there)'
test.skipIf(absent !== '')(`the rules of the runbook stand in it as they are${absent}`, () => {
  const yaml = /```yaml\n(groups:[\s\S]*?)```/.exec(readFileSync(RUNBOOK, 'utf8'))?.[1] as string
  const theirs = rulesIn(yaml)
  expect(theirs).toHaveLength(5)
  for (const rule of theirs) expect(ours).toContainEqual(rule)
})

const skipped = hasPromtool ? '' : ' (skipped: promtool is not installed)'
describe.skipIf(!hasPromtool)(`tried by promtool, on what the program prints${skipped}`, () => {
  let db: TestDatabase
  let folder: string
  beforeAll(async () => {
    db = await freshDatabase(embeddedUrl())
    folder = mkdtempSync(join(tmpdir(), 'alerts-'))
  })
  afterAll(async () => {
    await db.drop()
    rmSync(folder, { recursive: true })
  })
  beforeEach(() =>
    db.pool.query(
      `truncate ing_task, ing_plan, ing_plan_slice, ing_task_run, scm.lanes, scm.sync_locks, scm.repos, logbook.kv restart identity`,
    ),
  )

  const sql = (text: string, values: unknown[] = []) => db.pool.query(text, values)
  const repo = async () =>
    (await registerRepo(contextOn(db.pool), { repo: 'git:https://h.example.com/x.git', projectKey: null }))
      .repo_id
  const cursor = async (age: number) =>
    sql(
      `insert into logbook.kv (namespace, key, value_json, updated_at)
         values ('scm.sync', 'git_cursor:' || $1, '{"watermark": "2026-01-01T00:00:00Z"}', now() - make_interval(secs => $2))`,
      [await repo(), age],
    )
  const runs = async (
    count: number,
    status: string,
    more: { stats?: object; category?: string; silent?: number; task?: number } = {},
  ) =>
    sql(
      `insert into ing_task_run (task_id, plan_id, slice_id, attempt_no, fence, worker_id, repo_id, job_type, mode, provenance_code,
              operation_code, expr_hash, status_code, started_at, finished_at, last_heartbeat, stats, error_summary_json)
       select coalesce($6, nextval('scm.fence')), 1, 1, n, nextval('scm.fence'), 'w', 1, 'commits', 'incremental', 'git:1', 'HARVEST',
              repeat('0', 64), $2, now() - interval '1 minute', case when $2 <> 'RUNNING' then now() end,
              now() - make_interval(secs => $5), $3, jsonb_build_object('error_category', $4::text)
         from generate_series(1, $1) n`,
      [
        count,
        status,
        JSON.stringify(more.stats ?? {}),
        more.category ?? null,
        more.silent ?? 0,
        more.task ?? null,
      ],
    )
  const pending = (count: number, due = -1) =>
    seedJobs(
      db.pool,
      Array.from({ length: count }, () => ({ due })),
    )
  const dead = (count: number) =>
    seedJobs(
      db.pool,
      Array.from({ length: count }, () => ({ status: 'dead' })),
    )
  const breaker = (state: string) =>
    sql(
      `insert into logbook.kv values ('scm.sync_health', 'default:global', jsonb_build_object('state', $1::text))`,
      [state],
    )
  const lock = (age: number) =>
    sql(
      `insert into scm.sync_locks (repo_id, job_type, locked_by, locked_at, lease_seconds, fence, job_id)
         values (1, 'commits', 'w', now() - make_interval(secs => $1), 300, 1, 1)`,
      [age],
    )

  /** The alerts that fire once this state has lasted for an hour, and none that does not last. */
  async function firing(): Promise<string[]> {
    const printed = exposition((await readMetrics(contextOn(db.pool))).metrics)
    const series = printed
      .split('\n')
      .filter((line) => line !== '' && !line.startsWith('#'))
      .map((line) => ({
        name: line.slice(0, line.lastIndexOf(' ')),
        value: line.slice(line.lastIndexOf(' ') + 1),
      }))
    const input = series.map(
      ({ name, value }) => `      - series: '${name}'\n        values: '${Number(value)}x60'`,
    )
    const file = join(folder, 'rules-test.yml')
    writeFileSync(
      file,
      `rule_files: ['${RULES}']\nevaluation_interval: 1m\ntests:\n  - interval: 1m\n    input_series:\n${input.join('\n')}\n` +
        `    promql_expr_test:\n      - expr: 'count by (alertname) (ALERTS{alertstate="firing"}) or vector(0)'\n        eval_time: 60m\n`,
    )
    // Nothing is expected, so that it says what it found; the one sample that is always there shows that it looked.
    const { stdout, stderr } = spawnSync('promtool', ['test', 'rules', file], { encoding: 'utf8' })
    expect(stdout + stderr).toContain('{} 0')
    const fired = [...(stdout + stderr).matchAll(/alertname="(\w+)"/g)].map(([, alert]) => alert as string)
    return fired
  }

  test('the file is sound', () => {
    expect(execFileSync('promtool', ['check', 'rules', RULES], { encoding: 'utf8' })).toMatch(
      `${ours.length} rules found`,
    )
  })

  test.each<[string, () => Promise<unknown>, string[]]>([
    ['nothing at all', async () => {}, []],
    [
      'a healthy day',
      async () => {
        await cursor(3000)
        await pending(50)
        await runs(10, 'SUCCEEDED', { stats: { total_requests: 100, total_429_hits: 10 } })
        await runs(4, 'FAILED', { category: 'timeout' })
        await runs(1, 'RUNNING', { silent: 290 })
        await breaker('half_open')
        await lock(290)
      },
      [],
    ],
    ['51 pending', () => pending(51), ['SCMSyncTaskBacklog']],
    ['one dead', () => dead(1), ['SCMSyncDeadTasks']],
    ['an open breaker', () => breaker('open'), ['SCMSyncCircuitOpen']],
    [
      'a third of the runs fail',
      async () => {
        await runs(6, 'SUCCEEDED')
        await runs(3, 'FAILED', { category: 'timeout' })
      },
      ['SCMSyncHighErrorRate'],
    ],
    [
      'one request of nine answered 429',
      () => runs(3, 'SUCCEEDED', { stats: { total_requests: 9, total_429_hits: 1 } }),
      ['SCMSyncRateLimited'],
    ],
    ['a lock that has outlived its lease', () => lock(301), ['SCMSyncExpiredLocks']],
    ['a cursor older than a day', () => cursor(86_500), ['SCMSyncCursorStall']],
    ['a job due for more than a quarter of an hour', () => pending(1, -1000), ['SCMSyncQueueStall']],
    ['a run without a heartbeat', () => runs(1, 'RUNNING', { silent: 700 }), ['SCMSyncRunStall']],
    ['one job tried five times', () => runs(5, 'CANCELLED', { task: 7 }), ['SCMSyncRetryStorm']],
  ])('%s', async (_, given, alerts) => {
    await given()
    expect(await firing()).toEqual(alerts)
  })
})
