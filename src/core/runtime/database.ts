import { homedir } from 'node:os'
import { join } from 'node:path'
import type pg from 'pg'
import type { Config } from '../contracts/config.ts'
import { openPool } from '../db/connect.ts'
import { migrate, schemaState, tooNew } from '../db/migrate.ts'
import { SyncError } from '../domain/errors.ts'
import { type EmbeddedServer, ensureServer } from '../embedded/server.ts'

/** Where what belongs to this user is kept; root's home is closed to the user the server runs as. */
export function dataDir(config: Config): string {
  if (config.storage.data_dir) return config.storage.data_dir
  if (process.getuid?.() === 0) return '/var/lib/engram-scm'
  return join(process.env.XDG_DATA_HOME || join(homedir(), '.local/share'), 'engram-scm')
}

/** The major version is in the name: a data folder belongs to one. */
export function embeddedDir(config: Config): string {
  return config.postgres.embedded_dir ?? join(dataDir(config), 'pg17')
}

export interface Database {
  dsn: string
  /** Null when the server is somebody else's: then nothing here starts, stops or migrates it unasked. */
  embedded: EmbeddedServer | null
}

export async function reachDatabase(
  config: Config,
  o: { say: (what: string) => void; signal: AbortSignal },
): Promise<Database> {
  if (config.postgres.dsn) return { dsn: config.postgres.dsn, embedded: null }
  const embedded = await ensureServer({ baseDir: embeddedDir(config), ...o })
  return { dsn: embedded.dsn, embedded }
}

/** Two connections for each job or trigger, in whichever pool of workers, and three besides. */
export function poolOf(config: Config, dsn: string, onLost?: (error: Error) => void): pg.Pool {
  const { worker, executor } = config.scm
  const pools = Object.values(worker.pools).map(({ parallelism }) => parallelism ?? 0)
  return openPool({
    dsn,
    max: Math.max(worker.parallelism, executor.parallelism, ...pools) * 2 + 3,
    applicationName: 'engram-scm',
    statementTimeoutMs: config.postgres.statement_timeout_ms ?? (config.scm.worker.lease_seconds * 1000) / 2,
    ...(onLost ? { onLost } : {}),
  })
}

/** For whoever looks in from outside: connections of its own, so that no visitor can take one from the work. */
export function onlookersPoolOf(dsn: string): pg.Pool {
  return openPool({ dsn, max: 3, applicationName: 'engram-scm', statementTimeoutMs: 5_000 })
}

/** On a connection without the limits of the others. */
export async function migrateAt(
  dsn: string,
  around: { say: (what: string) => void; signal: AbortSignal },
): Promise<number> {
  const pool = openPool({ dsn, max: 1, applicationName: 'engram-scm', statementTimeoutMs: null })
  try {
    return (await migrate(pool, around)).applied
  } finally {
    await pool.end()
  }
}

/** The embedded database is brought up to date by itself; an external one only by `db migrate`. */
export async function requireSchema(
  pool: pg.Pool,
  { dsn, embedded }: Database,
  around: { say: (what: string) => void; signal: AbortSignal },
): Promise<void> {
  const state = await schemaState(pool)
  switch (state) {
    case 'current':
      return
    case 'newer':
      throw tooNew()
    case 'missing':
    case 'older':
      if (!embedded) {
        const what = state === 'missing' ? 'has no engram-scm schema' : 'has an older engram-scm schema'
        throw new SyncError('config', `the database ${what}`, { hint: 'run: engram-scm-sync db migrate' })
      }
      around.say('preparing the database')
      await migrateAt(dsn, around)
  }
}
