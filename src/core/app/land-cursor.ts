import type { Db } from '../db/connect.ts'
import { advanceCursor, type CursorNamespace, GLOBAL_KEY, recordBackfill } from '../db/cursors.ts'
import type { HeldJob } from '../db/jobs.ts'
import { getKv, swapKv } from '../db/kv.ts'
import { cursorKvKey, sameInstant, watermarkOf } from '../domain/cursor.ts'
import { type Json, sha256 } from '../domain/ledger.ts'
import type { SourceKind } from '../domain/repo.ts'
import type { Context } from './context.ts'

export const KV_CURSORS = 'scm.sync'

export function mainLine(held: Pick<HeldJob, 'provenance' | 'jobType'>): CursorNamespace {
  return {
    provenance: held.provenance,
    operation: 'HARVEST',
    cursorKey: held.jobType,
    scope: 'GLOBAL',
    key: GLOBAL_KEY,
  }
}

/**
 * The end of a run, as the cursor sees it. An incremental run moves the audited cursor to the end of its window, and
 * the operators' kv cursor unless somebody edited it since the run was planned. A backfill chunk leaves both alone and
 * records a BACKFILL event in its plan's own namespace.
 */
export async function landCursor(
  ctx: Context,
  tx: Db,
  held: HeldJob & { batchId: number },
  observedMax: string | null,
): Promise<Json> {
  const { from, to } = held.spec.window
  const move = {
    to: to as string,
    observedMax,
    windowFrom: from,
    windowTo: to,
    reason: held.mode === 'backfill' ? 'backfill' : 'sync',
    lineage: {
      scheduleInstanceId: held.scheduleInstanceId,
      planId: held.planId,
      sliceId: held.sliceId,
      taskId: held.jobId,
      runId: held.runId,
      batchId: held.batchId,
      exprHash: held.exprHash,
    },
  }

  if (held.mode === 'backfill') {
    const namespace: CursorNamespace = {
      ...mainLine(held),
      operation: 'BACKFILL',
      scope: 'CUSTOM',
      key: sha256(`plan ${held.planId}`),
    }
    await recordBackfill(tx, { ...move, namespace, from })
    return null
  }

  await advanceCursor(tx, { ...move, namespace: mainLine(held) })
  return moveKvCursor(ctx, tx, held, from, to as string)
}

/** kv still holds what the run was planned from → the new watermark. Otherwise an operator was here: theirs stays. */
async function moveKvCursor(
  ctx: Context,
  tx: Db,
  held: Pick<HeldJob, 'provenance' | 'jobType' | 'repoId' | 'runId'>,
  plannedFrom: string | null,
  to: string,
): Promise<Json> {
  const key = cursorKvKey(held.provenance.split(':')[0] as SourceKind, held.jobType, held.repoId)
  const seen = await getKv(tx, KV_CURSORS, key)
  if (
    !sameInstant(watermarkOf(seen, ctx.now()), plannedFrom) ||
    (plannedFrom !== null && Date.parse(plannedFrom) >= Date.parse(to))
  ) {
    return seen as Json
  }
  const value = { watermark: to, run_id: String(held.runId), updated_at: ctx.now().toISOString() }
  return (await swapKv(tx, KV_CURSORS, key, seen, value)) ? value : (seen as Json)
}
