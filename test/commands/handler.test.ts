import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { environment, linesOf, ROOT, run, tempFolder } from '../helpers/cli.ts'
import { embeddedUrl, freshDatabase, type TestDatabase } from '../helpers/database.ts'
import { makeRepo, type TestRepo } from '../helpers/git-repo.ts'
import { ledgerViolations } from '../helpers/oracle.ts'

/** The runner as the shell handler of an external scheduler: processes, signals, exit codes. */

const COMMITS = 4_000
let db: TestDatabase
let big: TestRepo
const folder = tempFolder()
const script = join(folder, '42_1750000000000.sh')

beforeAll(async () => {
  db = await freshDatabase(embeddedUrl(), { max: 4 })
  big = makeRepo()
  const stream = Array.from({ length: COMMITS }, (_, i) => {
    const from = i === 0 ? '' : `from :${i}\n`
    return `commit refs/heads/main\nmark :${i + 1}\ncommitter C <c@example.com> ${1_700_000_000 + i * 60} +0000\ndata 1\nx\n${from}`
  })
  big.feed(stream.join(''), 'fast-import', '--quiet')
  mkdirSync(join(folder, 'bin'))
  symlinkSync(join(ROOT, 'bin/engram-scm-sync.js'), join(folder, 'bin/engram-scm-sync'))
  writeFileSync(script, readFileSync(join(ROOT, 'docs/xxl-job/glue.sh'), 'utf8'))
})
afterAll(() => db.drop())

const env = (more: Record<string, string> = {}) => ({
  POSTGRES_DSN: db.dsn,
  SCM_GIT_PAGE_SIZE: '20',
  PATH: `${join(folder, 'bin')}:${process.env.PATH}`,
  ...more,
})
const query = async <T = Record<string, unknown>>(sql: string, values: unknown[] = []) =>
  (await db.pool.query(sql, values)).rows as T[]
const stored = async (repoId: number) =>
  (
    await query<{ n: number }>('select count(*)::int as n from scm.git_commits where repo_id = $1', [repoId])
  )[0]!.n

async function registered(source = big): Promise<number> {
  const path = join(tempFolder(), 'project')
  cpSync(source.dir, path, { recursive: true })
  const [added] = (await run(['repos', 'add', `git:${path}`, '--json'], { env: env() })).json()
  return added?.repo_id as number
}

async function until(what: string, holds: () => Promise<boolean> | boolean): Promise<void> {
  for (const end = performance.now() + 20_000; performance.now() < end; await pause(10))
    if (await holds()) return
  throw new Error(`never came: ${what}`)
}

/** As XXL-Job starts it; its log id comes by the environment, as an executor of one's own would hand it over. */
function triggered(repoId: number, more: Record<string, string> = {}) {
  const child = spawn('bash', [script, `git:${repoId} commits`, '0', '1'], {
    cwd: folder,
    env: environment(env({ ENGRAM_SCM_LOG_LEVEL: 'error', ...more })),
    stdio: 'pipe',
  })
  let out = ''
  child.stdout.on('data', (bytes) => {
    out += bytes
  })
  child.stderr.resume()
  const end = once(child, 'close').then(([code]) => ({
    code: code as number | null,
    reports: linesOf(out).map((line) => JSON.parse(line) as Record<string, unknown>),
  }))
  return { child, end }
}

/** Nobody holds anything, nothing runs, and no process of ours is left at work on it. */
async function atRest(repoId: number): Promise<void> {
  const left = await query(
    `select 'lock' as what from scm.sync_locks where repo_id = $1
     union all select 'run' from ing_task_run where repo_id = $1 and status_code = 'RUNNING'
     union all select 'job' from ing_task where repo_id = $1 and status = 'running'`,
    [repoId],
  )
  expect(left).toEqual([])
  const word = `git:${repoId}\0`
  const orphans = readdirSync('/proc').filter((pid) => {
    if (!/^\d+$/.test(pid) || Number(pid) === process.pid) return false
    try {
      const line = readFileSync(`/proc/${pid}/cmdline`, 'utf8')
      const ours = readFileSync(`/proc/${pid}/environ`, 'utf8').includes(db.dsn)
      return ours && line.includes(word)
    } catch {
      return false
    }
  })
  expect(orphans).toEqual([])
}

describe('what a scheduler hands over', () => {
  test('by flags and by the environment; the ledger shows it, and what it is good for', async () => {
    const repoId = await registered(smallRepo(3))
    const args = ['runner', 'incremental', '--repo', `git:${repoId}`, '--json', '--scheduler-log-id', '4711']
    const o = {
      env: env({
        ENGRAM_SCHEDULER_CODE: 'CRON',
        ENGRAM_SCHEDULER_JOB_ID: 'nightly',
        ENGRAM_SCHEDULER_LOG_ID: 'not this',
        ENGRAM_CORRELATION_ID: 'build-99',
        ENGRAM_TRIGGER_PARAMS: '{"by":"ci"}',
      }),
    }
    const first = await run(args, o)
    expect(first).toMatchObject({ code: 0 })
    const lines = linesOf(first.err).map((line) => JSON.parse(line))
    expect(lines.length).toBeGreaterThan(1)
    expect(new Set(lines.map((l) => l.correlationId))).toEqual(new Set(['build-99']))

    expect((await run(args, o)).json()).toMatchObject([
      { status: 'success', items_synced: 3, message: expect.stringContaining('handled before') },
    ])
    const shown = await run(['plans', 'list', '--scheduler-log-id', '4711', '--json'], o)
    const [{ plans }] = shown.json() as [{ plans: Record<string, unknown>[] }]
    expect(plans).toMatchObject([{ status: 'COMPLETED', correlation_id: 'build-99', slices_succeeded: 1 }])
    const text = await run(['plans', 'show', String(plans[0]?.plan_id)], o)
    expect(text).toMatchObject({
      code: 0,
      out: expect.stringContaining('CRON job nightly log 4711, SCHEDULE'),
    })
    const runs = await run(['runs', 'list', '--correlation-id', 'build-99', '--json'], o)
    const [{ runs: found }] = runs.json() as [{ runs: Record<string, unknown>[] }]
    expect(found).toHaveLength(1)
    expect((await run(['runs', 'show', String(found[0]?.run_id)], o)).out).toContain('SUCCEEDED')
    const [{ sha } = { sha: '' }] = await query<{ sha: string }>(
      'select commit_sha as sha from scm.git_commits where repo_id = $1 limit 1',
      [repoId],
    )
    const traced = await run(['lineage', sha, '--repo', `git:${repoId}`, '--json'], o)
    expect(traced.json()).toMatchObject([
      { kind: 'commit', trigger: { scheduler_job_id: 'nightly' }, run: { run_id: found[0]?.run_id } },
    ])
    expect((await run(['lineage', 'mr:1', '--repo', `git:${repoId}`], o)).code).toBe(2)
  })

  test('what cannot be meant is refused before anything is opened', async () => {
    const wrong = await run(['runner', 'incremental', '--repo', 'git:1', '--scheduler-code', 'XLL'])
    expect(wrong).toMatchObject({ code: 2, err: expect.stringContaining('did you mean XXL?') })
    const loop = await run(['runner', 'incremental', '--repo', 'git:1', '--loop', '--scheduler-job-id', '7'])
    expect(loop.code).toBe(2)
  })

  test('--deadline ends it with a part done; --partial-ok and --quiet make that good and silent', async () => {
    const repoId = await registered()
    const slow = env({ SCM_GIT_PAGE_SIZE: '1' })
    const args = ['runner', 'incremental', '--repo', `git:${repoId}`, '--deadline', '3s']
    const first = await run([...args, '--json'], { env: slow })
    expect(first.json()).toMatchObject([{ status: 'partial', kind: 'deadline', exit_code: 1 }])
    expect(first.code).toBe(1)
    const before = await stored(repoId)
    expect(before).toBeGreaterThan(0)
    await atRest(repoId)
    const second = await run([...args, '--partial-ok', '--quiet'], { env: slow })
    expect(second).toMatchObject({ code: 0, out: '', err: '' })
    expect(await stored(repoId)).toBeGreaterThan(before)
    await atRest(repoId)
  })
})

describe('how triggers meet', () => {
  test('COVER_EARLY: the second begins while the first is being stopped; it waits, goes on there, nothing twice', async () => {
    const repoId = await registered()
    const first = triggered(repoId, { ENGRAM_SCHEDULER_LOG_ID: '1' })
    await until('a page', async () => (await stored(repoId)) > 0)
    first.child.kill('SIGTERM')
    const second = triggered(repoId, { ENGRAM_SCHEDULER_LOG_ID: '2', SCM_GIT_PAGE_SIZE: '1000' })
    expect(await first.end).toMatchObject({ code: 2, reports: [{ status: 'cancelled' }] })
    expect(await second.end).toMatchObject({ code: 0, reports: [{ status: 'success' }] })
    expect(await stored(repoId)).toBe(COMMITS)
    const again = await query(
      `select before_token from ing_task_run_batch b join ing_task_run r on r.id = b.run_id
        where r.repo_id = $1 and b.status_code = 'SUCCEEDED' group by r.plan_id, before_token having count(*) > 1`,
      [repoId],
    )
    expect(again).toEqual([])
    await atRest(repoId)
    expect(await ledgerViolations({ db: db.pool, repoId })).toEqual([])
  })

  test('DISCARD_LATER: one that finds it busy and does not wait says so with 2; its retry finds all done', async () => {
    const repoId = await registered()
    const first = triggered(repoId, { ENGRAM_SCHEDULER_LOG_ID: '1' })
    await until('a page', async () => (await stored(repoId)) > 0)
    const args = ['runner', 'incremental', '--repo', `git:${repoId}`, '--json', '--scheduler-job-id', '42']
    const second = await run([...args, '--scheduler-log-id', '2', '--lock-wait', '0'], { env: env() })
    expect(second).toMatchObject({ code: 2 })
    expect(second.json()).toMatchObject([{ kind: 'lock_held', exit_code: 2 }])
    expect(await first.end).toMatchObject({ code: 0 })
    const retry = await run([...args, '--scheduler-log-id', '3', '--trigger-type', 'RETRY'], { env: env() })
    expect(retry.json()).toMatchObject([{ status: 'success', items_synced: 0 }])
    await atRest(repoId)
  })

  test('20 at once: one effect, 20 times 0, nobody left, the lock free', async () => {
    const repoId = await registered(smallRepo(200))
    const all = Array.from({ length: 20 }, (_, i) =>
      triggered(repoId, { ENGRAM_SCHEDULER_LOG_ID: String(i % 10), SCM_GIT_PAGE_SIZE: '50' }),
    )
    const ended = await Promise.all(all.map(({ end }) => end))
    expect(ended.map((e) => e.code)).toEqual(Array(20).fill(0))
    expect(await stored(repoId)).toBe(200)
    const [{ pages, triggers } = {}] = await query(
      `select (select count(*)::int from ing_task_run_batch b join ing_task_run r on r.id = b.run_id where r.repo_id = $1) as pages,
              (select count(*)::int from ing_schedule_instance where provenance_code = 'git:' || $1::text) as triggers`,
      [repoId],
    )
    expect({ pages, triggers }).toEqual({ pages: 4, triggers: 10 })
    await atRest(repoId)
    expect(await ledgerViolations({ db: db.pool, repoId })).toEqual([])
  }, 120_000)
})

function smallRepo(commits: number): TestRepo {
  const repo = makeRepo()
  const stream = Array.from({ length: commits }, (_, i) => {
    const from = i === 0 ? '' : `from :${i}\n`
    return `commit refs/heads/main\nmark :${i + 1}\ncommitter C <c@example.com> ${1_700_000_000 + i * 60} +0000\ndata 1\nx\n${from}`
  })
  repo.feed(stream.join(''), 'fast-import', '--quiet')
  return repo
}
