import type { Repo } from '../../domain/repo.ts'
import { type Db, row, rows } from '../connect.ts'

const COLUMNS = `repo_id as "repoId", repo_type as kind, url as locator, project_key as "projectKey",
  instance_key as "instanceKey", tenant_id as "tenantId", enabled, settings`

/**
 * Registers, or enables again; what was learnt of it is forgotten, so that a repository that took the place of another is
 * met anew. The update comes first: an insert that conflicts would use up a number each time.
 */
export async function addRepo(
  db: Db,
  repo: Omit<Repo, 'repoId' | 'enabled' | 'settings'>,
): Promise<{ repo: Repo; created: boolean }> {
  for (;;) {
    const known = await row<Repo>(
      db,
      'repo_enable',
      `update scm.repos
          set enabled = true, settings = '{}', project_key = coalesce($3, project_key),
              tenant_id = case when $3::text is null then tenant_id else $4 end, updated_at = clock_timestamp()
        where repo_type = $1 and url = $2 returning ${COLUMNS}`,
      [repo.kind, repo.locator, repo.projectKey, repo.tenantId],
    )
    if (known) return { repo: known, created: false }

    const added = await row<Repo>(
      db,
      'repo_add',
      `insert into scm.repos (repo_type, url, project_key, instance_key, tenant_id) values ($1, $2, $3, $4, $5)
       on conflict (repo_type, url) do nothing returning ${COLUMNS}`,
      [repo.kind, repo.locator, repo.projectKey, repo.instanceKey, repo.tenantId],
    )
    if (added) return { repo: added, created: true }
    // Somebody else registered it in between.
  }
}

/** Adds to what is known of a repository; null forgets a key. */
export async function keepSettings(db: Db, repoId: number, settings: Repo['settings']): Promise<void> {
  await rows(
    db,
    'repo_settings',
    `update scm.repos set settings = jsonb_strip_nulls(settings || $2::jsonb), updated_at = clock_timestamp() where repo_id = $1`,
    [repoId, JSON.stringify(settings)],
  )
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

export async function repoById(db: Db, repoId: number): Promise<Repo | null> {
  return row<Repo>(db, 'repo_by_number', `select ${COLUMNS} from scm.repos where repo_id = $1`, [repoId])
}

/** Whether any repository is synced from this host, or for this tenant. */
export async function isRegistered(db: Db, by: { instance: string } | { tenant: string }): Promise<boolean> {
  const found =
    'instance' in by
      ? await row(db, 'repo_of_instance', 'select 1 from scm.repos where instance_key = $1 limit 1', [
          by.instance,
        ])
      : await row(db, 'repo_of_tenant', 'select 1 from scm.repos where tenant_id = $1 limit 1', [by.tenant])
  return found !== null
}

/** As a person types them. */
export async function repoNames(db: Db, repoIds: number[]): Promise<Map<number, string>> {
  const found = await rows<{ id: number; name: string }>(
    db,
    'repo_names',
    `select repo_id as id, repo_type || ':' || url as name from scm.repos where repo_id = any($1)`,
    [repoIds],
  )
  return new Map(found.map(({ id, name }) => [id, name]))
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
            (select count(*) from scm.git_commits f where f.repo_id = r.repo_id)
              + (select count(*) from scm.svn_revisions f where f.repo_id = r.repo_id)
              + (select count(*) from scm.mrs f where f.repo_id = r.repo_id)
              + (select count(*) from scm.review_events f where f.repo_id = r.repo_id) as items,
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

/** Those that are synced, without a look at what is stored of them. */
export async function enabledRepos(db: Db): Promise<Repo[]> {
  return rows<Repo>(db, 'repo_enabled', `select ${COLUMNS} from scm.repos r where enabled order by repo_id`)
}
