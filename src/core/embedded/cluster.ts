import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { chown, mkdir, open, readdir, readFile, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { SyncError } from '../domain/errors.ts'
import { errno, folderFailure, serverFailure } from './failure.ts'
import { clearLeftovers } from './folder.ts'
import { childOf, type Owner } from './owner.ts'
import type { Place } from './place.ts'

const MAJOR = '17'
const INITDB_SECONDS = 60

/** Written to postgresql.conf, where an operator may change them; what keeps the server private is set at every start. */
const SETTINGS = {
  shared_buffers: '128MB',
  max_connections: '100',
  max_wal_size: '4GB',
  wal_compression: 'on',
  jit: 'off', // the package brings no llvmjit
  log_checkpoints: 'off', // the log is only rotated at a start, and a server may run for months
}

// The environment gives no usable answer: without LANG initdb makes SQL_ASCII, with a locale that was never generated
// it fails. macOS has no C.UTF-8 of its own, there the server's built-in one is used.
const LOCALE =
  process.platform === 'darwin'
    ? ['--locale=C', '--locale-provider=builtin', '--builtin-locale=C.UTF-8']
    : ['--locale=C.UTF-8']

/**
 * The data folder exists afterwards, complete. Each starter runs initdb in a folder of its own and renames it: one
 * wins, the others throw theirs away, and a starter that dies leaves nothing that could be taken for a cluster.
 */
export async function makeCluster(
  place: Place,
  owner: Owner,
  initdb: string,
  o: { say: (what: string) => void; signal: AbortSignal | undefined },
): Promise<void> {
  if (await isCluster(place)) return
  o.say(`creating a PostgreSQL ${MAJOR} database in ${place.base}`)
  await clearLeftovers(place.base, 'data')
  const fresh = `${place.data}.${process.pid}.${randomBytes(4).toString('hex')}`
  try {
    await mkdir(fresh, { mode: 0o700 })
    if (owner.switched) await chown(fresh, owner.uid, owner.gid)
    const failure = await runInitdb(initdb, fresh, owner, o.signal)
    if (failure !== null) {
      // A racer may have taken the room, or this folder; what it built serves us as well.
      if (await isCluster(place)) return
      throw await serverFailure(place, owner, 'create its data folder', failure)
    }
    await rename(fresh, place.data).catch((error: unknown) => {
      if (!['ENOTEMPTY', 'EEXIST'].includes(errno(error))) throw error
    })
    await flush(place.base)
  } catch (error) {
    throw folderFailure(place.base, error)
  } finally {
    await rm(fresh, { recursive: true, force: true }).catch(() => {})
  }
}

async function isCluster(place: Place): Promise<boolean> {
  const version = await readFile(join(place.data, 'PG_VERSION'), 'utf8').catch((error: unknown) => {
    if (errno(error) === 'ENOENT') return null
    throw folderFailure(place.data, error)
  })
  if (version?.trim() === MAJOR) return true
  if (version !== null) {
    throw new SyncError(
      'config',
      `${place.data} was made by PostgreSQL ${version.trim()}, this program brings ${MAJOR}`,
      {
        hint: 'set ENGRAM_PG_DIR to a new folder, or serve the old one yourself and set POSTGRES_DSN',
      },
    )
  }
  const inside = await readdir(place.data).catch((): string[] => [])
  // Racers may have renamed theirs into place between the two looks.
  if (inside.length === 0 || inside.includes('PG_VERSION')) return inside.length > 0
  throw new SyncError('config', `${place.data} is not empty and not a PostgreSQL data folder`, {
    hint: 'set ENGRAM_PG_DIR to another folder',
  })
}

/** Null, or what initdb complained about. */
function runInitdb(initdb: string, data: string, owner: Owner, signal?: AbortSignal): Promise<string | null> {
  const given = Object.entries(SETTINGS).flatMap(([name, value]) => ['-c', `${name}=${value}`])
  const args = ['-D', data, '-U', 'engram', '-A', 'trust', '--encoding=UTF8', ...LOCALE]
  return new Promise((resolve, reject) => {
    // A group of its own: initdb runs a server below it, and an abort must end both before the folder is removed.
    const child = spawn(initdb, [...args, '--data-checksums', '--no-instructions', ...given], {
      ...childOf(owner),
      detached: true,
      stdio: ['ignore', 'ignore', 'pipe'],
    })
    let complaint = ''
    let stopped: Error | null = null
    const stop = (reason: Error) => {
      stopped = reason
      if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL')
    }
    const late = () => stop(new SyncError('database', `initdb took more than ${INITDB_SECONDS} s in ${data}`))
    const abort = () =>
      stop(new SyncError('cancelled', 'stopped while creating the database', { cause: signal?.reason }))
    const timer = setTimeout(late, INITDB_SECONDS * 1000)
    signal?.addEventListener('abort', abort, { once: true })
    const settle = () => {
      clearTimeout(timer)
      signal?.removeEventListener('abort', abort)
    }

    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      complaint = (complaint + text).slice(-64_000)
    })
    child.on('error', (error) => {
      settle()
      reject(error)
    })
    child.on('close', (code) => {
      settle()
      if (stopped !== null) reject(stopped)
      else resolve(code === 0 ? null : complaint || `initdb ended with ${code}`)
    })
    if (signal?.aborted) abort()
  })
}

/** Without this a power cut may undo the rename, and the next start would sweep the folder away as a leftover. */
async function flush(folder: string): Promise<void> {
  const handle = await open(folder, 'r')
  await handle.sync().catch(() => {})
  await handle.close()
}
