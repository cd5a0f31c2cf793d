import type { SchedulerReport, SkippedJob } from '../contracts/scheduler.ts'
import { type Db, transaction } from '../db/connect.ts'
import { lead, leads, resign } from '../db/leaders.ts'
import { type PairRow, pairsToJudge, type QueueNow, queueNow, withoutJit } from '../db/schedule.ts'
import { cursorKvKey, kvMark, readCursor } from '../domain/cursor.ts'
import { SyncError } from '../domain/errors.ts'
import { markTypeOf } from '../domain/mark.ts'
import { type Limits, type Selection, select } from '../domain/places.ts'
import type { SourceKind } from '../domain/repo.ts'
import { judge, type Pair, type Policy, repairOf } from '../domain/schedule.ts'
import { jobTypesOf } from '../sources/source.ts'
import { type Context, underLease } from './context.ts'
import { enqueue, type Found, named, rest, shown, type Wanted } from './enqueue.ts'
import { repairRequest } from './plan-backfill.ts'

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
  const pairs = await pairsToJudge(tx, {
    kinds: kindsToSync(ctx),
    cursorAgeThreshold: policy.cursorAgeThreshold,
    windowSize: ctx.config.scm.scheduler.error_budget_window_size,
    repairAfter: policy.repair.after,
  })
  const found = pairs.map((row) => readPair(row, ctx.now()))

  const { due, repairs, spent } = judged(found, policy)
  const { chosen, skipped } = placed([...due, ...repairs], queue, limitsOf(ctx))

  const now = { now: queue.now, circuit: circuitOf(queue) }
  const made = ask.dryRun
    ? chosen.map((wanted) => shown(wanted, now, null))
    : (await enqueue(ctx, tx, chosen, now)).filter((job) => job.job_id !== null)
  if (!ask.dryRun && spent.length > 0) await rest(ctx, tx, spent)

  const passedOver = [...skipped, ...spent.map((pair) => restShown(ctx, pair))]
  const enqueued = ask.dryRun ? 0 : made.length
  ctx.log.info({ scanned: found.length, due: due.length, enqueued }, 'scan done')
  return {
    ...empty(queue, ask),
    repos_scanned: new Set(found.map((f) => f.pair.repoId)).size,
    candidates_selected: due.length,
    jobs_enqueued: enqueued,
    jobs_skipped: passedOver.length,
    enqueued_jobs: made,
    skipped_jobs: passedOver.slice(0, MOST_SKIPPED),
  }
}

/** Who is due, what of that wants a repair too, and who has to rest first. */
function judged(found: Found[], policy: Policy) {
  const due: Wanted[] = []
  const repairs: Wanted[] = []
  const spent: Pair[] = []
  for (const one of found) {
    const verdict = judge(one.pair, policy)
    if (verdict.due) {
      const { priority, reason } = verdict
      due.push({ found: one, pair: one.pair, mode: 'incremental', priority, reason, seconds: 0 })
      const repair = repairOf(one.pair, policy)
      if (repair) repairs.push({ found: one, pair: one.pair, mode: 'backfill', ...repair })
    } else if (verdict.reason === 'error_budget_exceeded') spent.push(one.pair)
  }
  return { due, repairs, spent }
}

/** Nothing gets a place while the breaker is open. That a repair got none is not worth a word: nobody asked for it. */
function placed(wanted: Wanted[], queue: QueueNow, limits: Limits) {
  if (queue.circuit === 'open') return { chosen: [], skipped: [] }
  const { chosen, skipped }: Selection<Wanted> = select(wanted, queue, limits)
  return {
    chosen,
    skipped: skipped
      .filter(({ candidate }) => candidate.mode === 'incremental')
      .map(({ candidate: { pair }, reason }): SkippedJob => {
        const whose = reason === 'instance_limit' ? { instance: pair.instanceKey } : { tenant: pair.tenantId }
        return { ...named(pair), reason, ...whose }
      }),
  }
}

function restShown(ctx: Context, pair: Pair): SkippedJob {
  const wait_seconds = ctx.config.scm.scheduler.pause_duration_seconds
  return { ...named(pair), reason: 'error_budget_exceeded', wait_seconds }
}

function readPair(row: PairRow, now: Date): Found {
  const cursor = readCursor(kvMark(markTypeOf(row.kind), row.cursor, now), row.audited)
  const pair: Pair = {
    repoId: row.repoId,
    jobType: row.jobType,
    instanceKey: row.instanceKey,
    tenantId: row.tenantId,
    cursorAge: row.audited === null && cursor.watermark === null ? null : row.kvAge,
    edited: cursor.edit !== null,
    active: row.active,
    pauseLeft: row.pauseLeft,
    pausedAgo: row.pausedAgo,
    repaired: row.repaired,
    runs: { total: row.total, failed: row.failed, requests: row.requests, limited: row.limited },
    lastRun: row.lastAgo === null ? null : { failed: row.lastFailed === true, ago: row.lastAgo },
    bucket: row.bucketFill === null ? null : { pauseLeft: row.bucketPauseLeft ?? 0, fill: row.bucketFill },
  }
  return { row, cursor, pair }
}

/** Every job type that the sources of this program can sync. */
function kindsToSync(ctx: Context) {
  return Object.entries(ctx.sources).flatMap(([kind, source]) =>
    jobTypesOf(source).map((jobType) => ({
      kind,
      jobType,
      cursorKey: cursorKvKey(kind as SourceKind, jobType, 0).slice(0, -1),
      repairRequest: repairRequest(jobType),
    })),
  )
}

function policyOf(ctx: Context): Policy {
  const { scheduler: s } = ctx.config.scm
  return {
    cursorAgeThreshold: s.cursor_age_threshold_seconds,
    errorBudgetThreshold: s.error_budget_threshold,
    rateLimitThreshold: s.rate_limit_hit_threshold,
    repair: { after: s.backfill_repair_window_hours * 3600, atMost: s.max_backfill_window_hours * 3600 },
    jobTypes: s.mvp_mode_enabled ? s.mvp_job_type_allowlist : null,
  }
}

function limitsOf(ctx: Context): Limits {
  const { scheduler: s } = ctx.config.scm
  return {
    maxRunning: s.max_running,
    queueDepth: s.global_concurrency,
    perInstance: s.per_instance_concurrency,
    perTenant: s.per_tenant_concurrency,
    maxEnqueue: s.max_enqueue_per_scan,
    fairness: s.enable_tenant_fairness ? { maxPerRound: s.tenant_fairness_max_per_round } : null,
  }
}

const circuitOf = ({ circuit }: QueueNow): SchedulerReport['circuit_state'] =>
  circuit === 'open' || circuit === 'half_open' ? circuit : 'closed'

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
    circuit_state: circuitOf(queue),
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
