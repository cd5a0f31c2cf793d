import type { Review } from '../../domain/facts.ts'
import { type Db, rows } from '../connect.ts'

/** A page of reviews, written out for the database: the events, and which reviews are whole with them. */
export interface ReviewPayload {
  events: string
  whole: string | null
}

export function reviewPayload(reviews: Review[]): ReviewPayload {
  const whole = reviews.flatMap(({ iid, whole }) => (whole ? [{ iid, ...whole }] : []))
  return {
    events: JSON.stringify(
      reviews.flatMap(({ iid, events }) =>
        events.map((e) => ({
          iid,
          id: e.id,
          kind: e.kind,
          type: e.type,
          reviewer: e.reviewer ?? undefined,
          at: e.at === null ? undefined : new Date(e.at).toISOString(),
          body: e.body ?? undefined,
          payload: e.payload,
          sanitized: e.sanitized.length > 0 ? e.sanitized : undefined,
        })),
      ),
    ),
    whole: whole.length === 0 ? null : JSON.stringify(whole),
  }
}

/**
 * Writes the events of a page, and where a review is whole marks what is no longer in it as deleted, in the caller's
 * transaction; returns how many rows changed. Events are never removed: what was said and taken back was said.
 */
export async function upsertReviews(
  tx: Db,
  by: { repoId: number; runId: number; batchId: number },
  payload: ReviewPayload,
): Promise<number> {
  const [written] = await rows<{ n: number }>(
    tx,
    'review_upsert',
    `with written as (
       insert into scm.review_events as e (repo_id, iid, source_event_id, kind, event_type, reviewer_username, ts, body, payload_json,
              sanitized, run_id, batch_id)
       select distinct on (iid, id) $1, iid, id, kind, type, reviewer, at, body, payload, sanitized, $2, $3
         from json_to_recordset($4::json) as x(iid bigint, id text, kind text, type text, reviewer text, at timestamptz, body text,
              payload jsonb, sanitized text[])
        order by iid, id
       on conflict (repo_id, iid, source_event_id) do update
          set event_type = excluded.event_type, reviewer_username = excluded.reviewer_username, ts = excluded.ts, body = excluded.body,
              payload_json = excluded.payload_json, sanitized = excluded.sanitized, deleted_at = null, run_id = excluded.run_id,
              batch_id = excluded.batch_id, updated_at = now()
        where e.deleted_at is not null
           or (e.event_type, e.reviewer_username, e.ts, e.body, e.payload_json, e.sanitized)
              is distinct from (excluded.event_type, excluded.reviewer_username, excluded.ts, excluded.body, excluded.payload_json,
              excluded.sanitized)
       returning 1)
     select count(*)::int as n from written`,
    [by.repoId, by.runId, by.batchId, payload.events],
  )
  const gone = payload.whole === null ? 0 : await closeReviews(tx, by, payload.whole)
  return (written?.n ?? 0) + gone
}

/** The digest is what the next listing is held against: only a review that was read whole has it. */
async function closeReviews(tx: Db, by: { repoId: number; runId: number }, whole: string): Promise<number> {
  const [gone] = await rows<{ n: number }>(
    tx,
    'review_close',
    `with whole as (
       select iid, ids, kinds, "of", degraded
         from json_to_recordset($3::json) as x(iid bigint, ids text[], kinds text[], "of" text, degraded text)),
     kept as (select iid, unnest(ids) as id from whole),
     gone as (
       update scm.review_events e set deleted_at = now(), run_id = $2, updated_at = now()
         from whole w
        where e.repo_id = $1 and e.iid = w.iid and e.kind = any(w.kinds) and e.deleted_at is null
          and not exists (select from kept k where k.iid = e.iid and k.id = e.source_event_id)
       returning 1),
     read as (
       update scm.mrs m set reviewed_as = w.of, review_degraded = w.degraded
         from whole w
        where m.repo_id = $1 and m.iid = w.iid
          and (m.reviewed_as, m.review_degraded) is distinct from (w.of, w.degraded))
     select count(*)::int as n from gone`,
    [by.repoId, by.runId, whole],
  )
  return gone?.n ?? 0
}
