import type pg from 'pg'
import type { Context } from '../../src/core/app/context.ts'
import { registerRepo } from '../../src/core/app/manage/repos.ts'
import { type BackfillAsk, runBackfill } from '../../src/core/app/sync/run-backfill.ts'
import { runIncremental } from '../../src/core/app/sync/run-incremental.ts'
import { contextOn, type Wishes } from './context.ts'
import { freshDatabase } from './database.ts'
import { makeRepo, type TestRepo } from './git-repo.ts'

/** One registered repository on a database: where most stories about syncing begin. */
export interface Scene {
  db: pg.Pool
  repo: TestRepo
  repoId: number
  drop: () => Promise<void>
  ctx: (wishes?: Wishes) => Context
  incremental: (ctx?: Context, lockWaitSeconds?: number) => ReturnType<typeof runIncremental>
  backfill: (ask?: Partial<BackfillAsk>, ctx?: Context) => ReturnType<typeof runBackfill>
  query: <T = Record<string, unknown>>(sql: string, values?: unknown[]) => Promise<T[]>
  /** Waits until the newest run has stored so many pages: a page is looked at while the one before it is stored. */
  stored: (pages: number) => Promise<void>
  /** The operators' cursor as it stands. */
  kv: () => Promise<unknown>
}

export async function openScene(
  url: string,
  settings: Record<string, unknown> = {},
  max?: number,
): Promise<Scene> {
  const { pool, drop } = await freshDatabase(url, max ? { max } : {})
  const repo = makeRepo('--bare')
  const { repo_id } = await registerRepo(contextOn(pool), { repo: `git:${repo.dir}`, projectKey: null })
  return sceneOf(pool, repo, repo_id, settings, drop)
}

export function sceneOf(
  db: pg.Pool,
  repo: TestRepo,
  repoId: number,
  settings: Record<string, unknown>,
  drop: () => Promise<void>,
): Scene {
  const ctx = (wishes: Wishes = {}) =>
    contextOn(db, { ...wishes, settings: { ...settings, ...wishes.settings } })
  const query = async <T>(sql: string, values: unknown[] = []) => (await db.query(sql, values)).rows as T[]
  return {
    db,
    repo,
    repoId,
    drop,
    ctx,
    query,
    incremental: (by = ctx(), lockWaitSeconds = 0) =>
      runIncremental(by, { repo: `git:${repoId}`, job: 'commits', lockWaitSeconds }),
    backfill: (ask = {}, by = ctx()) =>
      runBackfill(by, {
        repo: `git:${repoId}`,
        job: 'commits',
        wish: { lastHours: 24 },
        updateWatermark: false,
        lockWaitSeconds: 0,
        ...ask,
      }),
    stored: async (pages) => {
      const enough = `select 1 from ing_task_run_batch where run_id = (select max(id) from ing_task_run)
                         and status_code = 'SUCCEEDED' and batch_no >= $1`
      while ((await query(enough, [pages])).length === 0)
        await new Promise((resolve) => setTimeout(resolve, 2))
    },
    kv: async () => {
      const found = await query<{ value_json: unknown }>(
        `select value_json from logbook.kv where namespace = 'scm.sync' and key = $1`,
        [`git_cursor:${repoId}`],
      )
      return found[0]?.value_json ?? null
    },
  }
}
