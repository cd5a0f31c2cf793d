import { type Db, row, rows } from '../connect.ts'

export async function getKv(db: Db, namespace: string, key: string): Promise<unknown> {
  const found = await row<{ value: unknown }>(
    db,
    'kv_get',
    'select value_json as value from logbook.kv where namespace = $1 and key = $2',
    [namespace, key],
  )
  return found === null ? null : found.value
}

/**
 * Writes only over the value the writer started from (null = no row, or one that holds JSON's null): an operator's
 * edit made meanwhile stays. false when there was one.
 */
export async function swapKv(
  db: Db,
  namespace: string,
  key: string,
  seen: unknown,
  value: unknown,
): Promise<boolean> {
  const written = await rows(
    db,
    'kv_swap',
    `with inserted as (
       insert into logbook.kv (namespace, key, value_json)
       select $1, $2, $4::jsonb where $3::jsonb is null
       on conflict (namespace, key) do update set value_json = excluded.value_json, updated_at = clock_timestamp()
        where kv.value_json = 'null'::jsonb
       returning 1),
     updated as (
       update logbook.kv set value_json = $4::jsonb, updated_at = clock_timestamp()
        where namespace = $1 and key = $2 and value_json = $3::jsonb returning 1)
     select 1 from inserted union all select 1 from updated`,
    [namespace, key, seen === null ? null : JSON.stringify(seen), JSON.stringify(value)],
  )
  return written.length > 0
}

/** The value as it stands, held until the transaction ends; null when there is no row. */
export async function lockKv(tx: Db, namespace: string, key: string): Promise<unknown> {
  const found = await row<{ value: unknown }>(
    tx,
    'kv_lock',
    'select value_json as value from logbook.kv where namespace = $1 and key = $2 for update',
    [namespace, key],
  )
  return found === null ? null : found.value
}

/** Whatever was there. */
export async function putKv(tx: Db, namespace: string, key: string, value: unknown): Promise<void> {
  await rows(
    tx,
    'kv_put',
    `insert into logbook.kv (namespace, key, value_json) values ($1, $2, $3)
     on conflict (namespace, key) do update set value_json = excluded.value_json, updated_at = clock_timestamp()`,
    [namespace, key, JSON.stringify(value)],
  )
}

/** false: there was none. */
export async function removeKv(tx: Db, namespace: string, key: string): Promise<boolean> {
  const removed = await rows(
    tx,
    'kv_remove',
    'delete from logbook.kv where namespace = $1 and key = $2 returning 1',
    [namespace, key],
  )
  return removed.length > 0
}
