import type {
  JobsReport,
  MarkDeadReport,
  PruneReport,
  Refused,
  ResetDeadReport,
  ResetStuckReport,
} from '../../contracts/admin.ts'
import * as jobs from '../../db/manage/jobs.ts'
import { SyncError } from '../../domain/errors.ts'
import { maskUserinfo } from '../../domain/repo.ts'
import type { Context } from '../context.ts'
import { type Operator, operate, outcomeOf, type RepoAsked, repoAsked } from './operate.ts'

interface JobsAsked extends RepoAsked {
  job: string | null
}

/** Jobs in one state, the last changed first. */
export async function listJobs(
  ctx: Context,
  ask: JobsAsked & { status: string; limit: number },
): Promise<JobsReport> {
  const repo = await repoAsked(ctx, ask)
  const found = await jobs.jobsIn(
    ctx.db,
    ask.status,
    { jobIds: null, repoId: repo?.repoId ?? null, jobType: ask.job },
    ask.limit,
  )
  return {
    status: 'success',
    jobs: found.map((job) => ({
      ...job,
      repo: job.repo === null ? null : maskUserinfo(job.repo),
      not_before: instantOf(job.not_before),
      locked_at: instantOf(job.locked_at),
      created_at: job.created_at.toISOString(),
      updated_at: job.updated_at.toISOString(),
    })),
    count: found.length,
    exit_code: 0,
  }
}

/** Dead jobs are tried again, from the page after the last one stored. */
export async function resetDead(
  ctx: Context,
  ask: JobsAsked & { jobIds: number[]; all: boolean },
  as: Operator,
): Promise<ResetDeadReport> {
  if (ask.jobIds.length === 0 && ask.repo === null && ask.repoId === null && ask.job === null && !ask.all)
    throw new SyncError('usage', 'which dead jobs are meant is not said', {
      hint: 'name them by JOB_ID, by --repo or --job, or say --all',
    })
  const repo = await repoAsked(ctx, ask)
  return operate(ctx, 'jobs reset-dead', as, async (tx) => {
    const reset = await jobs.resetDead(tx, {
      jobIds: ask.jobIds.length > 0 ? ask.jobIds : null,
      repoId: repo?.repoId ?? null,
      jobType: ask.job,
    })
    const named = reset.map(({ job_id, repo_id, job_type }) => ({ job_id, repo_id, job_type }))
    const refused = await refusedOf(ctx, ask.jobIds, named)
    return {
      report: {
        ...outcomeOf(reset.length, refused.length),
        dry_run: as.dryRun,
        reset_count: reset.length,
        reset_jobs: named,
        refused,
      },
      changes: reset.map(({ attempts, error }, i) => ({
        target: { ...named[i] },
        before: { status: 'dead', attempts, error },
        after: { status: 'pending', attempts: 0, error: null },
      })),
    }
  })
}

/** What runs loses its lease, and its holder stores nothing more. */
export async function markDead(
  ctx: Context,
  ask: { jobIds: number[] },
  as: Operator,
): Promise<MarkDeadReport> {
  const reason = as.reason ?? 'manual_mark_dead'
  return operate(ctx, 'jobs mark-dead', as, async (tx) => {
    const taken = await jobs.markDead(tx, ask.jobIds, `marked dead by ${as.by}: ${reason}`)
    const dead = taken.map(({ job_id, repo_id, job_type, was }) => ({ job_id, repo_id, job_type, was }))
    const refused = await refusedOf(ctx, ask.jobIds, dead)
    return {
      report: {
        ...outcomeOf(dead.length, refused.length),
        dry_run: as.dryRun,
        dead_count: dead.length,
        dead_jobs: dead,
        refused,
        reason,
      },
      changes: taken.map((job) => changeOf(job, 'dead')),
    }
  })
}

/** Jobs at work whose holder has not renewed for so long → pending, their locks free. */
export async function resetStuck(
  ctx: Context,
  ask: JobsAsked & { olderThanSeconds: number },
  as: Operator,
): Promise<ResetStuckReport> {
  const repo = await repoAsked(ctx, ask)
  return operate(ctx, 'jobs reset-stuck', as, async (tx) => {
    const taken = await jobs.resetStuck(
      tx,
      { olderThanSeconds: ask.olderThanSeconds, repoId: repo?.repoId ?? null, jobType: ask.job },
      `taken away by ${as.by}`,
    )
    return {
      report: {
        ...outcomeOf(taken.length, 0),
        dry_run: as.dryRun,
        reset_count: taken.length,
        reset_jobs: taken.map(({ job_id, repo_id, job_type, locked_by, locked_at }) => ({
          job_id,
          repo_id,
          job_type,
          locked_by: locked_by ?? '',
          locked_at: instantOf(locked_at) ?? '',
        })),
      },
      changes: taken.map((job) => changeOf(job, 'pending')),
    }
  })
}

const PRUNED_AT_ONCE = 1000

/** Batch by batch, each with its record: what was deleted before a stop stays deleted. */
export async function pruneJobs(ctx: Context, ask: jobs.Backlog, as: Operator): Promise<PruneReport> {
  let pruned = 0
  if (as.dryRun) pruned = await jobs.countBacklog(ctx.db, ask)
  else
    for (let last = PRUNED_AT_ONCE; last === PRUNED_AT_ONCE; pruned += last) {
      if (ctx.signal.aborted) throw new SyncError('cancelled', `stopped after ${pruned} jobs were deleted`)
      last = await operate(ctx, 'jobs prune', as, async (tx) => {
        const gone = await jobs.pruneJobs(tx, ask, PRUNED_AT_ONCE)
        const target = { older_than_seconds: ask.olderThanSeconds, priority_above: ask.priorityAbove }
        const change = { target, before: { status: 'pending', job_ids: gone }, after: null }
        return { report: gone.length, changes: gone.length > 0 ? [change] : [] }
      })
      ctx.progress(`${pruned + last} jobs deleted`)
    }
  return { ...outcomeOf(pruned, 0), dry_run: as.dryRun, pruned_count: pruned }
}

function changeOf(job: jobs.Taken, status: string) {
  const { job_id, repo_id, job_type, was, run_id, attempts, locked_by, locked_at } = job
  return {
    target: { job_id, repo_id, job_type },
    before: { status: was, run_id, attempts, locked_by, locked_at: instantOf(locked_at) },
    after: { status },
  }
}

/** The named ones that were not done, as they stood. */
async function refusedOf(ctx: Context, asked: number[], done: { job_id: number }[]): Promise<Refused[]> {
  const left = asked.filter((id) => !done.some((job) => job.job_id === id))
  if (left.length === 0) return []
  const states = await jobs.jobStates(ctx.db, left)
  return left.map((id) => ({ job_id: id, job_status: states.get(id) ?? null }))
}

const instantOf = (date: Date | null) => date?.toISOString() ?? null
