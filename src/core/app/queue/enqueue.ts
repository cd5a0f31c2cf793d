import type { JobMade } from '../../contracts/scheduler.ts'
import type { Db } from '../../db/connect.ts'
import { recordEvents } from '../../db/ledger/cursors.ts'
import { insertPlans, type NewPlan } from '../../db/ledger/plans.ts'
import { ANYTHING, jobsOfTrigger, recordTrigger, type TriggerRow } from '../../db/ledger/triggers.ts'
import { type PairRow, pausePairs } from '../../db/queue/schedule.ts'
import type { Candidate } from '../../domain/candidate.ts'
import type { CursorReading } from '../../domain/cursor.ts'
import type { Json } from '../../domain/ledger.ts'
import { bucketPenalty, failureRate, limitedRate, type Pair } from '../../domain/schedule.ts'
import type { Context } from '../context.ts'
import { repairPlan } from '../sync/plan-backfill.ts'
import { editEvent, incrementalPlan, type PlanFor, triggerOf } from '../sync/plan-incremental.ts'

/** A pair as it is judged, with what a plan for it needs. */
export interface Found {
  row: PairRow
  cursor: CursorReading
  pair: Pair
}

/** A candidate with all that its job needs: `seconds` is the time a repair reads again. */
export interface Wanted extends Candidate {
  found: Found
  seconds: number
}

interface Scan {
  now: Date
  circuit: string
  /** Of a repair. */
  chunkSeconds: (pair: Pair) => number
}

/**
 * The plans of all in one statement; what operators did to the cursors goes to the audit trail beside them. Answers the
 * jobs in the order they were chosen.
 */
export async function enqueue(
  ctx: Context,
  tx: Db,
  chosen: Wanted[],
  scan: Scan & { trigger: TriggerRow | null },
): Promise<JobMade[]> {
  if (chosen.length === 0) return []
  const trigger = scan.trigger ?? (await recordScan(ctx, tx, scan.now))
  const asked = chosen.map((wanted) => ({ wanted, plan: planFor(wanted, scan) }))
  const inserted = await insertPlans(
    tx,
    trigger,
    asked.map((a) => a.plan),
  )
  const made = new Map(inserted.map((row) => [row.planKey, row]))

  const edits = asked.flatMap(({ wanted: { mode, found }, plan }) => {
    const planned = made.get(plan.planKey)
    if (mode !== 'incremental' || !planned || !found.cursor.edit) return []
    return [editEvent(plan, planned, found.cursor.edit, found.row.audited)]
  })
  if (edits.length > 0) await recordEvents(tx, edits)
  return asked.map(({ wanted, plan }) => shown(wanted, scan, made.get(plan.planKey)?.jobId ?? null))
}

export function recordScan(ctx: Context, tx: Db, now: Date): Promise<TriggerRow> {
  const asked = triggerOf(ctx, 'SCHEDULE', { phase: 'scan' }, { scheduled_at: now.toISOString() })
  return recordTrigger(tx, asked, ANYTHING)
}

/** To a trigger that was sent again: what was made for it. */
export async function jobsMadeFor(tx: Db, { id }: TriggerRow) {
  const jobs = await jobsOfTrigger(tx, id)
  return {
    jobs_enqueued: jobs.length,
    enqueued_jobs: jobs.map(
      (job): JobMade => ({
        repo_id: job.repoId,
        job_type: job.jobType,
        priority: job.priority,
        mode: job.mode,
        payload_json: job.params as JobMade['payload_json'],
        job_id: job.jobId,
      }),
    ),
  }
}

function planFor(wanted: Wanted, scan: Scan): NewPlan {
  const { row, pair, cursor } = wanted.found
  const by: PlanFor = {
    status: 'pending',
    priority: wanted.priority,
    why: payloadOf(wanted, scan),
  }
  return wanted.mode === 'backfill'
    ? repairPlan(row, pair.jobType, repairOf(wanted, scan), by)
    : incrementalPlan(row, pair.jobType, cursor, scan.now, by)
}

/** A spent error budget is a pause with an end, not a repository that is never synced again. */
export async function rest(ctx: Context, tx: Db, spent: Pair[]): Promise<void> {
  const pauses = spent.map((pair) => ({
    repoId: pair.repoId,
    jobType: pair.jobType,
    failureRate: failureRate(pair),
    reason: `error_budget_exceeded: ${pair.runs.failed} of the last ${pair.runs.total} runs failed`,
  }))
  await pausePairs(tx, pauses, ctx.config.scm.scheduler.pause_duration_seconds)
}

export const named = (pair: Pair) => ({ repo_id: pair.repoId, job_type: pair.jobType })

export function shown(wanted: Wanted, scan: Scan, jobId: number | null): JobMade {
  const { pair, priority, mode } = wanted
  return { ...named(pair), priority, mode, payload_json: payloadOf(wanted, scan), job_id: jobId }
}

/** Why this job, now and at this priority: kept with it, and printed. */
function payloadOf(wanted: Wanted, scan: Scan): JobMade['payload_json'] & { [key: string]: Json } {
  const { pair, reason, mode } = wanted
  const penalty = bucketPenalty(pair)
  const payload = {
    reason,
    scheduled_at: scan.now.toISOString(),
    logical_job_type: pair.jobType,
    gitlab_instance: pair.instanceKey || null,
    tenant_id: pair.tenantId || null,
    cursor_age_seconds: Math.trunc(pair.cursorAge ?? -1),
    failure_rate: failureRate(pair),
    rate_limit_rate: limitedRate(pair),
    bucket_paused: penalty?.reason === 'bucket_paused',
    bucket_pause_remaining_seconds: Math.ceil(Math.max(0, pair.bucket?.pauseLeft ?? 0)),
    bucket_penalty_reason: penalty?.reason ?? null,
    bucket_penalty_value: penalty?.value ?? 0,
    circuit_state: scan.circuit,
  }
  if (mode === 'incremental') return payload
  const { since, until } = windowOf(wanted, scan.now)
  return {
    ...payload,
    window_type: 'time',
    since: since.toISOString(),
    until: until.toISOString(),
    update_watermark: false,
  }
}

const repairOf = (wanted: Wanted, scan: Scan) => ({
  window: windowOf(wanted, scan.now),
  chunkSeconds: scan.chunkSeconds(wanted.pair),
})

function windowOf({ seconds }: Wanted, now: Date) {
  return { since: new Date(now.getTime() - Math.ceil(seconds * 1000)), until: now }
}
