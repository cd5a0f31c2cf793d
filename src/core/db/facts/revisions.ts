import type { Revision } from '../../domain/facts.ts'
import { TIERS } from '../../domain/facts.ts'
import { type Db, row } from '../connect.ts'
import { deletePatches, patchPayload, upsertPatches } from './patches.ts'

/** A page of revisions, written out for the database: made ahead of the transaction that stores it. */
export interface RevisionPayload {
  /** The UUID of the repository they are of. */
  uuid: string | null
  revisions: string
  patches: string | null
}

export function revisionPayload(
  uuid: string | null,
  revisions: Revision[],
  bulkReasonOf: (revision: Revision) => string | null,
): RevisionPayload {
  return {
    uuid,
    revisions: JSON.stringify(revisions.map((r) => flat(r, bulkReasonOf(r)))),
    patches: patchPayload(
      revisions.flatMap((r) => (r.patch ? [{ key: String(r.rev), why: r.degraded, ...r.patch }] : [])),
    ),
  }
}

const TIER = (of: string) => `array_position(array['${TIERS.join("', '")}'], ${of}.tier)`
const SEEN = (of: string) => `array_position(array['none', 'partial', 'full'], ${of}.visibility)`
/** How much of a revision a row shows; of one that is hidden in part, the more paths the more. */
const FULLNESS = (of: string) =>
  `(${SEEN(of)}, case ${of}.visibility when 'partial' then ${of}.path_count else 0 end)`
/**
 * Whether a row was of another revision: one of another repository, or of this one before its history was rewritten. Of
 * a revision that shows all, no path ever changes.
 */
const REPLACED = (by: string) =>
  `(r.meta_json->>'uuid' <> $5 or (r.visibility = 'full' and ${by}.visibility = 'full' and r.paths <> ${by}.paths))`
const GIVES_WAY = `${REPLACED('excluded')} is true or ${FULLNESS('excluded')} > ${FULLNESS('r')} or ${TIER('excluded')} >= ${TIER('r')}`

/**
 * Writes a page of revisions; returns how many rows really changed. A row gives way only to one that shows as much or
 * more: a revision hidden by now stays as it was seen. Revision properties that were edited since are written; what a
 * higher tier had read stays. Of another revision that had its number nothing stays, its patch neither.
 */
export async function upsertRevisions(
  tx: Db,
  by: { repoId: number; runId: number; batchId: number },
  { uuid, revisions, patches }: RevisionPayload,
): Promise<number> {
  const stored = await row<{ changed: number; kept: string[]; replaced: string[] }>(
    tx,
    'revision_upsert',
    `with ask as materialized (
       select * from json_to_recordset($4::json) as x(rev bigint, author text, at float8, raw text, message text, visibility text,
              path_count int, paths jsonb, bulk boolean, why text, tier text, degraded text, sanitized text[])),
     written as (
       insert into scm.svn_revisions as r (repo_id, rev_num, author, ts, date_raw, message, visibility, path_count, paths, is_bulk,
              bulk_reason, tier, degraded_reason, sanitized, meta_json, run_id, batch_id)
       select $1, rev, author, to_timestamp(at / 1000), raw, message, visibility, path_count, paths, bulk, why, tier, degraded,
              sanitized, jsonb_strip_nulls(jsonb_build_object('uuid', $5::text)), $2, $3
         from ask
       on conflict (repo_id, rev_num) do update
          set author = excluded.author, ts = excluded.ts, date_raw = excluded.date_raw, message = excluded.message,
              visibility = excluded.visibility, path_count = excluded.path_count, sanitized = excluded.sanitized,
              is_bulk = excluded.is_bulk, bulk_reason = excluded.bulk_reason,
              tier = case when ${GIVES_WAY} then excluded.tier else r.tier end,
              degraded_reason = case when ${GIVES_WAY} then excluded.degraded_reason else r.degraded_reason end,
              paths = excluded.paths, meta_json = r.meta_json || excluded.meta_json,
              run_id = excluded.run_id, batch_id = excluded.batch_id, updated_at = now()
        where ${REPLACED('excluded')} is true or ${FULLNESS('excluded')} >= ${FULLNESS('r')}
          and (${FULLNESS('excluded')} > ${FULLNESS('r')} or ${TIER('excluded')} > ${TIER('r')}
               or (r.author, r.ts, r.date_raw, r.message, r.path_count, r.paths, r.sanitized) is distinct from
                  (excluded.author, excluded.ts, excluded.date_raw, excluded.message, excluded.path_count, excluded.paths,
                   excluded.sanitized))
       returning 1),
     known as (
       select rev::text as rev, coalesce(${REPLACED('ask')}, false) as replaced, ${FULLNESS('r')} > ${FULLNESS('ask')} as fuller
         from ask join scm.svn_revisions r on r.repo_id = $1 and r.rev_num = ask.rev)
     select (select count(*)::int from written) as changed,
            array(select rev from known where fuller and not replaced) as kept,
            array(select rev from known where replaced) as replaced`,
    [by.repoId, by.runId, by.batchId, revisions, uuid],
  )
  if (stored && stored.replaced.length > 0) await deletePatches(tx, by.repoId, stored.replaced)
  // Made of what can be seen now, which is less than was seen.
  await upsertPatches(tx, by, patches, stored?.kept)
  return stored?.changed ?? 0
}

/** Short names and no nulls: what is not written need not be parsed. */
function flat(r: Revision, bulkReason: string | null): Record<string, unknown> {
  return {
    rev: r.rev,
    author: r.author ?? undefined,
    at: r.at ?? undefined,
    raw: r.dateRaw ?? undefined,
    message: r.message ?? undefined,
    visibility: r.visibility,
    path_count: r.pathCount,
    paths: r.paths,
    bulk: bulkReason !== null,
    why: bulkReason ?? undefined,
    tier: r.tier,
    degraded: r.degraded ?? undefined,
    sanitized: r.sanitized.length > 0 ? r.sanitized : undefined,
  }
}
