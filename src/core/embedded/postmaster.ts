import { randomBytes } from 'node:crypto'
import { link, readFile, rename, stat, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { errno, folderFailure } from './failure.ts'
import { exists } from './folder.ts'
import type { Place } from './place.ts'
import { isPostgresOf } from './process.ts'
import { ask } from './wire.ts'

/**
 * What postmaster.pid says, checked against the process it names.
 *   gone      no server; what is left of the file is stale
 *   busy      starting, recovering or stopping: wait and look again
 *   ready     accepts connections
 */
export type Postmaster = { state: 'gone' } | { state: 'busy'; pid: number | null } | Ready

export interface Ready {
  state: 'ready'
  pid: number
  socketDir: string
  port: number
  /** False when the server answers but its process is out of sight: another container on the same volume. */
  visible: boolean
}

/** A file of a server that is just writing it may be incomplete for this long. */
const WRITING_MS = 5_000

export async function lookForPostmaster(place: Place): Promise<Postmaster> {
  const file = join(place.data, 'postmaster.pid')
  const text = await readFile(file, 'utf8').catch((error: unknown) => {
    if (errno(error) === 'ENOENT') return null
    throw folderFailure(place.data, error)
  })
  if (text === null) return { state: 'gone' }

  // Lines: 1 pid, 4 port, 5 socket folder, 8 state (padded with blanks).
  const lines = text.split('\n').map((line) => line.trim())
  const [pid, port, socketDir] = [Number(lines[0]), Number(lines[3]), lines[4] ?? '']
  if (!(pid > 0)) return (await isYoung(file)) ? { state: 'busy', pid: null } : { state: 'gone' }

  const visible = await isPostgresOf(place.data, pid)
  if (!visible && !(await answers(socketDir, port))) return { state: 'gone' }
  if (lines[7] !== 'ready' || socketDir === '') return { state: 'busy', pid: visible ? pid : null }
  return { state: 'ready', pid, socketDir, port, visible }
}

async function isYoung(file: string): Promise<boolean> {
  const is = await stat(file).catch(() => null)
  return is !== null && Date.now() - is.mtimeMs < WRITING_MS
}

/**
 * Two containers on one volume see neither each other's processes nor each other's shared memory, PostgreSQL's own two
 * safeguards; the socket is the one thing both see.
 */
async function answers(socketDir: string, port: number): Promise<boolean> {
  if (socketDir === '') return false
  return ask({ socketDir, port }, 'SELECT 1').then(
    () => true,
    (error: unknown) => errno(error) === 'ETIMEDOUT',
  )
}

/**
 * PostgreSQL clears lock files of a vanished process itself, and checks the shared memory while doing so. It gives up
 * only where the number is still taken, by a zombie or by somebody else: those files are moved out of its way.
 */
export async function clearStaleLocks(place: Place, socketDir: string): Promise<void> {
  for (const file of [join(place.data, 'postmaster.pid'), join(socketDir, '.s.PGSQL.5432.lock')]) {
    const text = await readFile(file, 'utf8').catch(() => null)
    if (text === null) continue
    const pid = Number.parseInt(text, 10)
    const stale = pid > 0 ? exists(pid) && !(await isPostgresOf(place.data, pid)) : !(await isYoung(file))
    if (stale) await setAside(file, text)
  }
}

/**
 * Never unlink: between our look and the act a racer may have started the server, and this would be its file. A rename
 * shows what was taken, and a wrong catch is put back before the postmaster's own check (once a minute) can miss it.
 */
async function setAside(file: string, expected: string): Promise<void> {
  const aside = `${file}.${process.pid}.${randomBytes(4).toString('hex')}`
  try {
    await rename(file, aside)
    if ((await readFile(aside, 'utf8')) !== expected) await link(aside, file).catch(() => {})
    await unlink(aside)
  } catch (error) {
    if (errno(error) !== 'ENOENT') throw folderFailure(file, error)
  }
}
