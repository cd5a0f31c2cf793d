import type {
  CursorChangeReport,
  CursorHistoryReport,
  CursorListed,
  CursorReport,
  CursorsReport,
  ReplayReport,
} from '../../contracts/cursors.ts'
import { databaseNow } from '../../db/connect.ts'
import * as history from '../../db/ledger/cursor-history.ts'
import { lockCursor } from '../../db/ledger/cursors.ts'
import { getKv, putKv, removeKv } from '../../db/ledger/kv.ts'
import { type AuditedCursor, cursorKvKey, kvMark, kvValueOf } from '../../domain/cursor.ts'
import { SyncError } from '../../domain/errors.ts'
import { type Mark, markTypeOf, parseMark } from '../../domain/mark.ts'
import {
  type JobType,
  maskUserinfo,
  provenanceOf,
  type Repo,
  type SourceKind,
  spell,
} from '../../domain/repo.ts'
import type { Context } from '../context.ts'
import { findRepo } from '../find-repo.ts'
import { KV_CURSORS, mainLine } from '../sync/land-cursor.ts'
import { requireSyncable } from '../sync/open-source.ts'
import { type Operator, operate, outcomeOf } from './operate.ts'

interface CursorAsked {
  repo: string
  job: JobType
}

export async function listCursors(
  ctx: Context,
  ask: { repo: string | null; job: JobType | null; limit: number },
): Promise<CursorsReport> {
  const repo = ask.repo === null ? null : await findRepo(ctx, ask.repo)
  const found = await history.cursorsKept(ctx.db, {
    repoId: repo?.repoId ?? null,
    jobType: ask.job,
    limit: ask.limit,
  })
  return {
    status: 'success',
    cursors: found.map((row) => shown(ctx, row)),
    count: found.length,
    exit_code: 0,
  }
}

/** found: the operators' cursor is there. The audited one is shown in any case. */
export async function getCursor(ctx: Context, ask: CursorAsked): Promise<CursorReport> {
  const repo = await findRepo(ctx, ask.repo)
  const [row] = await history.cursorsKept(ctx.db, { repoId: repo.repoId, jobType: ask.job, limit: 1 })
  const found = row !== undefined && row.key !== null
  return { ...outcomeOf(found ? 1 : 0, found ? 0 : 1), found, cursor: row ? shown(ctx, row) : null }
}

/**
 * The next sync goes on from there: earlier than the audited cursor, it reads again; later, it skips, and the audited
 * one follows for good, which has to be meant. A sync that runs meanwhile leaves the edit alone.
 */
export async function setCursor(
  ctx: Context,
  ask: CursorAsked & { watermark: string; skip: boolean },
  as: Operator,
): Promise<CursorChangeReport> {
  const repo = await findRepo(ctx, ask.repo)
  requireSyncable(ctx, repo, ask.job)
  return operate(ctx, 'cursors set', as, async (tx) => {
    // Before the row of kv: a run that ends moves both, in this order.
    const audited = await lockCursor(tx, mainLine({ provenance: provenanceOf(repo), jobType: ask.job }))
    const now = await databaseNow(tx)
    const mark = markIn(repo, ask.watermark, now)
    if (!ask.skip) requireEarlier(mark, audited)
    const value = kvValueOf(mark, { runId: 'manual_reset', now, isBehind: false })
    const key = cursorKvKey(repo.kind, ask.job, repo.repoId)
    const before = await getKv(tx, KV_CURSORS, key)
    await putKv(tx, KV_CURSORS, key, value)
    return changed(repo, ask.job, as, { key, before, after: value })
  })
}

/** The next sync reads everything. Nothing is stored twice. */
export async function deleteCursor(
  ctx: Context,
  ask: CursorAsked,
  as: Operator,
): Promise<CursorChangeReport> {
  const repo = await findRepo(ctx, ask.repo)
  return operate(ctx, 'cursors delete', as, async (tx) => {
    await lockCursor(tx, mainLine({ provenance: provenanceOf(repo), jobType: ask.job }))
    const key = cursorKvKey(repo.kind, ask.job, repo.repoId)
    const before = await getKv(tx, KV_CURSORS, key)
    const wasThere = await removeKv(tx, KV_CURSORS, key)
    return changed(repo, ask.job, as, { key, before, after: null }, wasThere)
  })
}

/** Every move of one cursor, every re-reading and every backfilled chunk; the latest first. */
export async function cursorHistory(
  ctx: Context,
  ask: CursorAsked & { limit: number },
): Promise<CursorHistoryReport> {
  const repo = await findRepo(ctx, ask.repo)
  const events = await history.cursorEvents(ctx.db, {
    provenance: provenanceOf(repo),
    jobType: ask.job,
    limit: ask.limit,
  })
  return {
    ...outcomeOf(events.length, events.length === 0 ? 1 : 0),
    repo: spell(repo),
    repo_id: repo.repoId,
    job_type: ask.job,
    events: events.map((event) => ({
      ...event,
      created_at: event.created_at.toISOString(),
      window_from: event.window_from?.toISOString() ?? null,
      window_to: event.window_to?.toISOString() ?? null,
    })),
    count: events.length,
  }
}

/** Proves that the audited cursors are what their FORWARD events make of nothing, in the order of their versions. */
export async function replayCursors(ctx: Context, ask: { repo: string | null }): Promise<ReplayReport> {
  const repo = ask.repo === null ? null : await findRepo(ctx, ask.repo)
  const replayed = await history.replayCursors(ctx.db, repo && provenanceOf(repo))
  const differences = replayed
    .filter((r) => !r.same || !r.chained)
    .map(({ events, chained, same, ...rest }) => ({ ...rest, wrong: wrongIn(rest, same) }))
  const failed = differences.length > 0
  return {
    status: failed ? 'failed' : 'success',
    cursors_checked: replayed.length,
    events_folded: replayed.reduce((n, r) => n + r.events, 0),
    differences,
    exit_code: failed ? 2 : 0,
  }
}

function wrongIn({ cursor, replayed }: { cursor: string | null; replayed: string | null }, same: boolean) {
  if (replayed === null) return 'no_events' as const
  if (cursor === null) return 'no_cursor' as const
  return same ? ('chain' as const) : ('value' as const)
}

/** What a sync would read in it; anything else would count as no cursor, and everything be read again. */
function markIn(repo: Repo, written: string, now: Date): Mark {
  const type = markTypeOf(repo.kind)
  const mark = parseMark(type, written)
  if (mark === null)
    throw new SyncError(
      'usage',
      `${JSON.stringify(written)} is not a ${type === 'TIME' ? 'time' : 'revision'}`,
      {
        hint: type === 'TIME' ? 'for example 2024-01-31T00:00:00Z' : 'a number, for example 1200',
      },
    )
  if (kvMark(type, written, now) === null)
    throw new SyncError('usage', `${mark.value} is more than a day ahead`, {
      hint: 'a sync would take it for no cursor, and read everything again',
    })
  return mark
}

function requireEarlier(mark: Mark, audited: AuditedCursor | null): void {
  if (audited === null || mark.at <= audited.at) return
  throw new SyncError(
    'usage',
    `${mark.value} is later than ${audited.value}, where the audited cursor stands: it would follow, and can never be brought back`,
    { hint: 'say --yes if what lies between them shall be skipped' },
  )
}

function changed(
  repo: Repo,
  job: JobType,
  as: Operator,
  { key, before, after }: { key: string; before: unknown; after: unknown },
  done = true,
) {
  return {
    report: {
      ...outcomeOf(done ? 1 : 0, done ? 0 : 1),
      dry_run: as.dryRun,
      key,
      repo: spell(repo),
      repo_id: repo.repoId,
      job_type: job,
      before,
      after,
    },
    changes: done ? [{ target: { key }, before, after }] : [],
  }
}

function shown(ctx: Context, row: history.CursorRow): CursorListed {
  const { kind, repo, updated_at, ...rest } = row
  const [id, job] = [row.repo_id ?? 0, row.job_type as JobType]
  return {
    ...rest,
    key: row.key ?? cursorKvKey(kind as SourceKind, job, id),
    repo: repo === null ? null : maskUserinfo(repo),
    watermark: kvMark(markTypeOf(kind as SourceKind), row.value, ctx.now())?.value ?? null,
    updated_at: updated_at?.toISOString() ?? null,
  }
}
