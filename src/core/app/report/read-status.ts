import type { BreakerScope, BreakerShown, LagShown, StatusReport } from '../../contracts/status.ts'
import * as figures from '../../db/report/figures.ts'
import * as status from '../../db/report/status.ts'
import { kvMark } from '../../domain/cursor.ts'
import { markTypeOf } from '../../domain/mark.ts'
import { maskUserinfo, type SourceKind } from '../../domain/repo.ts'
import type { Context } from '../context.ts'
import { kindsOf, readFigures } from './read-figures.ts'

const RECENT_RUNS = 20
const TOP_LAG = 10
const FACTS_SHOWN = 20
const MOST_DIMENSIONS = 100
const MOST_PAUSES = 50
/**
 * Commits counted in one status, over all repositories shown (about 60 ms). All of 2,000,000 took seconds: a count in
 * PostgreSQL reads every row. `repos list` does that when somebody wants to know.
 */
const COMMITS_COUNTED = 200_000

/** Everything an operator asks first. */
export async function readStatus(ctx: Context): Promise<StatusReport> {
  const { db } = ctx
  const [f, jobs, runs, locks, cursors, lags] = await Promise.all([
    readFigures(ctx),
    status.openJobs(db),
    status.recentRuns(db, RECENT_RUNS),
    status.locks(db),
    status.cursorRows(db),
    figures.lags(db, kindsOf(ctx), FACTS_SHOWN),
  ])
  const behind = [...new Set(lags.map((l) => l.repoId))]
  const countTo = Math.floor(COMMITS_COUNTED / Math.max(1, behind.length))
  const [facts, lastRuns] = await Promise.all([
    status.factCounts(db, behind, countTo),
    status.lastRuns(db, lags.slice(0, TOP_LAG)),
  ])

  const dimensions = f.unfinished.map((u) => ({ ...dimensionOf(u), status: u.status, count: u.jobs }))
  const backoffs = f.unfinished.flatMap((u) =>
    u.backoff === null ? [] : [{ ...dimensionOf(u), count: u.backingOff, backoff_seconds: u.backoff }],
  )
  return {
    status: 'success',
    checked_at: ctx.now().toISOString(),
    repos_count: Object.values(f.repos).reduce((a, b) => a + b, 0),
    repos_by_type: f.repos,
    jobs_by_status: f.jobs,
    jobs_estimated: f.jobsEstimated,
    queue_oldest_due_seconds: f.overdueSeconds,
    run_heartbeat_age_seconds: f.heartbeatSeconds,
    runs_24h_by_status: f.runs24h,
    window_stats: {
      window_minutes: f.budget.window_minutes,
      total_runs: f.budget.samples,
      completed_runs: f.budget.completed_runs,
      failed_runs: f.budget.failure.count,
      failed_rate: f.budget.failure.rate,
      total_429_hits: f.budget.rate_limit_429.count,
      total_requests: f.budget.total_requests,
      rate_limit_rate: f.budget.rate_limit_429.rate,
    },
    by_instance: f.byInstance,
    by_tenant: f.byTenant,
    jobs_by_dimensions: dimensions.sort((a, b) => b.count - a.count).slice(0, MOST_DIMENSIONS),
    retry_backoff_jobs: backoffs
      .sort((a, b) => b.backoff_seconds - a.backoff_seconds)
      .slice(0, MOST_DIMENSIONS),
    jobs,
    runs,
    locks: locks.filter((l) => !l.is_expired),
    expired_locks: locks.filter((l) => l.is_expired),
    cursors_count: f.cursors,
    cursors: cursors.map((c) => ({
      key: c.key,
      repo: c.repo === null ? null : maskUserinfo(c.repo),
      watermark: kvMark(markTypeOf(kindOfKey(c.key)), c.value, ctx.now())?.value ?? null,
      age_seconds: c.age_seconds,
    })),
    top_lag_repos: lags.slice(0, TOP_LAG).map((lag) => lagShown(lag, lastRuns)),
    facts: facts.map((fact) => ({ ...fact, repo: maskUserinfo(fact.repo) })),
    facts_counted_to: countTo,
    circuit_breakers: {
      by_scope: byScope(f.breakers),
      total_count: f.breakers.length,
      total_open: countOf(f.breakers, 'open'),
      total_half_open: countOf(f.breakers, 'half_open'),
    },
    circuit_breaker_states: f.breakers,
    error_budget: f.budget,
    rate_limit_buckets: f.buckets,
    token_bucket_states: f.buckets,
    pauses_by_reason: f.pausesByReason,
    paused_by_reason: f.pausesByReason,
    paused_repos_count: f.pauses.filter((p) => !p.is_expired).length,
    paused_details: f.pauses.slice(0, MOST_PAUSES),
    exit_code: 0,
  }
}

/** Of `svn_cursor:7`: the kind its repository has. */
const kindOfKey = (key: string) => key.slice(0, key.indexOf('_')) as SourceKind

function dimensionOf(u: figures.Unfinished) {
  return { instance_key: u.instance, tenant_id: u.tenant, job_type: u.jobType }
}

function lagShown(lag: figures.Lag, runs: Awaited<ReturnType<typeof status.lastRuns>>): LagShown {
  const last = runs.find((r) => r.repoId === lag.repoId && r.jobType === lag.jobType)
  return {
    repo_id: lag.repoId,
    repo_type: lag.repoType,
    url: maskUserinfo(lag.url),
    project_key: lag.projectKey,
    job_type: lag.jobType,
    last_status: last?.status ?? null,
    last_finished_at: last?.finishedAt?.toISOString() ?? null,
    lag_seconds: lag.lag,
  }
}

function byScope(breakers: BreakerShown[]): Record<string, BreakerScope> {
  const scopes = [...new Set(breakers.map((b) => b.parsed_key.scope_type))]
  return Object.fromEntries(
    scopes.map((scope) => {
      const entries = breakers.filter((b) => b.parsed_key.scope_type === scope)
      return [
        scope,
        {
          count: entries.length,
          open_count: countOf(entries, 'open'),
          half_open_count: countOf(entries, 'half_open'),
          closed_count: countOf(entries, 'closed'),
          total_failures: entries.reduce((n, b) => n + b.state.failure_count, 0),
          entries,
        },
      ]
    }),
  )
}

function countOf(breakers: BreakerShown[], state: string): number {
  return breakers.filter((b) => b.state.state === state).length
}
