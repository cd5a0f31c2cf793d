import type { BackfillReport, ChunkResult } from '../../contracts/backfill.ts'
import { type PlanRow, type SliceRow, sliceStatus, slicesOf } from '../../db/ledger/plans.ts'
import type { SliceAnswer, TriggerRow } from '../../db/ledger/triggers.ts'
import { SyncError } from '../../domain/errors.ts'
import { exitCodeOf, sumOf } from '../../domain/outcome.ts'
import type { JobType, Repo } from '../../domain/repo.ts'
import type { WindowWish } from '../../domain/window.ts'
import type { Reading } from '../../sources/source.ts'
import type { Context } from '../context.ts'
import { findRepo } from '../find-repo.ts'
import { askOf } from './ask-of.ts'
import { askedWindow, boundsOf } from './asked-window.ts'
import { holdJob } from './hold-job.ts'
import { type Holder, makeHolder } from './holder.ts'
import { openSource, requireSyncable } from './open-source.ts'
import { planBackfill } from './plan-backfill.ts'
import { sentence } from './run-incremental.ts'
import { syncJob } from './sync-job.ts'
import { updateWatermark, type WatermarkMove } from './update-watermark.ts'

export interface BackfillAsk {
  repo: string
  job: JobType
  wish: WindowWish
  updateWatermark: boolean
  lockWaitSeconds: number
}

/**
 * Reads a window of history again, chunk by chunk. A failed chunk does not stop the next; the same command again runs
 * what is missing. The main cursor moves only when asked to, and only when every chunk succeeded.
 */
export async function runBackfill(ctx: Context, ask: BackfillAsk): Promise<BackfillReport> {
  const startedAt = ctx.now()
  const repo = await findRepo(ctx, ask.repo)
  requireSyncable(ctx, repo, ask.job)
  const { window, reading } = await askedWindow(ctx, repo, ask, () => openSource(ctx, repo, ctx.signal))
  const planned = await planBackfill(ctx, {
    repo,
    jobType: ask.job,
    wish: ask.wish,
    window,
    updateWatermark: ask.updateWatermark,
  })
  const { plan, resumed } = planned
  const chunks = await workOff(ctx, repo, ask, planned, reading)
  const status = summed(ctx, chunks)
  const watermark = await moveMainLine(ctx, repo, ask, plan, status)

  return {
    phase: 'backfill',
    repo: ask.repo,
    job: ask.job,
    status,
    ...counted(chunks),
    watermark_updated: watermark.updated,
    watermark_before: watermark.before,
    watermark_after: watermark.after,
    vfacts_refreshed: chunks.some((c) => c.synced_count > 0),
    message: resumed ? `plan ${plan.planId} of ${plan.createdAt.toISOString()} was taken up again` : null,
    started_at: startedAt.toISOString(),
    finished_at: ctx.now().toISOString(),
    exit_code: exitCodeOf(status),
  }
}

/**
 * Only what is missing; when nothing is, a person who asks again gets every chunk run once more, and a scheduler, which
 * may only have missed the answer, gets none.
 */
async function workOff(
  ctx: Context,
  repo: Repo,
  ask: BackfillAsk,
  { plan, trigger, answers }: Awaited<ReturnType<typeof planBackfill>>,
  opened: Reading | null,
): Promise<ChunkResult[]> {
  const slices = await slicesOf(ctx.db, plan.planId)
  const byHand = ctx.trigger.schedulerCode === 'INTERNAL' && trigger.isNew
  const again = byHand && slices.every((s) => s.statusCode === 'SUCCEEDED')
  // The upstream is opened once for all chunks. When that fails the others are not tried: a server that is down, or
  // says no, need not hear it two thousand times.
  let reading: Promise<Reading> | null = opened && Promise.resolve(opened)
  let refused: SyncError | null = null
  const open = (signal: AbortSignal) => {
    reading ??= openSource(ctx, repo, ctx.signal)
    return Promise.race([reading, lostWhileOpening(signal)]).catch((error) => {
      signal.throwIfAborted()
      if (error instanceof SyncError) refused = error
      throw error
    })
  }

  const holder = makeHolder(ctx)
  const results: ChunkResult[] = []
  for (const slice of slices) {
    ctx.progress(`chunk ${slice.sliceNo + 1} of ${slices.length}`)
    results.push(
      await workChunk(ctx, holder, repo, ask, {
        slice,
        total: slices.length,
        again,
        trigger,
        answer: answers.find((a) => a.sliceId === slice.sliceId),
        open,
        refused,
      }),
    )
  }
  return results
}

/** The opening is shared by all chunks; a chunk that loses its lease stops waiting for it. */
function lostWhileOpening(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason), { once: true })
  })
}

async function workChunk(
  ctx: Context,
  holder: Holder,
  repo: Repo,
  ask: BackfillAsk,
  chunk: {
    slice: SliceRow
    total: number
    again: boolean
    trigger: TriggerRow
    answer: SliceAnswer | undefined
    open: (signal: AbortSignal) => Promise<Reading>
    refused: SyncError | null
  },
): Promise<ChunkResult> {
  const { slice } = chunk
  const isRead = slice.statusCode === 'SUCCEEDED'
  const result: ChunkResult = {
    chunk_index: slice.sliceNo,
    chunk_total: chunk.total,
    status: 'success',
    synced_count: 0,
    skipped_count: 0,
    failed_count: 0,
    window_type: slice.spec.window.timezone ? 'time' : 'revision',
    ...boundsOf(slice.spec.window),
    error: null,
  }
  if (chunk.answer) return { ...result, ...told(chunk.answer) }
  if (isRead && slice.isPast && !chunk.again) return result
  if (chunk.refused) return { ...result, status: 'failed', error: sentence(chunk.refused) }
  if (ctx.signal.aborted) return { ...result, status: 'cancelled', error: 'stopped before this chunk' }
  if (slice.jobId === null)
    return {
      ...result,
      status: 'failed',
      error: 'its job was deleted by hand; ask for a window that differs a little',
    }

  try {
    const held = await holdJob(ctx, {
      repo,
      jobId: slice.jobId,
      jobType: ask.job,
      chunk: true,
      again: isRead,
      waitSeconds: ask.lockWaitSeconds,
      trigger: chunk.trigger,
    })
    if (!held) return { ...result, ...(await endedElsewhere(ctx, slice.sliceId)) }
    const report = await syncJob(ctx, repo, held, holder, {
      open: chunk.open,
      ask: () => askOf(ctx, held),
    })
    const status = report.error?.isStop ? 'cancelled' : report.status
    return {
      ...result,
      status,
      synced_count: report.tally.synced,
      skipped_count: report.tally.skipped,
      error: report.error && sentence(report.error),
    }
  } catch (cause) {
    if (cause instanceof SyncError && cause.kind === 'lock_held')
      return { ...result, status: 'failed', error: sentence(cause) }
    throw cause
  }
}

function told({ succeeded, synced, skipped, error }: SliceAnswer) {
  const status = succeeded ? ('success' as const) : ('failed' as const)
  return { status, synced_count: synced, skipped_count: skipped, error: succeeded ? null : error }
}

/** Nobody holds the job and it is not to be had: done by another process meanwhile, or not to be done. */
async function endedElsewhere(ctx: Context, sliceId: number): Promise<Pick<ChunkResult, 'status' | 'error'>> {
  const status = await sliceStatus(ctx.db, sliceId)
  if (status === 'SUCCEEDED') return { status: 'success', error: null }
  return {
    status: 'failed',
    error: `another process left it ${String(status).toLowerCase()}; run the same command again`,
  }
}

/** Stopped is cancelled; at a deadline, what was done until then is a part. */
function summed({ signal }: Context, chunks: ChunkResult[]) {
  const status = sumOf(chunks.map((c) => c.status))
  const isPart = status === 'cancelled' && chunks.some((c) => c.status === 'success')
  return isPart && signal.reason instanceof SyncError && signal.reason.kind === 'deadline'
    ? 'partial'
    : status
}

function counted(chunks: ChunkResult[]) {
  const sum = (pick: (c: ChunkResult) => number) => chunks.reduce((n, c) => n + pick(c), 0)
  return {
    total_chunks: chunks.length,
    success_chunks: sum((c) => Number(c.status === 'success')),
    partial_chunks: 0,
    failed_chunks: sum((c) => Number(c.status !== 'success')),
    total_items_synced: sum((c) => c.synced_count),
    total_items_skipped: sum((c) => c.skipped_count),
    total_items_failed: sum((c) => c.failed_count),
    chunk_results: chunks,
    errors: chunks.flatMap((c) => (c.error ? [`chunk ${c.chunk_index} failed: ${c.error}`] : [])),
  }
}

async function moveMainLine(
  ctx: Context,
  repo: Repo,
  ask: BackfillAsk,
  plan: PlanRow,
  status: string,
): Promise<WatermarkMove> {
  if (!ask.updateWatermark || status !== 'success') return { updated: false, before: null, after: null }
  return updateWatermark(ctx, repo, ask.job, plan)
}
