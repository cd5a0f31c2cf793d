import type { Db } from '../../db/connect.ts'
import {
  advanceCursor,
  type CursorNamespace,
  GLOBAL_KEY,
  lockCursor,
  recordEvents,
} from '../../db/ledger/cursors.ts'
import { getKv, swapKv } from '../../db/ledger/kv.ts'
import type { HeldJob } from '../../db/queue/jobs.ts'
import { cursorKvKey, kvMark, kvValueOf } from '../../domain/cursor.ts'
import { type Json, sha256 } from '../../domain/ledger.ts'
import { marksAround, outOfLedger } from '../../domain/ledger-window.ts'
import { type Mark, parseMark, revisionMark, sameMark } from '../../domain/mark.ts'
import { kindIn } from '../../domain/repo.ts'
import type { Landing } from '../../sources/source.ts'
import type { Context } from '../context.ts'

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
  landing: Landing | null,
  observedMax: string | null,
): Promise<Json> {
  const { window } = held.spec
  const move = {
    observedMax,
    window,
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
    const { before, after } = marksAround(outOfLedger(window))
    await recordEvents(tx, [{ ...move, direction: 'BACKFILL', namespace, from: before.value, to: after }])
    return null
  }

  const to = endOf(held, landing)
  if (to === null) return null // nothing was looked at
  const namespace = mainLine(held)
  const seen = await lockCursor(tx, namespace)
  await advanceCursor(tx, seen, { ...move, to, namespace })
  return moveKvCursor(ctx, tx, held, to, seen !== null && seen.at > to.at)
}

/** A window of time ends where it was planned to end, one of revisions at the last one that was looked at. */
function endOf({ spec: { window } }: HeldJob, landing: Landing | null): Mark | null {
  if (window.timezone) return parseMark('TIME', window.to)
  return landing?.scanned == null ? null : revisionMark(landing.scanned)
}

/** kv still holds what the run was planned from → the new watermark. Otherwise an operator was here: theirs stays. */
async function moveKvCursor(
  ctx: Context,
  tx: Db,
  held: Pick<HeldJob, 'provenance' | 'jobType' | 'repoId' | 'runId' | 'spec'>,
  to: Mark,
  isBehind: boolean,
): Promise<Json> {
  const key = cursorKvKey(kindIn(held.provenance), held.jobType, held.repoId)
  const seen = await getKv(tx, KV_CURSORS, key)
  const from = parseMark(to.type, held.spec.window.from)
  if (!sameMark(kvMark(to.type, seen, ctx.now()), from) || (from !== null && from.at > to.at))
    return seen as Json
  const value = kvValueOf(to, { runId: String(held.runId), now: ctx.now(), isBehind })
  return (await swapKv(tx, KV_CURSORS, key, seen, value)) ? value : (seen as Json)
}
