/** What is stored, held against what its upstream says now. */
import { TIERS, type Tier } from '../../domain/facts.ts'
import { type Db, row, rows } from '../connect.ts'

/** One merge request as a listing shows it; times in milliseconds since 1970. */
export interface Listed {
  iid: number
  digest: string
  updatedAt: number
  userNotesCount: number | null
}

/** How far the syncs of a repository have seen, in milliseconds since 1970; null = never synced. */
export interface Seen {
  mrs: number | null
  reviews: number | null
}

export interface Difference {
  iid: number
  /** missing: no row, or one taken for deleted · stale: says something else · notes: another number of comments. */
  what: 'missing' | 'stale' | 'notes'
}

/**
 * What was updated since the last sync is no difference yet: the next one brings it. Comments are only counted where the
 * review was read whole for what is listed, or never.
 */
export async function differences(
  db: Db,
  repoId: number,
  listed: readonly Listed[],
  seen: Seen,
): Promise<Difference[]> {
  return rows<Difference>(
    db,
    'audit_compare',
    `with x as (
       select iid, digest, notes, updated <= $3 as seen, updated <= $4 as reviewed, to_timestamp(updated / 1000) as updated_at
         from json_to_recordset($2::json) as x(iid bigint, digest text, updated float8, notes int)),
     held as (
       select x.iid,
              case when not x.seen then null
                   when m.iid is null or m.deleted_at is not null then 'missing'
                   when m.digest <> x.digest and m.updated_at <= x.updated_at then 'stale' end as row_is,
              x.reviewed and coalesce(m.reviewed_as, x.digest) = x.digest and coalesce(m.review_degraded, '') !~ 'discussions:'
                and x.notes <> (select count(*) from scm.review_events e
                                 where e.repo_id = $1 and e.iid = x.iid and e.kind = 'note' and e.deleted_at is null
                                   and e.payload_json->>'system' = 'false') as miscounts
         from x left join scm.mrs m on m.repo_id = $1 and m.iid = x.iid)
     select iid, coalesce(row_is, 'notes') as what from held where row_is is not null or miscounts order by iid`,
    [
      repoId,
      JSON.stringify(
        listed.map((mr) => ({
          iid: mr.iid,
          digest: mr.digest,
          updated: mr.updatedAt,
          notes: mr.userNotesCount,
        })),
      ),
      seen.mrs,
      seen.reviews,
    ],
  )
}

/** Those taken to be there. */
export async function storedIids(db: Db, repoId: number): Promise<number[]> {
  const found = await rows<{ iid: number }>(
    db,
    'audit_stored',
    'select iid from scm.mrs where repo_id = $1 and deleted_at is null order by iid',
    [repoId],
  )
  return found.map((f) => f.iid)
}

/** Their project has them no more. The rows stay, with what was said there. */
export async function markMrsDeleted(db: Db, repoId: number, iids: number[]): Promise<void> {
  await rows(
    db,
    'audit_deleted',
    'update scm.mrs set deleted_at = now(), synced_at = now() where repo_id = $1 and iid = any($2) and deleted_at is null',
    [repoId, iids],
  )
}

/** Words for trouble that may be over by now. What was too big, or is not shown, is so again. */
const PASSING = '(^|,)(missing_objects|timeout|(diff|stats):(server_error|timeout|not_found|left_out))(,|$)'

/** When the commits were made, in milliseconds since 1970, of which a new reading may bring more of what is wanted. */
export async function degradedCommits(db: Db, repoId: number, wanted: Tier): Promise<number[]> {
  const found = await rows<{ ms: number }>(
    db,
    'audit_degraded',
    `select (extract(epoch from ts) * 1000)::float8 as ms from scm.git_commits
      where repo_id = $1 and degraded_reason ~ $2 and tier = any($3) and ts is not null and unreachable_since is null
      order by ts`,
    [repoId, PASSING, TIERS.slice(0, TIERS.indexOf(wanted))],
  )
  return found.map((f) => f.ms)
}

/** When the merge requests were updated of whose reviews a part could not be read that may be readable by now. */
export async function degradedReviews(db: Db, repoId: number): Promise<number[]> {
  const found = await rows<{ ms: number }>(
    db,
    'audit_degraded_reviews',
    `select (extract(epoch from updated_at) * 1000)::float8 as ms from scm.mrs
      where repo_id = $1 and review_degraded ~ ':(5\\d\\d|timeout)(,|$)' and deleted_at is null
      order by updated_at`,
    [repoId],
  )
  return found.map((f) => f.ms)
}

/** Whether a plan of this request still has work waiting. */
export async function isUnderway(db: Db, provenance: string, requestHash: string): Promise<boolean> {
  const found = await row<{ underway: boolean }>(
    db,
    'audit_underway',
    `select exists (select from ing_plan where provenance_code = $1 and request_hash = $2 and status_code = 'READY') as underway`,
    [provenance, requestHash],
  )
  return found?.underway ?? false
}
