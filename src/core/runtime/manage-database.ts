import type pg from 'pg'
import type { Config } from '../contracts/config.ts'
import type { DatabaseReport } from '../contracts/database.ts'
import { row } from '../db/connect.ts'
import { schemaState } from '../db/migrate.ts'
import { SyncError } from '../domain/errors.ts'
import { type EmbeddedServer, ensureServer, findServer, stopServer } from '../embedded/server.ts'
import { embeddedDir, migrateAt, poolOf } from './database.ts'

interface Surroundings {
  say: (what: string) => void
  signal: AbortSignal
}

/** Starts the embedded server (or finds it running) and brings its schema up to date. */
export async function bringUp(config: Config, o: Surroundings): Promise<DatabaseReport> {
  refuseExternal(config, 'started')
  const server = await ensureServer({ baseDir: embeddedDir(config), ...o })
  const applied = await migrateAt(server.dsn, o)
  return {
    ...(await describe(config)),
    action: server.started ? 'started' : null,
    migrations_applied: applied,
  }
}

export async function shutDown(config: Config): Promise<DatabaseReport> {
  refuseExternal(config, 'stopped')
  const stopped = await stopServer({ baseDir: embeddedDir(config) })
  return { ...(await describe(config)), action: stopped ? 'stopped' : null, exit_code: 0 }
}

/** Looks, and starts nothing. Exit 1 when nothing runs. */
export async function describe(config: Config): Promise<DatabaseReport> {
  const external = config.postgres.dsn ?? null
  const server = external ? null : await findServer({ baseDir: embeddedDir(config) })
  const dsn = external ?? server?.dsn ?? null
  const seen = dsn === null ? null : await withPool(config, dsn, look)
  return {
    status: 'success',
    server: external ? 'external' : 'embedded',
    running: seen !== null,
    url: dsn === null ? null : withoutPassword(dsn),
    schema: seen?.schema ?? null,
    version: seen?.version ?? null,
    ...shown(server, external ? null : embeddedDir(config)),
    action: null,
    migrations_applied: 0,
    exit_code: seen === null ? 1 : 0,
  }
}

/** Any database, embedded or external: older → current. Running it twice does nothing. */
export async function migrateNow(config: Config, o: Surroundings): Promise<DatabaseReport> {
  const dsn = config.postgres.dsn ?? (await ensureServer({ baseDir: embeddedDir(config), ...o })).dsn
  const applied = await migrateAt(dsn, o)
  return { ...(await describe(config)), action: applied > 0 ? 'migrated' : null, migrations_applied: applied }
}

function refuseExternal(config: Config, done: string): void {
  if (!config.postgres.dsn) return
  throw new SyncError('usage', `an external database is configured; it is not ${done} from here`, {
    hint: 'unset POSTGRES_DSN (and LOGBOOK_DSN, DATABASE_URL, [postgres].dsn) to use the embedded one',
  })
}

async function look(pool: pg.Pool) {
  const [schema, version] = await Promise.all([
    schemaState(pool),
    row<{ v: string }>(pool, 'server_version', `select current_setting('server_version') as v`),
  ])
  return { schema, version: version?.v ?? null }
}

async function withPool<T>(config: Config, dsn: string, work: (pool: pg.Pool) => Promise<T>): Promise<T> {
  const pool = poolOf(config, dsn)
  try {
    return await work(pool)
  } finally {
    await pool.end()
  }
}

function shown(server: EmbeddedServer | null, baseDir: string | null) {
  return { pid: server?.pid ?? null, data_dir: server?.dataDir ?? baseDir, log_file: server?.logFile ?? null }
}

function withoutPassword(dsn: string): string {
  return dsn.replace(/(:\/\/[^/:@]*):[^/@]*@/, '$1@').replace(/([?&])password=[^&]*&?/g, '$1')
}
