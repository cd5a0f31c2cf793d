import { mkdirSync } from 'node:fs'
import { isDeepStrictEqual } from 'node:util'
import { keepSettings } from '../../db/facts/repos.ts'
import type { ClaimedJob } from '../../db/queue/claim.ts'
import { SyncError } from '../../domain/errors.ts'
import { type JobType, type Repo, spell } from '../../domain/repo.ts'
import type { Access, Reading } from '../../sources/source.ts'
import type { Context } from '../context.ts'
import { sourceFor } from '../find-repo.ts'
import { requestBudget } from './request-budget.ts'

type Circuit = ClaimedJob['circuit']

/** What the source of a repository may see of the program; less of it behind a breaker that is not closed. */
export function accessTo(
  ctx: Context,
  repo: Repo,
  signal: AbortSignal,
  { learn = () => {}, circuit = null }: { learn?: Access['learn']; circuit?: Circuit } = {},
): Access {
  const { scm } = ctx.config
  const pace = ctx.paces(repo)
  const most = circuit === null ? Number.POSITIVE_INFINITY : scm.circuit_breaker.degraded_batch_size
  return {
    locator: repo.locator,
    tenantId: repo.tenantId,
    settings: repo.settings,
    learn,
    budget: requestBudget(ctx, repo, signal),
    tier: scm[repo.kind].tier,
    get pageSize() {
      return Math.min(most, pace.batchSize)
    },
    get asksDetails() {
      return circuit === null && pace.details
    },
    cacheDir: ctx.cacheDir,
    credentials: credentialsFor(repo, scm),
    signal,
    say: ctx.progress,
  }
}

/** Git's go to the one host that was named for them; those of svn to whatever host an operator registered. */
function credentialsFor(repo: Repo, { git, svn }: Context['config']['scm']): Access['credentials'] {
  if (repo.kind === 'svn')
    return svn.username && svn.password
      ? { host: repo.instanceKey, username: svn.username, password: svn.password }
      : null
  return git.credential_host && git.password
    ? { host: git.credential_host, username: git.username ?? 'oauth2', password: git.password }
    : null
}

/** Opens the source. What it learns of the repository is kept, also when it would not open or its reading broke off. */
export async function openSource(
  ctx: Context,
  repo: Repo,
  signal: AbortSignal,
  circuit: Circuit = null,
): Promise<Reading> {
  mkdirSync(ctx.cacheDir, { recursive: true, mode: 0o700 })
  const learnt: Repo['settings'] = {}
  const learn: Access['learn'] = (settings) => Object.assign(learnt, settings)
  /** Once something else has failed, that is what is told; a failure of keeping goes to the log. */
  const keep = async (failed: boolean) => {
    const news = Object.entries(learnt).filter(
      ([key, value]) => !isDeepStrictEqual(value, repo.settings[key]),
    )
    if (news.length === 0) return
    try {
      await keepSettings(ctx.db, repo.repoId, Object.fromEntries(news))
      Object.assign(repo.settings, learnt)
    } catch (error) {
      if (!failed) throw error
      ctx.log.warn({ repoId: repo.repoId, err: error }, 'what was learnt of the repository is not kept')
    }
  }
  const keeping = async <T>(work: () => Promise<T>): Promise<T> => {
    let failed = true
    try {
      const done = await work()
      failed = false
      return done
    } finally {
      await keep(failed)
    }
  }

  return keeping(async () => {
    const reading = await sourceFor(ctx, repo.kind).open(accessTo(ctx, repo, signal, { learn, circuit }))
    const { audit } = reading
    return {
      ...reading,
      ...(audit && { audit: () => keeping(audit) }),
      pages: async function* (ask, resume) {
        let failed = true
        try {
          yield* reading.pages(ask, resume)
          failed = false
        } finally {
          await keep(failed)
        }
      },
    }
  })
}

/** Refuses what cannot be synced: a job type this kind has not, a repository somebody removed. */
export function requireSyncable(ctx: Context, repo: Repo, jobType: JobType): void {
  if (!repo.enabled) {
    throw new SyncError('usage', `${spell(repo)} was removed from syncing`, {
      hint: `take it up again: engram-scm-sync repos add ${spell(repo)}`,
    })
  }
  const { jobs } = sourceFor(ctx, repo.kind)
  if (!jobs[jobType]) {
    throw new SyncError('usage', `a ${repo.kind} repository has no ${jobType}`, {
      hint: `it has: ${Object.keys(jobs).join(', ')}`,
    })
  }
}
