import { transaction } from '../../db/connect.ts'
import {
  insertPlans,
  type NewPlan,
  type PlanRow,
  planByKey,
  planOfTrigger,
  unfinishedPlan,
} from '../../db/ledger/plans.ts'
import { recordTrigger, type SliceAnswer, sliceAnswers, type TriggerRow } from '../../db/ledger/triggers.ts'
import { SyncError } from '../../domain/errors.ts'
import { canonical, hashOf, type Json, localised, planKey, sha256, taskKey } from '../../domain/ledger.ts'
import { fieldOf, inLedger } from '../../domain/ledger-window.ts'
import { type JobType, provenanceOf, type Repo, spell } from '../../domain/repo.ts'
import {
  chunksOf,
  isTime,
  piecesOf,
  revisionChunksOf,
  type TimeWindow,
  type Window,
  type WindowWish,
} from '../../domain/window.ts'
import { type Context, underLease } from '../context.ts'
import { type PlanFor, triggerOf } from './plan-incremental.ts'

export interface BackfillAsk {
  repo: Repo
  jobType: JobType
  wish: WindowWish
  window: Window
  updateWatermark: boolean
}

/** A relative window ("the last 24 hours") names the same request this long: asking again resumes it. */
const RESUME_WITHIN_SECONDS = 3600

interface Planned {
  plan: PlanRow
  resumed: boolean
  trigger: TriggerRow
  /** Of a trigger that was sent again: what it came to, where it came to something. */
  answers: SliceAnswer[]
}

/**
 * The plan a backfill command works on: what its trigger was given before, an unfinished one of the same request, the
 * one with the same key (asked for before: its jobs are run again, no new ones are made), or a new one with all its
 * chunks, written at once.
 */
export async function planBackfill(ctx: Context, ask: BackfillAsk): Promise<Planned> {
  const plan = backfillPlan(ctx, ask)
  return transaction(ctx.db, underLease(ctx, ctx.config.scm.worker.lease_seconds), async (tx) => {
    const trigger = await recordTrigger(tx, triggerOf(ctx, 'MANUAL', requestOf(ask)), {
      provenance: plan.provenance,
      cursorKey: ask.jobType,
    })
    if (!trigger.isNew) {
      const known = await planOfTrigger(tx, trigger.id, { repoId: ask.repo.repoId, jobType: ask.jobType })
      const answers = known && (await sliceAnswers(tx, trigger.id, known.planId))
      if (known && answers) return { plan: known, resumed: true, trigger, answers }
    }
    const unfinished = await unfinishedPlan(tx, {
      provenance: plan.provenance,
      requestHash: plan.requestHash,
      withinSeconds: RESUME_WITHIN_SECONDS,
    })
    if (unfinished) return { plan: unfinished, resumed: true, trigger, answers: [] }

    const made = await insertPlans(tx, trigger, [plan])
    const found = await planByKey(tx, plan.planKey)
    if (!found) throw new Error(`plan ${plan.planKey} was neither made nor found`)
    return { plan: found, resumed: made.length === 0, trigger, answers: [] }
  })
}

/** The chunks of a window. One that is too long is refused before they are made: a century has 219,000. */
export function backfillChunks(ctx: Context, window: Window): Window[] {
  const { backfill } = ctx.config.scm
  if (!isTime(window)) {
    const size = backfill.chunk_revisions
    refuseMany(ctx, (window.endRev - window.startRev + 1) / size)
    return revisionChunksOf(window, size)
  }
  const longest = backfill.max_total_window_seconds
  const seconds = (window.until.getTime() - window.since.getTime()) / 1000
  if (seconds > longest) {
    throw new SyncError(
      'usage',
      `the window is ${Math.ceil(seconds)} s long, more than the ${longest} allowed`,
      {
        hint: 'ask for a shorter window, or raise scm.backfill.max_total_window_seconds',
      },
    )
  }
  refuseMany(ctx, seconds / 3600 / backfill.chunk_hours)
  return chunksOf(window, backfill.chunk_hours)
}

function refuseMany(ctx: Context, chunks: number): void {
  const most = ctx.config.scm.backfill.max_chunks_per_request
  if (chunks <= most) return
  throw new SyncError(
    'usage',
    `the window makes ${Math.ceil(chunks)} chunks, more than the ${most} allowed`,
    {
      hint: 'ask for a shorter window, or raise scm.backfill.max_chunks_per_request',
    },
  )
}

function backfillPlan(ctx: Context, ask: BackfillAsk): NewPlan {
  const { chunk_hours: hours, chunk_revisions: revisions } = ctx.config.scm.backfill
  const step = isTime(ask.window) ? { hours } : { revisions }
  return planOf(ask, BY_HAND, {
    step: isTime(ask.window) ? `${hours}h` : `${revisions}r`,
    chunks: backfillChunks(ctx, ask.window),
    sliceParams: isTime(ask.window) ? { step_hours: hours } : { step_revisions: revisions },
    requestHash: hashOf({ ...requestOf(ask), ...step }),
  })
}

const requestOf = (ask: BackfillAsk) => ({
  phase: 'backfill',
  repo: spell(ask.repo),
  job: ask.jobType,
  window: wishOf(ask),
  watermark: ask.updateWatermark,
})

const wishOf = ({ wish }: BackfillAsk): Json =>
  Object.fromEntries(Object.entries(wish).filter(([, v]) => v !== undefined)) as Json

const BY_HAND: PlanFor = { status: 'reserved', priority: 150, why: {} }

/** What tells the repairs of a (repo, job type) from all its other plans. */
export const repairRequest = (jobType: JobType): string => hashOf({ phase: 'repair', resource: jobType })

/** The scheduler's own backfill, for any worker, in chunks of so many seconds: each is one more visit to the upstream. */
export function repairPlan(
  repo: Repo,
  jobType: JobType,
  { window, chunkSeconds }: { window: TimeWindow; chunkSeconds: number },
  by: PlanFor,
): NewPlan {
  return planOf({ repo, jobType, window, updateWatermark: false }, by, {
    step: 'repair',
    chunks: piecesOf(window, chunkSeconds),
    sliceParams: wholeHours(window),
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
    sliceParams: wholeHours(window),
    requestHash: hashOf({ phase: 'verify', resource: jobType, windows: windows.map(windowJson) }),
  })
}

const wholeHours = ({ since, until }: TimeWindow): Json => ({
  step_hours: (until.getTime() - since.getTime()) / 3_600_000,
})

const windowJson = ({ since, until }: TimeWindow): Json => [since.toISOString(), until.toISOString()]

function planOf(
  ask: Omit<BackfillAsk, 'wish'>,
  by: PlanFor,
  request: { step: string; chunks: Window[]; sliceParams: Json; requestHash: string },
): NewPlan {
  const { repo, jobType } = ask
  const provenance = provenanceOf(repo)
  const window = inLedger(ask.window)
  const strategy = isTime(ask.window) ? 'TIME' : 'ID_RANGE'
  const proto: Json = prototypeOf(ask)
  const key = planKey({
    operation: 'BACKFILL',
    provenance,
    jobType,
    from: window.from as string,
    to: window.to as string,
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
    windowSpec: window,
    strategy,
    sliceParams: request.sliceParams,
    updateWatermark: ask.updateWatermark,
    slices: request.chunks.map((chunk, no) => {
      const spec = { strategy, window: inLedger(chunk) }
      const expr = localised(proto, fieldOf(spec.window, jobType), spec.window)
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
