import { randomBytes } from 'node:crypto'
import pg from 'pg'
import { inject } from 'vitest'
import { openPool } from '../../src/core/db/connect.ts'
import { onServer, TEMPLATE, type TestServer } from './servers.ts'

/**
 * Both kinds of server; `describe.each(servers())` runs against those that are here: what the server decides (claims and
 * limits, locks and leases, migrations, broken connections, statements that operators type) is shown on both.
 */
export function servers(): { name: string; url: string }[] {
  return inject('servers').filter((s): s is TestServer & { url: string } => s.url !== null)
}

/**
 * For `test.skipIf(!isFirst(url))`: what the program decides, by statements that its neighbours in the same file have run
 * on both servers, is shown on one.
 */
export function isFirst(url: string): boolean {
  return servers()[0]?.url === url
}

export function embeddedUrl(): string {
  const found = inject('servers').find((s) => s.name === 'embedded')
  if (!found?.url) throw new Error('the embedded server did not start')
  return found.url
}

export interface TestDatabase {
  dsn: string
  pool: pg.Pool
  drop: () => Promise<void>
}

/** A database of its own, copied from the migrated template (about 50 ms), or empty. */
export async function freshDatabase(
  url: string,
  o: { empty?: boolean; max?: number } = {},
): Promise<TestDatabase> {
  const name = `t_${randomBytes(6).toString('hex')}`
  // Without fsync to copy the files is quicker than to write them to the log, block by block.
  await admin(url, `create database ${name} strategy file_copy${o.empty ? '' : ` template ${TEMPLATE}`}`)
  const dsn = onServer(url, name)
  const pool = openPool({ dsn, max: o.max ?? 8, applicationName: 'test', statementTimeoutMs: 60_000 })
  return {
    dsn,
    pool,
    drop: async () => {
      await pool.end()
      await admin(url, `drop database ${name} with (force)`)
    },
  }
}

export async function admin(url: string, statement: string): Promise<void> {
  const client = new pg.Client({ connectionString: onServer(url, 'postgres') })
  await client.connect()
  try {
    await client.query(statement)
  } finally {
    await client.end()
  }
}
