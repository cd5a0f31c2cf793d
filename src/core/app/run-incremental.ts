import type { IncrementalReport } from '../contracts/incremental.ts'
import type { SyncError } from '../domain/errors.ts'
import { exitCodeOf } from '../domain/outcome.ts'
import type { JobType, Repo } from '../domain/repo.ts'
import { askOf } from './ask-of.ts'
import type { Context } from './context.ts'
import { findRepo } from './find-repo.ts'
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
  let report: JobReport | null
  for (;;) {
    const planned = await planIncremental(ctx, repo, ask.job)
    report = await workOff(ctx, holder, repo, ask, planned.jobId)
    synced += report?.tally.synced ?? 0
    if (report?.error?.isGone && ++gone <= MOST_GONE) continue
    // What was interrupted ends where upstream stood then, and what another process finished was not ours: once more.
    if (report && (!planned.resumed || report.status === 'failed')) break
    resumed ||= report !== null
    repo = await findRepo(ctx, ask.repo) // what was learnt of it meanwhile decides what is planned
  }

  const status = report.error?.kind === 'cancelled' ? 'cancelled' : report.status
  return {
    phase: 'incremental',
    repo: ask.repo,
    job: ask.job,
    status,
    items_synced: synced,
    message: resumed ? 'an interrupted sync was resumed and finished' : null,
    error: report.error?.message ?? null,
    kind: report.error?.kind ?? null,
    hint: report.error?.hint ?? null,
    started_at: startedAt.toISOString(),
    finished_at: ctx.now().toISOString(),
    vfacts_refreshed: synced > 0,
    exit_code: exitCodeOf(status),
  }
}

async function workOff(
  ctx: Context,
  holder: Holder,
  repo: Repo,
  ask: IncrementalAsk,
  jobId: number,
): Promise<JobReport | null> {
  const held = await holdJob(ctx, {
    repo,
    jobId,
    jobType: ask.job,
    chunk: false,
    again: false,
    waitSeconds: ask.lockWaitSeconds,
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
