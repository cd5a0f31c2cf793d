import { type StdioOptions, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, open, readdir, readFile, readlink, rm, stat, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Client } from 'pg'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { placeOf } from '../../../src/core/embedded/place.ts'
import { clearStaleLocks } from '../../../src/core/embedded/postmaster.ts'
import { isPostgresOf, orphansOf } from '../../../src/core/embedded/process.ts'
import { ensureServer, findServer, stopServer } from '../../../src/core/embedded/server.ts'
import { base, bundle, clearPlaces, IS_ROOT, startElsewhere, starter, tempFolder } from './place.ts'

const LINUX = process.platform === 'linux'

let program: string
/** One cluster that the tests start, kill and stop in turn; cold starts take a folder of their own. */
let warm: string

beforeAll(async () => {
  const folder = await tempFolder()
  program = await bundle(folder)
  warm = base(folder)
})
afterEach(async () => {
  await stopServer({ baseDir: warm })
})
afterAll(clearPlaces)

async function select(dsn: string, sql: string): Promise<Record<string, unknown>> {
  const client = new Client({ connectionString: dsn })
  await client.connect()
  const { rows } = await client.query<Record<string, unknown>>(sql)
  await client.end()
  return rows[0] ?? {}
}

describe('a server of our own', () => {
  it('a cold folder becomes a server with an empty UTF8 database, and the next call attaches', async () => {
    expect(await findServer({ baseDir: warm })).toBeNull()
    const said: string[] = []
    const server = await ensureServer({ baseDir: warm, say: (what) => said.push(what) })
    expect(server).toMatchObject({ started: true, version: expect.stringMatching(/^17\./) })
    expect(said).toHaveLength(2)
    expect(await select(server.dsn, 'SELECT current_database() AS db, current_user AS who')).toEqual({
      db: 'engram',
      who: 'engram',
    })
    expect(
      await select(
        server.dsn,
        `SELECT current_setting('server_encoding') AS encoding, current_setting('fsync') AS fsync,
                current_setting('data_checksums') AS checksums, current_setting('max_wal_size') AS wal,
                current_setting('jit') AS jit, current_setting('TimeZone') AS zone`,
      ),
    ).toEqual({ encoding: 'UTF8', fsync: 'on', checksums: 'on', wal: '4GB', jit: 'off', zone: 'UTC' })

    expect(await ensureServer({ baseDir: warm })).toEqual({ ...server, started: false })
    expect(await findServer({ baseDir: warm })).toEqual({ ...server, started: false })
  })

  it('a stopped server is gone, and stopping it again says so', async () => {
    const { pid } = await ensureServer({ baseDir: warm })
    expect(await stopServer({ baseDir: warm })).toBe(true)
    expect(() => process.kill(pid, 0)).toThrow()
    expect(await findServer({ baseDir: warm })).toBeNull()
    expect(await stopServer({ baseDir: warm })).toBe(false)
  })

  it('a database that was dropped is made again', async () => {
    const { dsn } = await ensureServer({ baseDir: warm })
    await select(dsn.replace('/engram?', '/postgres?'), 'DROP DATABASE engram')
    await ensureServer({ baseDir: warm })
    expect(await select(dsn, 'SELECT current_database() AS db')).toEqual({ db: 'engram' })
  })

  it('only its user can reach it: a private socket, a private log, no port', async () => {
    const server = await ensureServer({ baseDir: warm })
    expect((await stat(server.socketDir)).mode & 0o777).toBe(0o700)
    expect((await stat(join(server.socketDir, '.s.PGSQL.5432'))).mode & 0o777).toBe(0o700)
    expect((await stat(server.logFile)).mode & 0o777).toBe(0o600)
    expect(await select(server.dsn, 'SHOW listen_addresses')).toEqual({ listen_addresses: '' })
    if (LINUX) expect(await tcpSockets(server.pid)).toEqual([])
  })

  it.runIf(LINUX)('it has a session of its own and nothing of our environment', async () => {
    process.env.CANARY_TOKEN = 'canary'
    const { pid } = await ensureServer({ baseDir: warm })
    delete process.env.CANARY_TOKEN
    const environment = (await readFile(`/proc/${pid}/environ`, 'utf8')).split('\0').filter(Boolean)
    expect(environment.map((one) => one.split('=')[0])).toEqual(['PATH', 'TZ'])
    const [, , , session] = (await readFile(`/proc/${pid}/stat`, 'utf8')).split(') ')[1]!.split(' ')
    expect(Number(session)).toBe(pid)
    expect(await readlink(`/proc/${pid}/fd/0`)).toBe('/dev/null')
    expect(await readlink(`/proc/${pid}/fd/2`)).toBe(join(warm, 'postgres.log'))
  })

  it.runIf(LINUX && IS_ROOT)('root hands it to postgres, else to nobody', async () => {
    const { pid, dataDir } = await ensureServer({ baseDir: warm })
    const passwd = await readFile('/etc/passwd', 'utf8')
    const uid = Number(/^postgres:[^:]*:(\d+)/m.exec(passwd)?.[1] ?? 65534)
    expect(await readFile(`/proc/${pid}/status`, 'utf8')).toContain(`Uid:\t${uid}\t${uid}`)
    expect((await stat(dataDir)).uid).toBe(uid)
  })

  it('a log above 16 MB makes room at the next start', async () => {
    await writeFile(join(warm, 'postgres.log'), Buffer.alloc(17 * 1024 * 1024))
    const { logFile } = await ensureServer({ baseDir: warm })
    expect((await stat(logFile)).size).toBeLessThan(64 * 1024)
    expect((await stat(`${logFile}.1`)).size).toBe(17 * 1024 * 1024)
  })
})

describe('several processes', () => {
  async function race(baseDir: string) {
    const ran = await Promise.all(Array.from({ length: 6 }, () => startElsewhere(program, baseDir)))
    expect(ran.filter((one) => one.kind !== undefined)).toEqual([])
    expect(new Set(ran.map((one) => one.pid)).size).toBe(1)
    expect(ran.filter((one) => one.started)).toHaveLength(1)
  }

  it('six on a cold folder get one server', async () => {
    const cold = base(await tempFolder())
    await race(cold)
    expect((await readdir(cold)).sort()).toEqual(['data', 'postgres.log', 'run'])
  })

  it('six on a stopped one get one server', async () => {
    await race(warm)
  })

  it.runIf(LINUX)(
    'six after a crash, with the number of the dead given to somebody else, get one server',
    async () => {
      const other = await leaveLocksTo(warm)
      await race(warm)
      other.kill()
    },
  )
})

describe('a starter that is killed', () => {
  it.each([60, 250, 450, 650])('after %i ms leaves something the next can finish', async (ms) => {
    const cold = base(await tempFolder())
    const child = starter(program, cold)
    await sleep(ms)
    child.kill('SIGKILL')
    await once(child, 'close')
    const { dsn } = await ensureServer({ baseDir: cold })
    expect(await select(dsn, 'SELECT 1 AS one')).toEqual({ one: 1 })
    await stopServer({ baseDir: cold })
  })

  it('leaves its server to the others', async () => {
    const child = starter(program, warm, { stay: true })
    const [line] = (await once(child.stdout, 'data')) as [Buffer]
    child.kill('SIGKILL')
    await once(child, 'close')
    const { pid } = JSON.parse(String(line)) as { pid: number }
    expect(await ensureServer({ baseDir: warm })).toMatchObject({ pid, started: false })
  })

  it.runIf(LINUX)(
    'and held a lock for it, as cron does with flock, does not leave the lock to the server',
    async () => {
      const lock = await open(join(warm, 'cron.lock'), 'w')
      const stdio = Array.from({ length: 201 }, (_, fd) => (fd === 200 ? lock.fd : 'ignore'))
      const child = spawn(process.execPath, [program, warm], { stdio: stdio as StdioOptions })
      await once(child, 'close')
      await lock.close()
      const { pid } = (await findServer({ baseDir: warm }))!
      expect((await descriptors(pid)).filter((target) => target.endsWith('cron.lock'))).toEqual([])
    },
  )

  it('during initdb leaves a folder that the next start removes', async () => {
    const cold = base(await tempFolder())
    const dead = spawn('true')
    await once(dead, 'close')
    await mkdir(join(cold, `data.${dead.pid}.0badcafe`, 'base'), { recursive: true })
    await mkdir(join(cold, `data.${process.pid}.0badcafe`), { recursive: true })
    await ensureServer({ baseDir: cold })
    expect((await readdir(cold)).filter((name) => name.startsWith('data.'))).toEqual([
      `data.${process.pid}.0badcafe`,
    ])
  })
})

describe.runIf(LINUX)('a postmaster that is killed', () => {
  it('and still a zombie is replaced', async () => {
    const child = starter(program, warm, { stay: true })
    const [line] = (await once(child.stdout, 'data')) as [Buffer]
    const { pid } = JSON.parse(String(line)) as { pid: number }
    child.kill('SIGSTOP') // a parent that does not reap
    process.kill(pid, 'SIGKILL')
    await sleep(50)
    expect(await readFile(`/proc/${pid}/status`, 'utf8')).toContain('State:\tZ')
    expect(process.kill(pid, 0)).toBe(true)

    const server = await ensureServer({ baseDir: warm })
    expect(server.pid).not.toBe(pid)
    expect(server.started).toBe(true)
    child.kill('SIGKILL')
  })

  it('and whose number was given to somebody else is replaced', async () => {
    const other = await leaveLocksTo(warm)
    expect(await findServer({ baseDir: warm })).toBeNull()
    expect(await stopServer({ baseDir: warm })).toBe(false)
    expect((await ensureServer({ baseDir: warm })).started).toBe(true)
    expect(other.exitCode).toBeNull()
    other.kill()
  })

  it('and whose session is still at work is replaced, and the session ended', async () => {
    const { dsn, pid } = await ensureServer({ baseDir: warm })
    const client = new Client({ connectionString: dsn })
    client.on('error', () => {})
    await client.connect()
    const { rows } = await client.query<{ pid: number }>('SELECT pg_backend_pid() AS pid')
    const work = client.query('SELECT count(*) FROM generate_series(1, 10000000000)').catch(() => {})
    await sleep(50)
    process.kill(pid, 'SIGKILL')
    await sleep(50)
    expect(await isPostgresOf(join(warm, 'data'), rows[0]!.pid)).toBe(true)

    expect((await ensureServer({ baseDir: warm })).started).toBe(true)
    expect(await isPostgresOf(join(warm, 'data'), rows[0]!.pid)).toBe(false)
    await work
    await client.end().catch(() => {})
  })

  it('a crash in the middle of the lock file leaves an empty one, which is replaced once it is old', async () => {
    await ensureServer({ baseDir: warm })
    await stopServer({ baseDir: warm })
    const file = join(warm, 'data', 'postmaster.pid')
    await writeFile(file, '')
    await utimes(file, 0, 0)
    expect((await ensureServer({ baseDir: warm })).started).toBe(true)
  })
})

describe('a live server', () => {
  it('keeps its lock files, whoever looks', async () => {
    const server = await ensureServer({ baseDir: warm })
    const files = [join(server.dataDir, 'postmaster.pid'), join(server.socketDir, '.s.PGSQL.5432.lock')]
    const before = await Promise.all(files.map((file) => stat(file)))
    await clearStaleLocks(await placeOf(warm), server.socketDir)
    const after = await Promise.all(files.map((file) => stat(file)))
    expect(after.map((file) => file.ino)).toEqual(before.map((file) => file.ino))
  })

  it('is not taken for what a dead one left', async () => {
    const { dataDir } = await ensureServer({ baseDir: warm })
    expect(await orphansOf(dataDir)).toEqual([])
  })

  it('is told from others by /proc and, where there is none, by ps', async () => {
    const { pid, dataDir } = await ensureServer({ baseDir: warm })
    const elsewhere = await tempFolder()
    expect(await isPostgresOf(dataDir, pid)).toBe(true)
    expect(await isPostgresOf(dataDir, pid, false)).toBe(true)
    expect(await isPostgresOf(dataDir, process.pid)).toBe(false)
    expect(await isPostgresOf(dataDir, process.pid, false)).toBe(false)
    if (LINUX) expect(await isPostgresOf(elsewhere, pid)).toBe(false)
  })

  it('that is just starting is waited for', async () => {
    await ensureServer({ baseDir: warm })
    await stopServer({ baseDir: warm })
    const [one, two] = await Promise.all([ensureServer({ baseDir: warm }), ensureServer({ baseDir: warm })])
    expect(one.pid).toBe(two.pid)
  })

  it.runIf(LINUX)('out of sight, as in another container, is attached to and not stopped', async () => {
    const { pid } = await ensureServer({ baseDir: warm })
    const file = join(warm, 'data', 'postmaster.pid')
    const text = await readFile(file, 'utf8')
    await writeFile(file, text.replace(/^\d+/, String(process.pid)))
    expect((await ensureServer({ baseDir: warm })).started).toBe(false)
    await expect(stopServer({ baseDir: warm })).rejects.toMatchObject({ kind: 'config' })
    await writeFile(file, text)
    expect((await findServer({ baseDir: warm }))?.pid).toBe(pid)
  })
})

/** Crashes the server and gives its number, as far as the lock files say, to a process of the same account. */
async function leaveLocksTo(baseDir: string) {
  const server = await ensureServer({ baseDir })
  const { uid, gid } = await stat(server.dataDir)
  const other = spawn('sleep', ['60'], { cwd: '/', ...(IS_ROOT ? { uid, gid } : {}) })
  await once(other, 'spawn')
  const files = [join(server.dataDir, 'postmaster.pid'), join(server.socketDir, '.s.PGSQL.5432.lock')]
  const texts = await Promise.all(files.map((file) => readFile(file, 'utf8')))
  process.kill(server.pid, 'SIGKILL')
  while (await isPostgresOf(server.dataDir, server.pid)) await sleep(5)
  for (const [index, file] of files.entries()) {
    await rm(file, { force: true })
    await writeFile(file, texts[index]!.replace(/^\d+/, String(other.pid)), { mode: 0o600 })
  }
  return other
}

/** The sockets of `pid` that the kernel lists as TCP. */
async function tcpSockets(pid: number): Promise<string[]> {
  const tables = await Promise.all(
    ['tcp', 'tcp6'].map((name) => readFile(`/proc/net/${name}`, 'utf8').catch(() => '')),
  )
  const inodes = new Set(
    tables
      .join('\n')
      .split('\n')
      .map((line) => line.trim().split(/\s+/)[9]),
  )
  return (await descriptors(pid)).filter((target) =>
    inodes.has(/^socket:\[(\d+)\]$/.exec(target)?.[1] ?? 'none'),
  )
}

async function descriptors(pid: number): Promise<string[]> {
  const folder = `/proc/${pid}/fd`
  return Promise.all((await readdir(folder)).map((fd) => readlink(join(folder, fd)).catch(() => '')))
}
