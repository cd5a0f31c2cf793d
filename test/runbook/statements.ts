/**
 * The runbook's contract with the database: every SQL statement it prints, verbatim, in its order. Twenty-four
 * occurrences; the reads of the breakers' rows recur. `<JOB_ID>` and `<REPO_ID>` are its placeholders.
 */
export interface Statement {
  no: number
  sql: string
}

const BREAKERS = `SELECT key, value_json FROM logbook.kv WHERE namespace = 'scm.sync_health'`

const IN_ORDER = [
  'SELECT status, COUNT(*) FROM scm.sync_jobs GROUP BY status',
  `SELECT job_id, repo_id, job_type, locked_by, locked_at,
       NOW() - locked_at AS running_duration
FROM scm.sync_jobs
WHERE status = 'running'
ORDER BY locked_at`,
  `SELECT job_id, repo_id, job_type, attempts, error_summary_json
FROM scm.sync_jobs
WHERE status IN ('failed', 'dead')
ORDER BY updated_at DESC
LIMIT 20`,
  BREAKERS,
  `SELECT key, value_json
FROM logbook.kv
WHERE namespace = 'scm.sync_pauses'`,
  `SELECT * FROM scm.sync_jobs WHERE status = 'dead'`,
  `UPDATE scm.sync_jobs
SET status = 'pending',
    attempts = 0,
    not_before = NOW(),
    locked_by = NULL,
    locked_at = NULL,
    error_summary_json = NULL
WHERE job_id = '<JOB_ID>' AND status = 'dead'`,
  `UPDATE scm.sync_jobs
SET status = 'pending',
    attempts = 0,
    not_before = NOW(),
    locked_by = NULL,
    locked_at = NULL,
    error_summary_json = NULL
WHERE status = 'dead'`,
  `SELECT * FROM scm.sync_locks
WHERE locked_at < NOW() - INTERVAL '300 seconds'`,
  `DELETE FROM scm.sync_locks
WHERE repo_id = <REPO_ID> AND job_type = 'commits'`,
  `DELETE FROM scm.sync_locks
WHERE locked_at < NOW() - INTERVAL '300 seconds'`,
  `UPDATE scm.sync_jobs
SET status = 'pending',
    locked_by = NULL,
    locked_at = NULL,
    not_before = NOW()
WHERE status = 'running'
  AND locked_at < NOW() - INTERVAL '600 seconds'`,
  BREAKERS,
  BREAKERS,
  `UPDATE logbook.kv
SET value_json = jsonb_set(
    COALESCE(value_json::jsonb, '{}'::jsonb),
    '{state}',
    '"closed"'
)
WHERE namespace = 'scm.sync_health' AND key = 'default:global'`,
  `DELETE FROM logbook.kv
WHERE namespace = 'scm.sync_health' AND key = 'default:global'`,
  `SELECT key, value_json FROM logbook.kv WHERE namespace = 'scm.sync' AND key LIKE '%_cursor:%'`,
  `SELECT * FROM logbook.kv
WHERE namespace = 'scm.sync' AND key LIKE '%_cursor:%'`,
  `DELETE FROM logbook.kv
WHERE namespace = 'scm.sync' AND key = 'gitlab_cursor:<REPO_ID>'`,
  `UPDATE logbook.kv
SET value_json = '{"watermark": "2024-01-01T00:00:00Z", "run_id": "manual_reset"}'::jsonb
WHERE namespace = 'scm.sync' AND key = 'gitlab_cursor:<REPO_ID>'`,
  `DELETE FROM scm.sync_jobs
   WHERE status = 'pending'
     AND created_at < NOW() - INTERVAL '7 days'
     AND priority > 500`,
  BREAKERS,
  `SELECT job_id, repo_id, locked_by, locked_at,
                   EXTRACT(EPOCH FROM (NOW() - locked_at)) AS running_seconds
            FROM scm.sync_jobs
            WHERE status = 'running'
            ORDER BY locked_at`,
  `UPDATE scm.sync_jobs
               SET status = 'pending', locked_by = NULL, locked_at = NULL, not_before = NOW()
               WHERE status = 'running'
                 AND locked_at < NOW() - INTERVAL '1800 seconds'
               RETURNING job_id`,
]

export const STATEMENTS: Statement[] = IN_ORDER.map((sql, i) => ({ no: i + 1, sql }))

/** One statement per kind, whatever its line breaks. */
export function normalised(sql: string): string {
  return sql.replace(/--.*$/gm, '').replace(/\s+/g, ' ').replace(/;$/, '').trim()
}

/** Statements of a block, each with the comment that stands right above it. */
export function statementsOf(block: string): { comment: string; sql: string }[] {
  const found: { comment: string; sql: string }[] = []
  let comment: string[] = []
  let lines: string[] = []
  for (const line of block.split('\n')) {
    if (lines.length === 0 && /^\s*--/.test(line)) {
      comment.push(line.replace(/^\s*--\s*/, ''))
      continue
    }
    if (line.trim() === '' && lines.length === 0) continue
    lines.push(line)
    if (!line.trimEnd().endsWith(';')) continue
    found.push({ comment: comment.join(' '), sql: lines.join('\n').trimEnd().slice(0, -1) })
    comment = []
    lines = []
  }
  if (lines.length > 0) throw new Error(`a statement without its semicolon: ${lines.join('\n')}`)
  return found
}

export function filled(text: string, ids: { jobId: number; repoId: number }): string {
  return text.replaceAll('<JOB_ID>', String(ids.jobId)).replaceAll('<REPO_ID>', String(ids.repoId))
}
