import type { RepoReport, ReposReport } from '../../contracts/repos.ts'
import { addRepo, disableRepo, listRepos } from '../../db/facts/repos.ts'
import { parseRepoRef, type Repo, spell } from '../../domain/repo.ts'
import type { Context } from '../context.ts'
import { findRepo, sourceFor } from '../find-repo.ts'

/** Registers a repository; asking twice changes nothing. The upstream is not contacted. */
export async function registerRepo(
  ctx: Context,
  ask: { repo: string; projectKey: string | null },
): Promise<RepoReport> {
  const { kind, id } = parseRepoRef(ask.repo)
  const locator = sourceFor(ctx, kind).locate(id)
  const { repo, created } = await addRepo(ctx.db, {
    kind,
    locator,
    projectKey: ask.projectKey,
    instanceKey: instanceOf(locator),
    tenantId: ask.projectKey?.split('/')[0] ?? '',
  })
  return { status: 'success', ...shown(repo), created, exit_code: 0 }
}

export async function showRepos(ctx: Context): Promise<ReposReport> {
  const repos = await listRepos(ctx.db)
  return {
    status: 'success',
    repos: repos.map((r) => ({
      ...shown(r),
      items: r.items,
      last_sync_at: r.lastSyncAt?.toISOString() ?? null,
      last_status: r.lastStatus,
    })),
    count: repos.length,
    exit_code: 0,
  }
}

/** Ends the syncing of a repository. Everything stored of it stays. */
export async function unregisterRepo(ctx: Context, ask: { repo: string }): Promise<RepoReport> {
  const repo = await findRepo(ctx, ask.repo)
  await disableRepo(ctx.db, repo.repoId)
  return { status: 'success', ...shown({ ...repo, enabled: false }), created: false, exit_code: 0 }
}

function shown(repo: Repo) {
  return {
    repo_id: repo.repoId,
    repo: spell(repo),
    project_key: repo.projectKey,
    instance: repo.instanceKey || null,
    tenant: repo.tenantId || null,
    enabled: repo.enabled,
    state: typeof repo.settings.state === 'string' ? repo.settings.state : null,
  }
}

/** host[:port] of a URL; '' for a path. Never what stands before an @. */
function instanceOf(locator: string): string {
  return /^[a-z+]+:\/\/(?:[^/@]*@)?([^/]+)/.exec(locator)?.[1]?.toLowerCase() ?? ''
}
