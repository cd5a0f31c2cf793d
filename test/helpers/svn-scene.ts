import type pg from 'pg'
import type { Context } from '../../src/core/app/context.ts'
import { registerRepo } from '../../src/core/app/manage/repos.ts'
import { previewBackfill, previewIncremental } from '../../src/core/app/sync/preview.ts'
import { type BackfillAsk, runBackfill } from '../../src/core/app/sync/run-backfill.ts'
import { runIncremental } from '../../src/core/app/sync/run-incremental.ts'
import { svnOf } from '../../src/core/runtime/svn.ts'
import { contextOn, type Wishes } from './context.ts'
import { freshDatabase } from './database.ts'
import { ledgerViolations } from './oracle.ts'
import { type DumpRevision, dumpOf, load, type SvnRepo } from './svn.ts'

/** One repository of a real svnserve, registered in a database of its own. */
export interface SvnScene {
  db: pg.Pool
  repoId: number
  ctx: (wishes?: Wishes) => Context
  incremental: (ctx?: Context) => ReturnType<typeof runIncremental>
  backfill: (ask: Partial<BackfillAsk>, ctx?: Context) => ReturnType<typeof runBackfill>
  previewIncremental: () => ReturnType<typeof previewIncremental>
  previewBackfill: (ask: Partial<BackfillAsk>) => ReturnType<typeof previewBackfill>
  query: <T = Record<string, unknown>>(sql: string, values?: unknown[]) => Promise<T[]>
  /** Numbers of the stored revisions. */
  stored: () => Promise<number[]>
  /** The operators' cursor: read, or written by hand. */
  kv: () => Promise<unknown>
  edit: (value: unknown) => Promise<unknown>
  /** Revisions the newest run was given. */
  read: () => Promise<number>
  violations: (o?: { edited?: boolean }) => Promise<string[]>
  drop: () => Promise<void>
}

export async function openSvnScene(
  url: string,
  svnUrl: string,
  settings: Record<string, unknown> = {},
): Promise<SvnScene> {
  const { pool: db, drop } = await freshDatabase(url, { max: 4 })
  const ctx = ({ settings: more, ...wishes }: Wishes = {}): Context => {
    const made = contextOn(db, { ...wishes, settings: { ...settings, ...more } })
    return {
      ...made,
      sources: {
        ...made.sources,
        svn: svnOf(made.config, { path: process.env.PATH ?? '' }),
        ...wishes.sources,
      },
    }
  }
  const { repo_id: repoId } = await registerRepo(ctx(), { repo: `svn:${svnUrl}`, projectKey: null })
  const repo = `svn:${svnUrl}`
  const query = async <T>(sql: string, values: unknown[] = []) => (await db.query(sql, values)).rows as T[]
  const key = `svn_cursor:${repoId}`
  const asked = (ask: Partial<BackfillAsk>): BackfillAsk => ({
    repo,
    job: 'commits',
    wish: {},
    updateWatermark: false,
    lockWaitSeconds: 0,
    ...ask,
  })
  return {
    db,
    repoId,
    ctx,
    query,
    drop,
    incremental: (by = ctx()) => runIncremental(by, { repo, job: 'commits', lockWaitSeconds: 0 }),
    backfill: (ask, by = ctx()) => runBackfill(by, asked(ask)),
    previewIncremental: () => previewIncremental(ctx(), { repo, job: 'commits', lockWaitSeconds: 0 }),
    previewBackfill: (ask) => previewBackfill(ctx(), asked(ask)),
    stored: async () =>
      (await query<{ rev: number }>('select rev_num as rev from scm.svn_revisions order by 1')).map(
        ({ rev }) => rev,
      ),
    kv: async () => {
      const [found] = await query<{ value: unknown }>(
        `select value_json as value from logbook.kv where namespace = 'scm.sync' and key = $1`,
        [key],
      )
      return found?.value ?? null
    },
    edit: (value) =>
      value === undefined
        ? query(`delete from logbook.kv where namespace = 'scm.sync' and key = $1`, [key])
        : query(
            `insert into logbook.kv (namespace, key, value_json) values ('scm.sync', $1, $2)
             on conflict (namespace, key) do update set value_json = excluded.value_json`,
            [key, JSON.stringify(value)],
          ),
    read: async () => {
      const [run] = await query<{ n: number }>(
        `select (stats->>'scanned_count')::int as n from ing_task_run order by id desc limit 1`,
      )
      return run?.n ?? 0
    },
    violations: ({ edited = false } = {}) => ledgerViolations({ db, repoId, kind: 'svn', edited }),
  }
}

/** So many revisions more, each with one file in `folder`, a minute apart. */
export function grow(repo: SvnRepo, count: number, folder = 'trunk', began = 1_700_000_000_000): void {
  const first = repo.youngest() + 1
  const isNew = !repo.svn('ls', '^/').split('\n').includes(`${folder}/`)
  const revisions = Array.from({ length: count }, (_, i): DumpRevision => {
    const rev = first + i
    return {
      props: {
        'svn:author': 'mara',
        'svn:date': new Date(began + rev * 60_000).toISOString(),
        'svn:log': `change ${rev}`,
      },
      nodes: [
        ...(isNew && i === 0 ? [{ path: folder, kind: 'dir' as const, action: 'add' as const }] : []),
        { path: `${folder}/f${rev}`, kind: 'file', action: 'add', text: `text ${rev}\n`, props: {} },
      ],
    }
  })
  load(repo, dumpOf(revisions, first))
}
