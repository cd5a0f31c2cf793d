import type { AuditedCursor } from '../../domain/cursor.ts'
import { cursorEventKey } from '../../domain/ledger.ts'
import type { LedgerWindow } from '../../domain/ledger-window.ts'
import type { Mark } from '../../domain/mark.ts'
import { type Db, row, rows } from '../connect.ts'

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
  to: Mark
  /** The newest thing seen, spelled as a mark. */
  observedMax: string | null
  window: LedgerWindow
  reason: string
  lineage: {
    scheduleInstanceId: number
    planId: number
    sliceId?: number
    taskId?: number
    runId?: number
    batchId?: number
    exprHash?: string
  }
}

/** FORWARD moves a cursor that was seen; BACKFILL is a record of what is read again, and moves none. */
export type CursorEvent = CursorMove &
  ({ direction: 'FORWARD'; seen: AuditedCursor | null } | { direction: 'BACKFILL'; from: string | null })

/** Where a row of ing_cursor stands, as a mark compares it. */
export const CURSOR_AT = 'coalesce(normalized_numeric, extract(epoch from normalized_instant) * 1000)::float8'

const CURSOR = `select cursor_type_code as type, cursor_value as value, ${CURSOR_AT} as at, version from ing_cursor`
const MINE =
  'provenance_code = $1 and operation_code = $2 and cursor_key = $3 and namespace_scope_code = $4 and namespace_key = $5'

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

/** A locked cursor, forward. false: it is there already or further, nothing was written. */
export async function advanceCursor(tx: Db, seen: AuditedCursor | null, move: CursorMove): Promise<boolean> {
  if (seen !== null && seen.at >= move.to.at) return false
  await recordEvents(tx, [{ ...move, direction: 'FORWARD', seen }])
  return true
}

/**
 * Any number of events → the audit trail, and with FORWARD the cursors, compared and set in the same statement and the
 * caller's transaction. Thrown back when a cursor moved since it was seen.
 */
export async function recordEvents(tx: Db, events: CursorEvent[]): Promise<void> {
  const moved = await rows(
    tx,
    'cursor_events',
    `with ask as (
       select *, case type when 'TIME' then "to"::timestamptz end as instant, case type when 'ID' then "to"::bigint end as numeric,
              case type when 'TIME' then prev::timestamptz end as prev_instant, case type when 'ID' then prev::bigint end as prev_numeric
         from jsonb_to_recordset($1::jsonb) as x(provenance text, operation text, "cursorKey" text, scope text, ns text,
              direction text, type text, "to" text, prev text, version bigint, observed text, "windowFrom" timestamptz,
              "windowTo" timestamptz, reason text, key text, "scheduleInstanceId" bigint, "planId" bigint, "sliceId" bigint,
              "taskId" bigint, "runId" bigint, "batchId" bigint, "exprHash" text)),
     event as (
       insert into ing_cursor_event (provenance_code, operation_code, cursor_key, namespace_scope_code, namespace_key,
              cursor_type_code, prev_value, new_value, prev_instant, new_instant, prev_numeric, new_numeric, observed_max_value,
              window_from, window_to, direction_code, reason, cursor_version, idempotent_key, schedule_instance_id, plan_id,
              slice_id, task_id, run_id, batch_id, expr_hash)
       select provenance, operation, "cursorKey", scope, ns, type, prev, "to", prev_instant, instant, prev_numeric, numeric,
              observed, "windowFrom", "windowTo", direction, reason, version, key, "scheduleInstanceId", "planId", "sliceId",
              "taskId", "runId", "batchId", "exprHash" from ask
       on conflict (idempotent_key) do nothing)
     insert into ing_cursor as c (provenance_code, operation_code, cursor_key, namespace_scope_code, namespace_key,
            cursor_type_code, cursor_value, normalized_instant, normalized_numeric, observed_max_value, version,
            schedule_instance_id, plan_id, slice_id, task_id, last_run_id, last_batch_id, expr_hash)
     select provenance, operation, "cursorKey", scope, ns, type, "to", instant, numeric, observed, version,
            "scheduleInstanceId", "planId", "sliceId", "taskId", "runId", "batchId", "exprHash"
       from ask where direction = 'FORWARD' order by provenance, "cursorKey"
     on conflict (provenance_code, operation_code, cursor_key, namespace_scope_code, namespace_key) do update
        set cursor_value = excluded.cursor_value, normalized_instant = excluded.normalized_instant,
            normalized_numeric = excluded.normalized_numeric,
            observed_max_value = coalesce(excluded.observed_max_value, c.observed_max_value), version = excluded.version,
            schedule_instance_id = excluded.schedule_instance_id, plan_id = excluded.plan_id, slice_id = excluded.slice_id,
            task_id = excluded.task_id, last_run_id = excluded.last_run_id, last_batch_id = excluded.last_batch_id,
            expr_hash = excluded.expr_hash, updated_at = now()
      where c.version = excluded.version - 1
        and (c.normalized_instant < excluded.normalized_instant or c.normalized_numeric < excluded.normalized_numeric)
     returning 1`,
    [JSON.stringify(events.map(flat))],
  )
  if (moved.length < events.filter((e) => e.direction === 'FORWARD').length)
    throw Object.assign(new Error('a cursor moved meanwhile'), { code: '40001' })
}

function flat(event: CursorEvent): Record<string, unknown> {
  const { namespace: ns, lineage, to, window, direction } = event
  const prev = event.direction === 'FORWARD' ? (event.seen?.value ?? null) : event.from
  return {
    ...lineage,
    provenance: ns.provenance,
    operation: ns.operation,
    cursorKey: ns.cursorKey,
    scope: ns.scope,
    ns: ns.key,
    direction,
    type: to.type,
    to: to.value,
    prev,
    // Only a cursor that moves has a next version.
    version: event.direction === 'FORWARD' ? (event.seen?.version ?? 0) + 1 : null,
    observed: event.observedMax,
    windowFrom: window.timezone && window.from,
    windowTo: window.timezone && window.to,
    reason: event.reason,
    key: cursorEventKey({
      namespace: nsValues(ns),
      prev,
      next: to.value,
      windowFrom: window.from,
      windowTo: window.to,
      by: lineage.runId === undefined ? `instance ${lineage.scheduleInstanceId}` : `run ${lineage.runId}`,
    }),
  }
}

function nsValues(ns: CursorNamespace): string[] {
  return [ns.provenance, ns.operation, ns.cursorKey, ns.scope, ns.key]
}
