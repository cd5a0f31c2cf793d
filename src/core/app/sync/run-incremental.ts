import type { IncrementalReport } from '../../contracts/incremental.ts'
import type { Deed, TriggerRow } from '../../db/ledger/triggers.ts'
import type { SyncError } from '../../domain/errors.ts'
import { exitCodeOf } from '../../domain/outcome.ts'
import type { JobType, Repo } from '../../domain/repo.ts'
import type { Context } from '../context.ts'
import { findRepo } from '../find-repo.ts'
import { askOf } from './ask-of.ts'
import { holdJob } from './hold-job.ts'
import { type Holder, makeHolder } from './holder.ts'
import { openSource, requireSyncable } from './open-source.ts'
import { planIncremental } from './plan-incremental.ts'
import { type JobReport, syncJob } from './sync-job.ts'

export interface IncrementalAsk {
  repo: string
  job: JobType
  lockWaitSeconds: number
}

/** A job has three tries; who rewrites history faster than it is read is waited for no longer. */
const MOST_GONE = 2

/**
 * Brings one repository from its cursor to now. An interrupted sync is finished first, from the page after the last
 * one stored; the cursor moves last, and only past pages that are stored.
 */
export async function runIncremental(ctx: Context, ask: IncrementalAsk): Promise<IncrementalReport> {
  const startedAt = ctx.now()
  let repo = await findRepo(ctx, ask.repo)
  requireSyncable(ctx, repo, ask.job)

  const holder = makeHolder(ctx)
  let resumed = false
  let gone = 0
  let synced = 0
  let report: JobReport | null = null
  for (;;) {
    const planned = await planIncremental(ctx, repo, ask.job, report !== null)
    if ('answer' in planned) return { ...answered(planned.answer), ...told(ctx, ask, startedAt) }
    report = await workOff(ctx, holder, repo, ask, planned)
    synced += report?.tally.synced ?? 0
    if (report?.error?.isGone && ++gone <= MOST_GONE) continue
    // What was interrupted ends where upstream stood then, and what another process finished was not ours: once more.
    if (report && (!planned.resumed || report.status === 'failed')) break
    resumed ||= report !== null
    repo = await findRepo(ctx, ask.repo) // what was learnt of it meanwhile decides what is planned
  }

  const status = statusOf(report)
  return {
    ...told(ctx, ask, startedAt),
    status,
    items_synced: synced,
    message: resumed ? 'an interrupted sync was resumed and finished' : null,
    error: report.error?.message ?? null,
    kind: report.error?.kind ?? null,
    hint: report.error?.hint ?? null,
    vfacts_refreshed: synced > 0,
    exit_code: exitCodeOf(status),
  }
}

const told = (ctx: Context, ask: IncrementalAsk, startedAt: Date) => ({
  phase: 'incremental' as const,
  repo: ask.repo,
  job: ask.job,
  started_at: startedAt.toISOString(),
  finished_at: ctx.now().toISOString(),
})

/** Stopped is neither done nor failed; at a deadline what was stored until then is a part. */
function statusOf({ status, error, tally }: JobReport) {
  if (error?.kind === 'deadline' && tally.pages > 0) return 'partial'
  return error?.isStop ? 'cancelled' : status
}

/** To a trigger that was sent again. */
function answered({ succeeded, synced, error }: Deed) {
  const status = succeeded ? 'success' : 'failed'
  return {
    status,
    items_synced: synced,
    message: 'this trigger was handled before; nothing was done again',
    error: error?.error_message ?? null,
    kind: error?.error_category ?? null,
    hint: error?.hint ?? null,
    vfacts_refreshed: false,
    exit_code: exitCodeOf(status),
  } as const
}

async function workOff(
  ctx: Context,
  holder: Holder,
  repo: Repo,
  ask: IncrementalAsk,
  { jobId, trigger }: { jobId: number; trigger: TriggerRow },
): Promise<JobReport | null> {
  const held = await holdJob(ctx, {
    repo,
    jobId,
    jobType: ask.job,
    chunk: false,
    again: false,
    waitSeconds: ask.lockWaitSeconds,
    trigger,
  })
  return (
    held &&
    syncJob(ctx, repo, held, holder, {
      open: (signal) => openSource(ctx, repo, signal),
      ask: () => askOf(ctx, held),
    })
  )
}

export function sentence(error: SyncError): string {
  return error.hint ? `${error.message} (${error.hint})` : error.message
}
