import type { ReaperReport } from '../../contracts/reaper.ts'
import { type Db, transaction } from '../../db/connect.ts'
import { rollUpPlans } from '../../db/ledger/plans.ts'
import { type Pruned, prunePlans, pruneTriggers } from '../../db/queue/prune.ts'
import { countReapable, freeReservations, reapJobs, reapLocks, reapRuns } from '../../db/queue/reap.ts'
import { SyncError } from '../../domain/errors.ts'
import { type Context, underLease } from '../context.ts'

export interface ReapAsk {
  dryRun: boolean
  policy: 'to_failed' | 'to_pending'
  /** First wait of a reaped job; doubles with every attempt. */
  retryDelaySeconds: number
}

/** Rows of one transaction, and transactions of one kind in one pass: a pass ends, whatever has piled up. */
const BATCH = 500
const MOST_BATCHES = 20
/** Finished work is kept a month, a look that found nothing for a day; events of the cursor are kept for ever. */
const KEPT_HOURS = { long_ago: 30 * 24, with_nothing: 24 }

/**
 * One pass over what dead processes left behind: jobs first, so that runs and locks are judged by what became of
 * theirs. A kind that fails is counted and does not keep the others from being done.
 */
export async function reap(ctx: Context, ask: ReapAsk): Promise<ReaperReport> {
  const { job_grace_seconds: jobGrace, lock_grace_seconds: lockGrace } = ctx.config.scm.reaper
  const runMaxSeconds = ctx.config.scm.reaper.run_max_seconds
  const report = emptyReport(ask)
  if (ask.dryRun) {
    const found = await countReapable(ctx.db, { jobGrace, lockGrace, runMaxSeconds })
    for (const kind of ['jobs', 'runs', 'locks', 'reservations'] as const)
      report[kind].processed = found[kind]
    return totalled(report)
  }

  const inTransaction = transactions(ctx)
  await inBatches(ctx, report.jobs, async () => {
    const reaped = await inTransaction(async (tx) => {
      const jobs = await reapJobs(tx, {
        graceSeconds: jobGrace,
        runMaxSeconds,
        retryDelaySeconds: ask.retryDelaySeconds,
        toPending: ask.policy === 'to_pending',
        limit: BATCH,
      })
      await rollUpPlans(
        tx,
        jobs.filter((j) => j.status === 'dead').map((j) => j.planId),
      )
      return jobs
    })
    for (const { jobId, repoId, jobType, status } of reaped) {
      report.jobs[`to_${status}`] += 1
      ctx.log.warn({ jobId, repoId, jobType, status }, 'job reaped')
    }
    return reaped.length
  })
  await inBatches(ctx, report.runs, async () => {
    const failed = await inTransaction((tx) => reapRuns(tx, { graceSeconds: jobGrace, limit: BATCH }))
    report.runs.failed += failed
    return failed
  })
  await inBatches(ctx, report.locks, async () => {
    const released = await inTransaction((tx) => reapLocks(tx, { graceSeconds: lockGrace, limit: BATCH }))
    report.locks.released += released
    return released
  })
  await inBatches(ctx, report.reservations, async () => {
    const freed = await inTransaction((tx) => freeReservations(tx, { graceSeconds: jobGrace, limit: BATCH }))
    report.reservations.to_pending += freed
    return freed
  })
  await prune(ctx, report, inTransaction)

  const total = totalled(report)
  ctx.log.info({ processed: total.total_processed, errors: total.total_errors }, 'reaped')
  return total
}

/** Batch after batch until one is not full. What fails is counted; the next pass tries again. */
async function inBatches(
  ctx: Context,
  kind: { processed: number; errors: number },
  batch: () => Promise<number>,
): Promise<void> {
  try {
    for (let n = 0; n < MOST_BATCHES && !ctx.signal.aborted; n++) {
      const done = await batch()
      kind.processed += done
      if (done < BATCH) return
    }
  } catch (error) {
    if (ctx.signal.aborted) return
    // Gone, read-only, full or locked: no other kind would fare better.
    if (error instanceof SyncError && error.kind === 'database') throw error
    kind.errors += 1
    ctx.log.error({ err: error }, 'not reaped')
  }
}

type InTransaction = <T>(work: (tx: Db) => Promise<T>) => Promise<T>

const transactions =
  (ctx: Context): InTransaction =>
  (work) =>
    transaction(ctx.db, underLease(ctx, ctx.config.scm.worker.lease_seconds), work)

async function prune(ctx: Context, report: ReaperReport, inTransaction: InTransaction): Promise<void> {
  const gone = { processed: 0, errors: 0 }
  for (const ended of ['with_nothing', 'long_ago'] as const) {
    await inBatches(ctx, gone, async () => {
      const pruned = await inTransaction((tx) =>
        prunePlans(tx, { ended, hours: KEPT_HOURS[ended], limit: BATCH }),
      )
      for (const kind of ['plans', 'jobs', 'runs', 'batches'] satisfies (keyof Pruned)[])
        report.retention[kind] += pruned[kind]
      return pruned.due
    })
  }
  await inBatches(ctx, gone, () =>
    inTransaction((tx) => pruneTriggers(tx, { hours: KEPT_HOURS.long_ago, limit: BATCH })),
  )
  report.retention.errors = gone.errors
}

function emptyReport(ask: ReapAsk): ReaperReport {
  return {
    status: 'success',
    jobs: { processed: 0, to_failed: 0, to_dead: 0, to_pending: 0, errors: 0 },
    runs: { processed: 0, failed: 0, errors: 0 },
    locks: { processed: 0, released: 0, errors: 0 },
    reservations: { processed: 0, to_pending: 0, errors: 0 },
    retention: { plans: 0, jobs: 0, runs: 0, batches: 0, errors: 0 },
    total_processed: 0,
    total_errors: 0,
    dry_run: ask.dryRun,
    exit_code: 0,
  }
}

function totalled(r: ReaperReport): ReaperReport {
  const kinds = [r.jobs, r.runs, r.locks, r.reservations]
  const errors = kinds.reduce((n, k) => n + k.errors, r.retention.errors)
  return {
    ...r,
    status: errors > 0 ? 'partial' : 'success',
    total_processed: kinds.reduce((n, k) => n + k.processed, 0),
    total_errors: errors,
    exit_code: errors > 0 ? 1 : 0,
  }
}
