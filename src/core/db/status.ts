import type { JobShown, LockShown, RunShown, StatusReport } from '../contracts/status.ts'
import { type Db, rows } from './connect.ts'

/** Counts by a column, as an object. */
async function countsBy(db: Db, name: string, sql: string): Promise<Record<string, number>> {
  const found = await rows<{ key: string; n: number }>(db, name, sql)
  return Object.fromEntries(found.map((r) => [r.key, r.n]))
}

export const reposByType = (db: Db) =>
  countsBy(db, 'status_repos', 'select repo_type as key, count(*) as n from scm.repos group by 1 order by 1')

export const jobsByStatus = (db: Db) =>
  countsBy(
    db,
    'status_jobs_by_status',
    `select s.key, count(t.id) as n
       from unnest(array['pending', 'reserved', 'running', 'failed', 'completed', 'dead', 'cancelled']) with ordinality s(key, n)
       left join ing_task t on t.status = s.key group by s.key, s.n order by s.n`,
  ) as Promise<StatusReport['jobs_by_status']>

export const runsByStatus = (db: Db) =>
  countsBy(
    db,
    'status_runs_24h',
    `select status as key, count(*) as n from scm.sync_runs where started_at > now() - interval '24 hours' group by 1 order by 1`,
  )

/** What is in hand or needs one: everything not completed, oldest first; at most 100. */
export const openJobs = (db: Db) =>
  rows<JobShown>(
    db,
    'status_open_jobs',
    `select job_id, repo_id, job_type, mode, status, priority, attempts, max_attempts, not_before, locked_by, locked_at,
            error_summary_json->>'error_message' as error
       from scm.sync_jobs where status not in ('completed', 'cancelled') order by job_id limit 100`,
  )

export const recentRuns = (db: Db, limit: number) =>
  rows<RunShown>(
    db,
    'status_recent_runs',
    `select run_id, job_id, repo_id, job_type, mode, attempt, status, synced_count, started_at, finished_at,
            error_summary_json->>'error_message' as error
       from scm.sync_runs order by started_at desc, run_id desc limit $1`,
    [limit],
  )

export const locks = (db: Db) =>
  rows<LockShown>(
    db,
    'status_locks',
    `select repo_id, job_type, locked_by, locked_at, lease_seconds,
            locked_at + make_interval(secs => lease_seconds) < now() as is_expired
       from scm.sync_locks order by locked_at limit 100`,
  )

export const cursorRows = (db: Db) =>
  rows<{ key: string; value: unknown; repo: string | null; age_seconds: number | null }>(
    db,
    'status_cursors',
    `select k.key, k.value_json as value, r.repo_type || ':' || r.url as repo,
            extract(epoch from now() - k.updated_at)::float8 as age_seconds
       from logbook.kv k left join scm.repos r on r.repo_id::text = substring(k.key from '_cursor:([0-9]+)$')
      where k.namespace = 'scm.sync' and k.key like '%\\_cursor:%' order by k.key`,
  )

export const factCounts = (db: Db) =>
  rows<StatusReport['facts'][number]>(
    db,
    'status_facts',
    `select r.repo_id, r.repo_type || ':' || r.url as repo, coalesce(c.n, 0) as commits, coalesce(c.gone, 0) as unreachable,
            coalesce(h.n, 0) as refs
       from scm.repos r
       left join (select repo_id, count(*) as n, count(*) filter (where unreachable_since is not null) as gone
                    from scm.git_commits group by 1) c using (repo_id)
       left join (select repo_id, count(*) as n from scm.git_refs group by 1) h using (repo_id)
      order by r.repo_id`,
  )

export async function errorBudget(db: Db, windowMinutes: number): Promise<StatusReport['error_budget']> {
  const [b] = await rows<{
    samples: number
    completed: number
    failed: number
    requests: number
    limited: number
    timeouts: number
  }>(
    db,
    'status_error_budget',
    `select count(*) filter (where status in ('completed', 'no_data', 'failed')) as samples,
            count(*) filter (where status in ('completed', 'no_data')) as completed,
            count(*) filter (where status = 'failed') as failed,
            coalesce(sum((counts->>'total_requests')::bigint), 0)::bigint as requests,
            coalesce(sum((counts->>'total_429_hits')::bigint), 0)::bigint as limited,
            count(*) filter (where error_summary_json->>'error_category' = 'timeout') as timeouts
       from scm.sync_runs where started_at > now() - make_interval(mins => $1)`,
    [windowMinutes],
  )
  const { samples = 0, completed = 0, failed = 0, requests = 0, limited = 0, timeouts = 0 } = b ?? {}
  const rate = (n: number, of: number) => (of === 0 ? 0 : Math.min(1, n / of))
  return {
    window_minutes: windowMinutes,
    samples,
    total_requests: requests,
    completed_runs: completed,
    failure: { count: failed, rate: rate(failed, completed + failed) },
    rate_limit_429: { count: limited, rate: rate(limited, requests) },
    timeout: { count: timeouts, rate: rate(timeouts, completed + failed) },
  }
}

export const breakerRows = (db: Db) =>
  rows<{ key: string; value: unknown }>(
    db,
    'status_breakers',
    `select key, value_json as value from logbook.kv where namespace = 'scm.sync_health' order by key`,
  )

export const buckets = (db: Db) =>
  rows<StatusReport['rate_limit_buckets'][number]>(
    db,
    'status_buckets',
    `select instance_key, least(burst, tokens + rate * extract(epoch from now() - updated_at))::float8 as tokens_remaining, rate, burst,
            coalesce(paused_until > now(), false) as is_paused, paused_until as pause_until
       from scm.sync_rate_limits order by instance_key`,
  )

export async function pausedCount(db: Db): Promise<number> {
  const [found] = await rows<{ n: number }>(
    db,
    'status_pauses',
    `select count(*) as n from logbook.kv where namespace = 'scm.sync_pauses'
        and jsonb_typeof(value_json->'paused_until') = 'number' and (value_json->>'paused_until')::float8 > extract(epoch from now())`,
  )
  return found?.n ?? 0
}
