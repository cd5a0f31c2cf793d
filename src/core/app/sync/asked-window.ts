import type { Bounds } from '../../contracts/backfill.ts'
import { databaseNow } from '../../db/connect.ts'
import { SyncError } from '../../domain/errors.ts'
import { type LedgerWindow, outOfLedger } from '../../domain/ledger-window.ts'
import { markTypeOf } from '../../domain/mark.ts'
import { type Repo, spell } from '../../domain/repo.ts'
import {
  isTime,
  revisionsWished,
  type Window,
  type WindowWish,
  windowWished,
  wishesRevisions,
} from '../../domain/window.ts'
import type { Reading } from '../../sources/source.ts'
import type { Context } from '../context.ts'

/**
 * The window somebody asked for. Where the cursor is to be moved to its end, nothing of it may be still to come. Where
 * the revisions end is asked of the upstream for that, and when nobody said it; `reading` is what was opened.
 */
export async function askedWindow(
  ctx: Context,
  repo: Repo,
  { wish, updateWatermark }: { wish: WindowWish; updateWatermark: boolean },
  open: () => Promise<Reading>,
): Promise<{ window: Window; reading: Reading | null }> {
  if (!wishesRevisions(wish)) {
    if (updateWatermark && markTypeOf(repo.kind) === 'ID')
      throw new SyncError('usage', `the cursor of ${spell(repo)} is a revision: a time moves it nowhere`, {
        hint: 'say the window with --start-rev and --end-rev',
      })
    const now = await databaseNow(ctx.db)
    const window = windowWished(wish, now, ctx.config.scm.backfill.repair_window_hours)
    if (updateWatermark && window.until > now)
      throw new SyncError('usage', `--until ${window.until.toISOString()} is still to come`, {
        hint: 'the cursor would pass what has not happened yet; leave it out to read up to now',
      })
    return { window, reading: null }
  }

  if (wish.endRev !== undefined && !updateWatermark)
    return { window: revisionsWished(wish, wish.endRev), reading: null }
  const reading = await open()
  const newest = reading.newest ?? 0
  if (wish.endRev !== undefined && wish.endRev > newest)
    throw new SyncError('usage', `--end-rev ${wish.endRev}: ${spell(repo)} ends at r${newest}`, {
      hint: 'leave it out to read up to the last one',
    })
  return { window: revisionsWished(wish, newest), reading }
}

/** A window of the ledger as reports show it. */
export function boundsOf(window: LedgerWindow): Bounds {
  const shown = outOfLedger(window)
  return isTime(shown)
    ? { since: shown.since.toISOString(), until: shown.until.toISOString() }
    : { start_rev: shown.startRev, end_rev: shown.endRev }
}
