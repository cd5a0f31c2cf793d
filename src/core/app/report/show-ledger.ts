import type * as view from '../../contracts/ledger-view.ts'
import * as ledger from '../../db/report/ledger-view.ts'
import { SyncError } from '../../domain/errors.ts'
import { maskUserinfo, spell } from '../../domain/repo.ts'
import type { Context } from '../context.ts'
import { findRepo } from '../find-repo.ts'

/** Which plans or runs are meant; null: any. */
export interface LedgerAsk {
  repo: string | null
  job: string | null
  status: string | null
  correlationId: string | null
  logId: string | null
  limit: number
}

export async function listPlans(ctx: Context, ask: LedgerAsk): Promise<view.PlansReport> {
  const plans = await ledger.plansSeen(ctx.db, await wishOf(ctx, ask))
  return { status: 'success', plans: plans.map(planListed), count: plans.length, exit_code: 0 }
}

export async function showPlan(ctx: Context, planId: number): Promise<view.PlanReport> {
  const plan = await ledger.planSeen(ctx.db, planId)
  if (plan === null) throw gone('plan', planId, 'plans list')
  const slices = await ledger.slicesSeen(ctx.db, planId)
  const { plan_key, strategy, update_watermark, remarks } = plan
  return {
    status: 'success',
    plan: { ...planListed(plan), plan_key, strategy, update_watermark },
    trigger: await triggerOf(ctx, plan.trigger_id),
    slices,
    missing: missingOf(slices),
    remarks,
    exit_code: 0,
  }
}

export async function listRuns(
  ctx: Context,
  ask: LedgerAsk & { planId: number | null },
): Promise<view.RunsReport> {
  const runs = await ledger.runsSeen(ctx.db, { ...(await wishOf(ctx, ask)), planId: ask.planId })
  return { status: 'success', runs: runs.map(runListed), count: runs.length, exit_code: 0 }
}

export async function showRun(ctx: Context, runId: number): Promise<view.RunReport> {
  const run = await ledger.runSeen(ctx.db, runId)
  if (run === null) throw gone('run', runId, 'runs list')
  return {
    status: 'success',
    run: runListed(run),
    trigger: await triggerOf(ctx, run.trigger_id),
    batches: (await ledger.batchesSeen(ctx.db, runId)).map(batchShown),
    cursor_events: await movesOf(ctx, runId),
    exit_code: 0,
  }
}

/** From a commit, a merge request or a revision to the batch, run, slice, plan and trigger that wrote it as it is. */
export async function traceRow(
  ctx: Context,
  ask: { repo: string; what: string },
): Promise<view.LineageReport> {
  const { kind, id } = namedIn(ask.what)
  const repo = await findRepo(ctx, ask.repo)
  const [written, another] = await ledger.writersOf(ctx.db, kind, repo.repoId, id)
  if (written === undefined)
    throw new SyncError('not_found', `${spell(repo)} has no ${kind} ${id} stored`, {
      hint: 'what no sync has stored has no lineage',
    })
  if (another) throw new SyncError('usage', `${id} means more than one commit`, { hint: 'say more of it' })

  const run = await ledger.runSeen(ctx.db, written.runId)
  const plan = run && (await ledger.planSeen(ctx.db, run.plan_id))
  const batches = run ? await ledger.batchesSeen(ctx.db, run.run_id) : []
  const trigger = await triggerOf(ctx, run?.trigger_id)
  const isPlanner = plan !== null && plan.trigger_id !== trigger?.trigger_id
  return {
    status: 'success',
    kind,
    id: written.id,
    repo: maskUserinfo(spell(repo)),
    written_at: written.at.toISOString(),
    batch_id: written.batchId,
    run_id: written.runId,
    batch: batches.map(batchShown).find((b) => b.batch_id === written.batchId) ?? null,
    run: run && runListed(run),
    plan: plan && planListed(plan),
    trigger,
    planned_by: isPlanner ? await triggerOf(ctx, plan.trigger_id) : null,
    cursor_events: await movesOf(ctx, written.runId),
    message: run === null ? 'its run is not in the ledger any more: the reaper has pruned it' : null,
    exit_code: 0,
  }
}

function namedIn(what: string): { kind: 'commit' | 'mr' | 'revision'; id: string } {
  const [, thing, number = ''] = /^(mr|rev):(\d{1,15})$/.exec(what) ?? []
  if (thing) return { kind: thing === 'mr' ? 'mr' : 'revision', id: number }
  if (/^[0-9a-f]{4,64}$/i.test(what)) return { kind: 'commit', id: what.toLowerCase() }
  throw new SyncError('usage', `${JSON.stringify(what)} names no row`, {
    hint: 'a commit by its sha or the beginning of it, mr:IID, or rev:NUMBER',
  })
}

/** What is not read, neighbours in one. */
function missingOf(slices: ledger.SliceSeen[]): view.Span[] {
  const missing: view.Span[] = []
  slices.forEach((slice, n) => {
    if (slice.status === 'SUCCEEDED') return
    const before = slices[n - 1]
    const last = missing.at(-1)
    if (last && before && before.status !== 'SUCCEEDED') last.to = slice.window.to
    else missing.push({ ...slice.window })
  })
  return missing
}

async function wishOf(ctx: Context, { repo, job, ...ask }: LedgerAsk): Promise<ledger.LedgerWish> {
  return { ...ask, repoId: repo === null ? null : (await findRepo(ctx, repo)).repoId, jobType: job }
}

async function triggerOf(
  ctx: Context,
  triggerId: number | null | undefined,
): Promise<view.TriggerShown | null> {
  const trigger = triggerId == null ? null : await ledger.triggerSeen(ctx.db, triggerId)
  return trigger && { ...trigger, triggered_at: trigger.triggered_at.toISOString() }
}

async function movesOf(ctx: Context, runId: number): Promise<view.CursorMoved[]> {
  const moves = await ledger.movesSeen(ctx.db, runId)
  return moves.map((move) => ({ ...move, at: move.at.toISOString() }))
}

function planListed(plan: ledger.PlanSeen): view.PlanListed {
  const { plan_key: _, strategy: _s, update_watermark: _u, remarks: _r, ...listed } = plan
  return { ...listed, repo: masked(plan.repo), created_at: plan.created_at.toISOString() }
}

const runListed = (run: ledger.RunSeen): view.RunListed => ({
  ...run,
  repo: masked(run.repo),
  started_at: run.started_at.toISOString(),
  finished_at: run.finished_at?.toISOString() ?? null,
  last_heartbeat: run.last_heartbeat.toISOString(),
})

const batchShown = (batch: ledger.BatchSeen): view.BatchShown => ({
  ...batch,
  committed_at: batch.committed_at?.toISOString() ?? null,
})

const masked = (repo: string | null) => (repo === null ? null : maskUserinfo(repo))

function gone(thing: string, id: number, list: string): SyncError {
  return new SyncError('not_found', `there is no ${thing} ${id}`, {
    hint: `engram-scm-sync ${list} shows the numbers; what ended long ago is pruned`,
  })
}
