import type { SchedulerReport } from '../contracts/scheduler.ts'
import { type Db, transaction } from '../db/connect.ts'
import { lead, leads, resign } from '../db/leaders.ts'
import { type PairRow, pairsToJudge, type QueueNow, queueNow, withoutJit } from '../db/schedule.ts'
import { cursorKvKey, readCursor, watermarkOf } from '../domain/cursor.ts'
import { SyncError } from '../domain/errors.ts'
import type { SourceKind } from '../domain/repo.ts'
import { type Candidate, judge, type Pair, type Policy, type Selection, select } from '../domain/schedule.ts'
import { type Context, underLease } from './context.ts'
import { enqueue, type Found, named, rest, shown } from './enqueue.ts'

export interface TickAsk {
  dryRun: boolean
  /** Stay leader until the next tick (a loop), or hand it over at once. */
  keepLeading: boolean
}

const DUTY = 'scheduler'
/** Names in a report's list of skipped jobs. */
const MOST_SKIPPED = 100

/**
 * One scan: who is due, who of them gets a place, and jobs for those. A constant number of statements for any number
 * of repositories, all writes in one transaction under the leader's term, so that two schedulers cannot double a job
 * and one that was suspended in the middle writes nothing.
 */
export async function tickScheduler(ctx: Context, ask: TickAsk): Promise<SchedulerReport> {
  const { scheduler } = ctx.config.scm
  if (!ctx.config.scm.sync.enabled) {
    throw new SyncError('config', 'syncing is switched off, so no jobs are made', {
      hint: 'unset ENGRAM_SCM_SYNC_ENABLED, or set it to true; in the file it is scm.sync.enabled',
    })
  }
  const leaseSeconds = Math.max(30, 3 * scheduler.scan_interval_seconds)
  const term = ask.dryRun ? null : await lead(ctx.db, { duty: DUTY, by: ctx.worker, leaseSeconds })

  try {
    return await transaction(ctx.db, underLease(ctx, leaseSeconds), async (tx) => {
      const allowed = term === null ? ask.dryRun : await leads(tx, { duty: DUTY, term })
      await withoutJit(tx)
      const queue = await queueNow(tx)
      return allowed ? scan(ctx, tx, queue, ask) : { ...empty(queue, ask), leader: false }
    })
  } finally {
    if (term !== null && !ask.keepLeading) await stopLeading(ctx).catch(() => {}) // then its lease ends it
  }
}

/** At the end of a loop: whoever stands by takes over with its next tick, not when the lease ends. */
export async function stopLeading(ctx: Context): Promise<void> {
  await resign(ctx.db, { duty: DUTY, by: ctx.worker })
}

async function scan(ctx: Context, tx: Db, queue: QueueNow, ask: TickAsk): Promise<SchedulerReport> {
  const policy = policyOf(ctx)
  const found = (
    await pairsToJudge(tx, {
      kinds: kindsToSync(ctx),
      cursorAgeThreshold: policy.cursorAgeThreshold,
      windowSize: ctx.config.scm.scheduler.error_budget_window_size,
    })
  ).map((row) => readPair(row, ctx.now()))

  const byPair = new Map(found.map((f) => [f.pair, f]))
  const candidates: Candidate[] = []
  const spent: { pair: Pair; failureRate: number }[] = []
  for (const { pair } of found) {
    const verdict = judge(pair, policy)
    if (verdict.due) candidates.push({ pair, ...verdict })
    else if (verdict.reason === 'error_budget_exceeded')
      spent.push({ pair, failureRate: verdict.failureRate })
  }
  const isOpen = queue.circuit === 'open'
  const selection: Selection = isOpen ? { chosen: [], skipped: [] } : select(candidates, queue, policy)

  const made = ask.dryRun
    ? selection.chosen.map((c) => shown(c, null))
    : await enqueue(ctx, tx, selection.chosen, byPair, queue.now)
  if (!ask.dryRun && spent.length > 0) await rest(ctx, tx, spent)

  const skipped: SchedulerReport['skipped_jobs'] = [
    ...selection.skipped.map((s) => ({ ...named(s.candidate.pair), reason: s.reason })),
    ...spent.map((s) => ({ ...named(s.pair), reason: 'error_budget_exceeded' as const })),
  ]
  const enqueued = made.filter((job) => job.job_id !== null)
  ctx.log.info({ scanned: found.length, due: candidates.length, enqueued: enqueued.length }, 'scan done')
  return {
    ...empty(queue, ask),
    repos_scanned: new Set(found.map((f) => f.pair.repoId)).size,
    candidates_selected: candidates.length,
    jobs_enqueued: enqueued.length,
    jobs_skipped: skipped.length,
    enqueued_jobs: ask.dryRun ? made : enqueued,
    skipped_jobs: skipped.slice(0, MOST_SKIPPED),
  }
}

function readPair(row: PairRow, now: Date): Found {
  const audited =
    row.audited === null
      ? null
      : { value: row.audited, instant: row.auditedInstant, version: row.auditedVersion ?? 0 }
  const cursor = readCursor(watermarkOf(row.cursor, now), audited)
  const pair: Pair = {
    repoId: row.repoId,
    jobType: row.jobType,
    instanceKey: row.instanceKey,
    tenantId: row.tenantId,
    cursorAge: audited === null && cursor.watermark === null ? null : row.kvAge,
    edited: cursor.edit !== null,
    active: row.active,
    pauseLeft: row.pauseLeft,
    pausedAgo: row.pausedAgo,
    runs: { total: row.total, failed: row.failed, requests: row.requests, limited: row.limited },
    lastRun: row.lastAgo === null ? null : { failed: row.lastFailed === true, ago: row.lastAgo },
    bucket: row.bucketFill === null ? null : { paused: row.bucketPaused === true, fill: row.bucketFill },
  }
  return { row, cursor, pair }
}

/** Every job type that the sources of this program can sync. */
function kindsToSync(ctx: Context) {
  return Object.entries(ctx.sources).flatMap(([kind, source]) =>
    source.jobTypes.map((jobType) => ({
      kind,
      jobType,
      cursorKey: cursorKvKey(kind as SourceKind, jobType, 0).slice(0, -1),
    })),
  )
}

function policyOf(ctx: Context): Policy {
  const { scheduler: s } = ctx.config.scm
  return {
    cursorAgeThreshold: s.cursor_age_threshold_seconds,
    errorBudgetThreshold: s.error_budget_threshold,
    rateLimitThreshold: s.rate_limit_hit_threshold,
    maxRunning: s.max_running,
    queueDepth: s.global_concurrency,
    perInstance: s.per_instance_concurrency,
    perTenant: s.per_tenant_concurrency,
    maxEnqueue: s.max_enqueue_per_scan,
    fairness: s.enable_tenant_fairness ? { maxPerRound: s.tenant_fairness_max_per_round } : null,
    jobTypes: s.mvp_mode_enabled ? s.mvp_job_type_allowlist : null,
  }
}

function empty(queue: QueueNow, ask: TickAsk): SchedulerReport {
  return {
    status: 'success',
    scheduled_at: queue.now.toISOString(),
    leader: true,
    repos_scanned: 0,
    candidates_selected: 0,
    jobs_enqueued: 0,
    jobs_skipped: 0,
    tenant_paused_count: 0,
    instance_paused_count: 0,
    circuit_state: queue.circuit === 'open' || queue.circuit === 'half_open' ? queue.circuit : 'closed',
    budget_snapshot: {
      global_running: queue.running,
      global_pending: queue.pending,
      global_active: queue.running + queue.pending,
      by_instance: queue.byInstance,
      by_tenant: queue.byTenant,
    },
    errors: [],
    enqueued_jobs: [],
    skipped_jobs: [],
    dry_run: ask.dryRun,
    exit_code: 0,
  }
}
