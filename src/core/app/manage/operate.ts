import type { HistoryReport, Outcome } from '../../contracts/admin.ts'
import { type Db, Rollback, transaction } from '../../db/connect.ts'
import { repoById } from '../../db/facts/repos.ts'
import { type Change, operatorEvents, recordChanges } from '../../db/manage/operator-events.ts'
import { SyncError } from '../../domain/errors.ts'
import type { Repo } from '../../domain/repo.ts'
import { type Context, underLease } from '../context.ts'
import { findRepo } from '../find-repo.ts'

/** Who changes something by hand, and why. */
export interface Operator {
  by: string
  reason: string | null
  /** Do it and take it back: what the report says is exactly what would be. */
  dryRun: boolean
}

/** A change by hand and the record of it, in one transaction. */
export async function operate<R>(
  ctx: Context,
  action: string,
  as: Operator,
  work: (tx: Db) => Promise<{ report: R; changes: Change[] }>,
): Promise<R> {
  try {
    return await transaction(ctx.db, underLease(ctx, ctx.config.scm.worker.lease_seconds), async (tx) => {
      const { report, changes } = await work(tx)
      await recordChanges(tx, { actor: as.by, action, reason: as.reason }, changes)
      if (as.dryRun) throw new Rollback(report)
      return report
    })
  } catch (cause) {
    if (cause instanceof Rollback) return cause.value as R
    throw cause
  }
}

/** Of what was named: 1 when part of it was refused, or nothing of it was there. */
export function outcomeOf(done: number, refused: number): Outcome {
  if (refused === 0) return { status: 'success', exit_code: 0 }
  return { status: done > 0 ? 'partial' : 'not_found', exit_code: 1 }
}

export interface RepoAsked {
  repo: string | null
  repoId: number | null
}

/** The repository an operator named, in either way; null when none was. */
export async function repoAsked(ctx: Context, { repo, repoId }: RepoAsked): Promise<Repo | null> {
  if (repo !== null) return findRepo(ctx, repo)
  if (repoId === null) return null
  const found = await repoById(ctx.db, repoId)
  if (found === null)
    throw new SyncError('not_found', `there is no repository ${repoId}`, {
      hint: 'engram-scm-sync repos list shows the numbers',
    })
  return found
}

/** What was changed by hand, by whom and why; the latest first. */
export async function showHistory(ctx: Context, ask: { limit: number }): Promise<HistoryReport> {
  const events = await operatorEvents(ctx.db, ask.limit)
  return {
    status: 'success',
    events: events.map((event) => ({ ...event, at: event.at.toISOString() })),
    count: events.length,
    exit_code: 0,
  }
}
