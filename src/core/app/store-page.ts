import { type CommitPayload, commitPayload, markUnreachable, upsertCommits } from '../db/commits.ts'
import { completeJobs } from '../db/complete.ts'
import { type Db, type Limits, Rollback, transaction } from '../db/connect.ts'
import { type HeldJob, renewLeases } from '../db/jobs.ts'
import { closeBatch, openBatch } from '../db/pages.ts'
import { moveHeads } from '../db/refs.ts'
import { succeededWith } from '../db/runs.ts'
import { bulkReason } from '../domain/bulk.ts'
import { SyncError } from '../domain/errors.ts'
import { countsOf, type PageCounts, statsOf, type Tally, tallied } from '../domain/tally.ts'
import type { Page } from '../sources/source.ts'
import type { Context } from './context.ts'
import { landCursor } from './land-cursor.ts'

/** A page, ready to be stored: what can be computed outside the transaction is. */
export interface ReadyPage {
  page: Page
  payload: CommitPayload
  counts: PageCounts
}

/** Where a page comes in its run: the token before it, the batch opened for it, what was done until then. */
export interface PagePlace {
  before: string
  batchId: number | null
  tally: Tally
}

export interface StoredPage {
  tally: Tally
  nextBatchId: number | null
}

export function readyPage(ctx: Context, page: Page): ReadyPage {
  let bulk = 0
  const payload = commitPayload(page.commits, (commit) => {
    const why = bulkReason(commit, ctx.config.scm.bulk_thresholds)
    if (why !== null) bulk += 1
    return why
  })
  // The commits are in the payload now; keeping them too would hold the page twice.
  return { page: { ...page, commits: [] }, payload, counts: { ...countsOf(page.commits), bulk } }
}

/**
 * One page, one transaction: the fence is checked with row locks, the rows are written, the batch is closed and the
 * next one opened; with the last page also the heads, the cursor event, the cursor and the end of the run. Either all
 * of it is there afterwards or nothing. The network is never awaited in here.
 */
export async function storePage(
  ctx: Context,
  held: HeldJob,
  ready: ReadyPage,
  { before, batchId: opened, tally }: PagePlace,
  limits: Limits,
): Promise<StoredPage> {
  const { page, payload, counts } = ready
  const last = page.landing !== undefined
  try {
    return await transaction(ctx.db, limits, async (tx) => {
      const mine = await renewLeases(tx, [held])
      if (!mine.has(held.jobId)) throw new Rollback('lease lost')

      const batchId = opened ?? (await openBatch(tx, held, before))
      const synced = await upsertCommits(tx, { ...held, batchId }, payload)
      const next = tallied(tally, counts, synced)
      const { nextBatchId, storedBefore } = await closeBatch(tx, held, batchId, {
        beforeToken: before,
        afterToken: page.token,
        records: payload.count,
        stats: { synced, skipped: payload.count - synced },
        checkpoint: { token: page.token, pages: next.pages, done: page.done },
        runStats: statsOf(next),
        // With the first rows: they are what may be left behind, and what a retry need not read again.
        pinned: tally.scanned === 0 && payload.count > 0 ? page.pinned : null,
        last,
      })

      // Stored by a commit whose answer was lost: what it wrote counts, not that nothing was left to write.
      if (storedBefore) return { tally: tallied(tally, counts, storedBefore.synced), nextBatchId }

      if (last) await endRun(ctx, tx, { ...held, batchId }, page, next)
      return { tally: next, nextBatchId }
    })
  } catch (cause) {
    if (!(cause instanceof Rollback)) throw cause
    // The commit of the last page may have arrived although its answer did not.
    const stats = last ? await succeededWith(ctx.db, held.runId) : null
    if (stats) return { tally: tallied(tally, counts, stats.synced_count - tally.synced), nextBatchId: null }
    throw new SyncError('lease_lost', `job ${held.jobId} is no longer ours: page not stored`)
  }
}

async function endRun(
  ctx: Context,
  tx: Db,
  held: HeldJob & { batchId: number },
  page: Page,
  tally: Tally,
): Promise<void> {
  if (page.landing) {
    await markUnreachable(tx, held.repoId, page.landing.unreachable)
    await moveHeads(tx, held, page.landing.refs, page.landing.moves)
  }
  const cursorAfter = await landCursor(ctx, tx, held, tally)
  const ended = await completeJobs(tx, [{ held, stats: statsOf(tally), cursorAfter }])
  if (!ended.has(held.jobId)) throw new Rollback('lease lost')
}
