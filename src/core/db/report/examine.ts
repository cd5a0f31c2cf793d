/** What the server says of itself and of whoever asks. Nothing here stays: what is tried is rolled back. */
import type pg from 'pg'
import type { SourceKind } from '../../domain/repo.ts'
import { type Db, type Limits, Rollback, row, rows, transaction } from '../connect.ts'
import { codeOf } from '../failure.ts'
import { tablesOfDictionary } from './dictionary.ts'

export interface Server {
  version: string
  /** 150004 of 15.4. */
  number: number
  user: string
  database: string
  encoding: string
  timeZone: string
  /** It can be read only: a standby, or somebody's wish. */
  readOnly: boolean
}

export async function serverFacts(db: Db): Promise<Server> {
  const found = await row<Server>(
    db,
    'examine_server',
    `select current_setting('server_version') as version, current_setting('server_version_num')::int as number,
            current_user::text as user, current_database()::text as database, pg_encoding_to_char(encoding) as encoding,
            current_setting('TimeZone') as "timeZone",
            pg_is_in_recovery() or current_setting('default_transaction_read_only')::bool as "readOnly"
       from pg_database where datname = current_database()`,
  )
  return found as Server
}

/** Key columns whose collation takes different texts for equal, and whether the library that sorts has changed since. */
export async function collationFacts(db: Db): Promise<{ loose: string[]; changed: boolean; name: string }> {
  const found = await row<{ loose: string[]; changed: boolean; name: string }>(
    db,
    'examine_collations',
    `select coalesce((select array_agg(c.relname || '.' || a.attname order by 1)
               from pg_index i join pg_class c on c.oid = i.indrelid
               join pg_attribute a on a.attrelid = c.oid and a.attnum = any(i.indkey)
               join pg_collation l on l.oid = a.attcollation
              where i.indisunique and not l.collisdeterministic
                and c.relnamespace::regnamespace::text in ('public', 'scm', 'logbook')), '{}') as loose,
            coalesce(datcollversion <> pg_database_collation_actual_version(oid), false) as changed,
            datcollate::text as name
       from pg_database where datname = current_database()`,
  )
  return found as { loose: string[]; changed: boolean; name: string }
}

/** Connections this user may have, have been taken, and are kept for others. */
export async function connectionFacts(db: Db): Promise<{ most: number; used: number }> {
  const found = await row<{ most: number; used: number }>(
    db,
    'examine_connections',
    `select least(current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
                    - coalesce(current_setting('reserved_connections', true)::int, 0),
                  nullif(d.datconnlimit, -1), nullif(r.rolconnlimit, -1)) as most,
            (select count(*) from pg_stat_activity where backend_type = 'client backend')::int as used
       from pg_database d, pg_roles r where d.datname = current_database() and r.rolname = current_user`,
  )
  return found as { most: number; used: number }
}

const APPEND_ONLY = 'public.ing_cursor_event'

/** What this user may not do and has to: `insert into scm.repos`. */
export async function missingPrivileges(db: Db): Promise<string[]> {
  const found = await rows<{ may: string }>(
    db,
    'examine_privileges',
    `select p || ' ' || t as may from unnest($1::text[]) t, unnest(array['select', 'insert', 'update', 'delete']) p
      where (t <> $2 or p in ('select', 'insert')) and to_regclass(t) is not null
        and not (has_schema_privilege(split_part(t, '.', 1), 'usage') and has_table_privilege(t, p))
     union all
     select 'execute ' || p.oid::regprocedure from pg_proc p
      where p.pronamespace = to_regnamespace('scm') and not has_function_privilege(p.oid, 'execute')
     union all
     select 'usage ' || c.oid::regclass from pg_class c
      where c.relnamespace = to_regnamespace('scm') and case c.relkind when 'S' then not has_sequence_privilege(c.oid, 'usage') end
     order by 1`,
    [tablesOfDictionary(), APPEND_ONLY],
  )
  return found.map(({ may }) => may)
}

/** Writes a row, changes it, deletes it, and takes all of it back. Throws what the server has against it. */
export async function rehearseWriting(pool: pg.Pool, limits: Limits): Promise<void> {
  await undone(pool, limits, async (tx) => {
    const key = `namespace = 'scm.doctor' and key = 'rehearsal'`
    await rows(
      tx,
      'examine_insert',
      `insert into logbook.kv (namespace, key, value_json) values ('scm.doctor', 'rehearsal', '1')`,
    )
    await rows(tx, 'examine_update', `update logbook.kv set value_json = '2' where ${key}`)
    await rows(tx, 'examine_delete', `delete from logbook.kv where ${key}`)
  })
}

/** Whether the record of the cursors' moves could be changed. No row is asked for: the statement alone is refused. */
export async function eventsCanBeChanged(pool: pg.Pool, limits: Limits): Promise<string[]> {
  const changes = {
    update: 'update ing_cursor_event set reason = reason where false',
    delete: 'delete from ing_cursor_event where false',
  }
  const possible: string[] = []
  for (const [name, statement] of Object.entries(changes)) {
    try {
      await undone(pool, limits, (tx) => rows(tx, `examine_events_${name}`, statement))
      possible.push(name)
    } catch (error) {
      if (!['23000', '42501'].includes(codeOf(error))) throw error
    }
  }
  return possible
}

async function undone(
  pool: pg.Pool,
  limits: Limits,
  work: (tx: pg.PoolClient) => Promise<unknown>,
): Promise<void> {
  try {
    await transaction(pool, limits, async (tx) => {
      await work(tx)
      throw new Rollback(null)
    })
  } catch (error) {
    if (!(error instanceof Rollback)) throw error
  }
}

export type Registered = { kind: SourceKind; locator: string; instanceKey: string }[]

/** What is synced. */
export function registered(db: Db): Promise<Registered> {
  return rows(
    db,
    'examine_registered',
    `select repo_type as kind, url as locator, instance_key as "instanceKey" from scm.repos where enabled order by repo_id`,
  )
}

/** Signs of life of the processes: by the database's clock, in seconds. */
export interface Life {
  /** Since the scheduler's lease was over; negative while it lasts; null when there never was one. */
  schedulerGoneFor: number | null
  /** Worker processes that wait for jobs. */
  listening: number
  /** Since a run was last known to be alive; null when there never was one. */
  heartbeatAge: number | null
  running: number
  due: number
}

export async function signsOfLife(db: Db): Promise<Life> {
  const found = await row<Life>(
    db,
    'examine_life',
    `select (select extract(epoch from now() - lease_until)::float8 from scm.leaders where duty = 'scheduler') as "schedulerGoneFor",
            (select count(*) from pg_stat_activity where datname = current_database() and query = 'listen scm_jobs')::int as listening,
            (select extract(epoch from now() - max(last_heartbeat))::float8 from ing_task_run) as "heartbeatAge",
            (select count(*) from ing_task where status = 'running')::int as running,
            (select count(*) from ing_task where (status in ('pending', 'failed')) is true and parked_until is null and scheduled_at <= now())::int as due`,
  )
  return found as Life
}
