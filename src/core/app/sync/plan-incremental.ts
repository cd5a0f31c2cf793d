import { type Db, databaseNow, transaction } from '../../db/connect.ts'
import { type CursorEvent, lockCursor, recordEvents } from '../../db/ledger/cursors.ts'
import { getKv } from '../../db/ledger/kv.ts'
import { insertPlans, type NewPlan, type PlanMade } from '../../db/ledger/plans.ts'
import {
  type Deed,
  newestDeed,
  recordTrigger,
  type Trigger,
  type TriggerRow,
} from '../../db/ledger/triggers.ts'
import { cancelJob, keepNewestIncremental, newestIncremental } from '../../db/queue/jobs.ts'
import {
  type AuditedCursor,
  type CursorReading,
  cursorKvKey,
  type Edit,
  kvMark,
  readCursor,
} from '../../domain/cursor.ts'
import { canonical, hashOf, type Json, localised, planKey, sha256, taskKey } from '../../domain/ledger.ts'
import { fieldOf, type LedgerWindow, revisionsAfter, timeSpan } from '../../domain/ledger-window.ts'
import { markTypeOf, parseMark, sameMark } from '../../domain/mark.ts'
import { type JobType, provenanceOf, type Repo, spell } from '../../domain/repo.ts'
import { ownTrigger } from '../../domain/trigger.ts'
import { type Context, underLease } from '../context.ts'
import { KV_CURSORS, mainLine } from './land-cursor.ts'
import { refetchFor } from './rescan.ts'

interface Planned {
  jobId: number
  /** An earlier trigger's: it ends where upstream stood then. */
  resumed: boolean
  trigger: TriggerRow
}

/**
 * The one incremental job of a (repo, job type) that a runner should work on: the unfinished one if it still starts
 * where the cursor stands, else a new plan from there to now. Any edit an operator made to the kv cursor is written to
 * the audit trail here. A trigger that was sent again gets what it came to instead, once it came to something: only
 * then, if `isOurs`, this process is the one that is at it.
 */
export async function planIncremental(
  ctx: Context,
  repo: Repo,
  jobType: JobType,
  isOurs: boolean,
): Promise<Planned | { answer: Deed }> {
  return transaction(ctx.db, underLease(ctx, ctx.config.scm.worker.lease_seconds), async (tx) => {
    const asked = triggerOf(ctx, 'MANUAL', requestOf(repo, jobType))
    const trigger = await recordTrigger(tx, asked, {
      provenance: provenanceOf(repo),
      cursorKey: jobType,
    })
    // Else it may end between two looks: at its answer and at what is unfinished, neither of which would be found; or at
    // the cursor and at the job, and what has just been read for the first time would be planned from the beginning.
    await keepNewestIncremental(tx, repo.repoId, jobType)
    if (!trigger.isNew && !isOurs) {
      const deed = await newestDeed(tx, trigger.id, { repoId: repo.repoId, jobType })
      // What an earlier trigger had left was only its first half.
      if (deed?.isAnswered && (deed.isOwnPlan || !deed.succeeded)) return { answer: deed }
    }
    return { ...(await planIn(ctx, tx, repo, jobType, BY_HAND, trigger)), trigger }
  })
}

/** The same for the queue, in the caller's transaction: what it makes is any worker's. */
export async function replanIncremental(ctx: Context, tx: Db, repo: Repo, jobType: JobType): Promise<void> {
  const own = triggerOf({ ...ctx, trigger: ownTrigger(ctx.newId()) }, 'SCHEDULE', requestOf(repo, jobType))
  const trigger = await recordTrigger(tx, own, { provenance: provenanceOf(repo), cursorKey: jobType })
  await planIn(ctx, tx, repo, jobType, { ...BY_HAND, status: 'pending' }, trigger)
}

const requestOf = (repo: Repo, jobType: JobType) => ({
  phase: 'incremental',
  repo: spell(repo),
  job: jobType,
})

/** Who asked for a plan, and who may work it off: reserved = whoever asked. */
export interface PlanFor {
  status: 'reserved' | 'pending'
  priority: number
  /** Kept with the job. */
  why: { [key: string]: Json }
}

/**
 * One asking, with what its scheduler said. Every plan that is made for it names it. Log numbers that start again, or
 * that several steps of one job share, are told apart by what was asked, of which shard, and when it was fired.
 */
export function triggerOf(
  { trigger, configSnapshot }: Pick<Context, 'trigger' | 'configSnapshot'>,
  triggerType: Trigger['triggerType'],
  request: { [key: string]: Json },
  remarks: { [key: string]: Json } = {},
): Trigger {
  const { params, shard, ...handed } = trigger
  const asked = { ...request, ...(shard && { shard: `${shard.index}/${shard.total}` }) }
  return {
    ...handed,
    triggerType: trigger.triggerType ?? triggerType,
    params: { ...asked, ...remarks, ...(params !== null && { param: params }) },
    requestHash: hashOf({ ...asked, fired: trigger.triggeredAt?.toISOString() ?? null }),
    configSnapshot,
  }
}

const BY_HAND: PlanFor = { status: 'reserved', priority: 100, why: {} }

async function planIn(
  ctx: Context,
  tx: Db,
  repo: Repo,
  jobType: JobType,
  wanted: PlanFor,
  trigger: TriggerRow,
): Promise<{ jobId: number; resumed: boolean }> {
  const ns = mainLine({ provenance: provenanceOf(repo), jobType })
  const audited = await lockCursor(tx, ns)
  const kv = await getKv(tx, KV_CURSORS, cursorKvKey(repo.kind, jobType, repo.repoId))
  const type = markTypeOf(repo.kind)
  const cursor = readCursor(kvMark(type, kv, ctx.now()), audited)

  const newest = await newestIncremental(tx, repo.repoId, jobType)
  if (newest && !['completed', 'cancelled'].includes(newest.status)) {
    const current = newest.status === 'running' || sameMark(parseMark(type, newest.from), cursor.watermark)
    if (current) return { jobId: newest.jobId, resumed: newest.triggerId !== trigger.id }
    await cancelJob(tx, newest.jobId, 'the cursor was set to another place')
  }

  const plan = incrementalPlan(repo, jobType, cursor, await databaseNow(tx), wanted)
  const [made] = await insertPlans(tx, trigger, [plan])
  const job = await newestIncremental(tx, repo.repoId, jobType)
  if (!made?.jobs || !job) {
    // Another process planned between our look and our insert; its job is the one.
    throw Object.assign(new Error('somebody else planned this sync at the same moment'), { code: '40001' })
  }
  if (cursor.edit) await recordEvents(tx, [editEvent(plan, made, cursor.edit, audited)])
  return { jobId: job.jobId, resumed: false }
}

/** From the watermark to now, or to wherever the revisions end. */
export function incrementalWindow(repo: Repo, { watermark }: CursorReading, now: Date): LedgerWindow {
  const from = watermark?.value ?? null
  return markTypeOf(repo.kind) === 'TIME' ? timeSpan(from, now.toISOString()) : revisionsAfter(from)
}

/** The plan of one incremental sync: a single slice. */
export function incrementalPlan(
  repo: Repo,
  jobType: JobType,
  cursor: CursorReading,
  now: Date,
  wanted: PlanFor = BY_HAND,
): NewPlan {
  const provenance = provenanceOf(repo)
  const proto: Json = { repo: spell(repo), resource: jobType }
  const window = incrementalWindow(repo, cursor, now)
  const spec: Json = { strategy: 'SINGLE', window, refetch_since: refetchFor(repo, cursor, now) }
  const protoHash = hashOf(proto)
  const expr = localised(proto, fieldOf(window, jobType), window)
  const exprHash = hashOf(expr)
  const key = planKey({
    operation: 'HARVEST',
    provenance,
    jobType,
    from: window.from ?? '',
    to: now.toISOString(),
    step: 'single',
    exprHash: protoHash,
  })
  const signature = sha256(canonical(spec))

  return {
    planKey: key,
    requestHash: hashOf({ phase: 'incremental', ...(proto as object) }),
    provenance,
    operation: 'HARVEST',
    cursorKey: jobType,
    exprProto: proto,
    exprProtoHash: protoHash,
    windowSpec: window,
    strategy: 'SINGLE',
    sliceParams: {},
    updateWatermark: true,
    slices: [
      {
        no: 0,
        signature,
        spec,
        expr,
        exprHash,
        taskKey: taskKey({
          sliceSignature: signature,
          exprHash,
          operation: 'HARVEST',
          planKey: key,
          params: {},
        }),
      },
    ],
    job: {
      repoId: repo.repoId,
      mode: 'incremental',
      status: wanted.status,
      instanceKey: repo.instanceKey,
      tenantId: repo.tenantId,
      priority: wanted.priority,
      activeKey: `${repo.repoId}:${jobType}`,
      params: wanted.why,
    },
  }
}

/** Set back or deleted: a BACKFILL event, the audited cursor stays. Set ahead: a FORWARD event, and it follows. */
export function editEvent(
  plan: NewPlan,
  made: PlanMade,
  { direction, to, reason }: Edit,
  seen: AuditedCursor | null,
): CursorEvent {
  const move = {
    namespace: mainLine({ provenance: plan.provenance, jobType: plan.cursorKey }),
    to,
    window: plan.windowSpec,
    reason,
    lineage: {
      scheduleInstanceId: made.scheduleInstanceId,
      planId: made.planId,
      exprHash: plan.exprProtoHash,
    },
  }
  return direction === 'FORWARD'
    ? // Skipped by hand: the next read begins there.
      { ...move, direction, seen, observedMax: to.value }
    : { ...move, direction, from: seen?.value ?? null, observedMax: null }
}
