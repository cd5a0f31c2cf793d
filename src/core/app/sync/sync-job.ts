import { transaction } from '../../db/connect.ts'
import { isTooSlow } from '../../db/failure.ts'
import { rollUpPlans } from '../../db/ledger/plans.ts'
import { failJob, type HeldJob } from '../../db/queue/jobs.ts'
import { backoffSeconds } from '../../domain/backoff.ts'
import { cursorKvKey } from '../../domain/cursor.ts'
import { GONE, SyncError } from '../../domain/errors.ts'
import { kindIn, type Repo } from '../../domain/repo.ts'
import { emptyTally, statsOf, type Tally, type Usage } from '../../domain/tally.ts'
import type { Ask, Reading } from '../../sources/source.ts'
import { type Context, underLease } from '../context.ts'
import type { Holder } from './holder.ts'
import { oneAhead } from './one-ahead.ts'
import { type ReadyPage, readyPage } from './ready-page.ts'
import { type PagePlace, type StoredPage, storePage } from './store-page.ts'
import { unhurried } from './unhurried.ts'

export interface JobReport {
  status: 'success' | 'failed'
  tally: Tally
  error: SyncError | null
}

export interface Upstream {
  open(signal: AbortSignal): Promise<Reading>
  ask(): Promise<Ask>
}

/**
 * The corridor every sync walks: a held job is read page by page, each page stored in its own transaction, the last
 * one together with the cursor. A failure is a value: the next chunk may succeed.
 */
export async function syncJob(
  ctx: Context,
  repo: Repo,
  held: HeldJob,
  holder: Holder,
  upstream: Upstream,
): Promise<JobReport> {
  const log = ctx.log.child({
    jobId: held.jobId,
    runId: held.runId,
    repoId: repo.repoId,
    jobType: held.jobType,
    correlationId: held.correlationId,
  })
  log.info(
    { mode: held.mode, attempt: held.attempt, resumesAt: held.checkpoint?.token ?? null },
    'run started',
  )
  const lease = holder.keep(held)
  const pace = ctx.paces(repo)
  let tally = emptyTally()
  let usage: () => Usage | null = () => null
  try {
    // One after the other: a failure of either must not leave the other at work behind us.
    const reading = await upstream.open(lease.signal)
    usage = () => reading.usage?.() ?? null
    const ask = await upstream.ask()
    const resume =
      held.checkpoint && held.pinned ? { token: held.checkpoint.token, pinned: held.pinned } : null

    let batchId: number | null = null
    let before = resume?.token ?? ''
    const pages = unhurried(reading.pages(ask, resume), { pace, usage, signal: lease.signal })
    for await (const ready of oneAhead(pages, (page) => readyPage(ctx, page))) {
      const { page } = ready
      if (page.restarted) {
        if (tally.pages > 0)
          throw new SyncError('upstream', 'what was being read is gone; it will be read anew', {
            status: GONE,
          })
        before = ''
      }
      lease.signal.throwIfAborted()
      if (resume === null && tally.pages === 0 && foundNothing(held, ask, ready)) {
        await endPoll(holder, held, usage())
        break
      }
      const at: PagePlace = { before, batchId, tally, usage: usage() }
      const stored: StoredPage = await lease.store((limits) => storePage(ctx, held, ready, at, limits))
      tally = stored.tally
      before = page.token
      batchId = stored.nextBatchId
      log.debug({ page: tally.pages, done: page.done, total: page.total }, 'page stored')
      ctx.progress(`${repo.locator}  ${progressOf(held, page)}`)
    }
    log.info(
      { synced: tally.synced, skipped: tally.skipped, pages: tally.pages, ...usage() },
      'run succeeded',
    )
    return { status: 'success', tally, error: null }
  } catch (cause) {
    const error = reasonOf(cause, lease.signal)
    const ended = await giveUp(ctx, held, error, { tally, usage: usage(), notBefore: pace.pauseSeconds })
    log.warn({ kind: error.kind, reason: error.message, job: ended }, 'run failed')
    return { status: 'failed', tally, error }
  } finally {
    lease.stop()
  }
}

/**
 * An incremental sync from a cursor that stands, nothing to read again, no new commit and no ref that moved: there is no
 * page to store and no cursor to move. Of ten thousand polls nearly all are this, so they leave a run and no more.
 */
function foundNothing(
  { mode, spec }: HeldJob,
  ask: Ask,
  { page: { landing }, counts, payload }: ReadyPage,
): boolean {
  // All of it may be known, and yet be newer than where the next listing would begin.
  const seenSince = ask.window === 'updates' ? (ask.position?.getTime() ?? 0) : 0

  return (
    mode !== 'backfill' &&
    spec.window.from !== null &&
    !spec.refetch_since &&
    counts.scanned === 0 &&
    // A review whose last note was deleted has no events, and that is news.
    payload.reviews === null &&
    !!landing &&
    !(landing.heads && landing.heads.moves.length + landing.heads.unreachable.length > 0) &&
    (landing.position == null || landing.position.getTime() <= seenSince) &&
    // Of revisions that nobody may see, or that are about other folders, the cursor still says that they were looked at.
    (landing.scanned == null || String(landing.scanned) === spec.window.from)
  )
}

const RECORDS = { commits: 'commits', mrs: 'merge requests', reviews: 'merge requests reviewed' }

function progressOf({ jobType, provenance }: HeldJob, { done, total }: ReadyPage['page']): string {
  const of = total === null ? '' : ` of ${total.toLocaleString('en')}`
  const records = kindIn(provenance) === 'svn' ? 'revisions' : RECORDS[jobType]
  return `${done.toLocaleString('en')}${of} ${records}`
}

async function endPoll(holder: Holder, held: HeldJob, usage: Usage | null): Promise<void> {
  const kvKey = cursorKvKey(kindIn(held.provenance), held.jobType, held.repoId)
  const mine = await holder.endPoll({ held, stats: statsOf(emptyTally(), usage), cursorAfter: null, kvKey })
  if (!mine) throw new SyncError('lease_lost', `job ${held.jobId} is no longer ours: not ended`)
}

/** A lost lease or a stop explains whatever broke because of it. */
function reasonOf(cause: unknown, signal: AbortSignal): SyncError {
  if (signal.aborted && signal.reason instanceof SyncError) return signal.reason
  if (signal.aborted) return new SyncError('cancelled', 'stopped before the run was finished', { cause })
  if (cause instanceof SyncError) return cause
  return new SyncError('bug', cause instanceof Error ? cause.message : String(cause), { cause })
}

const NOTHING_DONE = { tally: emptyTally(), usage: null, notBefore: 0 }

/** `notBefore`: seconds the upstream is left alone after several timeouts or 5xx. */
function delayOf(error: SyncError, held: HeldJob, notBefore: number): number {
  const seconds = error.retryAfterSeconds ?? backoffSeconds(error.kind, held.attempt)
  return error.retry === 'later' ? Math.max(seconds, notBefore) : seconds
}

/**
 * The ledger is closed even for a failure, also for a lease that was lost: if somebody has the job, the fence keeps us
 * out; if only the lock was taken away, the job is given back. When the database itself is gone, the lease ends it.
 */
export async function giveUp(
  ctx: Context,
  held: HeldJob,
  error: SyncError,
  run: { tally: Tally; usage: Usage | null; notBefore: number } = NOTHING_DONE,
): Promise<string> {
  const limits = { ...underLease(ctx, held.leaseSeconds), signal: AbortSignal.timeout(10_000) }
  try {
    return await transaction(ctx.db, limits, async (tx) => {
      const status = await failJob(tx, held, {
        // A page too large for the statement timeout would come back for ever.
        retry: isTooSlow(error) ? 'later' : error.retry,
        delaySeconds: delayOf(error, held, run.notBefore),
        summary: {
          error_category: error.category,
          error_message: error.message,
          ...(error.hint ? { hint: error.hint } : {}),
        },
        stats: statsOf(run.tally, run.usage),
      })
      if (status === 'dead') await rollUpPlans(tx, [held.planId])
      return status ?? 'taken over'
    })
  } catch {
    return 'left to its lease'
  }
}
