import { transaction } from '../../db/connect.ts'
import type { ClaimedJob } from '../../db/queue/claim.ts'
import { cancelJob, failJob, type HeldJob, noteDegradation } from '../../db/queue/jobs.ts'
import { kvMark } from '../../domain/cursor.ts'
import { SyncError } from '../../domain/errors.ts'
import type { Json } from '../../domain/ledger.ts'
import { markTypeOf, parseMark, sameMark } from '../../domain/mark.ts'
import { type Repo, spell } from '../../domain/repo.ts'
import type { Ask } from '../../sources/source.ts'
import { type Context, underLease } from '../context.ts'
import type { Holder } from '../sync/holder.ts'
import { accessTo, openSource, requireSyncable } from '../sync/open-source.ts'
import { replanIncremental } from '../sync/plan-incremental.ts'
import { sentence } from '../sync/run-incremental.ts'
import { giveUp, syncJob } from '../sync/sync-job.ts'

export interface JobDone {
  outcome: 'completed' | 'failed' | 'released' | 'cancelled'
  synced: number
  error: string | null
}

/** One claimed job to its end. Never throws: a job that breaks must not take the worker with it. */
export async function workJob(
  ctx: Context,
  held: ClaimedJob,
  holder: Holder,
  ask: () => Promise<Ask>,
): Promise<JobDone> {
  const { repo } = held
  if (repo === null)
    return notBegun(new SyncError('not_found', `repository ${held.repoId} is not registered`))
  try {
    if (ctx.signal.aborted) throw new SyncError('cancelled', 'stopped before the run was begun')
    if (!repo.enabled) {
      await putAway(ctx, held, `the syncing of ${spell(repo)} has ended`, null)
      return { outcome: 'cancelled', synced: 0, error: null }
    }
    requireSyncable(ctx, repo, held.jobType)
    if (held.mode !== 'backfill' && isStale(ctx, held, repo)) {
      await putAway(ctx, held, 'the cursor was set to another place', repo)
      return { outcome: 'cancelled', synced: 0, error: null }
    }
    if (held.circuit !== null) await noteDegradation(ctx.db, held, degradationOf(ctx, repo, held.circuit))
  } catch (cause) {
    return notBegun(asSyncError(cause))
  }

  const report = await syncJob(ctx, repo, held, holder, {
    open: (signal) => openSource(ctx, repo, signal, held.circuit),
    ask,
  })
  return report.error
    ? endedBy(report.error, held, report.tally.synced)
    : { outcome: 'completed', synced: report.tally.synced, error: null }

  async function notBegun(error: SyncError): Promise<JobDone> {
    ctx.log.warn({ jobId: held.jobId, kind: error.kind, reason: error.message }, 'job not begun')
    await giveUp(ctx, held, error)
    return endedBy(error, held, 0)
  }
}

function degradationOf(ctx: Context, repo: Repo, circuit: 'open' | 'half_open'): Json {
  const { pageSize } = accessTo(ctx, repo, ctx.signal, { circuit })
  return {
    is_degraded: true,
    degraded_reasons: { [`circuit_${circuit}`]: 1 },
    circuit_state: circuit,
    is_backfill_only: circuit === 'open',
    suggested_batch_size: pageSize,
    suggested_diff_mode: 'none',
    degraded_at: ctx.now().toISOString(),
  }
}

/** True when an operator has moved the cursor since the job was planned: it would read from a place nobody means now. */
function isStale(ctx: Context, held: ClaimedJob, repo: Repo): boolean {
  const type = markTypeOf(repo.kind)
  return !sameMark(parseMark(type, held.spec.window.from), kvMark(type, held.kvCursor, ctx.now()))
}

/** running → cancelled, and with `replan` the sync that is wanted instead, in one transaction. */
async function putAway(ctx: Context, held: HeldJob, reason: string, replan: Repo | null): Promise<void> {
  ctx.log.info({ jobId: held.jobId, repoId: held.repoId, reason }, 'job cancelled')
  await transaction(ctx.db, underLease(ctx, held.leaseSeconds), async (tx) => {
    const summary = { error_category: 'cancelled', error_message: reason }
    const released = await failJob(tx, held, { retry: 'free', delaySeconds: 0, summary })
    if (released === null) return // not ours any more: its new owner will see the same
    await cancelJob(tx, held.jobId, reason)
    if (replan) await replanIncremental(ctx, tx, replan, held.jobType)
  })
}

function endedBy(error: SyncError, held: ClaimedJob, synced: number): JobDone {
  if (error.retry === 'free' && error.kind !== 'database') return { outcome: 'released', synced, error: null }
  const what = `job ${held.jobId} (${held.repo ? spell(held.repo) : `repository ${held.repoId}`} ${held.jobType})`
  return { outcome: 'failed', synced, error: `${what}: ${sentence(error)}` }
}

function asSyncError(cause: unknown): SyncError {
  if (cause instanceof SyncError) return cause
  return new SyncError('bug', cause instanceof Error ? cause.message : String(cause), { cause })
}
