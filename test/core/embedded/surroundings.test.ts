import { execFileSync, spawnSync } from 'node:child_process'
import {
  chmod,
  chown,
  lchown,
  lstat,
  mkdir,
  readdir,
  readFile,
  rm,
  stat,
  symlink,
  writeFile,
} from 'node:fs/promises'
import { join } from 'node:path'
import { Client } from 'pg'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { makeSocketDir } from '../../../src/core/embedded/folder.ts'
import { chooseOwner } from '../../../src/core/embedded/owner.ts'
import { placeOf } from '../../../src/core/embedded/place.ts'
import { ensureServer, findServer, stopServer } from '../../../src/core/embedded/server.ts'
import {
  bareModules,
  base,
  bundle,
  clearPlaces,
  IS_ROOT,
  ORDINARY,
  startElsewhere,
  tempFolder,
  warmBase,
} from './place.ts'

let template: string

beforeAll(async () => {
  template = base(await tempFolder())
  await ensureServer({ baseDir: template })
  await stopServer({ baseDir: template })
})
afterAll(clearPlaces)

async function databaseOf(dsn: string): Promise<string | undefined> {
  const client = new Client({ connectionString: dsn })
  await client.connect()
  const { rows } = await client.query<{ name: string }>('SELECT current_database() AS name')
  await client.end()
  return rows[0]?.name
}

describe('the account', () => {
  it.runIf(IS_ROOT)('an ordinary user starts, finds and stops a server of his own', async () => {
    const folder = await tempFolder()
    const program = await bundle(folder)
    const baseDir = base(folder)
    await mkdir(baseDir)
    await chown(baseDir, ORDINARY.uid, ORDINARY.gid)
    const options = { ...ORDINARY, env: { LANG: 'zh_CN.UTF-8', LC_ALL: 'zh_CN.UTF-8' } }
    const first = await startElsewhere(program, baseDir, options)
    expect(first).toMatchObject({ started: true })
    expect(await startElsewhere(program, baseDir, options)).toMatchObject({ pid: first.pid, started: false })
    expect((await stat(join(baseDir, 'data'))).uid).toBe(ORDINARY.uid)

    // Root may come by: it finds the same server, and later starts it as its owner.
    expect((await findServer({ baseDir }))?.pid).toBe(first.pid)
    await stopServer({ baseDir })
    const { pid } = await ensureServer({ baseDir })
    expect((await stat(`/proc/${pid}`)).uid).toBe(ORDINARY.uid)
  })

  it.runIf(IS_ROOT)('is nobody where there is no postgres', async ({ skip }) => {
    const folder = await tempFolder()
    const program = await bundle(folder)
    const passwd = join(folder, 'passwd')
    await writeFile(
      passwd,
      'root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/nonexistent:/usr/sbin/nologin\n',
    )
    const script = 'mount --bind "$0" /etc/passwd || exit 9; exec "$@"'
    const args = ['-m', 'sh', '-c', script, passwd, process.execPath, program, base(folder)]
    const ran = spawnSync('unshare', args, { encoding: 'utf8', cwd: '/' })
    if (ran.error !== undefined || ran.stdout === '') skip('mount namespaces are not permitted here')
    expect(JSON.parse(ran.stdout)).toMatchObject({ started: true })
    expect((await stat(join(folder, 'pg17', 'data'))).uid).toBe(65534)
  })

  it.runIf(IS_ROOT)(
    'a data folder that root brought back is given to the account that needs it',
    async () => {
      const warm = await warmBase(template)
      const data = join(warm, 'data')
      for (const name of await readdir(data, { recursive: true })) await lchown(join(data, name), 0, 0)
      await chown(data, 0, 0)
      await chmod(data, 0o700)
      await rm(join(warm, 'run'), { recursive: true })
      expect((await ensureServer({ baseDir: warm })).started).toBe(true)
      expect((await stat(join(data, 'PG_VERSION'))).uid).toBe(
        (await chooseOwner(await placeOf(template))).uid,
      )
    },
  )

  it.runIf(IS_ROOT)('a folder in use keeps its mode, an empty one is opened for passing', async () => {
    const folder = await tempFolder()
    await chmod(folder, 0o700)
    expect((await ensureServer({ baseDir: base(folder, '.') })).started).toBe(true)
    expect((await stat(folder)).mode & 0o777).toBe(0o711)
  })
})

describe('the umask', () => {
  it.runIf(IS_ROOT)('of a cautious root does not lock the account out of what root makes', async () => {
    const folder = await tempFolder()
    const modules = await bareModules(folder)
    const program = await bundle(folder, modules)
    execFileSync('chmod', ['-R', 'go-rwx', modules])
    const before = process.umask(0o077)
    const ran = await startElsewhere(program, base(folder, 'lib/engram/pg17'))
    process.umask(before)
    expect(ran).toMatchObject({ started: true })
  })
})

describe('the locale', () => {
  it('of the caller does not reach the cluster', async () => {
    const folder = await tempFolder()
    const program = await bundle(folder)
    const env = { LANG: 'zh_CN.UTF-8', LC_ALL: 'zh_CN.UTF-8', LC_MESSAGES: 'zh_CN.UTF-8' }
    expect(await startElsewhere(program, base(folder), { env })).toMatchObject({ started: true })
    const conf = await readFile(join(folder, 'pg17', 'data', 'postgresql.conf'), 'utf8')
    expect(conf).toMatch(/^lc_messages = '?C/m)
  })
})

describe('the binaries', () => {
  it('get their library links when npm made none', async () => {
    const folder = await tempFolder()
    const program = await bundle(folder, await bareModules(folder))
    const warm = await warmBase(template)
    expect(await startElsewhere(program, warm)).toMatchObject({ started: true })
    expect(await readdir(warm)).not.toContain('native')
  })

  it.runIf(IS_ROOT)('are copied when the links cannot be made where they are', async () => {
    const folder = await tempFolder()
    const program = await bundle(folder, await bareModules(folder))
    const baseDir = base(folder)
    await mkdir(baseDir)
    await chown(baseDir, ORDINARY.uid, ORDINARY.gid)
    expect(await startElsewhere(program, baseDir, ORDINARY)).toMatchObject({ started: true })
    expect(await readdir(join(baseDir, 'native'))).toEqual([expect.stringMatching(/^17\.\d/)])
  })

  it.runIf(IS_ROOT)(
    'are copied, by several at once, when the account that runs them cannot reach them',
    async () => {
      const folder = await tempFolder()
      const modules = await bareModules(folder)
      const program = await bundle(folder, modules)
      execFileSync('chmod', ['-R', 'go-rwx', modules])
      const warm = await warmBase(template)
      const ran = await Promise.all([1, 2, 3].map(() => startElsewhere(program, warm)))
      expect(ran.filter((one) => one.started)).toHaveLength(1)
      expect(await readdir(join(warm, 'native'))).toEqual([expect.stringMatching(/^17\.[^/]*\d$/)])
    },
  )
})

describe('the socket', () => {
  it('of a folder with a long name lives in /tmp, and the others find it there', async () => {
    const warm = await warmBase(template)
    const long = base(join(warm, '..'), 'x'.repeat(120))
    execFileSync('cp', ['-a', warm, long])
    const server = await ensureServer({ baseDir: long })
    expect(server.socketDir).toMatch(/^\/tmp\/engram-\d+-[0-9a-f]{16}$/)
    expect((await lstat(server.socketDir)).mode & 0o777).toBe(0o700)
    expect(await databaseOf(server.dsn)).toBe('engram')
    expect((await findServer({ baseDir: long }))?.socketDir).toBe(server.socketDir)
    await stopServer({ baseDir: long })
    await rm(server.socketDir, { recursive: true })
  })

  it.runIf(IS_ROOT)('is not put into a folder that somebody else laid out for it', async () => {
    const place = await placeOf(join(await tempFolder(), 'x'.repeat(120)))
    await mkdir(place.base)
    const owner = await chooseOwner(place)
    const folder = await makeSocketDir(place, owner)
    try {
      await chown(folder, ORDINARY.uid, ORDINARY.gid)
      const refused = {
        kind: 'config',
        message: expect.stringContaining(`${folder} belongs to someone else`),
      }
      await expect(makeSocketDir(place, owner)).rejects.toMatchObject(refused)
      await rm(folder, { recursive: true })
      await symlink(await tempFolder(), folder)
      await expect(makeSocketDir(place, owner)).rejects.toMatchObject(refused)
    } finally {
      await rm(folder, { recursive: true, force: true })
    }
  })

  it.each(['with blank', '中文', 'per%41cent', 'a,b', `quo"te'd`])(
    'works below a folder named %s',
    async (name) => {
      const warm = await warmBase(template)
      const odd = base(join(warm, '..'), name)
      execFileSync('cp', ['-a', warm, odd])
      const { dsn, socketDir } = await ensureServer({ baseDir: odd })
      expect(await databaseOf(dsn)).toBe('engram')
      try {
        expect(execFileSync('psql', [dsn, '-Atc', 'SELECT current_database()']).toString().trim()).toBe(
          'engram',
        )
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error // no psql here
      }
      await stopServer({ baseDir: odd })
      if (socketDir.startsWith('/tmp/engram-')) await rm(socketDir, { recursive: true })
    },
  )
})
