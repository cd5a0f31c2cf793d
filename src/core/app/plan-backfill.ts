import { transaction } from '../db/connect.ts'
import { insertPlans, type NewPlan, type PlanRow, planByKey, unfinishedPlan } from '../db/plans.ts'
import { SyncError } from '../domain/errors.ts'
import { canonical, hashOf, type Json, localised, planKey, sha256, taskKey } from '../domain/ledger.ts'
import { type JobType, provenanceOf, type Repo, spell } from '../domain/repo.ts'
import { chunksOf, type TimeWindow, type WindowWish } from '../domain/window.ts'
import { type Context, underLease } from './context.ts'

export interface BackfillAsk {
  repo: Repo
  jobType: JobType
  wish: WindowWish
  window: TimeWindow
  updateWatermark: boolean
}

/** A relative window ("the last 24 hours") names the same request this long: asking again resumes it. */
const RESUME_WITHIN_SECONDS = 3600

/**
 * The plan a backfill command works on: an unfinished one of the same request, the one with the same key (asked for
 * before: its jobs are run again, no new ones are made), or a new one with all its chunks, written at once.
 */
export async function planBackfill(
  ctx: Context,
  ask: BackfillAsk,
): Promise<{ plan: PlanRow; resumed: boolean }> {
  const plan = backfillPlan(ctx, ask)
  return transaction(ctx.db, underLease(ctx, ctx.config.scm.worker.lease_seconds), async (tx) => {
    const unfinished = await unfinishedPlan(tx, {
      provenance: plan.provenance,
      requestHash: plan.requestHash,
      withinSeconds: RESUME_WITHIN_SECONDS,
    })
    if (unfinished) return { plan: unfinished, resumed: true }

    const made = await insertPlans(tx, [plan])
    const found = await planByKey(tx, plan.planKey)
    if (!found) throw new Error(`plan ${plan.planKey} was neither made nor found`)
    return { plan: found, resumed: made.length === 0 }
  })
}

/** The chunks of a window. One that is too long is refused before they are made: a century has 219,000. */
export function backfillChunks(ctx: Context, window: TimeWindow): TimeWindow[] {
  const {
    chunk_hours: hours,
    max_chunks_per_request: most,
    max_total_window_seconds: longest,
  } = ctx.config.scm.backfill
  const seconds = (window.until.getTime() - window.since.getTime()) / 1000
  const chunks = Math.ceil(seconds / 3600 / hours)
  if (seconds > longest) {
    throw new SyncError(
      'usage',
      `the window is ${Math.ceil(seconds)} s long, more than the ${longest} allowed`,
      {
        hint: 'ask for a shorter window, or raise scm.backfill.max_total_window_seconds',
      },
    )
  }
  if (chunks > most) {
    throw new SyncError('usage', `the window makes ${chunks} chunks, more than the ${most} allowed`, {
      hint: 'ask for a shorter window, or raise scm.backfill.max_chunks_per_request',
    })
  }
  return chunksOf(window, hours)
}

function backfillPlan(ctx: Context, ask: BackfillAsk): NewPlan {
  const { repo, jobType, window } = ask
  const provenance = provenanceOf(repo)
  const [from, to] = [window.since.toISOString(), window.until.toISOString()]
  const proto: Json = { repo: spell(repo), resource: jobType }
  const hours = ctx.config.scm.backfill.chunk_hours
  const key = planKey({
    operation: 'BACKFILL',
    provenance,
    jobType,
    from,
    to,
    step: `${hours}h`,
    exprHash: hashOf(proto),
  })
  const wish: Json = Object.fromEntries(Object.entries(ask.wish).filter(([, v]) => v !== undefined)) as Json

  return {
    trigger: {
      schedulerCode: 'INTERNAL',
      triggerType: 'MANUAL',
      params: { phase: 'backfill', repo: spell(repo), job: jobType, window: wish },
      correlationId: ctx.newId(),
      configSnapshot: ctx.configSnapshot,
    },
    planKey: key,
    requestHash: hashOf({
      phase: 'backfill',
      ...(proto as object),
      window: wish,
      hours,
      watermark: ask.updateWatermark,
    }),
    provenance,
    operation: 'BACKFILL',
    cursorKey: jobType,
    exprProto: proto,
    exprProtoHash: hashOf(proto),
    windowSpec: { from, to, boundary: { from: 'CLOSED', to: 'OPEN' }, timezone: 'UTC' },
    windowFrom: from,
    windowTo: to,
    strategy: 'TIME',
    sliceParams: { step_hours: hours },
    updateWatermark: ask.updateWatermark,
    slices: backfillChunks(ctx, window).map((chunk, no) => {
      const [since, until] = [chunk.since.toISOString(), chunk.until.toISOString()]
      const spec: Json = {
        strategy: 'TIME',
        window: { from: since, to: until, boundary: { from: 'CLOSED', to: 'OPEN' }, timezone: 'UTC' },
      }
      const expr = localised(proto, 'committed_date', since, until)
      const signature = sha256(canonical(spec))
      return {
        no,
        signature,
        spec,
        expr,
        exprHash: hashOf(expr),
        taskKey: taskKey({
          sliceSignature: signature,
          exprHash: hashOf(expr),
          operation: 'BACKFILL',
          planKey: key,
          params: {},
        }),
      }
    }),
    job: {
      repoId: repo.repoId,
      mode: 'backfill',
      status: 'reserved',
      instanceKey: repo.instanceKey,
      tenantId: repo.tenantId,
      priority: 150,
      activeKey: null,
    },
  }
}
