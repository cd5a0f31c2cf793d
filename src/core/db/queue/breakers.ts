/** Circuit breakers: rows of logbook.kv, named `<project>:global`, `<project>:instance:<host>`, `<project>:tenant:<id>`. */
import type { Evidence } from '../../domain/breaker.ts'
import type { Json } from '../../domain/ledger.ts'
import { type Db, rows } from '../connect.ts'

export const KV_BREAKERS = 'scm.sync_health'

/** Runs a scan looks back at: 10,000 repositories that are asked once an hour leave 5,000 in half an hour. */
const MOST_RUNS = 5_000

/** Failures that are ours, or one repository's own: they say nothing of its upstream. */
const NO_VERDICT = `'connection', 'lease_lost', 'lock_held', 'cancelled', 'repo_not_found', 'contract_error'`

export interface BreakerFound extends Evidence {
  key: string
  /** `global`, `instance:<host>`, `tenant:<id>`. */
  scope: string
  /** Null without a row. */
  value: unknown
  /** All its trouble came from one of several repositories, hosts or tenants: that one is dealt with by itself. */
  isConfined: boolean
}

const moment = (field: string) =>
  `case when jsonb_typeof(value->'${field}') = 'number' then (value->>'${field}')::numeric end`

/**
 * Every breaker with what its runs say; with `hold`, its row locked until the transaction ends. One host, or one tenant, is all there is, so it has no breaker
 * beside the global one, unless it is left with one that is not closed; of several, those that are not closed are left out of what the global one is judged by.
 */
export async function findBreakers(
  tx: Db,
  ask: { project: string; windowMinutes: number; windowCount: number; hold: boolean },
): Promise<BreakerFound[]> {
  const found = await rows<
    Omit<BreakerFound, 'probes'> & { good: number; bad: number; underway: number; why: string | null }
  >(
    tx,
    ask.hold ? 'breakers_held' : 'breakers_seen',
    `with known as materialized (
       select key, value_json as value from logbook.kv
        where namespace = '${KV_BREAKERS}' and starts_with(key, $1 || ':') order by key ${ask.hold ? 'for update' : ''}),
     scope as materialized (
       select substr(key, length($1) + 2) as scope, value, ${moment('closed_at')} as closed, ${moment('half_open_at')} as half
         from known),
     shut as (select scope from scope where scm.breaker_state(value) <> 'closed'),
     repo as (select instance_key, tenant_id from scm.repos where enabled group by 1, 2),
     several as (select count(distinct nullif(instance_key, '')) > 1 as hosts, count(distinct nullif(tenant_id, '')) > 1 as tenants from repo),
     latest as materialized (
       select u.id, 'instance:' || nullif(r.instance_key, '') as host, 'tenant:' || nullif(r.tenant_id, '') as tenant,
              u.repo_id, u.task_id, u.status_code as status, u.stats, extract(epoch from u.started_at) as at,
              u.started_at > now() - make_interval(mins => $2) as is_recent,
              u.error_summary_json->>'error_category' as category, u.error_summary_json->>'error_message' as message
         from (select * from ing_task_run order by id desc limit ${MOST_RUNS}) u join scm.repos r using (repo_id)),
     run as (
       select *, status = 'SUCCEEDED' or (status = 'RUNNING' and coalesce((stats->>'pages')::int, 0) > 0) as is_good,
              (status = 'FAILED' and coalesce(category, '') not in (${NO_VERDICT})) or (status = 'CANCELLED' and category = 'rate_limit') as is_bad
         from latest),
     of_scope as (
       select 'global' as scope, run.* from run
        where not exists (select from shut, several where (hosts and shut.scope = run.host) or (tenants and shut.scope = run.tenant))
       union all select host, run.* from run, several where (hosts or host in (select scope from shut)) and host is not null
       union all select tenant, run.* from run, several where (tenants or tenant in (select scope from shut)) and tenant is not null),
     -- Ended ones, as many as the window holds; what is underway is no sample.
     sample as (
       select x.*, row_number() over (partition by x.scope order by id desc) as nth
         from of_scope x left join scope s using (scope)
        where status <> 'RUNNING' and (is_good or is_bad) and is_recent and at > coalesce(s.closed, 0)),
     judged as (
       select scope, count(*)::int as runs, count(*) filter (where is_bad and status = 'FAILED')::int as failed,
              count(*) filter (where is_bad and category = 'timeout')::int as timed_out,
              coalesce(sum((stats->>'total_requests')::numeric), 0)::float8 as requests,
              coalesce(sum((stats->>'total_429_hits')::numeric), 0)::float8 as limited,
              count(distinct coalesce(host, '')) filter (where is_bad or (stats->>'total_429_hits')::numeric > 0) as hosts_in_trouble,
              count(distinct coalesce(tenant, '')) filter (where is_bad or (stats->>'total_429_hits')::numeric > 0) as tenants_in_trouble,
              count(distinct repo_id) filter (where is_bad or (stats->>'total_429_hits')::numeric > 0) as repos_in_trouble, count(distinct repo_id) as repos
         from sample where nth <= $3 group by 1),
     probe as (
       select x.scope, count(*) filter (where is_good)::int as good, count(*) filter (where is_bad)::int as bad,
              -- Not one whose holder is gone: without a reaper it would be waited for.
              count(*) filter (where status = 'RUNNING' and not is_good and exists (
                select from ing_task t where t.id = x.task_id and t.last_run_id = x.id and t.lease_until > now()))::int as underway,
              (array_agg(category || ': ' || message order by id) filter (where is_bad))[1] as why
         from of_scope x join scope s using (scope) where s.half is not null and at >= s.half group by 1)
     select $1 || ':' || scope as key, scope, s.value, coalesce(j.runs, 0) as runs, coalesce(j.failed, 0) as failed,
            coalesce(j.timed_out, 0) as "timedOut", coalesce(j.requests, 0) as requests, coalesce(j.limited, 0) as limited,
            coalesce((repos > 1 and repos_in_trouble = 1) or
              (scope = 'global' and ((hosts and hosts_in_trouble = 1) or (tenants and tenants_in_trouble = 1))), false) as "isConfined",
            coalesce(p.good, 0) as good, coalesce(p.bad, 0) as bad, coalesce(p.underway, 0) as underway, p.why
       from (select 'global' as scope union select scope from judged union select scope from scope) every cross join several
       left join scope s using (scope) left join judged j using (scope) left join probe p using (scope)
      order by 1`,
    [ask.project, ask.windowMinutes, ask.windowCount],
  )
  return found.map(({ good, bad, underway, why, ...breaker }) => ({
    ...breaker,
    probes: { good, bad, underway, why },
  }))
}

/** Rows whose lock the caller holds, and new ones; one that somebody has written meanwhile stays. */
export async function writeBreakers(
  tx: Db,
  breakers: { key: string; isNew: boolean; value: { [key: string]: Json } }[],
): Promise<void> {
  await rows(
    tx,
    'breakers_write',
    `with ask as (select * from jsonb_to_recordset($1::jsonb) as x(key text, "isNew" boolean, value jsonb)),
     known as (
       update logbook.kv k set value_json = ask.value, updated_at = clock_timestamp()
         from ask where k.namespace = '${KV_BREAKERS}' and k.key = ask.key and not ask."isNew")
     insert into logbook.kv (namespace, key, value_json) select '${KV_BREAKERS}', key, value from ask where "isNew"
     on conflict (namespace, key) do nothing`,
    [JSON.stringify(breakers)],
  )
}
