import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import journal from '../../../drizzle/meta/_journal.json' with { type: 'json' }
import { openPool } from '../../../src/core/db/connect.ts'
import { migrate, migrationsFolder, schemaState } from '../../../src/core/db/migrate.ts'
import { freshDatabase, servers, type TestDatabase } from '../../helpers/database.ts'

test('a migration that is edited has another time: who has the old one is told, and not taken for current', () => {
  const known = journal.entries.map(({ tag, when }) => {
    const text = readFileSync(join(migrationsFolder(), `${tag}.sql`))
    return [tag, when, createHash('sha256').update(text).digest('hex').slice(0, 16)]
  })
  // Another text: a new `when` in drizzle/meta/_journal.json for it and all after it, or a migration of its own.
  expect(known).toEqual([
    ['0000_tables', 1795362149500, '17ebae1afcc768ff'],
    ['0001_guards', 1795362150500, '1fc3b10a7aacc92c'],
    ['0002_queue', 1795362151500, 'b312d4eefb9c6af3'],
    ['0003_budget', 1795362152500, '39f5a02e7075c6d7'],
  ])
})

describe.each(servers())('migrations on the $name server', ({ url }) => {
  let db: TestDatabase
  afterEach(() => db.drop())

  test('an empty database becomes current, and a second time changes nothing', async () => {
    db = await freshDatabase(url, { empty: true })
    expect(await schemaState(db.pool)).toBe('missing')

    expect((await migrate(db.pool)).applied).toBeGreaterThan(0)
    expect(await schemaState(db.pool)).toBe('current')
    expect((await migrate(db.pool)).applied).toBe(0)
  })

  test('twenty processes migrate at once: one does it, all succeed', async () => {
    db = await freshDatabase(url, { empty: true })
    const pools = Array.from({ length: 20 }, () =>
      openPool({ dsn: db.dsn, max: 1, applicationName: 'racer', statementTimeoutMs: 60_000 }),
    )
    const applied = await Promise.all(pools.map((p) => migrate(p)))
    await Promise.all(pools.map((p) => p.end()))

    expect(applied.filter((a) => a.applied > 0)).toHaveLength(1)
    expect(await schemaState(db.pool)).toBe('current')
  })

  test('a database newer than the code is told apart from an older one', async () => {
    db = await freshDatabase(url)
    await db.pool.query('delete from scm.schema_migrations where id > 1')
    expect(await schemaState(db.pool)).toBe('older')
    await db.pool.query('update scm.schema_migrations set created_at = created_at + 1')
    expect(await schemaState(db.pool)).toBe('newer')
    await expect(migrate(db.pool)).rejects.toThrow(/newer than this program/)
  })

  test('a schema named scm may be there already', async () => {
    db = await freshDatabase(url, { empty: true })
    await db.pool.query('create schema scm')
    await migrate(db.pool)
    expect(await schemaState(db.pool)).toBe('current')
  })

  test('no table of the ledger has a foreign key, and every key column compares byte by byte', async () => {
    db = await freshDatabase(url)
    const keys = await db.pool.query(`select count(*) as n from pg_constraint where contype = 'f'`)
    expect(keys.rows[0].n).toBe(0)
    const loose = await db.pool.query(
      `select attrelid::regclass from pg_attribute a join pg_collation c on c.oid = a.attcollation where not c.collisdeterministic and attnum > 0 and attrelid::regclass::text like 'ing_%'`,
    )
    expect(loose.rows).toEqual([])
  })

  test('cursor events cannot be changed, and a cursor cannot go back', async () => {
    db = await freshDatabase(url)
    await db.pool.query(
      `insert into ing_cursor_event (provenance_code, operation_code, cursor_key, namespace_scope_code, namespace_key, cursor_type_code,
         new_value, direction_code, cursor_version, idempotent_key) values ('git:1', 'HARVEST', 'commits', 'GLOBAL', repeat('0', 64), 'TIME', 'x', 'FORWARD', 1, 'k')`,
    )
    for (const change of [
      'update ing_cursor_event set new_value = $$y$$',
      'delete from ing_cursor_event',
      'truncate ing_cursor_event',
    ]) {
      await expect(db.pool.query(change)).rejects.toThrow(/append-only/)
    }
    await db.pool.query(
      `insert into ing_cursor (provenance_code, operation_code, cursor_key, cursor_type_code, cursor_value, normalized_instant, version)
       values ('git:1', 'HARVEST', 'commits', 'TIME', '2025', '2025-01-01', 3)`,
    )
    await expect(
      db.pool.query(`update ing_cursor set normalized_instant = '2024-01-01', version = 4`),
    ).rejects.toThrow(/only moves forward/)
    await expect(db.pool.query(`update ing_cursor set normalized_instant = '2026-01-01'`)).rejects.toThrow(
      /only moves forward/,
    )
  })
})
