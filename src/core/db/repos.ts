import type { Repo } from '../domain/repo.ts'
import { type Db, row, rows } from './connect.ts'

const COLUMNS = `repo_id as "repoId", repo_type as kind, url as locator, project_key as "projectKey",
  instance_key as "instanceKey", tenant_id as "tenantId", enabled`

export async function addRepo(
  db: Db,
  repo: Omit<Repo, 'repoId' | 'enabled'>,
): Promise<{ repo: Repo; created: boolean }> {
  const added = await row<Repo & { created: boolean }>(
    db,
    'repo_add',
    `insert into scm.repos (repo_type, url, project_key, instance_key, tenant_id) values ($1, $2, $3, $4, $5)
     on conflict (repo_type, url) do update
        set enabled = true, project_key = coalesce(excluded.project_key, repos.project_key),
            tenant_id = case when excluded.project_key is null then repos.tenant_id else excluded.tenant_id end,
            updated_at = clock_timestamp()
     returning ${COLUMNS}, (xmax = 0) as created`,
    [repo.kind, repo.locator, repo.projectKey, repo.instanceKey, repo.tenantId],
  )
  const { created, ...rest } = added as Repo & { created: boolean }
  return { repo: rest, created }
}

/** By number or by locator; null when it is not registered. */
export async function findRepo(
  db: Db,
  kind: string,
  by: { repoId: number } | { locator: string },
): Promise<Repo | null> {
  return 'repoId' in by
    ? row<Repo>(db, 'repo_by_id', `select ${COLUMNS} from scm.repos where repo_type = $1 and repo_id = $2`, [
        kind,
        by.repoId,
      ])
    : row<Repo>(db, 'repo_by_url', `select ${COLUMNS} from scm.repos where repo_type = $1 and url = $2`, [
        kind,
        by.locator,
      ])
}

export interface RepoListing extends Repo {
  items: number
  lastSyncAt: Date | null
  lastStatus: string | null
}

export async function listRepos(db: Db): Promise<RepoListing[]> {
  return rows<RepoListing>(
    db,
    'repo_list',
    `select ${COLUMNS},
            case repo_type when 'svn' then (select count(*) from scm.svn_revisions f where f.repo_id = r.repo_id)
                 else (select count(*) from scm.git_commits f where f.repo_id = r.repo_id) end as items,
            last.finished_at as "lastSyncAt", last.status as "lastStatus"
       from scm.repos r
       left join lateral (select finished_at, status from scm.sync_runs u where u.repo_id = r.repo_id
                          order by started_at desc limit 1) last on true
      order by repo_id`,
  )
}

/** Facts and ledger stay: only the syncing ends. */
export async function disableRepo(db: Db, repoId: number): Promise<boolean> {
  const done = await rows(
    db,
    'repo_disable',
    'update scm.repos set enabled = false, updated_at = clock_timestamp() where repo_id = $1 and enabled returning 1',
    [repoId],
  )
  return done.length > 0
}
