import type { Commit } from '../../domain/facts.ts'
import { TIERS } from '../../domain/facts.ts'
import { type Db, rows } from '../connect.ts'
import { patchPayload, upsertPatches } from './patches.ts'

/** A page of commits, written out for the database: made ahead of the transaction that stores it. */
export interface CommitPayload {
  commits: string
  patches: string | null
  count: number
}

export function commitPayload(
  commits: Commit[],
  bulkReasonOf: (commit: Commit) => string | null,
): CommitPayload {
  return {
    commits: JSON.stringify(commits.map((c) => flat(c, bulkReasonOf(c)))),
    patches: patchPayload(
      commits.flatMap((c) => (c.patch ? [{ key: c.sha, why: c.degraded, ...c.patch }] : [])),
    ),
    count: commits.length,
  }
}

const RANK = (column: string) => `array_position(array['${TIERS.join("', '")}'], ${column})`

/**
 * Writes a page of commits; returns how many rows really changed. A row is written again only when it says more than
 * before (higher tier), says it differently, or had become unreachable: a re-sync leaves no dead tuples, and a sync at
 * a lower tier takes nothing away.
 *
 * json, not jsonb, and nothing for what is null: 22 → 17 µs a row on the server (1,000 rows of 400 B, PostgreSQL 17).
 */
export async function upsertCommits(
  tx: Db,
  by: { repoId: number; runId: number; batchId: number },
  payload: CommitPayload,
): Promise<number> {
  if (payload.count === 0) return 0
  const [changed] = await rows<{ n: number }>(
    tx,
    'commit_upsert',
    `with written as (
       insert into scm.git_commits as c (repo_id, commit_sha, parent_shas, author_name, author_email, authored_at, author_tz_minutes,
              committer_name, committer_email, ts, committer_tz_minutes, message, is_merge, is_bulk, bulk_reason, tier,
              degraded_reason, files_changed, additions, deletions, paths, sanitized, run_id, batch_id)
       select $1, sha, parents, an, ae, to_timestamp(at), az, cn, ce, to_timestamp(ct), cz, message, cardinality(parents) > 1,
              bulk, why, tier, degraded, files, additions, deletions, paths, sanitized, $2, $3
         from json_to_recordset($4::json) as x(sha text, parents text[], an text, ae text, at float8, az smallint, cn text,
              ce text, ct float8, cz smallint, message text, bulk boolean, why text, tier text, degraded text, files int,
              additions int, deletions int, paths jsonb, sanitized text[])
       on conflict (repo_id, commit_sha) do update
          set author_name = excluded.author_name, author_email = excluded.author_email, authored_at = excluded.authored_at,
              committer_name = excluded.committer_name, committer_email = excluded.committer_email, ts = excluded.ts,
              message = excluded.message, sanitized = excluded.sanitized, unreachable_since = null,
              is_bulk = c.is_bulk or excluded.is_bulk, bulk_reason = coalesce(excluded.bulk_reason, c.bulk_reason),
              tier = case when ${RANK('excluded.tier')} > ${RANK('c.tier')} then excluded.tier else c.tier end,
              degraded_reason = case when ${RANK('excluded.tier')} >= ${RANK('c.tier')} then excluded.degraded_reason else c.degraded_reason end,
              files_changed = coalesce(excluded.files_changed, c.files_changed), additions = coalesce(excluded.additions, c.additions),
              deletions = coalesce(excluded.deletions, c.deletions),
              paths = case when ${RANK('excluded.tier')} >= ${RANK('c.tier')} then excluded.paths else c.paths end,
              run_id = excluded.run_id, batch_id = excluded.batch_id, updated_at = now()
        where c.unreachable_since is not null or ${RANK('excluded.tier')} > ${RANK('c.tier')}
           or (c.message, c.author_name, c.author_email, c.authored_at, c.committer_name, c.committer_email, c.ts, c.sanitized)
              is distinct from (excluded.message, excluded.author_name, excluded.author_email, excluded.authored_at,
              excluded.committer_name, excluded.committer_email, excluded.ts, excluded.sanitized)
       returning 1)
     select count(*)::int as n from written`,
    [by.repoId, by.runId, by.batchId, payload.commits],
  )
  await upsertPatches(tx, by, payload.patches)
  return changed?.n ?? 0
}

/** Nothing reaches these any more. They stay: what was once merged and then rewritten is history too. */
export async function markUnreachable(tx: Db, repoId: number, shas: string[] | 'all'): Promise<void> {
  if (shas.length === 0) return
  await rows(
    tx,
    'commit_unreachable',
    `update scm.git_commits set unreachable_since = now(), updated_at = now()
      where repo_id = $1 and ($2::text[] is null or commit_sha = any($2::text[])) and unreachable_since is null`,
    [repoId, shas === 'all' ? null : shas],
  )
}

/** Short names and no nulls: what is not written need not be parsed. */
function flat(c: Commit, bulkReason: string | null): Record<string, unknown> {
  return {
    sha: c.sha,
    parents: c.parents,
    an: c.author.name,
    ae: c.author.email,
    at: c.author.epochSeconds ?? undefined,
    az: c.author.offsetMinutes,
    cn: c.committer.name,
    ce: c.committer.email,
    ct: c.committer.epochSeconds ?? undefined,
    cz: c.committer.offsetMinutes,
    message: c.message,
    bulk: bulkReason !== null,
    why: bulkReason ?? undefined,
    tier: c.tier,
    degraded: c.degraded ?? undefined,
    files: c.pathCount ?? undefined,
    additions: c.additions ?? undefined,
    deletions: c.deletions ?? undefined,
    paths: c.paths ?? undefined,
    sanitized: c.sanitized.length > 0 ? c.sanitized : undefined,
  }
}
