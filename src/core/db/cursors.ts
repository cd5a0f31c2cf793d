import type { AuditedCursor } from '../domain/cursor.ts'
import { cursorEventKey } from '../domain/ledger.ts'
import { type Db, row, rows } from './connect.ts'

/** Which cursor: (provenance, operation, cursor key) in the main line, or in a plan's own namespace. */
export interface CursorNamespace {
  provenance: string
  operation: string
  cursorKey: string
  scope: 'GLOBAL' | 'CUSTOM'
  /** 64 hex characters; zeros for GLOBAL. */
  key: string
}

export const GLOBAL_KEY = '0'.repeat(64)

export interface CursorMove {
  namespace: CursorNamespace
  /** A time, ISO 8601 in UTC. */
  to: string
  observedMax: string | null
  windowFrom: string | null
  windowTo: string | null
  reason: string
  lineage: {
    scheduleInstanceId: number
    planId: number | null
    sliceId: number | null
    taskId: number | null
    runId: number | null
    batchId: number | null
    exprHash: string | null
  }
}

export async function auditedCursor(db: Db, ns: CursorNamespace): Promise<AuditedCursor | null> {
  return row(db, 'cursor_read', `${CURSOR} where ${MINE}`, nsValues(ns))
}

/** The newest thing its runs have seen, by the upstream's clock. */
export async function observedMax(db: Db, ns: CursorNamespace): Promise<Date | null> {
  const found = await row<{ seen: Date | null }>(
    db,
    'cursor_observed',
    `select observed_max_value::timestamptz as seen from ing_cursor where ${MINE}`,
    nsValues(ns),
  )
  return found?.seen ?? null
}

/**
 * The audited cursor, held until the transaction ends. Whoever goes on to read or write the operators' kv cursor takes this
 * first: a run that ends moves both, and between two plain reads it would look like an operator's edit.
 */
export async function lockCursor(tx: Db, ns: CursorNamespace): Promise<AuditedCursor | null> {
  return row(tx, 'cursor_lock', `${CURSOR} where ${MINE} for update`, nsValues(ns))
}

/**
 * Appends the FORWARD event and compares-and-sets the cursor, in the caller's transaction. false: the cursor is
 * there already or further, nothing was written.
 */
export async function advanceCursor(tx: Db, move: CursorMove): Promise<boolean> {
  const seen = await lockCursor(tx, move.namespace)
  if (seen?.instant && seen.instant.getTime() >= Date.parse(move.to)) return false

  const version = (seen?.version ?? 0) + 1
  await appendEvent(tx, move, { direction: 'FORWARD', prev: seen?.value ?? null, version })
  const l = move.lineage
  const moved = await rows(
    tx,
    'cursor_advance',
    `insert into ing_cursor (provenance_code, operation_code, cursor_key, namespace_scope_code, namespace_key, cursor_type_code,
            cursor_value, normalized_instant, observed_max_value, version, schedule_instance_id, plan_id, slice_id, task_id,
            last_run_id, last_batch_id, expr_hash)
     values ($1, $2, $3, $4, $5, 'TIME', $6::text, $6::text::timestamptz, $7, $8, $9, $10, $11, $12, $13, $14, $15)
     on conflict (provenance_code, operation_code, cursor_key, namespace_scope_code, namespace_key) do update
        set cursor_value = excluded.cursor_value, normalized_instant = excluded.normalized_instant,
            observed_max_value = coalesce(excluded.observed_max_value, ing_cursor.observed_max_value), version = excluded.version,
            schedule_instance_id = excluded.schedule_instance_id, plan_id = excluded.plan_id, slice_id = excluded.slice_id,
            task_id = excluded.task_id, last_run_id = excluded.last_run_id, last_batch_id = excluded.last_batch_id,
            expr_hash = excluded.expr_hash, updated_at = now()
      where ing_cursor.version = excluded.version - 1 and ing_cursor.normalized_instant < excluded.normalized_instant
     returning 1`,
    [
      ...nsValues(move.namespace),
      move.to,
      move.observedMax,
      version,
      l.scheduleInstanceId,
      l.planId,
      l.sliceId,
      l.taskId,
      l.runId,
      l.batchId,
      l.exprHash,
    ],
  )
  if (moved.length === 0) throw Object.assign(new Error('the cursor moved meanwhile'), { code: '40001' })
  return true
}

/** Records a re-read of older history: an event, and no move of the cursor. */
export async function recordBackfill(tx: Db, move: CursorMove & { from: string | null }): Promise<void> {
  await appendEvent(tx, move, { direction: 'BACKFILL', prev: move.from, version: null })
}

async function appendEvent(
  tx: Db,
  move: CursorMove,
  how: { direction: 'FORWARD' | 'BACKFILL'; prev: string | null; version: number | null },
): Promise<void> {
  const { namespace: ns, lineage: l } = move
  const key = cursorEventKey({
    namespace: [ns.provenance, ns.operation, ns.cursorKey, ns.scope, ns.key],
    prev: how.prev,
    next: move.to,
    windowFrom: move.windowFrom,
    windowTo: move.windowTo,
    by: l.runId === null ? `instance ${l.scheduleInstanceId}` : `run ${l.runId}`,
  })
  await rows(
    tx,
    'cursor_event',
    `insert into ing_cursor_event (provenance_code, operation_code, cursor_key, namespace_scope_code, namespace_key,
            cursor_type_code, prev_value, new_value, prev_instant, new_instant, observed_max_value, window_from, window_to,
            direction_code, reason, cursor_version, idempotent_key, schedule_instance_id, plan_id, slice_id, task_id, run_id,
            batch_id, expr_hash)
     values ($1, $2, $3, $4, $5, 'TIME', $6::text, $7::text, $6::text::timestamptz, $7::text::timestamptz, $8, $9, $10, $11, $12, $13, $14, $15, $16,
             $17, $18, $19, $20, $21)
     on conflict (idempotent_key) do nothing`,
    [
      ...nsValues(ns),
      how.prev,
      move.to,
      move.observedMax,
      move.windowFrom,
      move.windowTo,
      how.direction,
      move.reason,
      how.version,
      key,
      l.scheduleInstanceId,
      l.planId,
      l.sliceId,
      l.taskId,
      l.runId,
      l.batchId,
      l.exprHash,
    ],
  )
}

/** What an operator did to a main line's kv cursor, as a scheduler found it. */
export interface CursorEdit {
  provenance: string
  cursorKey: string
  direction: 'FORWARD' | 'BACKFILL'
  reason: string
  to: string
  /** The audited cursor as it was read: value and version; null when there is none. */
  seen: { value: string; version: number } | null
  windowFrom: string | null
  windowTo: string | null
  scheduleInstanceId: number
  planId: number
  exprHash: string
}

/** Any number of edits → their events, and with FORWARD the cursors, in one statement. Thrown back when a cursor moved meanwhile. */
export async function recordEdits(tx: Db, edits: CursorEdit[]): Promise<void> {
  const moved = await rows(
    tx,
    'cursor_edits',
    `with ask as (
       select * from jsonb_to_recordset($1::jsonb) as x(provenance text, "cursorKey" text, direction text, reason text, "to" text,
              prev text, version bigint, "windowFrom" timestamptz, "windowTo" timestamptz, "scheduleInstanceId" bigint, "planId" bigint,
              "exprHash" text, key text)),
     event as (
       insert into ing_cursor_event (provenance_code, operation_code, cursor_key, namespace_scope_code, namespace_key,
              cursor_type_code, prev_value, new_value, prev_instant, new_instant, window_from, window_to, direction_code, reason,
              cursor_version, idempotent_key, schedule_instance_id, plan_id, expr_hash)
       select provenance, 'HARVEST', "cursorKey", 'GLOBAL', $2, 'TIME', prev, "to", prev::timestamptz, "to"::timestamptz, "windowFrom",
              "windowTo", direction, reason, version, key, "scheduleInstanceId", "planId", "exprHash" from ask
       on conflict (idempotent_key) do nothing)
     insert into ing_cursor (provenance_code, operation_code, cursor_key, namespace_scope_code, namespace_key, cursor_type_code,
            cursor_value, normalized_instant, observed_max_value, version, schedule_instance_id, plan_id, expr_hash)
     select provenance, 'HARVEST', "cursorKey", 'GLOBAL', $2, 'TIME', "to", "to"::timestamptz, "to", version, "scheduleInstanceId", "planId",
            "exprHash" from ask where direction = 'FORWARD' order by provenance
     on conflict (provenance_code, operation_code, cursor_key, namespace_scope_code, namespace_key) do update
        set cursor_value = excluded.cursor_value, normalized_instant = excluded.normalized_instant,
            observed_max_value = excluded.observed_max_value, version = excluded.version,
            schedule_instance_id = excluded.schedule_instance_id, plan_id = excluded.plan_id, expr_hash = excluded.expr_hash,
            updated_at = now()
      where ing_cursor.version = excluded.version - 1 and ing_cursor.normalized_instant < excluded.normalized_instant
     returning 1`,
    [
      JSON.stringify(
        edits.map((e) => ({
          ...e,
          prev: e.seen?.value ?? null,
          version: e.direction === 'FORWARD' ? (e.seen?.version ?? 0) + 1 : null,
          key: cursorEventKey({
            namespace: [e.provenance, 'HARVEST', e.cursorKey, 'GLOBAL', GLOBAL_KEY],
            prev: e.seen?.value ?? null,
            next: e.to,
            windowFrom: e.windowFrom,
            windowTo: e.windowTo,
            by: `instance ${e.scheduleInstanceId}`,
          }),
        })),
      ),
      GLOBAL_KEY,
    ],
  )
  if (moved.length < edits.filter((e) => e.direction === 'FORWARD').length)
    throw Object.assign(new Error('a cursor moved meanwhile'), { code: '40001' })
}

const CURSOR = 'select cursor_value as value, normalized_instant as instant, version from ing_cursor'
const MINE =
  'provenance_code = $1 and operation_code = $2 and cursor_key = $3 and namespace_scope_code = $4 and namespace_key = $5'

function nsValues(ns: CursorNamespace): string[] {
  return [ns.provenance, ns.operation, ns.cursorKey, ns.scope, ns.key]
}
