import { createHash } from 'node:crypto'
import { chmod, chown, lchown, lstat, mkdir, readdir, realpath, rm, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { SyncError } from '../domain/errors.ts'
import { errno, folderFailure } from './failure.ts'
import type { Owner } from './owner.ts'
import type { Place } from './place.ts'

/** sun_path is 108 bytes on Linux and 104 on macOS, with the closing NUL. */
const MAX_SOCKET_PATH_BYTES = process.platform === 'linux' ? 107 : 103

/** Makes the base folder. Root leaves it passable for the account PostgreSQL runs as, closed to listing. */
export async function makeBase(place: Place, owner: Owner): Promise<void> {
  try {
    const made = await makeFolders(place.base, owner.switched ? 0o711 : 0o700)
    if (!owner.switched) return

    // A strict umask closes what mkdir just made, and mkdtemp hands out 0700. Only folders that are ours by being
    // new or empty are opened: an ENGRAM_PG_DIR that points at somebody's home must not change its mode.
    if (made !== undefined) {
      for (let folder = place.base; folder.startsWith(made); folder = dirname(folder))
        await chmod(folder, 0o711)
    } else if ((await stat(place.base)).uid === 0 && (await readdir(place.base)).length === 0) {
      await chmod(place.base, 0o711)
    }
    await giveData(place, owner)
  } catch (error) {
    throw folderFailure(place.base, error)
  }
}

/**
 * With those above it; answers the topmost one made, if any. Node's own way never ends where a folder that exists says
 * ENOENT to what is made in it, as /proc does (Node 20.20).
 */
async function makeFolders(folder: string, mode: number): Promise<string | undefined> {
  const isThere = async () => (await stat(folder).catch(() => null))?.isDirectory() === true
  if (await isThere()) return undefined
  const above = await makeFolders(dirname(folder), mode)
  try {
    await mkdir(folder, { mode })
    return above ?? folder
  } catch (error) {
    if (errno(error) === 'EEXIST' && (await isThere())) return above // somebody else was faster
    throw error
  }
}

/** A data folder that root restored or copied belongs to root, and PostgreSQL would refuse it. */
async function giveData(place: Place, owner: Owner): Promise<void> {
  const data = await lstat(place.data).catch(() => null)
  if (data === null || !data.isDirectory() || data.uid !== 0) return
  const below = await readdir(place.data, { recursive: true })
  for (const name of below) await lchown(join(place.data, name), owner.uid, owner.gid)
  await lchown(place.data, owner.uid, owner.gid)
}

/** The private folder of the socket: `run`, or one in /tmp when that path is too long for a socket. */
export async function makeSocketDir(place: Place, owner: Owner): Promise<string> {
  const folder = await socketDirOf(place, owner)
  try {
    await mkdir(folder, { mode: 0o700 }).catch((error: unknown) => {
      if (errno(error) !== 'EEXIST') throw error
    })
    const is = await lstat(folder)
    // /tmp is everybody's: whoever owns the folder could put his own socket there and be taken for the server.
    if (!is.isDirectory() || (is.uid !== owner.uid && !(owner.switched && is.uid === 0))) {
      throw new SyncError('config', `the socket folder ${folder} belongs to someone else (uid ${is.uid})`, {
        hint: 'remove it, or set ENGRAM_PG_DIR to a shorter path',
      })
    }
    if ((is.mode & 0o777) !== 0o700) await chmod(folder, 0o700)
    if (is.uid !== owner.uid) await chown(folder, owner.uid, owner.gid)
    return folder
  } catch (error) {
    throw folderFailure(folder, error)
  }
}

async function socketDirOf(place: Place, owner: Owner): Promise<string> {
  const bytes = Buffer.byteLength(join(place.run, '.s.PGSQL.5432'))
  // A comma separates folders in the server's setting, and hosts in libpq's host=.
  if (bytes <= MAX_SOCKET_PATH_BYTES && !place.run.includes(',')) return place.run
  const real = await realpath(place.base)
  return `/tmp/engram-${owner.uid}-${createHash('sha1').update(real).digest('hex').slice(0, 16)}`
}

/** Removes `<prefix>.<pid>.<random>` of makers that are dead. What cannot go now goes the next time. */
export async function clearLeftovers(folder: string, prefix: string): Promise<void> {
  for (const name of await readdir(folder).catch(() => [])) {
    const pid = name.startsWith(`${prefix}.`)
      ? /^(\d+)\.[0-9a-f]{8}$/.exec(name.slice(prefix.length + 1))?.[1]
      : undefined
    if (pid === undefined || exists(Number(pid))) continue
    await rm(join(folder, name), { recursive: true, force: true }).catch(() => {})
  }
}

/** Whether some process has this id now, whoever it is. */
export function exists(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch (error) {
    return errno(error) === 'EPERM'
  }
}
