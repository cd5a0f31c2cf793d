import type pg from 'pg'
import type { Context } from '../../../src/core/app/context.ts'
import { registerRepo } from '../../../src/core/app/manage/repos.ts'
import { work } from '../../../src/core/app/queue/work.ts'
import { type BackfillAsk, runBackfill } from '../../../src/core/app/sync/run-backfill.ts'
import { runIncremental } from '../../../src/core/app/sync/run-incremental.ts'
import { verify } from '../../../src/core/app/sync/verify.ts'
import type { Config } from '../../../src/core/contracts/config.ts'
import type { JobType } from '../../../src/core/domain/repo.ts'
import { gitlabOf } from '../../../src/core/runtime/gitlab.ts'
import type { Source } from '../../../src/core/sources/source.ts'
import { contextOn, type Wishes } from '../context.ts'
import { freshDatabase } from '../database.ts'
import { ledgerViolations } from '../oracle.ts'
import { differences } from './differences.ts'
import type { Project } from './project.ts'
import type { GitLab } from './server.ts'

export const JOBS: JobType[] = ['commits', 'mrs', 'reviews']

/** One project of a scripted GitLab, registered in a database of its own. */
export interface GitLabScene {
  db: pg.Pool
  dsn: string
  project: Project
  repoId: number
  /** `gitlab:<url>` */
  spelt: string
  ctx: (wishes?: Wishes) => Context
  incremental: (job: JobType, ctx?: Context) => ReturnType<typeof runIncremental>
  backfill: (
    job: JobType,
    ask: Partial<BackfillAsk> & Pick<BackfillAsk, 'wish'>,
    ctx?: Context,
  ) => ReturnType<typeof runBackfill>
  verify: (ctx?: Context) => ReturnType<typeof verify>
  drain: (ctx?: Context) => ReturnType<typeof work>
  query: <T = Record<string, unknown>>(sql: string, values?: unknown[]) => Promise<T[]>
  /** All that is wrong with the tables, held against the project, and with the ledger; see differences(). */
  wrongs: (o?: { edited?: boolean; whole?: boolean; jobs?: JobType[] }) => Promise<string[]>
  drop: () => Promise<void>
}

/** No test has to wait for a backoff. */
const SETTINGS = { 'scm.http.backoff_base_seconds': 0, 'scm.http.backoff_max_seconds': 5 }

export async function openGitLabScene(
  url: string,
  gitlab: GitLab,
  project: Project,
  settings: Record<string, unknown> = {},
): Promise<GitLabScene> {
  const { pool: db, dsn, drop } = await freshDatabase(url, { max: 4 })
  const ctx = ({ settings: more, ...wishes }: Wishes = {}): Context => {
    const all = { ...SETTINGS, 'scm.gitlab.url': gitlab.url, ...settings, ...more }
    if (gitlab.token !== null) Object.assign(all, { 'scm.gitlab.token': gitlab.token })
    const made = contextOn(db, { ...wishes, settings: all })
    const { git } = made.sources as { git: Source }
    return { ...made, sources: { git, gitlab: sourceOf(made.config, git), ...wishes.sources } }
  }
  const spelt = `gitlab:${gitlab.url}/${project.path}`
  const { repo_id: repoId } = await registerRepo(ctx(), { repo: `gitlab:${project.path}`, projectKey: null })
  const repo = `gitlab:${gitlab.url}/${project.path}`
  const query = async <T>(sql: string, values: unknown[] = []) => (await db.query(sql, values)).rows as T[]
  return {
    db,
    dsn,
    project,
    repoId,
    spelt,
    ctx,
    query,
    drop,
    incremental: (job, by = ctx()) => runIncremental(by, { repo, job, lockWaitSeconds: 0 }),
    backfill: (job, ask, by = ctx()) =>
      runBackfill(by, { repo, job, updateWatermark: false, lockWaitSeconds: 0, ...ask }),
    verify: (by = ctx()) => verify(by, { repo, dryRun: false }),
    drain: (by = ctx()) => work(by, { once: false, drain: true, jobTypes: [], pool: null }),
    wrongs: async ({ edited = false, ...more } = {}) => [
      ...(await differences({ query, repoId, truth: gitlab.truth(project), ...more })),
      ...(await ledgerViolations({ db, repoId, kind: 'gitlab', edited })),
    ],
  }
}

function sourceOf(config: Config, git: Source): Source {
  return gitlabOf(config, { git, maxWaitMs: 60_000, reread: () => config })
}
