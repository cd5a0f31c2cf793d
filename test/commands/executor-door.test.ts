import { mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { request } from 'node:http'
import { hostname } from 'node:os'
import { join } from 'node:path'
import type pg from 'pg'
import { afterAll, describe, expect, test } from 'vitest'
import { wordsIn } from '../../src/shell/executor/params.ts'
import { serveExecutor } from '../../src/shell/executor/serve-executor.ts'
import { contextOn } from '../helpers/context.ts'
import { tempFolder } from '../helpers/git-repo.ts'
import { freePort, openAdmin, type Release, until, type XxlAdmin } from '../helpers/xxl-admin.ts'

/** What is refused needs no database, and gets none. */
const NO_DATABASE = {} as pg.Pool
const TOKEN = 'right'

const ends: (() => Promise<unknown>)[] = []
afterAll(async () => {
  for (const end of ends) await end()
})

async function opened(o: { release?: Release; token?: string; protocol?: string } = {}): Promise<XxlAdmin> {
  const admin = await openAdmin(o)
  const stopping = new AbortController()
  const ctx = contextOn(NO_DATABASE, {
    signal: stopping.signal,
    settings: {
      'storage.data_dir': tempFolder(),
      'scm.executor.admin_addresses': [admin.url],
      'scm.executor.listen': `127.0.0.1:${await freePort()}`,
      ...(o.token ? { 'scm.executor.access_token': o.token } : {}),
      ...(o.protocol ? { 'scm.executor.protocol': o.protocol } : {}),
    },
  })
  const served = serveExecutor(ctx, () => {})
  await admin.executor()
  ends.push(async () => {
    stopping.abort()
    await served
    await admin.close()
  })
  return admin
}

const WRONG = /token is wrong|accessToken or appname/

describe.each<Release>(['2.2', '3.4', '3.5'])('the token, XXL-Job %s', (release) => {
  test.each(['/beat', '/idleBeat', release === '3.5' ? '/trigger' : '/run', '/kill', '/log', '/none'])(
    '%s',
    async (path) => {
      const admin = await shared(release)
      for (const said of ['', 'wrong', `${TOKEN}x`, TOKEN.slice(1)])
        expect(await admin.ask(path, { jobId: 1 }, { 'XXL-JOB-ACCESS-TOKEN': said })).toMatchObject({
          code: 500,
          msg: expect.stringMatching(WRONG),
        })
      const right = await admin.ask(path, { jobId: 1 })
      expect(right.msg ?? '').not.toMatch(WRONG)
    },
  )
})

const houses = new Map<Release, Promise<XxlAdmin>>()
function shared(release: Release): Promise<XxlAdmin> {
  const house = houses.get(release) ?? opened({ release, token: TOKEN })
  houses.set(release, house)
  return house
}

test('3.5 names the executor too: another name is refused, and so is none', async () => {
  const admin = await shared('3.5')
  const ask = (name: string) => admin.ask('/trigger', { jobId: 1 }, { 'XXL-JOB-APPNAME': name })
  expect(await ask('another')).toMatchObject({ code: 500, msg: expect.stringMatching(WRONG) })
  const bare = await shared('3.4') // sends no name
  expect(await bare.ask('/trigger', { jobId: 1 })).toMatchObject({
    code: 500,
    msg: expect.stringMatching(WRONG),
  })
})

test('a page in a browser cannot trigger anything on this machine', async () => {
  const admin = await opened()
  expect(await admin.ask('/beat', '', { Origin: 'http://evil.example.com' })).toMatchObject({ code: 500 })
  expect(await admin.ask('/beat', '')).toMatchObject({ code: 200 })
})

describe('bodies', () => {
  const good = {
    jobId: 1,
    logId: 5,
    logDateTime: 1_700_000_000_000,
    executorHandler: 'scheduler',
    glueType: 'BEAN',
  }

  test.each<[why: string, body: unknown, says: RegExp]>([
    ['nothing', '', /not JSON/],
    ['half', '{"jobId": 1', /not JSON/],
    ['a list', [good], /not a JSON object/],
    ['null', null, /not a JSON object/],
    ['a job in words', { ...good, jobId: '1' }, /jobId/],
    ['half a job', { ...good, jobId: 1.5 }, /jobId/],
    ['no log', { ...good, logId: undefined }, /logId/],
    ['a log no number holds', { ...good, logId: 2 ** 53 }, /logId/],
    ['a time beyond time', { ...good, logDateTime: 9e15 }, /logDateTime/],
    ['parameters in a list', { ...good, executorParams: ['--all'] }, /executorParams/],
    ['a long time limit', { ...good, executorTimeout: 1e9 }, /executorTimeout/],
    ['shard 2 of 2', { ...good, broadcastIndex: 2, broadcastTotal: 2 }, /broadcastIndex/],
    ['a script', { ...good, glueType: 'GLUE_SHELL', glueSource: 'rm -rf /' }, /runs no scripts/],
    ['no handler', { ...good, executorHandler: undefined }, /job handler \[\] not found/],
    ['another handler', { ...good, executorHandler: 'demoJobHandler' }, /not found.*incremental/s],
    ['no repository', { ...good, executorHandler: 'incremental' }, /name no repository/],
    ['a flag misspelt', incremental('--repoo git:1'), /repoo is not known.*did you mean repo\?/s],
    ['a key misspelt', incremental('{"repo":"git:1","jobs":"mrs"}'), /jobs is not known.*mean job\?/s],
    ['a word too many', incremental('git:1'), /git:1/],
    ['broken JSON', incremental('{"repo":'), /begins like JSON/],
    ['an open quote', incremental('--repo "git:1'), /quote/],
    ['a value that is none', incremental('--repo git:1 --job wiki'), /--job/],
    ['an object as value', incremental('{"repo":{"a":1}}'), /neither a text nor a number/],
    ['what contradicts itself', incremental('--repo git:1 --all'), /--all|--repo/],
    ['a repository without a kind', incremental('--repo nonsense'), /not of the form <kind>:<id>/],
    ['the second without a kind', verify('--repo git:1 --repo nonsense'), /not of the form <kind>:<id>/],
    ['a time that is none', backfill('--repo git:1 --since yesterday'), /--since "yesterday" is not a time/],
    ['an end that is none', backfill('--all --until 2025-02-30'), /--until "2025-02-30" is not a time/],
    [
      'an end before its beginning',
      backfill('--repo git:1 --since 2025-02-01 --until 2025-01-01'),
      /is not before --until/,
    ],
    [
      'an end that is its beginning',
      backfill('--all --since 2025-02-01 --until 2025-02-01'),
      /is not before/,
    ],
    [
      'a last revision before the first',
      backfill('--repo svn:1 --start-rev 9 --end-rev 8'),
      /--start-rev 9 is after --end-rev 8/,
    ],
    ['the same of all', backfill('--all --start-rev 9 --end-rev 8'), /--start-rev 9 is after --end-rev 8/],
    ['revisions of git', backfill('--repo git:1 --start-rev 9'), /git has no revisions/],
  ])('%s is refused', async (_why, body, says) => {
    const admin = await shared('3.4')
    const said = await admin.ask('/run', body)
    expect(said).toMatchObject({ code: 500, msg: expect.stringMatching(says) })
    expect(admin.ends.size).toBe(0)
  })

  function incremental(executorParams: string) {
    return { ...good, executorHandler: 'incremental', executorParams }
  }
  function verify(executorParams: string) {
    return { ...good, executorHandler: 'verify', executorParams }
  }
  function backfill(executorParams: string) {
    return { ...good, executorHandler: 'backfill', executorParams }
  }

  test('five megabytes and one byte', async () => {
    const admin = await shared('3.4')
    const body = (bytes: number) => `{"jobId": 1, "x": "${'x'.repeat(bytes - 19)}"}`
    expect(await admin.ask('/idleBeat', body(5 * 1024 * 1024 - 10))).toMatchObject({ code: 200 })
    expect(await admin.ask('/idleBeat', body(5 * 1024 * 1024 + 64))).toMatchObject({
      code: 500,
      msg: expect.stringMatching(/longer than 5242880/),
    })
    expect((await admin.ask('/idleBeat', body(12 * 1024 * 1024))).code).toBe(500)
  })

  test('only POST', async () => {
    const address = await (await shared('3.4')).executor()
    const said = await (await fetch(new URL('/beat', address))).json()
    expect(said).toMatchObject({ code: 500, msg: expect.stringMatching(/HttpMethod/) })
  })

  test('a client that leaves in the middle of a body harms nobody', async () => {
    const admin = await shared('3.4')
    const asking = request(new URL('/run', await admin.executor()), {
      method: 'POST',
      headers: { 'content-length': 1000, 'xxl-job-access-token': TOKEN },
    })
    asking.on('error', () => {})
    await new Promise((resolve) => asking.write('{"jobId"', resolve))
    asking.destroy()
    expect(await admin.ask('/beat', '')).toMatchObject({ code: 200 })
  })
})

test('a trigger sent twice is accepted twice and runs once; its failure is told in one short line', async () => {
  const admin = await shared('3.4')
  const first = await admin.trigger({ handler: 'scheduler' })
  const again = await admin.trigger({ handler: 'scheduler', logId: first.logId, at: first.at })
  expect([first.code, again.code]).toEqual([200, 200])
  expect(again.msg).toMatch(/accepted before/)
  // There is no database.
  const end = await admin.end(first.logId)
  expect(end).toMatchObject({ code: 500, repeats: 0, msg: expect.stringMatching(/^error: /) })
  await until('nothing owed', () => admin.calls.at(-1)?.path.endsWith('/callback'))
  expect((await admin.trigger({ handler: 'scheduler', logId: first.logId, at: first.at })).code).toBe(200)
  expect(admin.ends.get(first.logId)?.repeats).toBe(0)
})

test('a password in an address is shown in no log and no callback', async () => {
  const admin = await shared('3.4')
  const params = '--repo git:https://user:hunter2@git.example.com/x.git'
  const { logId, at } = await admin.trigger({ params })
  const { msg } = await admin.end(logId)
  const { data } = await admin.ask('/log', { logId, logDateTim: at, fromLineNum: 1 })
  expect(JSON.stringify(data)).toContain('git.example.com')
  expect(msg + JSON.stringify(data)).not.toContain('hunter2')
})

test('where nothing can be kept it does not start, and leaves the port', async () => {
  const [port, folder] = [await freePort(), tempFolder()]
  writeFileSync(join(folder, 'executor'), 'no folder')
  const ctx = contextOn(NO_DATABASE, {
    settings: {
      'storage.data_dir': folder,
      'scm.executor.admin_addresses': ['http://127.0.0.1:1/x'],
      'scm.executor.listen': `127.0.0.1:${port}`,
    },
  })
  for (let times = 0; times < 2; times++)
    await expect(serveExecutor(ctx, () => {})).rejects.toMatchObject({
      kind: 'config',
      message: expect.stringMatching(/cannot be kept/),
    })
})

test('where logs can neither be removed nor begun it starts, refuses triggers and owes nothing', async () => {
  const [admin, port, data] = [await openAdmin(), await freePort(), tempFolder()]
  const folder = join(data, 'executor', `engram-scm-${hostname()}-${port}`)
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, 'log'), 'no folder')
  const stopping = new AbortController()
  const ctx = contextOn(NO_DATABASE, {
    signal: stopping.signal,
    settings: {
      'storage.data_dir': data,
      'scm.executor.admin_addresses': [admin.url],
      'scm.executor.listen': `127.0.0.1:${port}`,
    },
  })
  const served = serveExecutor(ctx, () => {})
  const said = await Promise.race([admin.trigger({ handler: 'reaper' }), served])
  expect(said).toMatchObject({ code: 500, msg: expect.stringMatching(/ENOTDIR|EEXIST/) })
  expect(readdirSync(join(folder, 'owed'))).toEqual([])
  stopping.abort()
  expect(await served).toMatchObject({ undelivered: 0 })
  await admin.close()
})

test('the log of what never was ends at once', async () => {
  const admin = await shared('2.2')
  const { code, data } = await admin.ask('/log', { logId: 99, logDateTim: Date.now(), fromLineNum: 1 })
  expect({ code, data }).toMatchObject({ code: 200, data: { fromLineNum: 1, toLineNum: 0, isEnd: true } })
})

describe('the form of a callback', () => {
  test.each<[path: string, protocol: string, reader: Release]>([
    ['/run', 'auto', '2.2'],
    ['/run', 'auto', '3.4'],
    ['/trigger', 'auto', '3.5'],
    ['/trigger', '3.4', '3.4'],
    ['/run', '3.5', '3.5'],
  ])('%s, protocol %s: what %s reads', async (path, protocol, release) => {
    const admin = await opened({ release, token: TOKEN, protocol })
    const body = { jobId: 3, logId: 77, logDateTime: Date.now(), executorHandler: 'reaper', glueType: 'BEAN' }
    const named = { 'XXL-JOB-APPNAME': 'engram-scm' }
    expect(await admin.ask(path, body, named)).toMatchObject({ code: 200 })
    expect(await admin.end(77)).toMatchObject({ code: 500, repeats: 0 })
    expect(admin.refused).toEqual([])
  })
})

test.each<[string, string[]]>([
  ['', []],
  ['--repo gitlab:123   --job mrs', ['--repo', 'gitlab:123', '--job', 'mrs']],
  [`--repo 'git:/srv/my project' --job=mrs`, ['--repo', 'git:/srv/my project', '--job=mrs']],
  [`--repo="git:/a \\"b\\" \\\\" x\\ y`, ['--repo=git:/a "b" \\', 'x y']],
  ['--repo $(reboot) `x` ; rm -rf / > y', ['--repo', '$(reboot)', '`x`', ';', 'rm', '-rf', '/', '>', 'y']],
  [`''`, ['']],
  ['--repo git:1\n--job mrs', ['--repo', 'git:1', '--job', 'mrs']],
])('words of %j', (text, words) => {
  expect(wordsIn(text)).toEqual(words)
})
