import { transaction } from '../db/connect.ts'
import { insertPlans, type NewPlan, type PlanRow, planByKey, unfinishedPlan } from '../db/plans.ts'
import { SyncError } from '../domain/errors.ts'
import { canonical, hashOf, type Json, localised, planKey, sha256, taskKey } from '../domain/ledger.ts'
import { type JobType, provenanceOf, type Repo, spell, TIME_FIELDS } from '../domain/repo.ts'
import { chunksOf, type TimeWindow, type WindowWish } from '../domain/window.ts'
import { type Context, underLease } from './context.ts'
import { type PlanFor, triggerOf } from './plan-incremental.ts'

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

    const made = await insertPlans(tx, triggerOf(ctx, 'MANUAL', requestOf(ask)), [plan])
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
  const hours = ctx.config.scm.backfill.chunk_hours
  return planOf(ask, BY_HAND, {
    step: `${hours}h`,
    chunks: backfillChunks(ctx, ask.window),
    hours,
    requestHash: hashOf({
      phase: 'backfill',
      ...prototypeOf(ask),
      window: wishOf(ask),
      hours,
      watermark: ask.updateWatermark,
    }),
  })
}

const requestOf = (ask: BackfillAsk) => ({
  phase: 'backfill',
  repo: spell(ask.repo),
  job: ask.jobType,
  window: wishOf(ask),
})

const wishOf = ({ wish }: BackfillAsk): Json =>
  Object.fromEntries(Object.entries(wish).filter(([, v]) => v !== undefined)) as Json

const BY_HAND: PlanFor = { status: 'reserved', triggerType: 'MANUAL', priority: 150, why: {} }

/** What tells the repairs of a (repo, job type) from all its other plans. */
export const repairRequest = (jobType: JobType): string => hashOf({ phase: 'repair', resource: jobType })

/**
 * The scheduler's own backfill, for any worker: one chunk, however long the window. Chunks would help nobody here: a
 * retry goes on at the page where the last one ended, while each chunk is one more visit to the upstream.
 */
export function repairPlan(repo: Repo, jobType: JobType, window: TimeWindow, by: PlanFor): NewPlan {
  return planOf({ repo, jobType, window, updateWatermark: false }, by, {
    step: 'repair',
    chunks: [window],
    hours: (window.until.getTime() - window.since.getTime()) / 3_600_000,
    requestHash: repairRequest(jobType),
  })
}

/**
 * Windows of what an audit found to differ, for any worker. `asked` tells one audit's plan from the next; the same
 * windows are the same request.
 */
export function auditPlan(repo: Repo, jobType: JobType, windows: TimeWindow[], asked: string): NewPlan {
  const window = {
    since: (windows[0] as TimeWindow).since,
    until: (windows.at(-1) as TimeWindow).until,
  }
  const by: PlanFor = { ...BY_HAND, status: 'pending', why: { reason: 'verify', asked } }
  return planOf({ repo, jobType, window, updateWatermark: false }, by, {
    step: `verify ${asked}`,
    chunks: windows,
    hours: (window.until.getTime() - window.since.getTime()) / 3_600_000,
    requestHash: hashOf({ phase: 'verify', resource: jobType, windows: windows.map(windowJson) }),
  })
}

const windowJson = ({ since, until }: TimeWindow): Json => [since.toISOString(), until.toISOString()]

function planOf(
  ask: Omit<BackfillAsk, 'wish'>,
  by: PlanFor,
  request: { step: string; chunks: TimeWindow[]; hours: number; requestHash: string },
): NewPlan {
  const { repo, jobType, window } = ask
  const provenance = provenanceOf(repo)
  const [from, to] = [window.since.toISOString(), window.until.toISOString()]
  const proto: Json = prototypeOf(ask)
  const key = planKey({
    operation: 'BACKFILL',
    provenance,
    jobType,
    from,
    to,
    step: request.step,
    exprHash: hashOf(proto),
  })

  return {
    planKey: key,
    requestHash: request.requestHash,
    provenance,
    operation: 'BACKFILL',
    cursorKey: jobType,
    exprProto: proto,
    exprProtoHash: hashOf(proto),
    windowSpec: timeWindow(from, to),
    windowFrom: from,
    windowTo: to,
    strategy: 'TIME',
    sliceParams: { step_hours: request.hours },
    updateWatermark: ask.updateWatermark,
    slices: request.chunks.map((chunk, no) => {
      const [since, until] = [chunk.since.toISOString(), chunk.until.toISOString()]
      const spec: Json = { strategy: 'TIME', window: timeWindow(since, until) }
      const expr = localised(proto, TIME_FIELDS[jobType], since, until)
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
      status: by.status,
      instanceKey: repo.instanceKey,
      tenantId: repo.tenantId,
      priority: by.priority,
      activeKey: null,
      params: by.why,
    },
  }
}

const prototypeOf = ({ repo, jobType }: Pick<BackfillAsk, 'repo' | 'jobType'>) => ({
  repo: spell(repo),
  resource: jobType,
})

function timeWindow(from: string, to: string): Json {
  return { from, to, boundary: { from: 'CLOSED', to: 'OPEN' }, timezone: 'UTC' }
}
