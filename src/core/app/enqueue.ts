import type { JobMade } from '../contracts/scheduler.ts'
import type { Db } from '../db/connect.ts'
import { type CursorEdit, recordEdits } from '../db/cursors.ts'
import { insertPlans } from '../db/plans.ts'
import { type PairRow, pausePairs } from '../db/schedule.ts'
import type { CursorReading } from '../domain/cursor.ts'
import type { Candidate, Pair } from '../domain/schedule.ts'
import type { Context } from './context.ts'
import { incrementalPlan } from './plan-incremental.ts'

/** A pair as it is judged, with what a plan for it needs. */
export interface Found {
  row: PairRow
  cursor: CursorReading
  pair: Pair
}

/** All plans in one statement; what operators did to the cursors goes to the audit trail beside them. */
export async function enqueue(
  ctx: Context,
  tx: Db,
  chosen: Candidate[],
  byPair: Map<Pair, Found>,
  now: Date,
): Promise<JobMade[]> {
  if (chosen.length === 0) return []
  const asked = chosen.map((candidate) => {
    const found = byPair.get(candidate.pair) as Found
    const why = { reason: candidate.reason, cursor_age_seconds: Math.trunc(found.pair.cursorAge ?? -1) }
    const plan = incrementalPlan(ctx, found.row, found.pair.jobType, found.cursor, now, {
      status: 'pending',
      triggerType: 'SCHEDULE',
      priority: candidate.priority,
      why,
    })
    return { candidate, found, plan }
  })
  const rows = new Map(
    (
      await insertPlans(
        tx,
        asked.map((a) => a.plan),
      )
    ).map((r) => [r.planKey, r]),
  )

  const edits: CursorEdit[] = []
  const made: JobMade[] = []
  for (const { candidate, found, plan } of asked) {
    const row = rows.get(plan.planKey)
    made.push(shown(candidate, row?.jobId ?? null))
    if (!row?.jobId || !found.cursor.edit) continue
    const { audited, auditedVersion } = found.row
    edits.push({
      provenance: plan.provenance,
      cursorKey: plan.cursorKey,
      direction: found.cursor.edit.direction,
      reason: found.cursor.edit.reason,
      to: found.cursor.edit.value,
      seen: audited === null ? null : { value: audited, version: auditedVersion ?? 0 },
      windowFrom: plan.windowFrom,
      windowTo: plan.windowTo,
      scheduleInstanceId: row.scheduleInstanceId,
      planId: row.planId,
      exprHash: plan.exprProtoHash,
    })
  }
  if (edits.length > 0) await recordEdits(tx, edits)
  return made
}

/** A spent error budget is a pause with an end, not a repository that is never synced again. */
export async function rest(
  ctx: Context,
  tx: Db,
  spent: { pair: Pair; failureRate: number }[],
): Promise<void> {
  const pauses = spent.map(({ pair, failureRate }) => ({
    repoId: pair.repoId,
    jobType: pair.jobType,
    failureRate,
    reason: `error_budget_exceeded: ${pair.runs.failed} of the last ${pair.runs.total} runs failed`,
  }))
  await pausePairs(tx, pauses, ctx.config.scm.scheduler.pause_duration_seconds)
}

export const named = (pair: Pair) => ({ repo_id: pair.repoId, job_type: pair.jobType })

export function shown({ pair, priority, reason }: Candidate, jobId: number | null): JobMade {
  return {
    ...named(pair),
    priority,
    mode: 'incremental',
    payload_json: {
      reason,
      cursor_age_seconds: Math.trunc(pair.cursorAge ?? -1),
      gitlab_instance: pair.instanceKey || null,
      tenant_id: pair.tenantId || null,
    },
    job_id: jobId,
  }
}
