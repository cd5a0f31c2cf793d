/** Cursors as operators look at them, and the proof that they are what their events say. */

import { type Db, rows } from '../connect.ts'
import { CURSOR_AT } from './cursors.ts'

export interface CursorRow {
  key: string | null
  kind: string | null
  repo_id: number | null
  job_type: string | null
  repo: string | null
  value: unknown
  updated_at: Date | null
  audited: string | null
  audited_version: number | null
}

/** Operators' cursors beside the audited ones; also where there is only one of the two. */
export async function cursorsKept(
  db: Db,
  ask: { repoId: number | null; jobType: string | null; limit: number },
): Promise<CursorRow[]> {
  return rows(
    db,
    'by_hand_cursors',
    `with kv as (
       select key, value_json as value, updated_at, substring(key, '^([a-z]+)_') as kind,
              substring(key, '^[a-z]+(?:_mr|_reviews)?_cursor:([0-9]{1,15})$')::bigint as repo_id,
              case when key like '%\\_mr\\_cursor:%' then 'mrs' when key like '%\\_reviews\\_cursor:%' then 'reviews' else 'commits' end as job_type
         from logbook.kv where namespace = 'scm.sync' and key like '%\\_cursor:%'),
     audited as (
       select substring(provenance_code, '^[a-z]+') as kind, substring(provenance_code, ':([0-9]{1,15})$')::bigint as repo_id,
              cursor_key as job_type, cursor_value as audited, version as audited_version
         from ing_cursor where operation_code = 'HARVEST' and namespace_scope_code = 'GLOBAL')
     select key, kind, repo_id, job_type, r.repo_type || ':' || r.url as repo, value, kv.updated_at, audited, audited_version
       from kv full join audited using (kind, repo_id, job_type) left join scm.repos r using (repo_id)
      where ($1::bigint is null or repo_id = $1) and ($2::text is null or job_type = $2)
      order by repo_id, job_type, key limit $3`,
    [ask.repoId, ask.jobType, ask.limit],
  )
}

export interface CursorEventRow {
  id: number
  created_at: Date
  operation: string
  direction: 'FORWARD' | 'BACKFILL'
  reason: string
  prev_value: string | null
  new_value: string
  version: number | null
  run_id: number | null
  window_from: Date | null
  window_to: Date | null
}

/** The latest first, chunks of backfills too. */
export async function cursorEvents(
  db: Db,
  ask: { provenance: string; jobType: string; limit: number },
): Promise<CursorEventRow[]> {
  return rows(
    db,
    'by_hand_cursor_events',
    `select id, created_at, operation_code as operation, direction_code as direction, reason, prev_value, new_value,
            cursor_version as version, run_id, window_from, window_to
       from ing_cursor_event where provenance_code = $1 and cursor_key = $2 order by id desc limit $3`,
    [ask.provenance, ask.jobType, ask.limit],
  )
}

export interface Replayed {
  provenance: string
  job_type: string
  cursor: string | null
  cursor_version: number | null
  replayed: string | null
  replayed_version: number | null
  events: number
  /** Each event begins where the one before it ended, goes forward, and makes the next version. */
  chained: boolean
  same: boolean
}

/** The FORWARD events of each cursor, in the order of their versions, against the cursor: of one provenance or of all. */
export async function replayCursors(db: Db, provenance: string | null): Promise<Replayed[]> {
  const key = 'provenance_code, operation_code, cursor_key, namespace_scope_code, namespace_key'
  return rows(
    db,
    'by_hand_replay',
    `with step as (
       select e.*, coalesce(new_numeric, extract(epoch from new_instant) * 1000)::float8 as at, row_number() over line as nth,
              lag(new_value) over line as before, lag(coalesce(new_numeric, extract(epoch from new_instant) * 1000)::float8) over line as at_before
         from ing_cursor_event e
        where direction_code = 'FORWARD' and ($1::text is null or provenance_code = $1)
       window line as (partition by ${key} order by cursor_version, id)),
     fold as (
       select ${key}, count(*) as events, max(cursor_version) as version, (array_agg(new_value order by nth desc))[1] as value,
              (array_agg(at order by nth desc))[1] as at,
              bool_and(cursor_version = nth and prev_value is not distinct from before and (nth = 1 or at > at_before)) as chained
         from step group by ${key}),
     cursor as (
       select ${key}, cursor_value, version as cursor_version, ${CURSOR_AT} as cursor_at
         from ing_cursor where $1::text is null or provenance_code = $1)
     select provenance_code as provenance, cursor_key as job_type, cursor_value as cursor, cursor_version,
            value as replayed, version as replayed_version, coalesce(events, 0) as events, coalesce(chained, true) as chained,
            (cursor_value, cursor_version, cursor_at) is not distinct from (value, version, at) as same
       from fold full join cursor using (${key}) order by 1, 2`,
    [provenance],
  )
}
