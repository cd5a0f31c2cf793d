import type { JobShown, LockShown, RunShown, StatusReport } from '../../contracts/status.ts'
import { type Db, rows } from '../connect.ts'

/** Counts by a column, as an object. */
async function countsBy(db: Db, name: string, sql: string): Promise<Record<string, number>> {
  const found = await rows<{ key: string; n: number }>(db, name, sql)
  return Object.fromEntries(found.map((r) => [r.key, r.n]))
}

export const reposByType = (db: Db) =>
  countsBy(db, 'status_repos', 'select repo_type as key, count(*) as n from scm.repos group by 1 order by 1')

export const runsByStatus = (db: Db) =>
  countsBy(
    db,
    'status_runs_24h',
    `select status as key, count(*) as n from scm.sync_runs where started_at > now() - interval '24 hours' group by 1 order by 1`,
  )

const JOB = `job_id, repo_id, job_type, mode, status, priority, attempts, max_attempts, not_before, locked_by, locked_at,
  gitlab_instance as instance_key, tenant_id, error_summary_json->>'error_message' as error`

/** What is in hand or needs one: everything not completed, oldest first; at most 100. By index, as the figures. */
export const openJobs = (db: Db) =>
  rows<JobShown>(
    db,
    'status_open_jobs',
    `select * from (select ${JOB} from scm.sync_jobs where status in ('pending', 'reserved', 'failed', 'dead')
                    union all select ${JOB} from scm.sync_jobs where status = 'running') x order by job_id limit 100`,
  )

export const recentRuns = (db: Db, limit: number) =>
  rows<RunShown>(
    db,
    'status_recent_runs',
    `select run_id, job_id, repo_id, job_type, mode, attempt, status, synced_count, started_at, finished_at,
            error_summary_json->>'error_message' as error
       from scm.sync_runs order by run_id desc limit $1`,
    [limit],
  )

/** The latest attempt of each, as far as it is known. */
export const lastRuns = (db: Db, pairs: { repoId: number; jobType: string }[]) =>
  rows<{ repoId: number; jobType: string; status: string; finishedAt: Date | null }>(
    db,
    'status_last_runs',
    `select p.repo_id as "repoId", p.job_type as "jobType", u.status, u.finished_at as "finishedAt"
       from unnest($1::bigint[], $2::text[]) as p(repo_id, job_type)
      cross join lateral (select status, finished_at from scm.sync_runs u
                           where u.repo_id = p.repo_id and u.job_type = p.job_type order by u.started_at desc limit 1) u`,
    [pairs.map((p) => p.repoId), pairs.map((p) => p.jobType)],
  )

/** Live ones and expired ones, the oldest first; at most 100 of each. */
export const locks = (db: Db) =>
  rows<LockShown>(
    db,
    'status_locks',
    `select lock_id, repo_id, job_type, locked_by, locked_at, lease_seconds, is_expired
       from (select *, row_number() over (partition by is_expired order by locked_at) as nth
               from (select *, locked_at + make_interval(secs => lease_seconds) < now() as is_expired from scm.sync_locks) l) x
      where nth <= 100 order by locked_at`,
  )

/** The oldest first, those of enabled repositories before the others; at most 100. */
export const cursorRows = (db: Db) =>
  rows<{ key: string; value: unknown; repo: string | null; age_seconds: number | null }>(
    db,
    'status_cursors',
    `select k.key, k.value_json as value, r.repo_type || ':' || r.url as repo,
            extract(epoch from now() - k.updated_at)::float8 as age_seconds
       from logbook.kv k left join scm.repos r on r.repo_id::text = substring(k.key from '_cursor:([0-9]+)$')
      where k.namespace = 'scm.sync' and k.key like '%\\_cursor:%'
      order by r.enabled is not true, k.updated_at, k.key limit 100`,
  )

/** What is stored of these repositories; of one repository no more than `countTo` rows of a kind are counted. */
export const factCounts = (db: Db, repoIds: number[], countTo: number) =>
  rows<StatusReport['facts'][number]>(
    db,
    'status_facts',
    `select r.repo_id, r.repo_type || ':' || r.url as repo, c.commits, c.unreachable,
            (select count(*) from scm.git_refs g where g.repo_id = r.repo_id) as refs,
            (select count(*) from (select from scm.mrs f where f.repo_id = r.repo_id limit $2) x) as merge_requests,
            (select count(*) from (select from scm.review_events f where f.repo_id = r.repo_id limit $2) x) as review_events,
            (select count(*) from (select from scm.svn_revisions f where f.repo_id = r.repo_id limit $2) x) as revisions
       from unnest($1::bigint[]) with ordinality as asked(repo_id, n) join scm.repos r using (repo_id)
      cross join lateral (select count(*) as commits, count(unreachable_since) as unreachable
                            from (select unreachable_since from scm.git_commits g where g.repo_id = r.repo_id limit $2) x) c
      order by asked.n`,
    [repoIds, countTo],
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
    `select instance_key, 'postgres' as source, rate, burst, scm.bucket_tokens(b, now()) as tokens_remaining,
            coalesce(paused_until > now(), false) as is_paused, paused_until as pause_until,
            scm.seconds_left(paused_until, now()) as pause_remaining_seconds, scm.bucket_wait(b, now()) as wait_seconds
       from scm.sync_rate_limits b order by instance_key`,
  )

export interface PauseRow {
  key: string
  value: unknown
  /** Seconds since 1970. */
  ends: number
  /** Seconds it still lasts; 0 or less: it is over. */
  left: number
}

/** Pauses, over or not, the longest first. A row whose end cannot be read is none: the claim sees none in it either. */
export const pauses = (db: Db) =>
  rows<PauseRow>(
    db,
    'status_pauses',
    `select key, value, ends::float8, greatest(-1e9, least(1e9, ends - extract(epoch from now())))::float8 as left
       from (select key, value_json as value, extract(epoch from scm.pause_end(value_json)) as ends
               from logbook.kv where namespace = 'scm.sync_pauses') p
      where ends is not null order by ends desc, key`,
  )
