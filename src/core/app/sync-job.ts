import { transaction } from '../db/connect.ts'
import { failJob, type HeldJob } from '../db/jobs.ts'
import { rollUpPlan } from '../db/plans.ts'
import { backoffSeconds } from '../domain/backoff.ts'
import { SyncError } from '../domain/errors.ts'
import type { Repo } from '../domain/repo.ts'
import { emptyTally, statsOf, type Tally } from '../domain/tally.ts'
import type { Reading } from '../sources/source.ts'
import { type Context, underLease } from './context.ts'
import { keepLease } from './keep-lease.ts'
import { oneAhead } from './one-ahead.ts'
import { askOf } from './open-source.ts'
import { readyPage, storePage } from './store-page.ts'

export interface JobReport {
  status: 'success' | 'failed'
  tally: Tally
  error: SyncError | null
}

/**
 * The corridor every sync walks: a held job is read page by page, each page stored in its own transaction, the last
 * one together with the cursor. A failure is a value: the next chunk may succeed.
 */
export async function syncJob(
  ctx: Context,
  repo: Repo,
  held: HeldJob,
  open: (signal: AbortSignal) => Promise<Reading>,
): Promise<JobReport> {
  const log = ctx.log.child({
    jobId: held.jobId,
    runId: held.runId,
    repoId: repo.repoId,
    jobType: held.jobType,
  })
  log.info(
    { mode: held.mode, attempt: held.attempt, resumesAt: held.checkpoint?.token ?? null },
    'run started',
  )
  const lease = keepLease(ctx, held)
  let tally = emptyTally()
  try {
    const reading = await open(lease.signal)
    const ask = await askOf(ctx, held)
    const resume =
      held.checkpoint && held.pinned ? { token: held.checkpoint.token, pinned: held.pinned } : null

    let owned = held
    let before = resume?.token ?? ''
    for await (const ready of oneAhead(reading.pages(ask, resume), (page) => readyPage(ctx, page))) {
      const { page } = ready
      if (page.restarted) {
        if (tally.pages > 0)
          throw new SyncError('upstream', 'what was being read is gone; it will be read anew')
        before = ''
      }
      lease.signal.throwIfAborted()
      const stored = await storePage(
        ctx,
        owned,
        ready,
        before,
        tally,
        underLease(ctx, held.leaseSeconds, lease.signal),
      )
      tally = stored.tally
      before = page.token
      if (stored.nextBatchId !== null) owned = { ...owned, batchId: stored.nextBatchId }
      log.debug({ page: tally.pages, done: page.done, total: page.total }, 'page stored')
      ctx.progress(
        `${repo.locator}  ${page.done.toLocaleString('en')} of ${page.total.toLocaleString('en')} commits`,
      )
    }
    log.info({ synced: tally.synced, skipped: tally.skipped, pages: tally.pages }, 'run succeeded')
    return { status: 'success', tally, error: null }
  } catch (cause) {
    const error = reasonOf(cause, lease.signal)
    const ended = await giveUp(ctx, held, error, tally)
    log.warn({ kind: error.kind, reason: error.message, job: ended }, 'run failed')
    return { status: 'failed', tally, error }
  } finally {
    lease.stop()
  }
}

/** A lost lease or a stop explains whatever broke because of it. */
function reasonOf(cause: unknown, signal: AbortSignal): SyncError {
  if (signal.aborted && signal.reason instanceof SyncError) return signal.reason
  if (signal.aborted) return new SyncError('cancelled', 'stopped before the run was finished', { cause })
  if (cause instanceof SyncError) return cause
  return new SyncError('bug', cause instanceof Error ? cause.message : String(cause), { cause })
}

/**
 * The ledger is closed even for a failure, also for a lease that was lost: if somebody has the job, the fence keeps us
 * out; if only the lock was taken away, the job is given back. When the database itself is gone, the lease ends it.
 */
export async function giveUp(
  ctx: Context,
  held: HeldJob,
  error: SyncError,
  tally: Tally = emptyTally(),
): Promise<string> {
  const limits = { ...underLease(ctx, held.leaseSeconds), signal: AbortSignal.timeout(10_000) }
  try {
    return await transaction(ctx.db, limits, async (tx) => {
      const status = await failJob(tx, held, {
        retry: error.retry,
        delaySeconds: error.retry === 'free' ? 0 : backoffSeconds(error.kind, held.attempt),
        summary: {
          error_category: error.category,
          error_message: error.message,
          ...(error.hint ? { hint: error.hint } : {}),
        },
        stats: statsOf(tally),
      })
      if (status === 'dead') await rollUpPlan(tx, held.planId)
      return status ?? 'taken over'
    })
  } catch {
    return 'left to its lease'
  }
}
