import { stat, statfs } from 'node:fs/promises'
import { dirname, parse } from 'node:path'
import { SyncError } from '../domain/errors.ts'
import type { Owner } from './owner.ts'
import type { Place } from './place.ts'

const FULL = /No space left|ENOSPC|EDQUOT|Disk quota exceeded/i
const CLOSED =
  /Permission denied|Operation not permitted|Read-only file system|EACCES|EPERM|EROFS|ENOTDIR|ENAMETOOLONG/i
/** What racing starters and early clients leave in the log; never the reason of a failure. */
const NOISE = /already exists|is starting up|is shutting down|not yet accepting/

export function errno(error: unknown): string {
  return (error as NodeJS.ErrnoException | null)?.code ?? ''
}

/** A step of ours on `folder` failed. */
export function folderFailure(folder: string, cause: unknown): SyncError {
  if (cause instanceof SyncError) return cause
  const code = errno(cause)
  if (FULL.test(code)) return diskFull(folder, code, cause)
  if (CLOSED.test(code)) {
    return new SyncError('config', `this user cannot use the PostgreSQL folder ${folder} (${code})`, {
      hint: 'give it the folder, or set ENGRAM_PG_DIR to one it can write, or set POSTGRES_DSN',
      cause,
    })
  }
  return new SyncError('database', `the PostgreSQL folder ${folder} cannot be used: ${String(cause)}`, {
    cause,
  })
}

/** initdb or the server failed; `output` is what it wrote. `what` reads as "PostgreSQL could not …". */
export async function serverFailure(
  place: Place,
  owner: Owner,
  what: string,
  output: string,
): Promise<SyncError> {
  const reason = lastFatal(output)
  const because = reason === null ? '' : `: ${reason}`
  const room = await statfs(place.base).catch(() => null)
  // A full disk swallows the log line too, so an unexplained end is looked at from the other side.
  const noRoom = room !== null && room.bavail * room.bsize < 1024 * 1024
  if (FULL.test(output) || (reason === null && noRoom))
    return diskFull(place.base, reason ?? `PostgreSQL could not ${what}`)

  if (CLOSED.test(reason ?? '')) {
    const closed = owner.switched ? await closedFolder(place.data, owner) : null
    if (closed !== null) {
      return new SyncError(
        'config',
        `PostgreSQL could not ${what}: ${closed} is closed to ${owner.name}, whom it runs as${because}`,
        {
          hint: `chmod o+x ${closed}, or set ENGRAM_PG_DIR to a folder elsewhere`,
        },
      )
    }
    return new SyncError('config', `PostgreSQL could not ${what} in ${place.base}${because}`, {
      hint: `give ${owner.name} the folder, or set ENGRAM_PG_DIR to another one`,
    })
  }
  return new SyncError('database', `PostgreSQL could not ${what} in ${place.base}${because}`, {
    hint: `read ${place.log}`,
  })
}

function diskFull(folder: string, detail: string, cause?: unknown): SyncError {
  return new SyncError('database', `the disk that holds ${folder} is full: ${detail}`, {
    hint: 'free some space, or set ENGRAM_PG_DIR to a folder on another disk',
    cause,
  })
}

/** The last line that says why, without its time stamp. */
export function lastFatal(output: string): string | null {
  const lines = output.split('\n').filter((line) => !NOISE.test(line))
  const line =
    lines.findLast((one) => /\b(FATAL|PANIC):/.test(one)) ??
    lines.findLast((one) => /error:|could not|cannot|No such file/.test(one))
  if (line === undefined) return null
  return line
    .replace(/^.*?(?=\b(FATAL|PANIC): )/, '')
    .replace(/\s+/g, ' ')
    .trim()
    .slice(0, 300)
}

/** The topmost folder on the way to `path` that `owner` may not pass. */
async function closedFolder(path: string, owner: Owner): Promise<string | null> {
  let topmost: string | null = null
  for (let folder = path; ; folder = dirname(folder)) {
    const is = await stat(folder).catch(() => null)
    const bit = is?.uid === owner.uid ? 0o100 : is?.gid === owner.gid ? 0o010 : 0o001
    if (is !== null && (is.mode & bit) === 0) topmost = folder
    if (folder === parse(folder).root) return topmost
  }
}
