import { randomBytes } from 'node:crypto'
import { readFile, rename, rm, stat, utimes, writeFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { setTimeout as pause } from 'node:timers/promises'
import { SyncError } from '../../domain/errors.ts'

const BEAT = 5_000 // ms
const STALE = 30_000 // ms without a beat: the holder is dead or its machine is

/**
 * Holds `path` while `work` runs, so that two workers do not change one mirror at once. A holder beats by touching the
 * file; one that stopped, or whose process is gone from this machine, loses it. The lock saves work and quarrels; it
 * guards nothing that must be right: two fetches at once would only make one of them fail and be tried again.
 */
export async function withLock<T>(
  path: string,
  on: { signal: AbortSignal; waitMs: number; say: (what: string) => void },
  work: () => Promise<T>,
): Promise<T> {
  const mine = `${hostname()} ${process.pid} ${randomBytes(6).toString('hex')}`
  const giveUp = performance.now() + on.waitMs
  for (let said = false; !(await take(path, mine)); said = true) {
    if (!said) on.say('waiting for another worker that updates the same mirror')
    if (performance.now() > giveUp)
      throw new SyncError('timeout', 'another worker has been updating the same mirror for too long')
    await pause(250, undefined, { signal: on.signal }).catch(() => {
      throw new SyncError('cancelled', 'waiting for a mirror: cancelled')
    })
  }

  const beat = setInterval(() => void utimes(path, new Date(), new Date()).catch(() => {}), BEAT)
  try {
    return await work()
  } finally {
    clearInterval(beat)
    if ((await readFile(path, 'utf8').catch(() => '')) === mine) await rm(path, { force: true })
  }
}

async function take(path: string, mine: string): Promise<boolean> {
  try {
    await writeFile(path, mine, { flag: 'wx', mode: 0o600 })
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
  }
  if (await isStale(path)) {
    // Renamed before removed: of two who find it stale only one gets it out of the way.
    const aside = `${path}.${randomBytes(6).toString('hex')}`
    await rename(path, aside).catch(() => {})
    await rm(aside, { force: true })
  }
  return false
}

async function isStale(path: string): Promise<boolean> {
  const [host, pid] = (await readFile(path, 'utf8').catch(() => '')).split(' ')
  const { mtimeMs } = await stat(path).catch(() => ({ mtimeMs: Date.now() }))
  if (Date.now() - mtimeMs > STALE) return true
  return host === hostname() && pid !== undefined && !isAlive(Number(pid))
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}
