/** What every `db` command prints. */
export interface DatabaseReport {
  status: 'success'
  server: 'embedded' | 'external'
  running: boolean
  /** Without password. Null when nothing runs. */
  url: string | null
  schema: 'current' | 'missing' | 'older' | 'newer' | null
  version: string | null
  pid: number | null
  data_dir: string | null
  log_file: string | null
  /** What this call did. */
  action: 'started' | 'stopped' | 'migrated' | null
  migrations_applied: number
  exit_code: 0 | 1 | 2
}
