import type { DatabaseReport } from '../../core/contracts/database.ts'

export function databaseText(r: DatabaseReport): string {
  const lines = [
    `${r.server} database: ${r.running ? 'running' : 'not running'}${r.action ? ` (${r.action})` : ''}`,
  ]
  if (r.url) lines.push(`  url      ${r.url}`)
  if (r.version) lines.push(`  server   PostgreSQL ${r.version}${r.pid ? `, pid ${r.pid}` : ''}`)
  if (r.schema)
    lines.push(
      `  schema   ${r.schema}${r.migrations_applied > 0 ? `, ${r.migrations_applied} migrations applied` : ''}`,
    )
  if (r.data_dir) lines.push(`  data     ${r.data_dir}`)
  if (r.log_file) lines.push(`  log      ${r.log_file}`)
  return lines.join('\n')
}
