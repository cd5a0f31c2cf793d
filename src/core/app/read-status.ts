import type { StatusReport } from '../contracts/status.ts'
import * as counts from '../db/status.ts'
import { watermarkOf } from '../domain/cursor.ts'
import type { Context } from './context.ts'

const RECENT_RUNS = 20
const BUDGET_WINDOW_MINUTES = 60

/** Everything an operator asks first. Each figure is computed from the rows at this moment, none is kept. */
export async function readStatus(ctx: Context): Promise<StatusReport> {
  const { db } = ctx
  const [types, jobs, runs24h, open, runs, locks, cursors, facts, budget, breakers, buckets, paused] =
    await Promise.all([
      counts.reposByType(db),
      counts.jobsByStatus(db),
      counts.runsByStatus(db),
      counts.openJobs(db),
      counts.recentRuns(db, RECENT_RUNS),
      counts.locks(db),
      counts.cursorRows(db),
      counts.factCounts(db),
      counts.errorBudget(db, BUDGET_WINDOW_MINUTES),
      counts.breakerRows(db),
      counts.buckets(db),
      counts.pausedCount(db),
    ])
  return {
    status: 'success',
    checked_at: ctx.now().toISOString(),
    repos_count: Object.values(types).reduce((a, b) => a + b, 0),
    repos_by_type: types,
    jobs_by_status: jobs,
    runs_24h_by_status: runs24h,
    jobs: open,
    runs,
    locks: locks.filter((l) => !l.is_expired),
    expired_locks: locks.filter((l) => l.is_expired),
    cursors_count: cursors.length,
    cursors: cursors.map((c) => ({
      key: c.key,
      repo: c.repo,
      watermark: watermarkOf(c.value, ctx.now()),
      age_seconds: c.age_seconds,
    })),
    facts,
    circuit_breakers: breakersShown(breakers),
    error_budget: budget,
    rate_limit_buckets: buckets,
    paused_repos_count: paused,
    exit_code: 0,
  }
}

/** Rows may be partial or edited by hand: what has no state is closed. */
function breakersShown(rows: { key: string; value: unknown }[]): StatusReport['circuit_breakers'] {
  const entries = rows.map(({ key, value }) => {
    const state = (value as { state?: unknown } | null)?.state
    return { key, state: state === 'open' || state === 'half_open' ? state : 'closed', scope: scopeOf(key) }
  })
  const scopes = [...new Set(entries.map((e) => e.scope))]
  return {
    by_scope: Object.fromEntries(
      scopes.map((scope) => {
        const mine = entries.filter((e) => e.scope === scope)
        const count = (s: string) => mine.filter((e) => e.state === s).length
        return [
          scope,
          {
            count: mine.length,
            open_count: count('open'),
            half_open_count: count('half_open'),
            closed_count: count('closed'),
            entries: mine,
          },
        ]
      }),
    ),
    total_count: entries.length,
    total_open: entries.filter((e) => e.state === 'open').length,
    total_half_open: entries.filter((e) => e.state === 'half_open').length,
  }
}

function scopeOf(key: string): string {
  const scope = key.split(':')[1] ?? key
  return ['global', 'instance', 'tenant', 'pool'].includes(scope) ? scope : 'unknown'
}
