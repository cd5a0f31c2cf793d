export interface RepoShown {
  repo_id: number
  /** As a person types it: `git:/srv/project.git`. */
  repo: string
  project_key: string | null
  instance: string | null
  tenant: string | null
  enabled: boolean
  /** As its upstream last said: active, archived, empty, repository_off, deletion_scheduled, gone; null = it does not say. */
  state: string | null
}

export interface RepoReport extends RepoShown {
  status: 'success'
  created: boolean
  exit_code: 0
}

export interface ReposReport {
  status: 'success'
  repos: (RepoShown & { items: number; last_sync_at: string | null; last_status: string | null })[]
  count: number
  exit_code: 0
}
