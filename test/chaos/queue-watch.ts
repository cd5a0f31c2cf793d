/**
 * A queue under watch. Triggers on its tables note every change beside the operation that made it, in the transaction
 * that makes it: what is rolled back is not in the log, and the changes of one row stand there in the order they happened.
 */
import type pg from 'pg'
import { openPool } from '../../src/core/db/connect.ts'
import { freshDatabase } from '../helpers/database.ts'

export interface Limits {
  running: number
  perInstance: number
  perTenant: number
}

/** Workers claim and keep to the limits; runners take jobs by id, whatever runs. */
export const WORKERS = 'w'

export interface Change {
  seq: number
  /** Microseconds since 1970 by the server's clock: when the row was written, and when its transaction began. */
  at: number
  began: number
  op: number
  of: 'ing_task' | 'ing_task_run' | 'sync_locks' | 'kv'
  old: Row | null
  new: Row | null
}

/** A row as JSON; its times in microseconds. */
// biome-ignore lint/suspicious/noExplicitAny: the columns are the tables'
export type Row = Record<string, any>

/** Too many at the moment of a commit, counted by whoever claims, before anybody else may. */
export interface Over {
  of: string
  running: number
  most: number
}

const log = (limits: Limits) => `
create schema chaos;
create table chaos.log (seq bigint generated always as identity primary key, at timestamptz not null default clock_timestamp(),
  began timestamptz not null default now(), op int not null, of text not null, old jsonb, new jsonb);
create function chaos.note() returns trigger language plpgsql as $$
begin
  insert into chaos.log (op, of, old, new) values (coalesce(nullif(current_setting('chaos.op', true), ''), '-1')::int, tg_table_name,
    case when tg_op <> 'INSERT' then to_jsonb(old) end, case when tg_op <> 'DELETE' then to_jsonb(new) end);
  return null;
end $$;
create trigger noted after insert or update or delete on ing_task for each row execute function chaos.note();
create trigger noted after insert or update or delete on ing_task_run for each row execute function chaos.note();
create trigger noted after insert or update or delete on scm.sync_locks for each row execute function chaos.note();
create trigger noted after insert or update or delete on logbook.kv for each row execute function chaos.note();

create view chaos.live as select * from ing_task where status = 'running' and lease_until > clock_timestamp();
create view chaos.too_many as
  select * from (
    select 'all' as of, count(*)::int as running, ${limits.running} as most from chaos.live where lease_owner like '${WORKERS}%'
    union all select 'instance ' || instance_key, count(*)::int, ${limits.perInstance} from chaos.live
     where lease_owner like '${WORKERS}%' and instance_key <> '' group by 1
    union all select 'tenant ' || tenant_id, count(*)::int, ${limits.perTenant} from chaos.live
     where lease_owner like '${WORKERS}%' and tenant_id <> '' group by 1) counted
   where running > most;
create table chaos.over (of text, running int, most int);
create table chaos.counted (op int);
create function chaos.count() returns trigger language plpgsql as $$
begin
  insert into chaos.counted values (coalesce(nullif(current_setting('chaos.op', true), ''), '-1')::int);
  insert into chaos.over select * from chaos.too_many;
  return null;
end $$;
create constraint trigger counted after update on ing_task deferrable initially deferred for each row
  when (new.status = 'running' and new.fence <> old.fence) execute function chaos.count();`

/** Changes a statement on its way to the server: a planted fault. */
export type Rewrite = (name: string, text: string) => string

export interface Watched {
  dsn: string
  pool: pg.Pool
  /** One connection with a name of its own; what it sends may be rewritten. */
  connect(name: string): pg.Pool
  /** Marks what the connection does from here on; the server's clock. */
  mark(connection: pg.Pool, op: number): Promise<number>
  /** All that happened since the last call. Asks for a moment when nobody is at work. */
  changes(): Promise<Change[]>
  over(): Promise<Over[]>
  drop(): Promise<void>
}

export async function watchedQueue(url: string, limits: Limits, rewrite?: Rewrite): Promise<Watched> {
  const db = await freshDatabase(url, { max: 3 })
  await db.pool.query(log(limits))
  const connections: pg.Pool[] = []
  let seen = 0
  return {
    dsn: db.dsn,
    pool: db.pool,
    connect(name) {
      const pool = openPool({ dsn: db.dsn, max: 1, applicationName: name, statementTimeoutMs: 60_000 })
      if (rewrite) pool.on('connect', (client) => plant(client, rewrite))
      connections.push(pool)
      return pool
    },
    async mark(connection, op) {
      const { rows } = await connection.query({
        name: 'mark',
        text: `select set_config('chaos.op', $1, false), (extract(epoch from clock_timestamp()) * 1e6)::bigint as at`,
        values: [String(op)],
      })
      return rows[0].at
    },
    async changes() {
      const { rows } = await db.pool.query(
        'select to_jsonb(l) as change from chaos.log l where seq > $1 order by seq',
        [seen],
      )
      seen = rows.at(-1)?.change.seq ?? seen
      return rows.map((r) => timed(r.change) as Change)
    },
    async over() {
      return (await db.pool.query('select distinct * from chaos.over order by 1, 2')).rows
    },
    async drop() {
      await Promise.all(connections.map((c) => c.end()))
      await db.drop()
    },
  }
}

function plant(client: pg.PoolClient, rewrite: Rewrite): void {
  const send = client.query.bind(client) as (...args: unknown[]) => unknown
  const planted = (first: unknown, ...rest: unknown[]) => {
    const named = first as { name?: string; text?: string }
    if (typeof first !== 'object' || first === null || !named.name || !named.text) return send(first, ...rest)
    return send({ ...named, text: rewrite(named.name, named.text) }, ...rest)
  }
  client.query = planted as typeof client.query
}

const TIMES = /(_at|_until|_heartbeat|^at|^began)$/

function timed(row: Row): Row {
  for (const [key, value] of Object.entries(row)) {
    if (value !== null && typeof value === 'object' && (key === 'old' || key === 'new')) timed(value)
    else if (typeof value === 'string' && TIMES.test(key)) row[key] = microseconds(value)
  }
  return row
}

/** Date knows milliseconds only, and two changes may lie closer together. */
function microseconds(text: string): number {
  const parts = /^(.*T\d\d:\d\d:\d\d)(\.\d+)?(.*)$/.exec(text)
  if (!parts) return Number.NaN
  return Date.parse(`${parts[1]}${parts[3]}`) * 1000 + Math.round(Number(`0${parts[2] ?? ''}`) * 1e6)
}
