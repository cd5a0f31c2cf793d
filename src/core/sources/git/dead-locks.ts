import { readdir, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { SyncError } from '../../domain/errors.ts'
import type { Access } from '../source.ts'

const LOCK_AGE = 10_000 // ms

/**
 * A killed git leaves `*.lock` files, and no later fetch gets past them. We hold the mirror's own lock here, so their
 * maker is dead or, at worst, an orphan of a killed worker that is about to die of its closed pipes; git holds such a
 * file for milliseconds. What is still there when it is 10 s old is removed. Half-received packs go after an hour.
 */
export async function removeDeadLocks(dir: string, access: Access): Promise<void> {
  const locks = await filesUnder(dir, (path) => path.endsWith('.lock'))
  for (const path of locks) {
    const age = await ageOf(path)
    if (age === null) continue
    if (age < LOCK_AGE) {
      access.say('waiting for a lock that a killed fetch may have left')
      await pause(LOCK_AGE - age, undefined, { signal: access.signal }).catch(() => {
        throw new SyncError('cancelled', `fetching ${access.locator}: cancelled`)
      })
    }
    await rm(path, { force: true })
  }
  for (const path of await filesUnder(join(dir, 'objects', 'pack'), (path) => /\/tmp_\w+$/.test(path)))
    if (((await ageOf(path)) ?? 0) > 3_600_000) await rm(path, { force: true })
}

async function filesUnder(dir: string, wanted: (path: string) => boolean): Promise<string[]> {
  const entries = await readdir(dir, { recursive: true, withFileTypes: true }).catch(() => [])
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .filter(wanted)
}

async function ageOf(path: string): Promise<number | null> {
  const found = await stat(path).catch(() => null)
  return found === null ? null : Date.now() - found.mtimeMs
}
