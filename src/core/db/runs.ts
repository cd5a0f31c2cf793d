import { type Db, row, rows } from './connect.ts'

/** The `stats` a run succeeded with; null when it has not. */
export async function succeededWith(db: Db, runId: number): Promise<{ synced_count: number } | null> {
  const found = await row<{ stats: { synced_count: number } }>(
    db,
    'run_succeeded',
    `select stats from ing_task_run where id = $1 and status_code = 'SUCCEEDED'`,
    [runId],
  )
  return found?.stats ?? null
}

/** Those of the runs that have succeeded. */
export async function runsSucceeded(db: Db, runIds: number[]): Promise<Set<number>> {
  const found = await rows<{ id: number }>(
    db,
    'runs_succeeded',
    `select id from ing_task_run where id = any($1) and status_code = 'SUCCEEDED'`,
    [runIds],
  )
  return new Set(found.map((f) => f.id))
}
