import { SyncError } from '../domain/errors.ts'
import { errno } from './failure.ts'
import type { Place } from './place.ts'
import type { Ready } from './postmaster.ts'
import { type Answer, ask } from './wire.ts'

/** The server's version, once it takes connections; null while it does not yet or no longer does. */
export async function greet(place: Place, server: Ready): Promise<string | null> {
  const answer = await hear(place, server, 'SELECT 1')
  return answer?.version ?? null
}

/** As greet; afterwards the database `engram` exists. Looked at on every attach: the one that started may have died before. */
export async function makeDatabase(place: Place, server: Ready): Promise<string | null> {
  const found = await hear(place, server, "SELECT 1 FROM pg_database WHERE datname = 'engram'")
  if (found === null || found.rows > 0) return found?.version ?? null

  // A racer's may land between the two statements: 42P04 afterwards, 23505 at the same moment.
  const made = await hear(place, server, 'CREATE DATABASE engram', ['42P04', '23505'])
  return made?.version ?? null
}

async function hear(place: Place, server: Ready, sql: string, fine: string[] = []): Promise<Answer | null> {
  const answer = await ask(server, sql).catch((cause: unknown) => {
    // Refused, reset, silent: it stops or recovers, and the caller looks again.
    if (!['EACCES', 'EPERM', 'EPROTO'].includes(errno(cause))) return null
    throw new SyncError(
      'config',
      `the PostgreSQL server in ${place.base} does not let this user in (${errno(cause)})`,
      {
        hint: 'run as the user who started it, or set ENGRAM_PG_DIR to a folder of your own',
        cause,
      },
    )
  })
  if (answer === null || answer.sqlstate === null || fine.includes(answer.sqlstate)) return answer
  if (answer.sqlstate === '57P03' || answer.sqlstate === '57P01') return null // starting, stopping
  const what = answer.sqlstate === '53100' ? 'its disk is full' : `SQLSTATE ${answer.sqlstate}`
  throw new SyncError('database', `the PostgreSQL server in ${place.base} refuses to work: ${what}`, {
    hint: `read ${place.log}`,
  })
}
