import { existsSync } from 'node:fs'
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import type pg from 'pg'
import journal from '../../../drizzle/meta/_journal.json' with { type: 'json' }
import { SyncError } from '../domain/errors.ts'
import { rows } from './connect.ts'
import { codeOf, toSyncError } from './failure.ts'

export type SchemaState = 'current' | 'missing' | 'older' | 'newer'

/** Every migration this code knows, by the journal's own clock. */
const KNOWN = journal.entries.map((e) => e.when)
/** Any fixed number: one migration at a time per database. drizzle's migrator takes no lock itself (5 of 6 racers failed). */
const MIGRATION_LOCK = 7_301_001
const LOCK_POLL_MS = 200

interface Surroundings {
  say: (what: string) => void
  signal: AbortSignal
}

export async function schemaState(pool: pg.Pool): Promise<SchemaState> {
  try {
    const found = await rows<{ at: number }>(
      pool,
      'schema_state',
      'select created_at as at from scm.schema_migrations',
    )
    if (found.length === 0) return 'missing'
    // Also a history from some build that was never released: nothing of ours may be applied on top of it.
    if (found.some(({ at }) => !KNOWN.includes(at))) return 'newer'
    return found.length < KNOWN.length ? 'older' : 'current'
  } catch (cause) {
    if (['42P01', '3F000'].includes(codeOf(cause))) return 'missing'
    throw cause
  }
}

export function tooNew(): SyncError {
  return new SyncError('config', 'the database schema is newer than this program', {
    hint: 'upgrade engram-scm; if an unreleased build made the schema, use another database',
  })
}

/**
 * All pending migrations in one transaction; harmless when there are none. Refuses a schema this code does not know.
 * Waits for a migration that another process is at, until the signal is aborted. The server sets its statements no limit
 * of time, and the pool should not either: an index of a large table takes longer than anything else.
 */
export async function migrate(pool: pg.Pool, around?: Surroundings): Promise<{ applied: number }> {
  if ((await schemaState(pool)) === 'newer') throw tooNew()
  const [{ drizzle }, migrator] = await Promise.all([
    import('drizzle-orm/node-postgres'),
    import('drizzle-orm/node-postgres/migrator'),
  ])
  const client = await pool.connect()
  try {
    await client.query('set statement_timeout = 0')
    await takeLock(client, around)
    const before = await applied(client)
    await migrator.migrate(drizzle({ client }), {
      migrationsFolder: migrationsFolder(),
      migrationsSchema: 'scm',
      migrationsTable: 'schema_migrations',
    })
    return { applied: (await applied(client)) - before }
  } catch (cause) {
    throw toSyncError(cause instanceof Error && cause.cause ? cause.cause : cause)
  } finally {
    await client.query('select pg_advisory_unlock($1)', [MIGRATION_LOCK]).catch(() => {})
    client.release(true) // its setting ends with it
  }
}

/** Asked for again and again: who waits inside the server could not be stopped. */
async function takeLock(client: pg.PoolClient, around?: Surroundings): Promise<void> {
  for (let tries = 1; ; tries++) {
    const { rows } = await client.query('select pg_try_advisory_lock($1) as mine', [MIGRATION_LOCK])
    if (rows[0].mine) return
    if (tries === 1) around?.say('waiting for another migration of this database')
    await pause(LOCK_POLL_MS)
    around?.signal.throwIfAborted()
  }
}

async function applied(client: pg.PoolClient): Promise<number> {
  const there = await client.query(`select to_regclass('scm.schema_migrations') is not null as yes`)
  if (!there.rows[0].yes) return 0
  return (await client.query('select count(*)::int as n from scm.schema_migrations')).rows[0].n
}

/** Beside the sources or the build, however deep this file lies in them. */
export function migrationsFolder(): string {
  for (let folder = new URL('.', import.meta.url); ; folder = new URL('..', folder)) {
    if (existsSync(new URL('drizzle/meta/_journal.json', folder)))
      return fileURLToPath(new URL('drizzle', folder))
    if (folder.pathname === '/')
      throw new SyncError('bug', 'the folder drizzle/ is missing: this installation is not whole')
  }
}
