import { markUnreachable, upsertCommits } from '../db/commits.ts'
import { type Limits, Rollback, transaction } from '../db/connect.ts'
import { completeJob, type HeldJob, renewLease } from '../db/jobs.ts'
import { closeBatch } from '../db/pages.ts'
import { rollUpPlan } from '../db/plans.ts'
import { moveHeads } from '../db/refs.ts'
import { runSucceeded } from '../db/runs.ts'
import { bulkReason } from '../domain/bulk.ts'
import { SyncError } from '../domain/errors.ts'
import type { Page } from '../sources/source.ts'
import type { Context } from './context.ts'
import { landCursor } from './land-cursor.ts'

/** What a run has done so far; its last state is the run's `stats`. */
export interface Tally {
  pages: number
  scanned: number
  synced: number
  skipped: number
  degraded: number
  sanitized: number
  bulk: number
  newestTs: number | null
}

export const emptyTally = (): Tally => ({
  pages: 0,
  scanned: 0,
  synced: 0,
  skipped: 0,
  degraded: 0,
  sanitized: 0,
  bulk: 0,
  newestTs: null,
})

/**
 * One page, one transaction: the fence is checked with row locks, the rows are written, the batch is closed and the
 * next one opened; with the last page also the heads, the cursor event, the cursor and the end of the run. Either all
 * of it is there afterwards or nothing. The network is never awaited in here.
 */
export async function storePage(
  ctx: Context,
  held: HeldJob,
  page: Page,
  before: string,
  tally: Tally,
  limits: Limits,
) {
  const last = page.landing !== undefined
  const commits = page.commits.map((c) => {
    const why = bulkReason(c, ctx.config.scm.bulk_thresholds)
    return { ...c, isBulk: why !== null, bulkReason: why }
  })

  try {
    return await transaction(ctx.db, limits, async (tx) => {
      if (!(await renewLease(tx, held))) throw new Rollback('lease lost')

      const synced = await upsertCommits(tx, held, commits)
      const next = tallied(tally, page, synced, commits)
      const { nextBatchId } = await closeBatch(tx, held, {
        beforeToken: before,
        afterToken: page.token,
        records: commits.length,
        stats: { synced, skipped: commits.length - synced },
        checkpoint: { token: page.token, pages: next.pages, done: page.done },
        pinned: tally.pages === 0 ? page.pinned : null,
        last,
      })

      if (last) await endRun(ctx, tx, held, page, next)
      return { tally: next, nextBatchId }
    })
  } catch (cause) {
    if (!(cause instanceof Rollback)) throw cause
    // The commit of the last page may have arrived although its answer did not.
    if (last && (await runSucceeded(ctx.db, held.runId)))
      return { tally: tallied(tally, page, 0, commits), nextBatchId: null }
    throw new SyncError('lease_lost', `job ${held.jobId} is no longer ours: page not stored`)
  }
}

async function endRun(
  ctx: Context,
  tx: Parameters<Parameters<typeof transaction>[2]>[0],
  held: HeldJob,
  page: Page,
  tally: Tally,
) {
  if (page.landing) {
    await markUnreachable(tx, held.repoId, page.landing.unreachable)
    await moveHeads(tx, held, page.landing.refs, page.landing.moves)
  }
  const cursorAfter = await landCursor(ctx, tx, held, tally)
  await completeJob(tx, held, { stats: statsOf(tally), cursorAfter })
  await rollUpPlan(tx, held.planId)
}

function tallied(tally: Tally, page: Page, synced: number, commits: { isBulk: boolean }[]): Tally {
  const newest = page.commits.reduce<number | null>(
    (max, c) =>
      c.committer.epochSeconds !== null && (max === null || c.committer.epochSeconds > max)
        ? c.committer.epochSeconds
        : max,
    tally.newestTs,
  )
  return {
    pages: tally.pages + 1,
    scanned: tally.scanned + page.commits.length,
    synced: tally.synced + synced,
    skipped: tally.skipped + page.commits.length - synced,
    degraded: tally.degraded + page.commits.filter((c) => c.degraded !== null).length,
    sanitized: tally.sanitized + page.commits.filter((c) => c.sanitized.length > 0).length,
    bulk: tally.bulk + commits.filter((c) => c.isBulk).length,
    newestTs: newest,
  }
}

/** The contract's counter names (sync_runs.counts). */
function statsOf(t: Tally) {
  return {
    synced_count: t.synced,
    skipped_count: t.skipped,
    scanned_count: t.scanned,
    degraded_count: t.degraded,
    sanitized_count: t.sanitized,
    bulk_count: t.bulk,
    pages: t.pages,
  }
}
