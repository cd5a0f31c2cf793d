import { type Db, row } from './connect.ts'

export async function runSucceeded(db: Db, runId: number): Promise<boolean> {
  const found = await row(
    db,
    'run_succeeded',
    `select 1 from ing_task_run where id = $1 and status_code = 'SUCCEEDED'`,
    [runId],
  )
  return found !== null
}
