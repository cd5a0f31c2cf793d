/** What a scheduler's tick reads and writes: each function is one statement for any number of repositories. */
import type { AuditedCursor } from '../../domain/cursor.ts'
import type { JobType, Repo } from '../../domain/repo.ts'
import { type Db, row, rows } from '../connect.ts'
import { CURSOR_AT, GLOBAL_KEY } from '../ledger/cursors.ts'

export interface PairRow extends Repo {
  jobType: JobType
  cursor: unknown
  /** Seconds since kv was written; null without a row. */
  kvAge: number | null
  audited: AuditedCursor | null
  active: boolean
  pauseLeft: number | null
  pausedAgo: number | null
  repaired: boolean
  total: number
  failed: number
  requests: number
  limited: number
  lastFailed: boolean | null
  lastAgo: number | null
  bucketPauseLeft: number | null
  bucketFill: number | null
}

/** Seconds from now to a moment somebody may have written by hand: `infinity` is a timestamp too, but cannot be subtracted. */
export const fromNow = (epoch: string) =>
  `(case when ${epoch} is not null then greatest(-1e9, least(1e9, ${epoch} - extract(epoch from now()))) end)::float8`

/** When a pause was made; null when it is no number. */
const PAUSED_AT = `case when jsonb_typeof(p.value_json->'paused_at') = 'number' then (p.value_json->>'paused_at')::numeric end`

/**
 * Every enabled repository with every job type its kind has. Runs and repairs are only looked up for what may be due:
 * for ten thousand fresh repositories that would be most of the work.
 */
export async function pairsToJudge(
  db: Db,
  ask: {
    kinds: { kind: string; jobType: JobType; cursorKey: string; repairRequest: string }[]
    cursorAgeThreshold: number
    windowSize: number
    /** Seconds: the age from which a repair is wanted, and the time within which one is enough. */
    repairAfter: number
  },
): Promise<PairRow[]> {
  return rows<PairRow>(
    db,
    'schedule_pairs',
    `select r.repo_id as "repoId", r.repo_type as kind, r.url as locator, r.project_key as "projectKey",
            r.instance_key as "instanceKey", r.tenant_id as "tenantId", r.enabled, r.settings, k.job_type as "jobType",
            kv.value_json as cursor, -${fromNow('extract(epoch from kv.updated_at)')} as "kvAge",
            case when c.id is not null then json_build_object('type', c.cursor_type_code, 'value', c.cursor_value, 'at', ${CURSOR_AT},
                 'version', c.version) end as audited,
            t.id is not null as active, ${fromNow('extract(epoch from scm.pause_end(p.value_json))')} as "pauseLeft",
            -${fromNow(PAUSED_AT)} as "pausedAgo",
            coalesce(u.total, 0) as total, coalesce(u.failed, 0) as failed, coalesce(u.requests, 0)::float8 as requests,
            coalesce(u.limited, 0)::float8 as limited, u.last_failed as "lastFailed", u.last_ago as "lastAgo",
            coalesce(m.n > 0, false) as repaired,
            scm.seconds_left(b.paused_until, now()) as "bucketPauseLeft",
            case when b.burst > 0 then scm.bucket_tokens(b, now()) / b.burst
                 when b.instance_key is not null then 0 end as "bucketFill"
       from scm.repos r
       join unnest($1::text[], $2::text[], $3::text[], $6::text[]) as k(kind, job_type, cursor_key, repair_request) on k.kind = r.repo_type
       left join logbook.kv kv on kv.namespace = 'scm.sync' and kv.key = k.cursor_key || r.repo_id
       left join ing_cursor c on c.provenance_code = r.repo_type || ':' || r.repo_id and c.operation_code = 'HARVEST'
             and c.cursor_key = k.job_type and c.namespace_scope_code = 'GLOBAL' and c.namespace_key = '${GLOBAL_KEY}'
       left join ing_task t on t.active_key = r.repo_id || ':' || k.job_type
       left join logbook.kv p on p.namespace = 'scm.sync_pauses' and p.key = r.repo_id || ':' || k.job_type
       left join scm.sync_rate_limits b on b.instance_key = r.instance_key and r.instance_key <> ''
       left join lateral (
         select count(*)::int as total, count(*) filter (where status_code = 'FAILED')::int as failed,
                sum((stats->>'total_requests')::numeric) as requests, sum((stats->>'total_429_hits')::numeric) as limited,
                (array_agg(status_code = 'FAILED' order by started_at desc))[1] as last_failed,
                extract(epoch from now() - max(finished_at))::float8 as last_ago
           from (select w.status_code, w.stats, w.started_at, w.finished_at from ing_task_run w
                  where w.repo_id = r.repo_id and w.job_type = k.job_type and w.mode <> 'backfill'
                    and w.status_code in ('SUCCEEDED', 'FAILED')
                    and t.id is null and (kv.updated_at is null or kv.updated_at <= now() - make_interval(secs => $4)
                                          or kv.value_json->>'watermark' is distinct from c.cursor_value)
                    -- What failed before says nothing of today; what succeeded and found nothing is kept no longer either.
                    and w.started_at > now() - interval '24 hours'
                  order by w.started_at desc limit $5) latest) u on true
       left join lateral (
         select count(*) as n from (
           select status_code, created_at from ing_plan
            where provenance_code = r.repo_type || ':' || r.repo_id and request_hash = k.repair_request
              and t.id is null and kv.updated_at <= now() - make_interval(secs => $7)
            order by id desc limit 1) newest
          where status_code = 'READY' or created_at > now() - make_interval(secs => $7)) m on true
      where r.enabled
      order by r.repo_id, k.job_type`,
    [
      ask.kinds.map((k) => k.kind),
      ask.kinds.map((k) => k.jobType),
      ask.kinds.map((k) => k.cursorKey),
      ask.cursorAgeThreshold,
      ask.windowSize,
      ask.kinds.map((k) => k.repairRequest),
      ask.repairAfter,
    ],
  )
}

export interface QueueNow {
  now: Date
  running: number
  pending: number
  byInstance: Record<string, number>
  byTenant: Record<string, number>
}

/**
 * What is due and what runs at this moment. What is due is counted by (repo, job type), since one job
 * of it can run at a time: two hundred chunks of one backfill take one place. A paused one takes none, nor one that waits
 * for its next try, or three that fail would stop the other thousand of their host. Only while a host is silent, what
 * waits counts for that host: more of it would only be put off as well. A runner's own reservations do not count.
 */
export async function queueNow(db: Db): Promise<QueueNow> {
  const found = await row<QueueNow>(
    db,
    'schedule_queue',
    // Each half by an index of its own: what is finished is a hundred times as much. And for this transaction: compiling its
    // one large statement costs more than running it.
    `with jit as materialized (select set_config('jit', 'off', true)),
     paused as (
       select key from logbook.kv
        where namespace = 'scm.sync_pauses' and scm.paused_until(value_json) is not null),
     silent as (select instance_key from scm.sync_rate_limits b where scm.upstream_wait(b, now()) > 0),
     waiting as (
       select instance_key, tenant_id, repo_id, job_type,
              bool_or(scheduled_at <= now() and (status = 'pending' or attempts < max_attempts)) as is_due
         from ing_task where status in ('pending', 'failed') group by 1, 2, 3, 4),
     active as materialized (
       select instance_key, tenant_id, count(*) filter (where lease_until > now()) as running, count(*) as n, count(*) as of_host
         from ing_task where status = 'running' group by 1, 2
       union all
       select instance_key, tenant_id, 0, count(*) filter (where is_due),
              count(*) filter (where is_due or instance_key in (select instance_key from silent))
         from waiting where not exists (select from paused where key = repo_id || ':' || job_type) group by 1, 2)
     select date_trunc('milliseconds', clock_timestamp()) as now, coalesce(sum(running), 0)::int as running,
            coalesce(sum(n - running), 0)::int as pending,
            coalesce((select jsonb_object_agg(instance_key, n) from (
              select instance_key, sum(of_host) as n from active where instance_key <> '' group by 1 having sum(of_host) > 0) x),
              '{}') as "byInstance",
            coalesce((select jsonb_object_agg(tenant_id, n) from (
              select tenant_id, sum(n) as n from active where tenant_id <> '' group by 1 having sum(n) > 0) x), '{}') as "byTenant"
       from jit left join active on true`,
  )
  return found as QueueNow
}

/**
 * A pause for each, from now on, unless one that somebody made still lasts. It ends by itself: the claim and the
 * scheduler both compare it with the clock.
 */
export async function pausePairs(
  tx: Db,
  pauses: { repoId: number; jobType: JobType; reason: string; failureRate: number }[],
  seconds: number,
): Promise<void> {
  await rows(
    tx,
    'schedule_pause',
    `insert into logbook.kv as kv (namespace, key, value_json)
     select 'scm.sync_pauses', x."repoId" || ':' || x."jobType", jsonb_build_object(
              'repo_id', x."repoId", 'job_type', x."jobType", 'reason', x.reason, 'reason_code', 'error_budget',
              'paused_at', extract(epoch from now()), 'paused_until', extract(epoch from now()) + $2::int,
              'failure_rate', x."failureRate")
       from jsonb_to_recordset($1::jsonb) as x("repoId" bigint, "jobType" text, reason text, "failureRate" float8)
      order by 2
     on conflict (namespace, key) do update set value_json = excluded.value_json, updated_at = clock_timestamp()
      where scm.paused_until(kv.value_json) is null`,
    [JSON.stringify(pauses), seconds],
  )
}
