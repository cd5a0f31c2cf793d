import type { PauseReport, PausesReport, PauseValue } from '../../contracts/admin.ts'
import { databaseNow } from '../../db/connect.ts'
import { repoNames } from '../../db/facts/repos.ts'
import { lockKv, putKv, removeKv } from '../../db/ledger/kv.ts'
import { pauses } from '../../db/report/status.ts'
import { type JobType, maskUserinfo, spell } from '../../domain/repo.ts'
import type { Context } from '../context.ts'
import { findRepo } from '../find-repo.ts'
import { pauseShown } from '../report/read-figures.ts'
import { requireSyncable } from '../sync/open-source.ts'
import { type Operator, operate, outcomeOf } from './operate.ts'

const PAUSES = 'scm.sync_pauses'

/** Pauses that last, the longest first; with `includeExpired` also those that are over. */
export async function listPauses(ctx: Context, ask: { includeExpired: boolean }): Promise<PausesReport> {
  const rows = (await pauses(ctx.db)).map((row) => ({ key: row.key, ...pauseShown(row) }))
  const found = rows.filter((pause) => ask.includeExpired || !pause.is_expired)
  const names = await repoNames(
    ctx.db,
    found.flatMap((pause) => pause.repo_id ?? []),
  )
  const listed = found.map((pause) => {
    const name = names.get(pause.repo_id ?? 0)
    return { ...pause, repo: name === undefined ? null : maskUserinfo(name) }
  })
  return { status: 'success', pauses: listed, count: listed.length, exit_code: 0 }
}

/** No job of this kind is made or claimed for so long. What runs is finished; a command by hand looks at no pause. */
export async function setPause(
  ctx: Context,
  ask: { repo: string; job: JobType; seconds: number },
  as: Operator,
): Promise<PauseReport> {
  const repo = await findRepo(ctx, ask.repo)
  requireSyncable(ctx, repo, ask.job)
  return operate(ctx, 'pauses set', as, async (tx) => {
    const key = `${repo.repoId}:${ask.job}`
    const now = (await databaseNow(tx)).getTime() / 1000
    const pause: PauseValue = {
      repo_id: repo.repoId,
      job_type: ask.job,
      reason: as.reason ?? 'manual_pause',
      reason_code: 'manual',
      paused_at: now,
      paused_until: now + ask.seconds,
    }
    const before = await lockKv(tx, PAUSES, key)
    await putKv(tx, PAUSES, key, pause)
    return {
      report: {
        ...outcomeOf(1, 0),
        dry_run: as.dryRun,
        repo_id: repo.repoId,
        job_type: ask.job,
        repo: spell(repo),
        pause,
      },
      changes: [{ target: { key }, before, after: pause }],
    }
  })
}

/** Also one that the scheduler made. What it held back is due at once. */
export async function unsetPause(
  ctx: Context,
  ask: { repo: string; job: JobType },
  as: Operator,
): Promise<PauseReport> {
  const repo = await findRepo(ctx, ask.repo)
  return operate(ctx, 'pauses unset', as, async (tx) => {
    const key = `${repo.repoId}:${ask.job}`
    const before = await lockKv(tx, PAUSES, key)
    const wasThere = await removeKv(tx, PAUSES, key)
    return {
      report: {
        ...outcomeOf(wasThere ? 1 : 0, wasThere ? 0 : 1),
        dry_run: as.dryRun,
        repo_id: repo.repoId,
        job_type: ask.job,
        repo: spell(repo),
        pause: null,
      },
      changes: wasThere ? [{ target: { key }, before, after: null }] : [],
    }
  })
}
