import type { Config } from '../../contracts/config.ts'
import type { HealthReport, Severity, Violation } from '../../contracts/health.ts'
import * as health from '../../db/report/health.ts'
import type { Context } from '../context.ts'

export interface HealthAsk {
  /** Time a lease, a lock and a heartbeat keep after their end; what is configured if not said. */
  graceSeconds?: number | undefined
  includeDetails: boolean
}

type Thresholds = Config['scm']['health']

interface Looking extends Pick<Context, 'db' | 'now'> {
  config: { scm: { health: Thresholds } }
}

interface Check {
  id: string
  name: string
  severity: Severity
  find: (ctx: Looking, ask: Thresholds) => Promise<health.Finding>
  says: (ask: Thresholds) => string
  hint: string
}

/**
 * A dead job is a warning here and no more: it waits for a person while everything else goes on, and whoever restarts
 * on exit 2 would do so for ever. The schema's version is no check: without the right one no command gets this far.
 */
const CHECKS: readonly Check[] = [
  {
    id: 'expired_running_jobs',
    name: 'Running jobs past their lease',
    severity: 'critical',
    find: (ctx, ask) => health.expiredRunningJobs(ctx.db, ask.heartbeat_grace_seconds),
    says: (ask) =>
      `running, but the lease ended more than ${ask.heartbeat_grace_seconds} s ago: the worker is dead or hangs`,
    hint: 'engram-scm-reaper --once takes them back; keep one going with --loop',
  },
  {
    id: 'queue_stall',
    name: 'Queue stall',
    severity: 'critical',
    find: (ctx, ask) => health.stalledJobs(ctx.db, ask.queue_stall_seconds),
    says: (ask) => `due for more than ${ask.queue_stall_seconds} s while no job runs at all`,
    hint: 'start engram-scm-worker; if one runs, look at its allowlists and at engram-scm-sync admin breakers list',
  },
  {
    id: 'unique_keys',
    name: 'Unique keys of the ledger',
    severity: 'critical',
    find: (ctx) => health.missingKeys(ctx.db),
    says: () => 'unique keys are missing or not in force: something could be stored twice',
    hint: 'create them again as drizzle/0000_tables.sql does, then rerun this check',
  },
  {
    id: 'run_heartbeat_stall',
    name: 'Runs without a heartbeat',
    severity: 'warning',
    find: (ctx, ask) => health.silentRuns(ctx.db, ask.heartbeat_grace_seconds),
    says: (ask) => `not ended, and without a sign of life for a lease and ${ask.heartbeat_grace_seconds} s`,
    hint: 'engram-scm-reaper --once ends them',
  },
  {
    id: 'orphan_locks',
    name: 'Locks without a running job',
    severity: 'warning',
    find: (ctx) => health.orphanLocks(ctx.db),
    says: () => 'locks that no running job of the same repository and type stands behind',
    hint: 'each ends by itself at the end of its lease; engram-scm-reaper --once removes the row',
  },
  {
    id: 'dead_jobs',
    name: 'Dead jobs',
    severity: 'warning',
    find: (ctx) => health.deadJobs(ctx.db),
    says: () => 'jobs whose attempts are used up; nothing tries them again by itself',
    hint: 'engram-scm-sync admin jobs list shows their errors; mend the cause, then admin jobs reset-dead',
  },
  {
    id: 'retry_storm',
    name: 'Retry storm',
    severity: 'warning',
    find: (ctx, ask) => health.stormyJobs(ctx.db, ask.retry_storm_runs, ask.retry_storm_seconds),
    says: (ask) => `jobs tried ${ask.retry_storm_runs} times or more within ${ask.retry_storm_seconds} s`,
    hint: 'read the errors of their runs; pause the repository while its upstream is mended',
  },
  {
    id: 'cursor_stall',
    name: 'Cursor stall',
    severity: 'warning',
    find: (ctx, ask) => health.stalledCursors(ctx.db, ask.cursor_stall_seconds),
    says: (ask) =>
      `cursors of enabled repositories that stood still for more than ${ask.cursor_stall_seconds} s`,
    hint: 'nobody syncs them, or their syncs fail: look at their latest runs',
  },
  {
    id: 'gitlab_jobs_missing_dimensions',
    name: 'GitLab jobs without instance or tenant',
    severity: 'warning',
    find: (ctx) => health.gitlabJobsWithoutDimensions(ctx.db),
    says: () =>
      'GitLab jobs with no instance or no tenant: the limits per instance and tenant do not hold them',
    hint: 'register the repository with --project-key GROUP/PROJECT',
  },
  {
    id: 'circuit_breaker_inconsistencies',
    name: 'Breakers nobody can read',
    severity: 'warning',
    find: (ctx) => health.oddBreakers(ctx.db),
    says: () => 'breakers in an unknown state, which hold everything, or open without the time since when',
    hint: 'engram-scm-sync admin breakers list shows them, admin breakers reset KEY forgets one',
  },
  {
    id: 'pause_inconsistencies',
    name: 'Pauses nobody can read',
    severity: 'warning',
    find: (ctx) => health.oddPauses(ctx.db),
    says: () => 'pauses without an end that can be read: they hold nothing back',
    hint: 'write paused_until as seconds since 1970 or in ISO 8601, or use engram-scm-sync admin pauses set',
  },
  {
    id: 'expired_pauses',
    name: 'Pauses that are over',
    severity: 'info',
    find: (ctx) => health.expiredPauses(ctx.db),
    says: () => 'pauses whose end has passed; they hold nothing back',
    hint: 'nothing need be done; engram-scm-sync admin pauses unset removes one',
  },
]

/** Every check against the rows as they are now. */
export async function readHealth(ctx: Looking, asked: HealthAsk): Promise<HealthReport> {
  const { health: configured } = ctx.config.scm
  const ask = {
    ...configured,
    heartbeat_grace_seconds: asked.graceSeconds ?? configured.heartbeat_grace_seconds,
  }
  const found = await Promise.all(
    CHECKS.map(async (check) => ({ check, finding: await check.find(ctx, ask) })),
  )
  const violations = found
    .filter(({ finding }) => finding.count > 0)
    .map(
      ({ check, finding }): Violation => ({
        check_id: check.id,
        name: check.name,
        severity: check.severity,
        count: finding.count,
        description: `${finding.count} ${check.says(ask)}`,
        remediation_hint: check.hint,
        ...(asked.includeDetails ? { details: finding.details } : {}),
      }),
    )

  const has = (severity: Severity) => violations.some((v) => v.severity === severity)
  return {
    healthy: !has('critical'),
    checked_at: ctx.now().toISOString(),
    total_checks: CHECKS.length,
    passed_checks: CHECKS.length - violations.length,
    failed_checks: violations.length,
    violations,
    exit_code: has('critical') ? 2 : has('warning') ? 1 : 0,
  }
}
