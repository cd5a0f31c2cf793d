import { realpath } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { SyncError } from '../domain/errors.ts'

/** The paths of one embedded server. */
export interface Place {
  base: string
  data: string
  run: string
  log: string
  native: string
}

export async function placeOf(baseDir: string): Promise<Place> {
  // postmaster.pid is read by line number; a line break in its path line would shift every other line.
  if (/[\0\n\r]/.test(baseDir)) {
    throw new SyncError(
      'config',
      `the PostgreSQL folder ${JSON.stringify(baseDir)} has a line break in its name`,
      {
        hint: 'set ENGRAM_PG_DIR to a plain path',
      },
    )
  }
  const base = await realpath(resolve(baseDir)).catch(() => resolve(baseDir))
  return {
    base,
    data: join(base, 'data'),
    run: join(base, 'run'),
    log: join(base, 'postgres.log'),
    native: join(base, 'native'),
  }
}
