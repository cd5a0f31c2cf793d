import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type pg from 'pg'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { schemaState } from '../../../src/core/db/migrate.ts'
import { SyncError } from '../../../src/core/domain/errors.ts'
import { loadConfig } from '../../../src/core/runtime/config.ts'
import { poolOf } from '../../../src/core/runtime/database.ts'
import { migrateNow } from '../../../src/core/runtime/manage-database.ts'
import { embeddedUrl, freshDatabase, type TestDatabase } from '../../helpers/database.ts'

const MIGRATION_LOCK = 7_301_001
const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

function configOf(flags: Record<string, unknown>, file: string | null = null) {
  return loadConfig({ env: {}, flags, file, cwd: tmpdir(), configHome: null }).config
}

let db: TestDatabase
/** Of another process, which stands in the way. */
let other: pg.PoolClient
beforeEach(async () => {
  db = await freshDatabase(embeddedUrl(), { empty: true })
  other = await db.pool.connect()
})
afterEach(async () => {
  other.release(true)
  await db.drop()
})

/** Where no other statement may take longer than a millisecond, and the client waits no longer than 5 s more. */
function migrating(signal = new AbortController().signal) {
  const said: string[] = []
  const config = configOf({ 'postgres.dsn': db.dsn, 'postgres.statement_timeout_ms': 1 })
  return { said, done: migrateNow(config, { say: (what) => said.push(what), signal }) }
}

test('a migration may take longer than any other statement', async () => {
  await db.pool.query(`alter database ${new URL(db.dsn).pathname.slice(1)} set statement_timeout = '500ms'`)
  await other.query('begin; create schema scm')
  const { done } = migrating()
  await Promise.race([done, pause(5_500)])
  await other.query('rollback')
  expect(await done).toMatchObject({ action: 'migrated', schema: 'current' })
})

test('a migration waits for the one that is at it, and says so once', async () => {
  await other.query(`select pg_advisory_lock(${MIGRATION_LOCK})`)
  const { said, done } = migrating()
  await Promise.race([done, pause(1_000)])
  expect(await schemaState(db.pool)).toBe('missing')
  await other.query(`select pg_advisory_unlock(${MIGRATION_LOCK})`)
  expect(await done).toMatchObject({ action: 'migrated', schema: 'current' })
  expect(said).toEqual(['waiting for another migration of this database'])
})

test('a migration that waits can be stopped', async () => {
  await other.query(`select pg_advisory_lock(${MIGRATION_LOCK})`)
  const stop = new AbortController()
  const { done } = migrating(stop.signal)
  await Promise.race([done, pause(500)])
  stop.abort(new SyncError('cancelled', 'stopped by SIGINT'))
  await expect(done).rejects.toMatchObject({ kind: 'cancelled' })
  expect(await schemaState(db.pool)).toBe('missing')
})

test.each([
  ['[scm.worker]', 11],
  ['[scm.worker]\nparallelism = 6', 15],
  ['[scm.executor]\nparallelism = 7', 17],
  ['[scm.worker.pools.small]\n[scm.worker.pools.big]\nparallelism = 64', 131],
])('connections for whatever may work side by side: %j', async (toml, most) => {
  const folder = mkdtempSync(join(tmpdir(), 'pools-'))
  try {
    const file = join(folder, 'config.toml')
    writeFileSync(file, toml)
    const pool = poolOf(configOf({}, file), db.dsn)
    await pool.end()
    expect(pool.options.max).toBe(most)
  } finally {
    rmSync(folder, { recursive: true })
  }
})
