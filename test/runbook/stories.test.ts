import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { embeddedUrl, freshDatabase, type TestDatabase } from '../helpers/database.ts'
import { type GitLab, startGitLab } from '../helpers/gitlab/server.ts'
import { openShell, type Running, type Shell } from './command-line.ts'
import { until } from './system.ts'

/** The troubleshooting chapter of the runbook, against a GitLab and real processes: symptom, remedy, recovery. */
const TOKEN = 'glpat-canary-5d0c77b1e2'
const PROJECTS = [11, 12, 13, 14, 15, 16]
const COMMITS = 3

/** Nothing here waits for a clock: where an hour has to pass, the rows are made an hour older. */
const ENV = {
  GITLAB_TOKEN: TOKEN,
  SCM_SCHEDULER_MVP_MODE_ENABLED: 'true',
  SCM_SCHEDULER_MAX_RUNNING: '20',
  SCM_SCHEDULER_PER_INSTANCE_CONCURRENCY: '20',
  SCM_SCHEDULER_SCAN_INTERVAL_SECONDS: '1',
  SCM_WORKER_POLL_INTERVAL: '0.2',
  SCM_WORKER_PARALLELISM: '3',
  SCM_CB_OPEN_DURATION_SECONDS: '600',
  SCM_CB_ENABLE_SMOOTHING: 'false',
}

let db: TestDatabase
let gitlab: GitLab
let shell: Shell
beforeEach(async () => {
  db = await freshDatabase(embeddedUrl())
  gitlab = await startGitLab({ token: TOKEN })
  shell = openShell({ ...ENV, POSTGRES_DSN: db.dsn, GITLAB_URL: gitlab.url })
  const config = join(shell.folder, 'config.toml')
  writeFileSync(config, '[scm.http]\nmax_attempts = 1\n')
  shell.env.ENGRAM_LOGBOOK_CONFIG = config
  for (const id of PROJECTS) {
    const project = gitlab.project({ id })
    for (let i = 0; i < COMMITS; i++) project.commit({ branch: 'main', message: `c${i}` })
    await shell.run(`engram-scm-sync repos add gitlab:${id}`)
  }
}, 60_000)
afterEach(async () => {
  await shell.close()
  await gitlab.stop()
  await db.drop()
})

const started = (): Running[] => [
  shell.start('engram-scm-scheduler --loop --json'),
  shell.start('engram-scm-worker --json'),
]
const rows = async <T>(sql: string): Promise<T[]> => (await db.pool.query(sql)).rows as T[]
const jq = async (filter: string) =>
  JSON.parse((await shell.run(`engram-scm-status --json | jq -c '${filter}'`)).stdout)
const breaker = async () =>
  (
    await rows<{ state: string }>(
      `select value_json->>'state' as state from logbook.kv where namespace = 'scm.sync_health'`,
    )
  )[0]?.state
const stored = async () => (await rows<{ n: number }>('select count(*)::int as n from scm.git_commits'))[0]?.n
const synced = () => until('every commit stored', async () => (await stored()) === PROJECTS.length * COMMITS)
/** Pauses, backoffs and breakers are that much older. */
const pass = (seconds: number) =>
  db.pool.query(
    `with j as (update ing_task set scheduled_at = scheduled_at - make_interval(secs => ${seconds}), updated_at = clock_timestamp(),
                       parked_until = parked_until - make_interval(secs => ${seconds}) where status in ('pending', 'failed'))
     update logbook.kv set value_json = value_json || (
         select coalesce(jsonb_object_agg(k, (value_json->>k)::numeric - ${seconds}), '{}')
           from unnest(array['opened_at', 'repair_granted_at', 'paused_at', 'paused_until']) k where jsonb_typeof(value_json->k) = 'number')
      where namespace in ('scm.sync_health', 'scm.sync_pauses')`,
  )
/** The scheduler has looked at it once more, and has gone to rest. */
const scanned = async (scheduler: Running) => {
  const before = scheduler.reports().length
  await until('another scan', () => scheduler.reports().length > before + 1)
}

test('GitLab is down: the breaker opens, nobody asks any more, and it closes by itself when GitLab is back', async () => {
  const mend = gitlab.fault(() => ({ status: 503 }))
  const [scheduler] = started() as [Running, Running]
  await until('the breaker is open', async () => (await breaker()) === 'open')

  expect(await jq('.circuit_breakers.total_open')).toBe(1)
  expect(await jq('.circuit_breaker_states[0].state.last_failure_reason')).toMatch(/^failure_rate=100\.00%/)
  expect(await jq('.error_budget.failure.rate')).toBe(1)
  const metrics = (await shell.run('engram-scm-status --prometheus')).stdout
  expect(metrics).toContain('scm_circuit_breaker_state{key="default:global",state="open"} 1')
  await until('nothing runs', async () => (await jq('.jobs_by_status.running')) === 0)
  await pass(300) // backoffs are over, the breaker is not
  const asked = gitlab.requests.length
  await scanned(scheduler)
  expect(gitlab.requests.length).toBe(asked)

  // Still down when it is tried: two cautious jobs, and it opens again.
  await pass(300)
  await until(
    'the probes have failed',
    async () =>
      (
        await rows(
          `select from logbook.kv where value_json->>'last_failure_reason' like 'half_open_probe_failed%'`,
        )
      ).length === 1,
  )
  expect(gitlab.requests.length - asked).toBeLessThanOrEqual(3 * 3)

  mend()
  await pass(1000)
  await synced()
  await until('the breaker is closed', async () => (await breaker()) === 'closed')
  await pass(1000)
  await scanned(scheduler)
  expect(await breaker()).toBe('closed')
}, 90_000)

test('a storm of 429: seen, slowed down as the runbook says, and over', async () => {
  const calm = gitlab.rateLimit({ limit: 3, windowMs: 1000, headers: false, retryAfter: 'absent' })
  const [scheduler, worker] = started() as [Running, Running]
  await until('the breaker is open', async () => (await breaker()) === 'open')
  expect((await jq('.error_budget.rate_limit_429')).count).toBeGreaterThan(0)
  expect(await jq('.rate_limit_buckets | length')).toBe(1)
  await worker.stop()

  // The remedy: fewer requests than the server bears, for all processes together; then the breaker is closed.
  const remedy = {
    SCM_SCHEDULER_PER_INSTANCE_CONCURRENCY: '2',
    SCM_GITLAB_POSTGRES_RATE_LIMIT_ENABLED: 'true',
    SCM_GITLAB_POSTGRES_RATE_LIMIT_RATE: '2.0',
    SCM_GITLAB_POSTGRES_RATE_LIMIT_BURST: '1',
  }
  await pass(1000)
  expect(await shell.run('engram-scm-sync admin breakers close --reason slower-now --json')).toMatchObject({
    code: 0,
  })
  await pause(1100) // the server's own window
  const refused = () => gitlab.requests.filter((r) => r.status === 429).length
  const before = refused()
  shell.start('engram-scm-worker --json', remedy)
  await synced()
  expect(refused()).toBe(before)
  expect(await jq('.rate_limit_buckets[0].rate')).toBe(2)
  await scanned(scheduler)
  expect(await breaker()).toBe('closed')
  calm()
}, 90_000)

test('opened by hand for maintenance: everything stops, for as long as a person wants', async () => {
  expect(
    await shell.run('engram-scm-sync admin breakers open --reason manual_pause_for_maintenance --json'),
  ).toMatchObject({ code: 0 })
  const [scheduler] = started() as [Running, Running]
  await pass(1e6)
  await scanned(scheduler)
  expect(gitlab.requests).toEqual([])
  expect(await jq('.circuit_breaker_states[0].state')).toMatchObject({
    state: 'open',
    last_failure_reason: 'manual_pause_for_maintenance',
  })
  // Closed with the runbook's own statement.
  await db.pool.query(
    `UPDATE logbook.kv SET value_json = jsonb_set(COALESCE(value_json::jsonb, '{}'::jsonb), '{state}', '"closed"')
      WHERE namespace = 'scm.sync_health' AND key = 'default:global'`,
  )
  await synced()
}, 90_000)

test('a backlog: nobody works; with workers it is gone, and alarms with it', async () => {
  for (let i = 0; i < 3; i++) await shell.run('engram-scm-scheduler --once')
  expect(await jq('.jobs_by_status.pending')).toBe(PROJECTS.length)
  await pass(1000)
  expect(await jq('.queue_oldest_due_seconds >= 1000')).toBe(true)
  const health = await shell.run('engram-scm-status --health')
  expect(health.code).toBe(2)
  expect(health.stdout).toContain('queue_stall')
  shell.start('engram-scm-worker --json')
  shell.start('engram-scm-worker --json')
  await synced()
  await until(
    'nothing is left',
    async () => (await jq('.jobs_by_status.pending + .jobs_by_status.running')) === 0,
  )
  expect(await shell.run('engram-scm-status --health')).toMatchObject({ code: 0 })
}, 90_000)
