import type { BreakerShown, BucketShown, PauseShown, StatusReport } from '../../contracts/status.ts'
import * as figures from '../../db/report/figures.ts'
import * as status from '../../db/report/status.ts'
import { readBreaker } from '../../domain/breaker-row.ts'
import { cursorKvKey } from '../../domain/cursor.ts'
import { SOURCE_KINDS } from '../../domain/repo.ts'
import { jobTypesOf } from '../../sources/source.ts'
import type { Context } from '../context.ts'

const BUDGET_WINDOW_MINUTES = 60
const UNKNOWN = '_unknown_'

/** What the status and the metrics have in common, read once. */
export interface Figures {
  repos: Record<string, number>
  jobs: StatusReport['jobs_by_status']
  jobsEstimated: StatusReport['jobs_estimated']
  unfinished: figures.Unfinished[]
  byInstance: Record<string, number>
  byTenant: Record<string, number>
  overdueSeconds: number | null
  heartbeatSeconds: number | null
  runs24h: Record<string, number>
  locks: { active: number; expired: number }
  cursors: number
  budget: StatusReport['error_budget']
  breakers: BreakerShown[]
  buckets: BucketShown[]
  pauses: PauseShown[]
  pausesByReason: Record<string, number>
}

/** Each figure is computed from the rows at this moment, none is kept. */
export async function readFigures({ db }: Pick<Context, 'db'>): Promise<Figures> {
  const [repos, unfinished, heartbeat, runs24h, locks, cursors, budget, breakers, buckets, pauses] =
    await Promise.all([
      status.reposByType(db),
      figures.unfinishedJobs(db),
      figures.oldestHeartbeat(db),
      status.runsByStatus(db),
      figures.lockCounts(db),
      figures.cursorCount(db),
      status.errorBudget(db, BUDGET_WINDOW_MINUTES),
      status.breakerRows(db),
      status.buckets(db),
      status.pauses(db),
    ])
  const of = (name: string) => sum(unfinished.filter((u) => u.status === name))
  const finished = await figures.finishedJobs(db, sum(unfinished))

  const active = unfinished.filter((u) => u.status !== 'dead')
  const overdue = unfinished.flatMap((u) => u.overdue ?? [])
  const shown = pauses.map(pauseShown)
  return {
    repos,
    jobs: {
      pending: of('pending'),
      reserved: of('reserved'),
      running: of('running'),
      failed: of('failed'),
      completed: finished.completed,
      dead: of('dead'),
      cancelled: finished.cancelled,
    },
    jobsEstimated: finished.estimated ? ['completed'] : [],
    unfinished: unfinished.map((u) => ({
      ...u,
      instance: u.instance || UNKNOWN,
      tenant: u.tenant || UNKNOWN,
    })),
    byInstance: totals(active.map((u) => [u.instance || UNKNOWN, u.jobs])),
    byTenant: totals(active.map((u) => [u.tenant || UNKNOWN, u.jobs])),
    overdueSeconds: overdue.length === 0 ? null : Math.max(...overdue),
    heartbeatSeconds: heartbeat,
    runs24h,
    locks,
    cursors,
    budget,
    breakers: breakers.map(breakerShown),
    buckets,
    pauses: shown,
    pausesByReason: totals(shown.filter((p) => !p.is_expired).map((p) => [p.reason_code, 1])),
  }
}

/** What every enabled repository should have a cursor of. A kind that cannot be synced yet lags with its commits. */
export function kindsOf({ sources }: Pick<Context, 'sources'>) {
  return SOURCE_KINDS.flatMap((kind) =>
    (sources[kind] ? jobTypesOf(sources[kind]) : (['commits'] as const)).map((jobType) => ({
      kind,
      jobType,
      cursorKey: cursorKvKey(kind, jobType, 0).slice(0, -1),
    })),
  )
}

function sum(rows: figures.Unfinished[]): number {
  return rows.reduce((n, row) => n + row.jobs, 0)
}

function totals(counts: [key: string, n: number][]): Record<string, number> {
  const total = new Map<string, number>()
  for (const [key, n] of counts) total.set(key, (total.get(key) ?? 0) + n)
  return Object.fromEntries(total)
}

export function breakerShown({ key, value }: { key: string; value: unknown }): BreakerShown {
  const breaker = readBreaker(value)
  const [project = '', scope = '', ...rest] = key.split(':')
  return {
    key,
    state: {
      state: breaker.state,
      opened_at: breaker.openedAt,
      opened_by_hand: breaker.byHand,
      half_open_attempts: breaker.attempts,
      half_open_successes: breaker.successes,
      failure_count: breaker.failures,
      last_failure_reason: breaker.reason,
    },
    parsed_key: {
      project_key: project,
      scope: [scope, ...rest].join(':'),
      scope_type: SCOPES.find((s) => s === scope) ?? 'unknown',
      scope_value: rest.length === 0 ? null : rest.join(':'),
    },
  }
}

const SCOPES = ['global', 'instance', 'tenant', 'pool'] as const

export function pauseShown({ key, value, ends, left }: status.PauseRow): PauseShown {
  const given = recordOf(value)
  const [, id, type] = /^(\d{1,15}):(.*)$/s.exec(key) ?? []
  return {
    repo_id: id === undefined ? null : Number(id),
    job_type: type ?? null,
    reason: textOf(given.reason),
    reason_code: textOf(given.reason_code) ?? 'unknown',
    paused_at: instantOf(given.paused_at),
    paused_until: instantOf(ends),
    remaining_seconds: Math.max(0, left),
    is_expired: left <= 0,
  }
}

function recordOf(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {}
}

const numberOf = (value: unknown) => (typeof value === 'number' && Number.isFinite(value) ? value : null)
const textOf = (value: unknown) => (typeof value === 'string' && value !== '' ? value : null)

/** Of seconds since 1970; null for what no calendar has. */
function instantOf(value: unknown): string | null {
  const date = new Date((numberOf(value) ?? Number.NaN) * 1000)
  return Number.isNaN(date.getTime()) ? null : date.toISOString()
}
