import { once } from 'node:events'
import { cpSync, existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { ended, run, start, tempFolder } from '../helpers/cli.ts'
import { embeddedUrl, freshDatabase, type TestDatabase } from '../helpers/database.ts'
import { makeRepo, type TestRepo } from '../helpers/git-repo.ts'
import { runAll } from '../helpers/one-process.ts'
import { freePort, openAdmin, type Release, until, type XxlAdmin } from '../helpers/xxl-admin.ts'

const COMMITS = 6_000
const TOKEN = 'a-token-that-nobody-may-see'

let db: TestDatabase
let big: TestRepo
const ends: (() => unknown)[] = []

beforeAll(async () => {
  db = await freshDatabase(embeddedUrl())
  big = makeRepo()
  const stream = Array.from({ length: COMMITS }, (_, i) => {
    const from = i === 0 ? '' : `from :${i}\n`
    return `commit refs/heads/main\nmark :${i + 1}\ncommitter C <c@example.com> ${1_600_000_000 + i * 60} +0000\ndata 1\nx\n${from}`
  })
  big.feed(stream.join(''), 'fast-import', '--quiet')
})
afterAll(async () => {
  for (const end of ends) await end()
  await db.drop()
})

interface House {
  admin: XxlAdmin
  port: number
  data: string
  /** Starts it, and waits until the admin knows of it. */
  up: (pageSize?: number) => Promise<ReturnType<typeof start>>
}

/** An admin, and an executor of its own that may be started again under the same port. */
async function house(o: { release?: Release; token?: string } = { token: TOKEN }): Promise<House> {
  const admin = await openAdmin(o)
  ends.push(admin.close)
  const [port, data] = [await freePort(), tempFolder()]
  const env = {
    POSTGRES_DSN: db.dsn,
    ENGRAM_SCM_DATA_DIR: data,
    SCM_EXECUTOR_ACCESS_TOKEN: o.token,
  }
  /** A page of 20 takes a few milliseconds, so a stop meets one. */
  const up = async (pageSize = 20) => {
    const child = start(['executor', '--admin', admin.url, '--listen', `127.0.0.1:${port}`, '--json'], {
      env: { ...env, SCM_GIT_PAGE_SIZE: String(pageSize) },
    })
    ends.push(() => child.kill('SIGKILL'))
    admin.registered.clear()
    await admin.executor()
    return child
  }
  return { admin, port, data, up }
}

/** A copy under an address of its own, registered. */
async function registered(): Promise<number> {
  const folder = join(tempFolder(), 'big')
  cpSync(big.dir, folder, { recursive: true })
  const env = { POSTGRES_DSN: db.dsn }
  const [added] = (await run(['repos', 'add', `git:${folder}`, '--json'], { env })).json()
  return added?.repo_id as number
}

async function query<T>(sql: string, values: unknown[] = []): Promise<T[]> {
  return (await db.pool.query(sql, values)).rows
}

async function stored(repoId: number): Promise<number> {
  const [row] = await query<{ n: number }>(
    'select count(*)::int as n from scm.git_commits where repo_id = $1',
    [repoId],
  )
  return row?.n ?? 0
}

const left = (repoId: number) =>
  query(
    `select 'lock' as what from scm.sync_locks where repo_id = $1
      union all select 'run' from ing_task_run where repo_id = $1 and status_code = 'RUNNING'`,
    [repoId],
  )

describe.each<Release>(['2.2', '3.4', '3.5'])('XXL-Job %s', (release) => {
  test('registers, runs what is triggered, tells the end once, shows the log, and leaves', async () => {
    const { admin, up } = await house({ release, token: TOKEN })
    const child = await up()
    const gone = ended(child)
    const small = makeRepo('--bare')
    for (const n of [1, 2, 3]) small.commit(`number ${n}`)
    const env = { POSTGRES_DSN: db.dsn }
    await run(['repos', 'add', `git:${small.dir}`], { env })

    expect(await admin.ask('/beat', '')).toMatchObject({ code: 200 })
    const params = JSON.stringify({ repo: `git:${small.dir}`, job: 'commits' })
    const { code, logId, at } = await admin.trigger({ jobId: 11, params })
    expect(code).toBe(200)
    expect(await admin.end(logId)).toEqual({
      code: 200,
      msg: expect.stringMatching(/commits: success, 3 synced/),
      repeats: 0,
    })

    const [row] = await query<Record<string, unknown>>(
      `select scheduler_code, scheduler_job_id, scheduler_log_id, trigger_type_code, triggered_at, trigger_params, correlation_id
         from ing_schedule_instance where scheduler_log_id = $1`,
      [String(logId)],
    )
    expect(row).toMatchObject({
      scheduler_code: 'XXL',
      scheduler_job_id: '11',
      trigger_type_code: 'SCHEDULE',
      triggered_at: new Date(at),
    })
    expect(JSON.stringify(row?.trigger_params)).toContain('incremental')

    const time = release === '3.5' ? { logDateTime: at } : { logDateTim: at }
    const { data } = await admin.ask('/log', { logId, ...time, fromLineNum: 1 })
    const part = data as { fromLineNum: number; toLineNum: number; logContent: string; isEnd: boolean }
    expect(part).toMatchObject({ fromLineNum: 1, isEnd: true })
    expect(part.logContent.split('\n')).toHaveLength(part.toLineNum + 1)
    expect(part.logContent).toMatch(/incremental \{/)
    expect(part.logContent).toMatch(/200: .*3 synced/)

    child.kill('SIGTERM')
    const ran = await gone
    expect(ran).toMatchObject({ code: 0, signal: null })
    expect(ran.json()).toMatchObject([
      { status: 'success', triggers: { accepted: 1, succeeded: 1, failed: 0 }, lost: 0, undelivered: 0 },
    ])
    expect(admin.registered.size).toBe(0)
    expect(admin.refused).toEqual([])
    expect(ran.out + ran.err).not.toContain(TOKEN)
  })
})

test('killed with -9 in the middle, the next one tells that it was lost, and the retry goes on', async () => {
  const { admin, up } = await house()
  const repoId = await registered()
  const child = await up()
  const { logId, code } = await admin.trigger({ params: `--repo git:${repoId}` })
  expect(code).toBe(200)
  await until('a first page', async () => (await stored(repoId)) > 0)
  child.kill('SIGKILL')
  await once(child, 'close')
  const before = await stored(repoId)
  expect(before).toBeLessThan(COMMITS)
  expect(admin.ends.has(logId)).toBe(false)

  await up(2_000)
  expect(await admin.end(logId)).toMatchObject({ code: 500, msg: expect.stringMatching(/^lost: /) })
  const retry = await admin.trigger({ params: `--repo git:${repoId}` })
  expect(await admin.end(retry.logId)).toMatchObject({ code: 200 })
  expect(await stored(repoId)).toBe(COMMITS)
  // Nothing that was stored was read again.
  const [pages] = await query<{ n: number }>(
    `select sum(record_count)::int as n from ing_task_run_batch b join ing_task_run r on r.id = b.run_id where r.repo_id = $1`,
    [repoId],
  )
  expect(pages?.n).toBe(COMMITS)
  expect([...admin.ends.values()].map((end) => end.repeats)).toEqual([0, 0])
})

test('a kill, a time limit, a later trigger and a stop each end a sync at the end of a page', async () => {
  const { admin, up } = await house()
  const repoId = await registered()
  const child = await up(4)
  const gone = ended(child)
  const begin = async (wish: { strategy?: string; timeout?: number } = {}) => {
    const before = await stored(repoId)
    const made = await admin.trigger({ params: `--repo git:${repoId}`, ...wish })
    expect(made.code).toBe(200)
    await until('a page', async () => (await stored(repoId)) > before)
    return made.logId
  }

  const killed = await begin()
  expect(await admin.ask('/idleBeat', { jobId: 7 })).toMatchObject({ code: 500 })
  expect(await admin.ask('/kill', { jobId: 7 })).toMatchObject({ code: 200 })
  expect(await admin.end(killed)).toMatchObject({ code: 500, msg: expect.stringMatching(/^killed/) })
  expect(await left(repoId)).toEqual([])
  expect((await stored(repoId)) % 4).toBe(0)

  const late = await begin({ timeout: 1 })
  expect(await admin.end(late)).toMatchObject({
    code: 502,
    msg: expect.stringMatching(/not done within 1 s/),
  })
  expect(await left(repoId)).toEqual([])

  const covered = await begin()
  const covering = await begin({ strategy: 'COVER_EARLY' })
  expect(await admin.end(covered)).toMatchObject({ code: 500, msg: expect.stringMatching(/Cover Early/) })
  expect(admin.ends.has(covering)).toBe(false)

  child.kill('SIGTERM')
  expect(await gone).toMatchObject({ code: 0 })
  expect(await admin.end(covering)).toMatchObject({
    code: 500,
    msg: expect.stringMatching(/executor was stopped/),
  })
  expect(await left(repoId)).toEqual([])
  const [job] = await query('select status from ing_task where repo_id = $1', [repoId])
  expect(job).toEqual({ status: 'pending' })
  expect(await stored(repoId)).toBeLessThan(COMMITS)
})

test('a file among the owed that is not ours is left and said once, and keeps nobody from ending', async () => {
  const { admin, port, data, up } = await house()
  const folder = join(data, 'executor', `engram-scm-${hostname()}-${port}`, 'owed')
  mkdirSync(folder, { recursive: true })
  const file = join(folder, '1-7.json')
  writeFileSync(file, '{"jobId":1,"logId":7,"logDateTime":1,"acceptedAt":1,"end":null}')
  const child = await up()
  const gone = ended(child)
  const { logId } = await admin.trigger({ handler: 'reaper' })
  expect(await admin.end(logId)).toMatchObject({ code: 200 })
  child.kill('SIGTERM')
  const ran = await gone
  expect(ran).toMatchObject({ code: 0, signal: null })
  expect(ran.err.match(/1-7\.json/g)).toHaveLength(1)
  expect(existsSync(file)).toBe(true)
})

test('refuses to start where it could not be reached, or by everybody', async () => {
  const admin = ['--admin', 'http://h/x']
  const cases: [args: string[], says: RegExp][] = [
    [[], /no XXL-Job admin is named/],
    [['--admin', 'xxl.example.com'], /not the address of an admin/],
    [['--admin', 'http://a:hunter2@h/x'], /not the address of an admin/],
    [[...admin, '--listen', '0.0.0.0:0'], /needs an access token/],
    [[...admin, '--listen', 'sync-1.example.com:9999'], /needs an access token/],
  ]
  const all = await runAll(
    cases.map(([args]) => ['executor', ...args, '--json']),
    { env: {} },
  )
  for (const [n, ran] of all.entries()) {
    expect(ran.code).toBe(2)
    expect(ran.json()).toMatchObject([
      { kind: 'config', error: expect.stringMatching(cases[n]?.[1] as RegExp) },
    ])
    expect(ran.out + ran.err).not.toContain('hunter2')
  }
  const env = { POSTGRES_DSN: db.dsn, SCM_EXECUTOR_ACCESS_TOKEN: TOKEN }
  const unnamed = await run(['executor', ...admin, '--listen', '0.0.0.0:0', '--json'], { env })
  expect(unnamed.json()).toMatchObject([
    { kind: 'config', error: expect.stringMatching(/under what address/) },
  ])
})
