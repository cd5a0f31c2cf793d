import { transaction } from '../db/connect.ts'
import { advanceCursor, lockCursor } from '../db/cursors.ts'
import { getKv, swapKv } from '../db/kv.ts'
import { type PlanRow, planIsComplete, remarkPlan } from '../db/plans.ts'
import { cursorKvKey, watermarkOf } from '../domain/cursor.ts'
import { type JobType, provenanceOf, type Repo } from '../domain/repo.ts'
import { type Context, underLease } from './context.ts'
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
    const before = watermarkOf(kv, ctx.now())
    const to = (plan.windowTo as Date).toISOString()
    const from = (plan.windowFrom as Date).toISOString()
    if (!(await planIsComplete(tx, plan.planId))) return { updated: false, before, after: before }

    const moved = await advanceCursor(tx, {
      namespace,
      to,
      observedMax: null,
      windowFrom: from,
      windowTo: to,
      reason: 'backfill',
      lineage: {
        scheduleInstanceId: plan.scheduleInstanceId,
        planId: plan.planId,
        sliceId: null,
        taskId: null,
        runId: null,
        batchId: null,
        exprHash: null,
      },
    })
    if (!moved && done !== null && seen?.value === to) return done
    if (!moved || (before !== null && Date.parse(before) >= Date.parse(to)))
      return { updated: false, before, after: before }

    if (!seen?.instant || seen.instant < (plan.windowFrom as Date)) {
      await remarkPlan(tx, plan.planId, {
        gap: { from: seen?.value ?? null, to: from },
        note: 'watermark moved past history that was not read',
      })
    }
    const swapped = await swapKv(tx, KV_CURSORS, kvKey, kv, {
      watermark: to,
      run_id: `plan ${plan.planId}`,
      updated_at: ctx.now().toISOString(),
    })
    done = { updated: true, before, after: swapped ? to : before }
    return done
  })
}
