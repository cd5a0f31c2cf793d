import { type Db, type Limits, Rollback, transaction } from '../../db/connect.ts'
import { markUnreachable } from '../../db/facts/commits.ts'
import { moveHeads } from '../../db/facts/refs.ts'
import { completeJobs } from '../../db/queue/complete.ts'
import { type HeldJob, renewLeases } from '../../db/queue/jobs.ts'
import { closeBatch, openBatch } from '../../db/queue/pages.ts'
import { succeededWith } from '../../db/queue/runs.ts'
import { SyncError } from '../../domain/errors.ts'
import { statsOf, type Tally, tallied, type Usage } from '../../domain/tally.ts'
import type { Context } from '../context.ts'
import { landCursor } from './land-cursor.ts'
import { type ReadyPage, storeFacts } from './ready-page.ts'
import { keepRescanned } from './rescan.ts'

/** Where a page comes in its run: the token before it, the batch opened for it, what was done until then. */
export interface PagePlace {
  before: string
  batchId: number | null
  tally: Tally
  /** Requests made for the run until now. */
  usage: Usage | null
}

export interface StoredPage {
  tally: Tally
  nextBatchId: number | null
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
  { before, batchId: opened, tally, usage }: PagePlace,
  limits: Limits,
): Promise<StoredPage> {
  const { page, payload, counts } = ready
  const last = page.landing !== undefined
  try {
    return await transaction(ctx.db, limits, async (tx) => {
      const mine = await renewLeases(tx, [held])
      if (!mine.has(held.jobId)) throw new Rollback('lease lost')

      const batchId = opened ?? (await openBatch(tx, held, before))
      const synced = await storeFacts(tx, { ...held, batchId }, payload)
      const next = tallied(tally, counts, synced)
      const { nextBatchId, storedBefore } = await closeBatch(tx, held, batchId, {
        beforeToken: before,
        afterToken: page.token,
        records: counts.scanned,
        stats: { synced, skipped: Math.max(0, counts.scanned - synced) },
        checkpoint: { token: page.token, pages: next.pages, done: page.done },
        runStats: statsOf(next, usage),
        // With the first rows: they are what may be left behind, and what a retry need not read again.
        pinned: tally.scanned === 0 && counts.scanned > 0 ? page.pinned : null,
        last,
      })

      // Stored by a commit whose answer was lost: what it wrote counts, not that nothing was left to write.
      if (storedBefore) return { tally: tallied(tally, counts, storedBefore.synced), nextBatchId }

      if (last) await endRun(ctx, tx, { ...held, batchId }, page, next, usage)
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
  { landing }: ReadyPage['page'],
  tally: Tally,
  usage: Usage | null,
): Promise<void> {
  if (landing?.heads) {
    await markUnreachable(tx, held.repoId, landing.heads.unreachable)
    await moveHeads(tx, held, landing.heads.refs, landing.heads.moves)
  }
  const cursorAfter = await landCursor(ctx, tx, held, landing ?? null, observedMax(landing, tally))
  await keepRescanned(tx, held, landing ?? null, ctx.now())
  const ended = await completeJobs(tx, [{ held, stats: statsOf(tally, usage), cursorAfter }])
  if (!ended.has(held.jobId)) throw new Rollback('lease lost')
}

/** The newest thing seen, by the upstream's clock or number; for updates that is where the next read begins. */
function observedMax(landing: ReadyPage['page']['landing'], { newestTs }: Tally): string | null {
  if (landing?.scanned != null) return String(landing.scanned)
  const newest = landing?.position ?? (newestTs === null ? null : new Date(newestTs * 1000))
  return newest?.toISOString() ?? null
}
