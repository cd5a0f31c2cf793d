import type { BackfillPreview, IncrementalPreview } from '../../contracts/preview.ts'
import { databaseNow } from '../../db/connect.ts'
import { auditedCursor } from '../../db/ledger/cursors.ts'
import { getKv } from '../../db/ledger/kv.ts'
import { newestIncremental } from '../../db/queue/jobs.ts'
import { cursorKvKey, kvMark, readCursor } from '../../domain/cursor.ts'
import { inLedger, type LedgerWindow } from '../../domain/ledger-window.ts'
import { markTypeOf } from '../../domain/mark.ts'
import { type JobType, provenanceOf, type Repo } from '../../domain/repo.ts'
import type { Survey } from '../../sources/source.ts'
import type { Context } from '../context.ts'
import { findRepo, sourceFor } from '../find-repo.ts'
import { asksOf } from './ask-of.ts'
import { askedWindow, boundsOf } from './asked-window.ts'
import { KV_CURSORS, mainLine } from './land-cursor.ts'
import { accessTo, requireSyncable } from './open-source.ts'
import { backfillChunks } from './plan-backfill.ts'
import { incrementalWindow } from './plan-incremental.ts'
import { refetchFor } from './rescan.ts'
import type { BackfillAsk } from './run-backfill.ts'
import type { IncrementalAsk } from './run-incremental.ts'

/** An honest dry run: the upstream is really asked, nothing is written anywhere. */
export async function previewIncremental(ctx: Context, ask: IncrementalAsk): Promise<IncrementalPreview> {
  const repo = await findRepo(ctx, ask.repo)
  requireSyncable(ctx, repo, ask.job)
  const kv = await getKv(ctx.db, KV_CURSORS, cursorKvKey(repo.kind, ask.job, repo.repoId))
  const cursor = readCursor(
    kvMark(markTypeOf(repo.kind), kv, ctx.now()),
    await auditedCursor(ctx.db, mainLine({ provenance: provenanceOf(repo), jobType: ask.job })),
  )
  const unfinished = await newestIncremental(ctx.db, repo.repoId, ask.job)
  const now = await databaseNow(ctx.db)
  const refetch = refetchFor(repo, cursor, now)
  const window = incrementalWindow(repo, cursor, now)
  const [survey] = await surveyed(ctx, repo, ask.job, [{ window, refetch }])
  const { pageSize } = accessTo(ctx, repo, ctx.signal)
  return {
    phase: 'incremental',
    repo: ask.repo,
    job: ask.job,
    status: 'success',
    dry_run: true,
    since: window.from,
    refetch_since: refetch,
    resumes_job:
      unfinished && !['completed', 'cancelled'].includes(unfinished.status) ? unfinished.jobId : null,
    items_found: survey?.items ?? null,
    pages: survey?.items == null ? null : Math.max(1, Math.ceil(survey.items / pageSize)),
    refs: survey?.refs ?? null,
    message: survey?.note ?? null,
    exit_code: 0,
  }
}

export async function previewBackfill(ctx: Context, ask: BackfillAsk): Promise<BackfillPreview> {
  const repo = await findRepo(ctx, ask.repo)
  requireSyncable(ctx, repo, ask.job)
  const { window } = await askedWindow(ctx, repo, ask, () =>
    sourceFor(ctx, repo.kind).open(accessTo(ctx, repo, ctx.signal)),
  )
  const chunks = backfillChunks(ctx, window)

  const surveys = await surveyed(
    ctx,
    repo,
    ask.job,
    chunks.map((chunk) => ({ window: inLedger(chunk), refetch: null })),
    'backfill',
  )
  return {
    phase: 'backfill',
    repo: ask.repo,
    job: ask.job,
    status: 'success',
    dry_run: true,
    ...boundsOf(inLedger(window)),
    total_chunks: chunks.length,
    chunks: chunks.map((c, i) => ({
      chunk_index: i,
      ...boundsOf(inLedger(c)),
      items_found: surveys[i]?.items ?? null,
    })),
    update_watermark: ask.updateWatermark,
    message: surveys.find((s) => s.note)?.note ?? null,
    exit_code: 0,
  }
}

/** Asks for the slices that a real run would plan. */
async function surveyed(
  ctx: Context,
  repo: Repo,
  jobType: JobType,
  slices: { window: LedgerWindow; refetch: string | null }[],
  mode: 'incremental' | 'backfill' = 'incremental',
): Promise<Survey[]> {
  const asks = await asksOf(
    ctx,
    slices.map(({ window, refetch }) => ({
      mode,
      repoId: repo.repoId,
      jobType,
      provenance: provenanceOf(repo),
      spec: { window, ...(refetch && { refetch_since: refetch }) },
      checkpoint: null,
    })),
  )
  return sourceFor(ctx, repo.kind).survey(accessTo(ctx, repo, ctx.signal), asks)
}
