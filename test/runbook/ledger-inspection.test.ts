import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { freshDatabase, servers, type TestDatabase } from '../helpers/database.ts'
import { makeRows, type Rows, undone } from './rows.ts'

const LEDGER_TABLES = [
  'ing_cursor',
  'ing_cursor_event',
  'ing_plan',
  'ing_plan_slice',
  'ing_schedule_instance',
  'ing_task',
  'ing_task_run',
  'ing_task_run_batch',
]

/** A key, and what a copy of a row must have of its own so that this key alone stands in its way. */
const KEYS: { key: string; table: string; where?: string; but: Record<string, string> }[] = [
  { key: 'uk_task_idem', table: 'ing_task', but: { active_key: 'null' } },
  {
    key: 'uk_task_active',
    table: 'ing_task',
    where: 'active_key is not null',
    but: { idempotent_key: `repeat('a', 64)` },
  },
  { key: 'uk_run_attempt', table: 'ing_task_run', but: { fence: '99999' } },
  { key: 'uk_run_fence', table: 'ing_task_run', but: { attempt_no: '99999' } },
  { key: 'uk_batch_idem', table: 'ing_task_run_batch', but: { batch_no: '99', before_token: `'elsewhere'` } },
  {
    key: 'uk_run_batch_no',
    table: 'ing_task_run_batch',
    but: { idempotent_key: `'other'`, before_token: `'elsewhere'` },
  },
  {
    key: 'uk_run_before_tok',
    table: 'ing_task_run_batch',
    but: { idempotent_key: `'other'`, batch_no: '99' },
  },
  { key: 'uk_plan_key', table: 'ing_plan', but: {} },
  { key: 'uk_slice_unique', table: 'ing_plan_slice', but: { slice_signature_hash: `repeat('a', 64)` } },
  { key: 'uk_slice_sig', table: 'ing_plan_slice', but: { slice_no: '99999' } },
  { key: 'uk_cursor_ns', table: 'ing_cursor', but: {} },
  { key: 'uk_cur_evt_idem', table: 'ing_cursor_event', but: {} },
  {
    key: 'uk_sched_log',
    table: 'ing_schedule_instance',
    where: 'scheduler_log_id is not null',
    but: {},
  },
]

describe.each(servers())('the ledger inspected on the $name server', ({ url }) => {
  let db: TestDatabase
  let made: Rows
  beforeAll(async () => {
    db = await freshDatabase(url)
    made = await makeRows(db.pool)
    await db.pool.query(`update ing_task set active_key = '1:commits' where id = $1`, [
      made.jobs.pendingOldHigh,
    ])
    await db.pool.query(
      `insert into ing_schedule_instance (scheduler_code, scheduler_job_id, scheduler_log_id, provenance_code, cursor_key)
       values ('XXL', '7', '70', 'git:1', 'commits')`,
    )
  })
  afterAll(() => db.drop())

  test('all eight tables are there, as tables', async () => {
    const { rows } = await db.pool.query(
      `select tablename from pg_tables where schemaname = 'public' and tablename like 'ing\\_%' order by 1`,
    )
    expect(rows.map((r) => r.tablename)).toEqual(LEDGER_TABLES)
  })

  test('the encoding is UTF8, and no key depends on a collation that takes different text for equal', async () => {
    const { rows } = await db.pool.query(`show server_encoding`)
    expect(rows).toEqual([{ server_encoding: 'UTF8' }])

    const loose = await db.pool.query(
      `select a.attrelid::regclass::text as "table", a.attname from pg_attribute a join pg_class c on c.oid = a.attrelid
         join pg_collation k on k.oid = a.attcollation
        where c.relnamespace in ('public'::regnamespace, 'scm'::regnamespace, 'logbook'::regnamespace)
          and c.relkind = 'r' and not k.collisdeterministic`,
    )
    expect(loose.rows).toEqual([])
    const { rows: told } = await db.pool.query(
      `select 'aGVsbG8' = 'AGVSBG8' as "case", 'e' = U&'\\00e9' as accent`,
    )
    expect(told).toEqual([{ case: false, accent: false }])
  })

  test.each(KEYS)('$key refuses a second row', async ({ key, table, where, but }) => {
    const { rows } = await db.pool.query(
      `select column_name as name from information_schema.columns
        where table_schema = 'public' and table_name = $1 and is_generated = 'NEVER' and is_identity = 'NO'`,
      [table],
    )
    const names = rows.map((r) => r.name as string)
    const copy = `insert into ${table} (${names.join(', ')})
      select ${names.map((n) => but[n] ?? n).join(', ')} from ${table} ${where ? `where ${where}` : ''} order by id desc limit 1`

    await undone(db.pool, async (tx) => {
      await expect(tx.query(copy)).rejects.toMatchObject({ code: '23505', constraint: key })
    })
  })

  test('the keys above are all there are', async () => {
    const { rows } = await db.pool.query(
      `select x.relname as key from pg_index i join pg_class x on x.oid = i.indexrelid join pg_class t on t.oid = i.indrelid
        where t.relname like 'ing\\_%' and i.indisunique and not i.indisprimary and i.indisvalid and i.indisready`,
    )
    expect(rows.map((r) => r.key).sort()).toEqual(KEYS.map((k) => k.key).sort())
  })

  test('two first pages of one run are told apart by the empty token, not by a missing one', async () => {
    const { rows } = await db.pool.query('select min(before_token) as first from ing_task_run_batch')
    expect(rows).toEqual([{ first: '' }])
  })

  test('no table has a foreign key', async () => {
    const { rows } = await db.pool.query(
      `select conrelid::regclass::text as "table", conname from pg_constraint where contype = 'f'
        and connamespace in ('public'::regnamespace, 'scm'::regnamespace, 'logbook'::regnamespace)`,
    )
    expect(rows).toEqual([])
  })

  test('the pull condition finds what is due, by priority and then by time', async () => {
    const { rows } = await db.pool.query(
      `select id from ing_task where status_code = 'QUEUED' and scheduled_at <= now() order by priority, scheduled_at`,
    )
    // `failed` waits for its retry and is queued again; what is due later is not there.
    expect(rows.map((r) => r.id)).toEqual([
      made.jobs.pendingOldHigh,
      made.jobs.failed,
      made.jobs.pendingOldLow,
    ])
  })

  test('the status of the ledger follows the status of the queue', async () => {
    const { rows } = await db.pool.query('select distinct status, status_code from ing_task order by 1')
    expect(Object.fromEntries(rows.map((r) => [r.status, r.status_code]))).toEqual({
      pending: 'QUEUED',
      failed: 'QUEUED',
      running: 'RUNNING',
      completed: 'SUCCEEDED',
      dead: 'FAILED',
      cancelled: 'CANCELLED',
    })
  })

  test('events cannot be changed, and the cursor does not go back', async () => {
    for (const sql of [
      `update ing_cursor_event set new_value = 'x'`,
      'delete from ing_cursor_event',
      'truncate ing_cursor_event',
      `update ing_cursor set normalized_instant = '2020-01-01', version = version + 1`,
      `update ing_cursor set cursor_value = 'x'`,
    ]) {
      await undone(db.pool, (tx) => expect(tx.query(sql)).rejects.toMatchObject({ code: '23000' }))
    }
  })

  test('folding the events gives the cursor', async () => {
    const { rows } = await db.pool.query(
      `select c.cursor_value, e.new_value from ing_cursor c join lateral (
         select new_value from ing_cursor_event e where e.provenance_code = c.provenance_code
            and e.namespace_scope_code = c.namespace_scope_code and e.direction_code = 'FORWARD'
          order by e.cursor_version desc limit 1) e on true`,
    )
    expect(rows).toHaveLength(1)
    expect(rows[0].cursor_value).toBe(rows[0].new_value)
  })
})
