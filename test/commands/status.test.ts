import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { createServer } from 'node:http'
import { connect } from 'node:net'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { openPool } from '../../src/core/db/connect.ts'
import { pulseOf } from '../../src/core/runtime/pulse.ts'
import { serve } from '../../src/shell/http.ts'
import { addressIn } from '../../src/shell/listen.ts'
import { ended, environment, NOWHERE, ROOT, run, start } from '../helpers/cli.ts'
import { admin, embeddedUrl, freshDatabase, type TestDatabase } from '../helpers/database.ts'
import { runHere } from '../helpers/one-process.ts'

let db: TestDatabase
const here = () => ({ env: { POSTGRES_DSN: db.dsn } })
beforeAll(async () => {
  db = await freshDatabase(embeddedUrl())
})
afterAll(() => db.drop())
beforeEach(() => db.pool.query('delete from logbook.kv; delete from scm.sync_locks'))

const warned = () =>
  db.pool.query(
    `insert into scm.sync_locks (repo_id, job_type, locked_by, fence, job_id) values (1, 'commits', 'w', 1, 1)`,
  )
async function critical(): Promise<() => Promise<unknown>> {
  await db.pool.query('alter table ing_task drop constraint uk_task_active')
  return () => db.pool.query('alter table ing_task add constraint uk_task_active unique (active_key)')
}

describe('status --health', () => {
  test('good is 0, a warning 1, something critical 2, each with a page on stdout', async () => {
    expect(await run(['status', '--health'], here())).toMatchObject({
      code: 0,
      out: 'healthy: 12 checks, nothing found\n',
    })
    await warned()
    expect(await run(['status', '--health'], here())).toMatchObject({
      code: 1,
      out: expect.stringMatching(
        /^healthy, with warnings: 1 of 12 .*\n\nwarning orphan_locks\n {2}1 locks .*\n {2}→ /,
      ),
    })
    const mend = await critical()
    try {
      const ran = await run(['status', '--health', '--include-details', '-q'], here())
      expect(ran).toMatchObject({ code: 2, err: '', out: expect.stringContaining('not healthy: 2 of 12') })
      expect(ran.out).toContain('name=uk_task_active')
      const json = await run(['status', '--health', '--json'], here())
      expect(json.code).toBe(2)
      expect(json.json()).toMatchObject([
        { healthy: false, failed_checks: 2, passed_checks: 10, exit_code: 2 },
      ])
    } finally {
      await mend()
    }
  })

  test('no database is 2 with one clear line', async () => {
    const ran = await run(['status', '--health'], { env: { POSTGRES_DSN: NOWHERE } })
    expect(ran).toMatchObject({ code: 2, out: '' })
    expect(ran.err).toMatch(/^error: .*ECONNREFUSED/m)
  })
})

test('status --prometheus is a page a scraper takes, whatever the secrets are', async () => {
  const env = { POSTGRES_DSN: db.dsn, SCM_GIT_PASSWORD: 'gauge' }
  const ran = await runHere(['status', '--prometheus'], { env })
  expect(ran.code).toBe(0)
  expect(ran.out).toMatch(
    /^# HELP scm_jobs_by_status .*\n# TYPE scm_jobs_by_status gauge\nscm_jobs_by_status\{status="pending"\} 0\n/,
  )
  expect(ran.out).toMatch(/[^\n]\n$/)
})

test.each([
  ['two formats', ['status', '--prometheus', '--json']],
  ['two questions', ['status', '--prometheus', '--health']],
  ['watching in JSON', ['status', '--watch', '--json']],
  ['watching the health', ['status', '--watch', '--health']],
  ['an interval of nothing', ['status', '--interval-seconds', '5']],
  ['details of nothing', ['status', '--include-details']],
  ['a grace of nothing', ['status', '--grace-seconds', '5']],
  ['watching without a terminal', ['status', '--watch']],
  ['listening for one pass', ['reaper', '--listen', '0']],
  ['listening for one scan', ['scheduler', '--once', '--listen', '0']],
  ['listening for one job', ['worker', '--once', '--listen', '0']],
  ['listening until nothing is due', ['worker', '--drain', '--listen', '0']],
  ['a port too high', ['worker', '--listen', '65536']],
  ['a port that is none', ['worker', '--listen', '127.0.0.1:http']],
  ['a path', ['worker', '--listen', '/tmp/socket']],
  ['an address of another machine', ['worker', '--listen', '192.0.2.1:9100']],
])('refused: %s', async (_what, args) => {
  const ran = await runHere(args, here())
  expect(ran.code, ran.out).toBe(2)
  expect(`${ran.out}${ran.err}`).toMatch(/error/)
})

test('a rest of more than a day is refused', async () => {
  const ran = await runHere(['status', '--watch', '--interval-seconds', '3000000'], here())
  expect(ran).toMatchObject({ code: 2, err: expect.stringMatching(/86400.*3000000/) })
})

const script = spawnSync('script', ['--version']).status === 0
describe.skipIf(!script)('status --watch on a terminal', () => {
  test('repaints in place, says so while the database is away, and Ctrl-C ends it with 0', async () => {
    const own = await freshDatabase(embeddedUrl())
    const name = new URL(own.dsn.replace(/^(\w+:\/\/)[^@/]*@?/, '$1x@h')).pathname.slice(1)
    const line = `stty rows 24 cols 100; exec ${process.execPath} ${join(ROOT, 'bin/engram-scm-status.js')} --watch --interval-seconds 1`
    const child = spawn('script', ['-qefc', line, '/dev/null'], {
      env: environment({ POSTGRES_DSN: own.dsn }),
    })
    let seen = ''
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      seen += text
    })
    const code = new Promise((resolve) => child.on('close', resolve))
    const until = async (holds: () => boolean) => {
      for (let n = 0; n < 1000 && !holds(); n++) await pause(20)
      if (!holds()) throw new Error(`never came: ${JSON.stringify(seen.slice(-600))}`)
    }
    try {
      // biome-ignore lint/suspicious/noControlCharactersInRegex: it is what a terminal is sent
      const pages = () => seen.match(/\u001b\[H[^\n]*every 1 s; Ctrl-C ends it/g)?.length ?? 0
      await until(() => pages() >= 2 && seen.includes('no repository is registered yet'))

      await admin(embeddedUrl(), `alter database ${name} allow_connections false`)
      await own.pool.query('select 1').catch(() => {})
      await admin(
        embeddedUrl(),
        `select pg_terminate_backend(pid) from pg_stat_activity where datname = '${name}'`,
      )
      await until(() => /error: .*(not currently accepting|terminat)/.test(seen))
      await admin(embeddedUrl(), `alter database ${name} allow_connections true`)
      seen = ''
      await until(() => seen.includes('no repository is registered yet'))
      child.stdin.write('\u0003')
      expect(await code).toBe(0)
    } finally {
      child.kill('SIGKILL')
      await admin(embeddedUrl(), `alter database ${name} allow_connections true`)
      await own.drop()
    }
  })
})

describe('--listen', () => {
  const LOOPS = [
    ['worker', ['worker']],
    ['scheduler', ['scheduler', '--loop', '--json']],
    ['reaper', ['reaper', '--loop', '--json']],
  ] as const

  async function listening(args: readonly string[], env: Record<string, string> = {}) {
    const child = start([...args, '--listen', '0'], { env: { POSTGRES_DSN: db.dsn, ...env } })
    const end = ended(child)
    const address = await new Promise<string>((resolve, reject) => {
      let err = ''
      child.stderr.on('data', (text: string) => {
        err += text
        const found = /"address":"(http:\/\/127\.0\.0\.1:\d+)"/.exec(err)?.[1]
        if (found) resolve(found)
      })
      child.on('close', () => reject(new Error(err)))
    })
    const stop = async () => {
      child.kill('SIGTERM')
      return end
    }
    return { child, address, port: Number(new URL(address).port), stop }
  }
  const get = async (url: string, init: RequestInit = {}) => {
    const response = await fetch(url, init)
    return { status: response.status, text: await response.text(), headers: response.headers }
  }

  test.each(LOOPS)('%s: metrics, liveness and readiness, until SIGTERM', async (_name, args) => {
    const { address, stop } = await listening(args)
    const metrics = await get(`${address}/metrics`)
    expect(metrics.status).toBe(200)
    expect(metrics.headers.get('content-type')).toBe('text/plain; version=0.0.4; charset=utf-8')
    expect(metrics.text).toContain('\nscm_jobs_by_status{status="dead"} 0\n')
    expect(await get(`${address}/healthz`)).toMatchObject({ status: 200, text: 'ok\n' })
    expect(await get(`${address}/readyz?x=1`)).toMatchObject({ status: 200, text: 'ok\n' })
    expect(await get(`${address}/metrics`, { method: 'HEAD' })).toMatchObject({ status: 200, text: '' })
    expect((await stop()).code).toBe(0)
    await expect(fetch(`${address}/healthz`)).rejects.toThrow()
  })

  test('nobody gets more than an answer: other verbs, other paths, half requests, large headers', async () => {
    const { address, port, stop } = await listening(['worker'])
    const EVIL = '%3Cscript%3E'
    expect(await get(`${address}/metrics`, { method: 'POST', body: 'x' })).toMatchObject({ status: 405 })
    const lost = await get(`${address}/${EVIL}`, { headers: { 'x-evil': EVIL } })
    expect(lost.status).toBe(404)
    expect(lost.text + JSON.stringify([...lost.headers])).not.toContain('script')
    expect(lost.headers.get('connection')).toBe('close')

    const raw = (text: string) =>
      new Promise<string>((resolve) => {
        let got = ''
        const socket = connect(port, '127.0.0.1', () => socket.write(text))
        socket.on('data', (part) => {
          got += part
        })
        socket.on('error', () => {})
        socket.on('close', () => resolve(got))
      })
    expect(await raw(`GET / HTTP/1.1\r\nhost: x\r\na: ${'b'.repeat(10_000)}\r\n\r\n`)).toMatch(
      /^HTTP\/1.1 431/,
    )
    expect(await raw('\u0000\u0001 nonsense\r\n\r\n')).toMatch(/^HTTP\/1.1 400/)
    // Both are closed by the server: one that never ends its request, and one that never begins.
    const ends = await Promise.all([raw('GET /metrics HTTP/1.1\r\nhost: x\r\n'), raw('')])
    expect(ends[0]).toMatch(/^(HTTP\/1.1 408|$)/)
    expect((await get(`${address}/healthz`)).status).toBe(200)
    expect((await stop()).code).toBe(0)
  })

  test('fifty scrapes at once take no connection from the work, and a stuck visitor does not hold the end up', async () => {
    const { address, port, child, stop } = await listening(['worker'])
    const stuck = connect(port, '127.0.0.1')
    stuck.on('error', () => {})
    const codes = await Promise.all(
      Array.from({ length: 50 }, () =>
        get(`${address}/metrics`).then(
          (r) => r.status,
          () => 0,
        ),
      ),
    )
    expect(codes.filter((code) => code === 200).length).toBe(50)
    const { rows } = await db.pool.query(
      `select count(*)::int as n from pg_stat_activity where datname = current_database() and application_name = 'engram-scm'`,
    )
    expect(rows[0].n).toBeLessThanOrEqual(3 + 2) // the visitors' three, the worker's claim and its ear
    expect(child.exitCode).toBeNull()
    expect((await stop()).code).toBe(0)
    stuck.destroy()
  })

  test('without its database it lives but is not ready', async () => {
    const own = await freshDatabase(embeddedUrl())
    const { address, stop } = await listening(['worker'], { POSTGRES_DSN: own.dsn })
    await own.drop()
    expect((await get(`${address}/readyz`)).status).toBe(503)
    expect(await get(`${address}/metrics`)).toMatchObject({
      status: 503,
      text: 'the database does not answer\n',
    })
    expect((await get(`${address}/healthz`)).status).toBe(200)
    expect((await stop()).code).toBe(0)
  })

  test('a port in use is refused, with what to do', async () => {
    const server = createServer().listen(0, '127.0.0.1')
    await new Promise((resolve) => server.once('listening', resolve))
    const { port } = server.address() as { port: number }
    const ran = await run(['worker', '--listen', `:${port}`], here())
    server.close()
    expect(ran).toMatchObject({ code: 2, out: '' })
    expect(ran.err).toContain(
      `error: another process listens on 127.0.0.1:${port}\n  → give --listen another port`,
    )
  })
})

describe('the server', () => {
  test('a loop that stands still is not alive, and what cannot be read is not said', async () => {
    const { address, close } = await serve(
      { host: '127.0.0.1', port: 0 },
      {
        alive: () => false,
        ready: async () => false,
        metrics: () => Promise.reject(new Error('password=hunter2')),
      },
    )
    const answers = await Promise.all(
      ['healthz', 'readyz', 'metrics'].map(async (path) => {
        const response = await fetch(`${address}/${path}`)
        return `${response.status} ${await response.text()}`
      }),
    )
    close()
    const away = '503 the database does not answer\n'
    expect(answers).toEqual(['503 the loop stands still\n', away, away])
  })

  test('those who ask while a reading is under way share it; who asks later gets a new one', async () => {
    let readings = 0
    const metrics = async () => {
      readings += 1
      await pause(300)
      return 'x'
    }
    const { address, close } = await serve(
      { host: '127.0.0.1', port: 0 },
      { alive: () => true, ready: async () => true, metrics },
    )
    await Promise.all(Array.from({ length: 20 }, () => fetch(`${address}/metrics`)))
    expect(readings).toBe(1)
    await fetch(`${address}/metrics`)
    expect(readings).toBe(2)
    close()
  })

  test.each([
    ['9100', '127.0.0.1', 9100],
    [':9100', '127.0.0.1', 9100],
    ['0', '127.0.0.1', 0],
    ['0.0.0.0:9100', '0.0.0.0', 9100],
    ['[::1]:9100', '::1', 9100],
    ['localhost:9100', 'localhost', 9100],
  ])('%s is an address', (text, host, port) => expect(addressIn(text)).toEqual({ host, port }))

  test('the pulse beats with every asking, also one that is refused, and with nothing else', async () => {
    const pool = openPool({ dsn: NOWHERE, max: 1, applicationName: 'test', statementTimeoutMs: 1_000 })
    const sinceTurn = pulseOf(pool)
    await pause(200)
    expect(sinceTurn()).toBeGreaterThan(0.15)
    const asked = pool.query('select 1').catch(() => {})
    expect(sinceTurn()).toBeLessThan(0.15)
    await asked
    await pool.end()
  })
})

const hasPromtool = spawnSync('promtool', ['--version']).status === 0
test.skipIf(!hasPromtool)(
  `promtool agrees${hasPromtool ? '' : ' (skipped: it is not installed)'}`,
  async () => {
    const { out } = await run(['status', '--prometheus'], here())
    execFileSync('promtool', ['check', 'metrics'], { input: out, stdio: 'pipe' })
  },
)
