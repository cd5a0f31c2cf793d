import type { Metric, MetricsReport } from '../../contracts/metrics.ts'
import { type Lag, lags } from '../../db/report/figures.ts'
import { stormyJobs } from '../../db/report/health.ts'
import { SOURCE_KINDS } from '../../domain/repo.ts'
import type { Context } from '../context.ts'
import { breakerMetrics } from './breaker-metrics.ts'
import { atMost, by, metric, one, type Samples } from './metric.ts'
import { type Figures, kindsOf, readFigures } from './read-figures.ts'

/** The status as figures a scraper keeps. Names and labels are the runbook's: dashboards and alerts are written against them. */
export async function readMetrics(ctx: Pick<Context, 'db' | 'sources' | 'config'>): Promise<MetricsReport> {
  const storm = ctx.config.scm.health
  const [f, pairs, stormy] = await Promise.all([
    readFigures(ctx),
    lags(ctx.db, kindsOf(ctx), null),
    stormyJobs(ctx.db, storm.retry_storm_runs, storm.retry_storm_seconds),
  ])
  return {
    metrics: [
      ...queue(f),
      ...runs(f),
      metric(
        'scm_retry_storm_jobs',
        'Jobs tried so often in a short time that scm.health calls it a storm.',
        one(stormy.count),
      ),
      ...breakerMetrics(f.breakers, ctx.config.project.project_key),
      ...limits(f),
      ...repositories(f, pairs),
    ],
    exit_code: 0,
  }
}

function queue(f: Figures): Metric[] {
  const backoffs = f.unfinished.filter((u) => u.backoff !== null)
  return [
    metric(
      'scm_jobs_by_status',
      'Jobs by status; above 100000 completed is an estimate.',
      by('status', f.jobs),
    ),
    metric('scm_jobs_total', 'Jobs of any status.', one(Object.values(f.jobs).reduce((a, b) => a + b, 0))),
    metric('scm_queue_by_instance', 'Jobs that wait or run, by upstream host.', by('instance', f.byInstance)),
    metric('scm_queue_by_tenant', 'Jobs that wait or run, by tenant.', by('tenant', f.byTenant)),
    metric(
      'scm_queue_oldest_due_seconds',
      'Age of the oldest due job that only waits for a worker; 0 when none does.',
      one(f.overdueSeconds ?? 0),
    ),
    metric(
      'scm_retry_backoff_seconds',
      'Seconds until the last of the failed jobs is tried again.',
      atMost(
        backoffs.map((u) => ({
          labels: { instance_key: u.instance, tenant_id: u.tenant, job_type: u.jobType },
          value: u.backoff ?? 0,
        })),
      ),
    ),
    metric('scm_locks_total', 'Locks of repositories.', by('state', f.locks)),
    metric('scm_expired_locks', 'Locks whose lease is over.', one(f.locks.expired)),
  ]
}

/** A series that comes and goes is no series: an increase from nothing is not seen. */
const NO_RUNS = { running: 0, completed: 0, no_data: 0, failed: 0, cancelled: 0 }
const NO_REPOS = Object.fromEntries(SOURCE_KINDS.map((kind) => [kind, 0]))

function runs(f: Figures): Metric[] {
  const { budget } = f
  const window = { window_minutes: budget.window_minutes }
  const inWindow = (value: number): Samples => [{ labels: window, value }]
  const minutes = `in the last ${budget.window_minutes} minutes`
  return [
    metric(
      'scm_runs_24h_total',
      'Runs started within 24 hours, by status.',
      by('status', { ...NO_RUNS, ...f.runs24h }),
    ),
    metric(
      'scm_run_heartbeat_age_seconds',
      'Age of the oldest heartbeat of a run that has not ended; 0 when nothing runs.',
      one(f.heartbeatSeconds ?? 0),
    ),
    metric('scm_window_runs_total', `Runs ${minutes}.`, inWindow(budget.samples)),
    metric('scm_window_failed_rate', `Share of runs that failed ${minutes}.`, inWindow(budget.failure.rate)),
    metric('scm_window_requests_total', `Requests made ${minutes}.`, inWindow(budget.total_requests)),
    metric(
      'scm_window_429_hits_total',
      `Requests refused with 429 ${minutes}.`,
      inWindow(budget.rate_limit_429.count),
    ),
    metric(
      'scm_window_rate_limit_rate',
      `Share of requests refused with 429 ${minutes}.`,
      inWindow(budget.rate_limit_429.rate),
    ),
    metric('scm_error_budget_samples', `Runs the error budget is made of, ${minutes}.`, one(budget.samples)),
    metric('scm_error_budget_failure_count', `Runs that failed ${minutes}.`, one(budget.failure.count)),
    metric(
      'scm_error_budget_failure_rate',
      `Share of runs that failed ${minutes}.`,
      one(budget.failure.rate),
    ),
    metric(
      'scm_error_budget_429_count',
      `Requests refused with 429 ${minutes}.`,
      one(budget.rate_limit_429.count),
    ),
    metric(
      'scm_error_budget_429_rate',
      `Share of requests refused with 429 ${minutes}.`,
      one(budget.rate_limit_429.rate),
    ),
    metric('scm_error_budget_timeout_count', `Runs that timed out ${minutes}.`, one(budget.timeout.count)),
    metric(
      'scm_error_budget_timeout_rate',
      `Share of runs that timed out ${minutes}.`,
      one(budget.timeout.rate),
    ),
  ]
}

function limits(f: Figures): Metric[] {
  const of = (value: (b: Figures['buckets'][number]) => number): Samples =>
    f.buckets.map((b) => ({ labels: { instance_key: b.instance_key }, value: value(b) }))
  const until = (b: Figures['buckets'][number]) =>
    b.is_paused && b.pause_until !== null ? new Date(b.pause_until).getTime() / 1000 : 0
  const paused = (b: Figures['buckets'][number]) => (b.is_paused ? 1 : 0)
  return [
    metric(
      'scm_rate_limit_bucket_tokens',
      'Requests the bucket still allows.',
      of((b) => b.tokens_remaining),
    ),
    metric(
      'scm_rate_limit_bucket_paused',
      '1 while the upstream has asked for a pause.',
      f.buckets.map((b) => ({
        labels: { instance_key: b.instance_key, source: b.source },
        value: paused(b),
      })),
    ),
    metric(
      'scm_rate_limit_bucket_pause_seconds',
      'Seconds that pause still lasts.',
      of((b) => b.pause_remaining_seconds),
    ),
    metric(
      'scm_rate_limit_pause_until',
      'When that pause ends, in seconds since 1970; 0 is none.',
      of(until),
    ),
    metric(
      'scm_token_bucket_tokens_remaining',
      'Requests the bucket still allows.',
      of((b) => b.tokens_remaining),
    ),
    metric(
      'scm_token_bucket_wait_seconds',
      'Seconds until a request may be made.',
      of((b) => b.wait_seconds),
    ),
    metric('scm_token_bucket_is_paused', '1 while the upstream has asked for a pause.', of(paused)),
    metric(
      'scm_token_bucket_pause_remaining_seconds',
      'Seconds that pause still lasts.',
      of((b) => b.pause_remaining_seconds),
    ),
    metric(
      'scm_paused_repos_total',
      'Pauses of a repository and job type that last.',
      one(f.pauses.filter((p) => !p.is_expired).length),
    ),
    metric('scm_pauses_by_reason', 'Pauses that last, by reason.', by('reason_code', f.pausesByReason)),
  ]
}

function repositories(f: Figures, pairs: Lag[]): Metric[] {
  return [
    metric(
      'scm_repos_total',
      'Repositories that are registered.',
      one(Object.values(f.repos).reduce((a, b) => a + b, 0)),
    ),
    metric('scm_repos_by_type', 'Repositories by kind.', by('repo_type', { ...NO_REPOS, ...f.repos })),
    metric('scm_cursors_total', 'Cursors.', one(f.cursors)),
    metric(
      'scm_cursors_age_seconds',
      'Seconds since a sync has moved or confirmed the cursor of an enabled repository.',
      pairs.flatMap((p) =>
        p.cursorAge === null
          ? []
          : [{ labels: { repo_id: p.repoId, job_type: p.jobType }, value: p.cursorAge }],
      ),
    ),
    metric(
      'scm_repo_lag_seconds',
      'The same, and for a repository that was never synced since its registration.',
      pairs.map((p) => ({
        labels: { repo_id: p.repoId, repo_type: p.repoType, job_type: p.jobType },
        value: p.lag,
      })),
    ),
  ]
}
