import { type Db, rows } from '../connect.ts'

/** One thing that a person changed. */
export interface Change {
  target: { [key: string]: unknown }
  before: unknown
  after: unknown
}

/** In the transaction of the changes themselves: a change without its record cannot be. */
export async function recordChanges(
  tx: Db,
  by: { actor: string; action: string; reason: string | null },
  changes: Change[],
): Promise<void> {
  await rows(
    tx,
    'operator_events_add',
    `insert into scm.operator_events (actor, action, reason, target, before_json, after_json)
     select $1, $2, $3, target, before, after
       from jsonb_to_recordset($4::jsonb) as x(target jsonb, before jsonb, after jsonb)`,
    [by.actor, by.action, by.reason, JSON.stringify(changes)],
  )
}

export interface OperatorEvent extends Change {
  id: number
  at: Date
  by: string
  action: string
  reason: string | null
}

/** The latest first. */
export async function operatorEvents(db: Db, limit: number): Promise<OperatorEvent[]> {
  return rows(
    db,
    'operator_events',
    `select id, at, actor as by, action, target, reason, before_json as before, after_json as after
       from scm.operator_events order by id desc limit $1`,
    [limit],
  )
}
