import { type Db, row } from './connect.ts'

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
