import { type Db, row, rows } from '../connect.ts'

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

/** A run that takes up what an earlier trigger planned is its own trigger's. */
export async function attributeRun(
  tx: Db,
  runId: number,
  trigger: { id: number; correlationId: string | null },
): Promise<void> {
  await rows(
    tx,
    'run_attribute',
    'update ing_task_run set schedule_instance_id = $2, correlation_id = $3 where id = $1',
    [runId, trigger.id, trigger.correlationId],
  )
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
