/** What `config show` prints: every key that is set or has a default, by its TOML path; secrets only as set or not. */
export interface ConfigReport {
  status: 'success'
  file: string | null
  values: {
    key: string
    value: unknown
    source: 'default' | 'preset' | 'toml' | 'env' | 'flag'
    where: string
  }[]
  warnings: string[]
  exit_code: 0
}

/** What `config validate` prints. Exit 2 when anything is wrong. */
export interface ConfigCheckReport {
  status: 'success' | 'failed'
  file: string | null
  problems: { message: string; hint: string | null }[]
  warnings: string[]
  exit_code: 0 | 2
}
