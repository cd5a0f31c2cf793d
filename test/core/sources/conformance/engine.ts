import type pg from 'pg'
import type { Context } from '../../../../src/core/app/context.ts'
import { registerRepo } from '../../../../src/core/app/manage/repos.ts'
import { previewIncremental } from '../../../../src/core/app/sync/preview.ts'
import { runBackfill } from '../../../../src/core/app/sync/run-backfill.ts'
import { runIncremental } from '../../../../src/core/app/sync/run-incremental.ts'
import { cursorKvKey } from '../../../../src/core/domain/cursor.ts'
import { contextOn, type Wishes } from '../../../helpers/context.ts'
import { embeddedUrl, freshDatabase } from '../../../helpers/database.ts'
import { tempFolder } from '../../../helpers/git-repo.ts'
import { ledgerViolations } from '../../../helpers/oracle.ts'
import { type Rows, storedRows } from './rows.ts'
import type { Upstream } from './upstream.ts'

/** The program on a database of its own, with one upstream registered. */
export interface Engine {
  ctx: (wishes?: Wishes) => Context
  incremental: (ctx?: Context) => ReturnType<typeof runIncremental>
  backfill: (since: Date, until: Date) => ReturnType<typeof runBackfill>
  preview: () => ReturnType<typeof previewIncremental>
  rows: () => Promise<Rows>
  query: <T = Record<string, unknown>>(sql: string, values?: unknown[]) => Promise<T[]>
  /** What differs between two of them was written in between. */
  written: () => Promise<Record<string, string>>
  /** Which statement last wrote each row of the facts. */
  versions: () => Promise<string>
  /** Deleted, or set back. */
  setCursor: (to: Date | null) => Promise<void>
  ledger: (edited?: boolean) => Promise<string[]>
  drop: () => Promise<void>
}

const FACTS = ['scm.git_commits', 'scm.mrs', 'scm.review_events', 'scm.svn_revisions']

export async function openEngine(
  upstream: Upstream,
  settings: Record<string, unknown> = {},
): Promise<Engine> {
  const { kind, job } = upstream
  const { pool: db, drop } = await freshDatabase(embeddedUrl(), { max: 4 })
  const cacheDir = tempFolder()
  const ctx = ({ settings: more, ...wishes }: Wishes = {}): Context =>
    contextOn(db, {
      settings: { ...upstream.settings, 'scm.http.backoff_base_seconds': 0, ...settings, ...more },
      sources: { [kind]: upstream.source },
      cacheDir,
      ...wishes,
    })
  const spelt = `${kind}:${upstream.typed}`
  const { repo_id: repoId } = await registerRepo(ctx(), { repo: spelt, projectKey: null })
  // A number after gitlab: is a project's.
  const repo = kind === 'gitlab' ? spelt : `${kind}:${repoId}`
  const query = async <T>(sql: string, values: unknown[] = []) => (await db.query(sql, values)).rows as T[]
  const ask = { repo, job, lockWaitSeconds: 0 }
  const kvKey = cursorKvKey(kind, job, repoId)
  return {
    ctx,
    query,
    drop,
    incremental: (by = ctx()) => runIncremental(by, ask),
    backfill: (since, until) =>
      runBackfill(ctx(), {
        ...ask,
        wish: { since: since.toISOString(), until: until.toISOString() },
        updateWatermark: false,
      }),
    preview: () => previewIncremental(ctx(), ask),
    rows: () => storedRows(query, repoId, kind, job),
    written: () => tables(db),
    versions: async () => {
      const found = await Promise.all(
        FACTS.map((table) => query(`select xmin::text, ctid::text from ${table} order by ctid`)),
      )
      return JSON.stringify(found)
    },
    setCursor: async (to) => {
      await query(`delete from logbook.kv where namespace = 'scm.sync' and key = $1`, [kvKey])
      if (to === null) return
      const value = JSON.stringify({ watermark: to.toISOString() })
      await query(`insert into logbook.kv (namespace, key, value_json) values ('scm.sync', $1, $2)`, [
        kvKey,
        value,
      ])
    },
    ledger: (edited = false) => ledgerViolations({ db, repoId, kind, edited }),
  }
}

/** A fingerprint of every table there is. Turns taken from the request budget are no writing. */
async function tables(db: pg.Pool): Promise<Record<string, string>> {
  const { rows } = await db.query<{ name: string }>(
    `select format('%I.%I', table_schema, table_name) as name from information_schema.tables
      where table_type = 'BASE TABLE' and table_schema not in ('pg_catalog', 'information_schema')
        and table_name <> 'sync_rate_limits' order by 1`,
  )
  const sums: Record<string, string> = {}
  for (const { name } of rows) {
    const sum = await db.query(
      `select count(*) || ' ' || coalesce(md5(string_agg(t::text, '' order by t::text)), '') as sum from ${name} t`,
    )
    sums[name] = sum.rows[0].sum
  }
  return sums
}
