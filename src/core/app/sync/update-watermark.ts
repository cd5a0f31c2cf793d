import { transaction } from '../../db/connect.ts'
import { advanceCursor, lockCursor } from '../../db/ledger/cursors.ts'
import { getKv, swapKv } from '../../db/ledger/kv.ts'
import { type PlanRow, planIsComplete, remarkPlan } from '../../db/ledger/plans.ts'
import { cursorKvKey, kvMark, kvValueOf } from '../../domain/cursor.ts'
import { marksAround, outOfLedger } from '../../domain/ledger-window.ts'
import { markTypeOf, originOf } from '../../domain/mark.ts'
import { type JobType, provenanceOf, type Repo } from '../../domain/repo.ts'
import { type Context, underLease } from '../context.ts'
import { KV_CURSORS, mainLine } from './land-cursor.ts'

export interface WatermarkMove {
  updated: boolean
  before: string | null
  after: string | null
}

/**
 * After a backfill whose every chunk succeeded: the main cursor to the end of its window, forward only, event, cursor
 * and kv in one transaction. History between the old mark and the window's start was not read: the plan says so.
 */
export async function updateWatermark(
  ctx: Context,
  repo: Repo,
  jobType: JobType,
  plan: PlanRow,
): Promise<WatermarkMove> {
  // A try whose commit arrived and whose answer did not: the next one finds the cursor there, moved by us.
  let done: WatermarkMove | null = null
  return transaction(ctx.db, underLease(ctx, ctx.config.scm.worker.lease_seconds), async (tx) => {
    const namespace = mainLine({ provenance: provenanceOf(repo), jobType })
    const seen = await lockCursor(tx, namespace)
    const kvKey = cursorKvKey(repo.kind, jobType, repo.repoId)
    const kv = await getKv(tx, KV_CURSORS, kvKey)
    const mark = kvMark(markTypeOf(repo.kind), kv, ctx.now())
    const before = mark?.value ?? null
    const { before: start, after: to } = marksAround(outOfLedger(plan.window))
    if (!(await planIsComplete(tx, plan.planId))) return { updated: false, before, after: before }

    const moved = await advanceCursor(tx, seen, {
      namespace,
      to,
      observedMax: null,
      window: plan.window,
      reason: 'backfill',
      lineage: {
        scheduleInstanceId: plan.scheduleInstanceId,
        planId: plan.planId,
      },
    })
    if (!moved && done !== null && seen?.value === to.value) return done
    if (!moved || (mark !== null && mark.at >= to.at)) return { updated: false, before, after: before }

    if ((seen ?? originOf(to.type)).at < start.at) {
      await remarkPlan(tx, plan.planId, {
        gap: { from: seen?.value ?? null, to: start.value },
        note: 'watermark moved past history that was not read',
      })
    }
    const value = kvValueOf(to, { runId: `plan ${plan.planId}`, now: ctx.now(), isBehind: false })
    const swapped = await swapKv(tx, KV_CURSORS, kvKey, kv, value)
    done = { updated: true, before, after: swapped ? to.value : before }
    return done
  })
}
