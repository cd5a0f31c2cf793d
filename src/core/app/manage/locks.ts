import type { ExpiredLocksReport, LockListed, LocksReport, ReleaseReport } from '../../contracts/admin.ts'
import * as locks from '../../db/manage/locks.ts'
import { SyncError } from '../../domain/errors.ts'
import { maskUserinfo } from '../../domain/repo.ts'
import type { Context } from '../context.ts'
import { type Operator, operate, outcomeOf, type RepoAsked, repoAsked } from './operate.ts'

export async function listLocks(ctx: Context, ask: RepoAsked & { limit: number }): Promise<LocksReport> {
  const repo = await repoAsked(ctx, ask)
  const held = await locks.locksHeld(ctx.db, repo?.repoId ?? null, ask.limit)
  return { status: 'success', locks: held.map(shown), count: held.length, exit_code: 0 }
}

/** Those whose holder has not renewed them for a lease and the grace. */
export async function listExpiredLocks(
  ctx: Context,
  ask: { graceSeconds: number; limit: number },
): Promise<ExpiredLocksReport> {
  const lapsed = await locks.locksLapsed(ctx.db, ask.graceSeconds, ask.limit)
  return { status: 'success', expired_locks: lapsed.map(shown), count: lapsed.length, exit_code: 0 }
}

/**
 * One lock, whoever holds it, or all that have expired. Its former holder stores nothing more; the job it was taken for
 * stays as it is.
 */
export async function releaseLocks(
  ctx: Context,
  ask: RepoAsked & { job: string; expired: { graceSeconds: number } | null },
  as: Operator,
): Promise<ReleaseReport> {
  const repo = await repoAsked(ctx, ask)
  if ((repo === null) === (ask.expired === null))
    throw new SyncError('usage', 'which lock is meant is not said', {
      hint: 'name its repository with --repo and --job, or say --expired',
    })
  return operate(ctx, 'locks force-release', as, async (tx) => {
    const released = (
      repo
        ? await locks.releaseLock(tx, repo.repoId, ask.job)
        : await locks.releaseLapsed(tx, ask.expired!.graceSeconds)
    ).map(shown)
    return {
      report: {
        ...outcomeOf(released.length, repo && released.length === 0 ? 1 : 0),
        dry_run: as.dryRun,
        released_count: released.length,
        released_locks: released,
      },
      changes: released.map(({ repo_id, job_type, job_id, run_id, locked_by, locked_at, lease_seconds }) => ({
        target: { repo_id, job_type },
        before: { job_id, run_id, locked_by, locked_at, lease_seconds },
        after: null,
      })),
    }
  })
}

function shown(lock: locks.LockRow): LockListed {
  return {
    ...lock,
    repo: lock.repo === null ? null : maskUserinfo(lock.repo),
    locked_at: lock.locked_at.toISOString(),
  }
}
