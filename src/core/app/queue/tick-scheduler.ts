import type { SchedulerReport, SkippedJob } from '../../contracts/scheduler.ts'
import { type Db, transaction } from '../../db/connect.ts'
import { lead, leads, resign } from '../../db/queue/leaders.ts'
import { type PairRow, pairsToJudge, type QueueNow, queueNow } from '../../db/queue/schedule.ts'
import type { Breaker } from '../../domain/breaker.ts'
import { cursorKvKey, kvMark, readCursor } from '../../domain/cursor.ts'
import { SyncError } from '../../domain/errors.ts'
import { type Gates, makeGates } from '../../domain/gates.ts'
import { markTypeOf } from '../../domain/mark.ts'
import { type Limits, type Selection, select } from '../../domain/places.ts'
import type { SourceKind } from '../../domain/repo.ts'
import { judge, type Pair, type Policy, repairChunk, repairOf } from '../../domain/schedule.ts'
import { isInShard } from '../../domain/trigger.ts'
import { jobTypesOf } from '../../sources/source.ts'
import { type Context, underLease } from '../context.ts'
import { repairRequest } from '../sync/plan-backfill.ts'
import { enqueue, type Found, jobsMadeFor, named, recordScan, rest, shown, type Wanted } from './enqueue.ts'
import { judgeBreakers } from './judge-breakers.ts'
import { limitsOf, policyOf } from './scan-policy.ts'

export interface TickAsk {
  dryRun: boolean
  /** Stay leader until the next tick (a loop), or hand it over at once. */
  keepLeading: boolean
}

/** One leads; of shards that are triggered at once, one each. */
const dutyOf = ({ trigger: { shard } }: Context) =>
  shard === null ? 'scheduler' : `scheduler ${shard.index}/${shard.total}`
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
  const term = ask.dryRun ? null : await lead(ctx.db, { duty: dutyOf(ctx), by: ctx.worker, leaseSeconds })

  try {
    return await transaction(ctx.db, underLease(ctx, leaseSeconds), async (tx) => {
      const allowed = term === null ? ask.dryRun : await leads(tx, { duty: dutyOf(ctx), term })
      const queue = await queueNow(tx)
      const breakers = await judgeBreakers(ctx, tx, { now: queue.now, writes: allowed && !ask.dryRun })
      const report = empty(queue, breakers, ask)
      return allowed ? scan(ctx, tx, { queue, breakers, report }, ask) : { ...report, leader: false }
    })
  } finally {
    if (term !== null && !ask.keepLeading) await stopLeading(ctx).catch(() => {}) // then its lease ends it
  }
}

/** At the end of a loop: whoever stands by takes over with its next tick, not when the lease ends. */
export async function stopLeading(ctx: Context): Promise<void> {
  await resign(ctx.db, { duty: dutyOf(ctx), by: ctx.worker })
}

interface Scene {
  queue: QueueNow
  breakers: ReadonlyMap<string, Breaker>
  /** Of a scan that found nothing to do. */
  report: SchedulerReport
}

async function scan(
  ctx: Context,
  tx: Db,
  { queue, breakers, report }: Scene,
  ask: TickAsk,
): Promise<SchedulerReport> {
  const { shard, jobId } = ctx.trigger
  // Our own scans leave a record only where they make something.
  const trigger = jobId === null || ask.dryRun ? null : await recordScan(ctx, tx, queue.now)
  if (trigger?.isNew === false) return { ...report, ...(await jobsMadeFor(tx, trigger)) }

  const policy = policyOf(ctx)
  const pairs = await pairsToJudge(tx, {
    kinds: kindsToSync(ctx),
    cursorAgeThreshold: policy.cursorAgeThreshold,
    windowSize: ctx.config.scm.scheduler.error_budget_window_size,
    repairAfter: policy.repair.after,
  })
  const found = pairs.filter((row) => isInShard(row.repoId, shard)).map((row) => readPair(row, ctx.now()))

  const { due, repairs, spent } = judged(found, policy)
  const wanted = [...due, ...repairs]
  const gates = makeGates(breakers, wanted)
  const { chosen, skipped } = placed(wanted, queue, limitsOf(ctx), gates)

  const now = {
    now: queue.now,
    circuit: report.circuit_state,
    chunkSeconds: (pair: Pair) => (gates.areOpenTo(pair) ? repairChunk(pair, policy) : degradedWindow(ctx)),
  }
  const made = ask.dryRun
    ? chosen.map((wanted) => shown(wanted, now, null))
    : (await enqueue(ctx, tx, chosen, { ...now, trigger })).filter((job) => job.job_id !== null)
  if (!ask.dryRun && spent.length > 0) await rest(ctx, tx, spent)

  const passedOver = [...skipped, ...spent.map((pair) => restShown(ctx, pair))]
  const enqueued = ask.dryRun ? 0 : made.length
  ctx.log.info({ scanned: found.length, due: due.length, enqueued }, 'scan done')
  return {
    ...report,
    repos_scanned: new Set(found.map((f) => f.pair.repoId)).size,
    candidates_selected: due.length,
    jobs_enqueued: enqueued,
    jobs_skipped: passedOver.length,
    tenant_paused_count: heldBack(skipped, 'tenant_circuit_open'),
    instance_paused_count: heldBack(skipped, 'instance_circuit_open'),
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

/** That a repair got no place is not worth a word: nobody asked for it. What the global breaker does, its state says. */
function placed(wanted: Wanted[], queue: QueueNow, limits: Limits, gates: Gates) {
  const { chosen, skipped }: Selection<Wanted> = select(wanted, queue, limits, gates)
  return {
    chosen,
    skipped: skipped.flatMap(({ candidate: { mode, pair }, reason }): SkippedJob[] =>
      mode === 'backfill' || reason === 'circuit_open'
        ? []
        : [{ ...named(pair), reason, ...whose(reason, pair) }],
    ),
  }
}

function whose(reason: SkippedJob['reason'], pair: Pair) {
  if (reason.startsWith('instance_')) return { instance: pair.instanceKey }
  return reason.startsWith('tenant_') ? { tenant: pair.tenantId } : {}
}

const heldBack = (skipped: SkippedJob[], reason: SkippedJob['reason']) =>
  skipped.filter((s) => s.reason === reason).length

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

const degradedWindow = (ctx: Context) => ctx.config.scm.circuit_breaker.degraded_forward_window_seconds

function empty(queue: QueueNow, breakers: Scene['breakers'], ask: TickAsk): SchedulerReport {
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
    circuit_state: breakers.get('global')?.state ?? 'closed',
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
