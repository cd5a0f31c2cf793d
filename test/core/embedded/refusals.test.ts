import { execFileSync } from 'node:child_process'
import { appendFile, chmod, mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { SyncError } from '../../../src/core/domain/errors.ts'
import { lastFatal } from '../../../src/core/embedded/failure.ts'
import { platformPackage } from '../../../src/core/embedded/native.ts'
import { patience } from '../../../src/core/embedded/patience.ts'
import { ensureServer, findServer, stopServer } from '../../../src/core/embedded/server.ts'
import {
  base,
  bundle,
  clearPlaces,
  IS_ROOT,
  ORDINARY,
  startElsewhere,
  tempFolder,
  warmBase,
} from './place.ts'

let program: string
let template: string

beforeAll(async () => {
  const folder = await tempFolder()
  program = await bundle(folder)
  template = base(folder)
  await ensureServer({ baseDir: template })
  await stopServer({ baseDir: template })
})
afterAll(clearPlaces)

async function refusal(work: Promise<unknown>): Promise<SyncError> {
  const error = await work.then(
    () => null,
    (reason: unknown) => reason,
  )
  expect(error).toBeInstanceOf(SyncError)
  expect((error as SyncError).message).not.toContain('\n')
  return error as SyncError
}

describe('one clear line when', () => {
  it('there is no PostgreSQL for this machine', async () => {
    expect(await refusal(platformPackage('sunos-sparc'))).toMatchObject({
      kind: 'config',
      message: 'no PostgreSQL for sunos-sparc came with this installation',
      hint: expect.stringContaining('set POSTGRES_DSN'),
    })
  })

  it('the folder is a file, or below one', async () => {
    const file = join(await tempFolder(), 'file')
    await writeFile(file, '')
    for (const baseDir of [file, join(file, 'pg17')]) {
      const error = await refusal(ensureServer({ baseDir }))
      expect(error.message).toContain(baseDir)
    }
  })

  it.runIf(process.platform === 'linux')('the folder is where nothing can be made', async () => {
    const error = await refusal(ensureServer({ baseDir: '/proc/nobody/pg17' }))
    expect(error.message).toContain('/proc/nobody/pg17')
  })

  it.runIf(IS_ROOT)('the folder cannot be made by an ordinary user', async () => {
    const baseDir = join(await tempFolder(), 'pg17')
    expect(await startElsewhere(program, baseDir, ORDINARY)).toMatchObject({
      kind: 'config',
      message: `this user cannot use the PostgreSQL folder ${baseDir} (EACCES)`,
      hint: expect.stringContaining('ENGRAM_PG_DIR'),
    })
  })

  it.runIf(IS_ROOT)('the data folder is not the ordinary user’s', async () => {
    const ran = await startElsewhere(program, template, ORDINARY)
    expect(ran).toMatchObject({ kind: 'config', message: expect.stringContaining(template) })
  })

  it.runIf(IS_ROOT)('a parent is closed to the account that root hands it to', async () => {
    const closed = join(await tempFolder(), 'root')
    await mkdir(closed, { mode: 0o700 })
    const cold = await refusal(ensureServer({ baseDir: base(closed) }))
    expect(cold).toMatchObject({
      kind: 'config',
      message: expect.stringContaining(`${closed} is closed to`),
      hint: expect.stringMatching(/^chmod o\+x .* ENGRAM_PG_DIR/),
    })
    expect((await stat(closed)).mode & 0o777).toBe(0o700)

    const folder = await tempFolder()
    const { dataDir } = await ensureServer({ baseDir: base(folder) })
    await stopServer({ baseDir: join(folder, 'pg17') })
    await chmod(folder, 0o700)
    const warm = await refusal(ensureServer({ baseDir: join(folder, 'pg17') }))
    expect(warm).toMatchObject({ kind: 'config', message: expect.stringContaining(`${folder} is closed to`) })
    expect((await stat(dataDir)).isDirectory()).toBe(true)
  })

  it('the data folder holds something else, and leaves it alone', async () => {
    const folder = await tempFolder()
    await mkdir(join(folder, 'data'))
    await writeFile(join(folder, 'data', 'thesis.txt'), 'years of work')
    expect(await refusal(ensureServer({ baseDir: folder }))).toMatchObject({ kind: 'config' })
    expect(await readdir(folder)).toEqual(['data'])

    await writeFile(join(folder, 'data', 'PG_VERSION'), '15\n')
    const error = await refusal(ensureServer({ baseDir: folder }))
    expect(error).toMatchObject({ kind: 'config', message: expect.stringContaining('PostgreSQL 15') })
  })

  it('the server itself refuses, with the reason from its log', async () => {
    const warm = await warmBase(template)
    await appendFile(join(warm, 'data', 'postgresql.conf'), 'shared_buffers = lots\n')
    expect(await refusal(ensureServer({ baseDir: warm }))).toMatchObject({
      kind: 'database',
      message: expect.stringMatching(
        /^PostgreSQL could not start in .*: FATAL: configuration file .* contains errors$/,
      ),
      hint: `read ${join(warm, 'postgres.log')}`,
    })
  })

  it.runIf(IS_ROOT)('the disk is full, before and after there is a cluster', async ({ skip }) => {
    const disk = join(await tempFolder(), 'disk')
    await mkdir(disk)
    try {
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=80m,mode=755', 'tmpfs', disk], { stdio: 'ignore' })
    } catch {
      skip('mounting is not permitted here')
    }
    try {
      const baseDir = base(disk)
      await mkdir(baseDir)
      execFileSync('fallocate', ['-l', '70M', join(disk, 'ballast')])
      const cold = await refusal(ensureServer({ baseDir }))
      expect(cold).toMatchObject({ kind: 'database', hint: expect.stringContaining('free some space') })
      expect(cold.message).toContain(`the disk that holds ${baseDir} is full`)
      expect((await readdir(baseDir)).filter((name) => name.startsWith('data'))).toEqual([])

      await rm(join(disk, 'ballast'))
      await ensureServer({ baseDir })
      await stopServer({ baseDir })
      // The log ends with its block, so that not even the reason finds room.
      await writeFile(join(baseDir, 'postgres.log'), Buffer.alloc(4096, '\n'))
      fill(disk)
      const warm = await refusal(ensureServer({ baseDir }))
      expect(warm).toMatchObject({
        kind: 'database',
        message: expect.stringContaining(`the disk that holds ${baseDir} is full`),
      })

      await rm(join(disk, 'ballast'))
      expect((await ensureServer({ baseDir })).started).toBe(true)
      await stopServer({ baseDir })
    } finally {
      execFileSync('umount', ['-l', disk])
    }
  })
})

describe('an end to waiting', () => {
  it('an abort during initdb leaves nothing behind', async () => {
    const cold = base(await tempFolder())
    const abort = new AbortController()
    const work = refusal(ensureServer({ baseDir: cold, signal: abort.signal }))
    while ((await readdir(cold).catch(() => [])).length === 0) await sleep(5)
    await sleep(100)
    abort.abort()
    expect(await work).toMatchObject({ kind: 'cancelled' })
    expect(await readdir(cold)).toEqual([])
    expect(await findServer({ baseDir: cold })).toBeNull()
  })

  it('who has already given up starts nothing', async () => {
    const cold = base(await tempFolder())
    expect(await refusal(ensureServer({ baseDir: cold, signal: AbortSignal.abort() }))).toMatchObject({
      kind: 'cancelled',
    })
    expect(await readdir(join(cold, '..'))).toEqual([])
  })

  it('who gives up while another server is still coming up does not disturb it', async () => {
    const warm = await warmBase(template)
    const file = join(warm, 'data', 'postmaster.pid')
    const server = await ensureServer({ baseDir: warm })
    const text = await readFile(file, 'utf8')
    await writeFile(file, text.replace('ready   ', 'starting'))
    const error = await refusal(ensureServer({ baseDir: warm, signal: AbortSignal.timeout(100) }))
    expect(error).toMatchObject({ kind: 'cancelled' })
    expect(await findServer({ baseDir: warm })).toBeNull()

    const waiting = ensureServer({ baseDir: warm })
    await sleep(50)
    await writeFile(file, text)
    expect(await waiting).toEqual({ ...server, started: false })
  })

  it('is set', async () => {
    const pause = patience(0.02, undefined, async () => new SyncError('database', 'too late'))
    await pause(30)
    expect(await refusal(pause(1))).toMatchObject({ message: 'too late' })
  })
})

describe('the reason in a log', () => {
  it.each([
    [
      '2026-01-01 00:00:00.000 UTC [7] FATAL:  data directory "/x" has wrong ownership\n[7] HINT:  so',
      'FATAL: data directory "/x" has wrong ownership',
    ],
    ['FATAL:  could not write\nFATAL:  lock file "postmaster.pid" already exists', 'FATAL: could not write'],
    ['FATAL:  no\nFATAL:  the database system is starting up', 'FATAL: no'],
    [
      'postgres: could not access directory "/x": Permission denied\n',
      'postgres: could not access directory "/x": Permission denied',
    ],
    ['LOG:  all is well', null],
  ])('%j', (log, reason) => {
    expect(lastFatal(log)).toBe(reason)
  })
})

function fill(disk: string): void {
  try {
    execFileSync('dd', ['if=/dev/zero', `of=${join(disk, 'ballast')}`, 'bs=4k'], { stdio: 'ignore' })
  } catch {
    // dd ends with "No space left on device", as it should
  }
}
