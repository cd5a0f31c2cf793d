import type { MergeRequest } from '../../domain/facts.ts'
import { type Db, rows } from '../connect.ts'

export function mrPayload(mrs: MergeRequest[]): string {
  return JSON.stringify(mrs.map(flat))
}

/**
 * Writes a page of merge requests; returns how many rows really changed. A reading never takes a row back: what is
 * stored with a later update stays. One that had been taken for deleted and is listed is there again.
 */
export async function upsertMrs(
  tx: Db,
  by: { repoId: number; runId: number; batchId: number },
  payload: string,
): Promise<number> {
  const [changed] = await rows<{ n: number }>(
    tx,
    'mr_upsert',
    `with written as (
       insert into scm.mrs as m (repo_id, iid, source_mr_id, status, title, description, author_username, source_branch, target_branch,
              head_sha, merge_commit_sha, draft, url, user_notes_count, created_at, updated_at, merged_at, closed_at, meta_json, digest,
              sanitized, run_id, batch_id)
       select distinct on (iid) $1, iid, id, status, title, description, author, source, target, head, merged_as, draft, url, notes, created, updated,
              merged, closed, meta, digest, sanitized, $2, $3
         from json_to_recordset($4::json) as x(iid bigint, id bigint, status text, title text, description text, author text,
              source text, target text, head text, merged_as text, draft boolean, url text, notes int, created timestamptz,
              updated timestamptz, merged timestamptz, closed timestamptz, meta jsonb, digest text, sanitized text[])
        order by iid, updated desc
       on conflict (repo_id, iid) do update
          set source_mr_id = excluded.source_mr_id, status = excluded.status, title = excluded.title,
              description = excluded.description, author_username = excluded.author_username, source_branch = excluded.source_branch,
              target_branch = excluded.target_branch, head_sha = excluded.head_sha, merge_commit_sha = excluded.merge_commit_sha,
              draft = excluded.draft, url = excluded.url, user_notes_count = excluded.user_notes_count,
              created_at = excluded.created_at, updated_at = excluded.updated_at, merged_at = excluded.merged_at,
              closed_at = excluded.closed_at, meta_json = excluded.meta_json, digest = excluded.digest,
              sanitized = excluded.sanitized, deleted_at = null, run_id = excluded.run_id, batch_id = excluded.batch_id, synced_at = now()
        where (m.digest <> excluded.digest or m.deleted_at is not null) and m.updated_at <= excluded.updated_at
       returning 1)
     select count(*)::int as n from written`,
    [by.repoId, by.runId, by.batchId, payload],
  )
  return changed?.n ?? 0
}

/** What is stored of the merge requests updated since: of themselves, or of what their reviews were read for. */
export async function digestsSince(
  db: Db,
  repoId: number,
  of: 'mrs' | 'reviews',
  since: Date,
): Promise<Map<number, string>> {
  const found = await rows<{ iid: number; digest: string }>(
    db,
    'mr_digests',
    `select iid, digest from (
       select iid, case when $2 = 'mrs' then digest else reviewed_as end as digest
         from scm.mrs where repo_id = $1 and updated_at >= $3 and deleted_at is null) m
      where digest is not null`,
    [repoId, of, since],
  )
  return new Map(found.map((m) => [m.iid, m.digest]))
}

/** Short names and no nulls: what is not written need not be parsed. */
function flat(mr: MergeRequest): Record<string, unknown> {
  const time = (ms: number | null) => (ms === null ? undefined : new Date(ms).toISOString())
  return {
    iid: mr.iid,
    id: mr.sourceMrId ?? undefined,
    status: mr.status,
    title: mr.title,
    description: mr.description ?? undefined,
    author: mr.author ?? undefined,
    source: mr.sourceBranch ?? undefined,
    target: mr.targetBranch ?? undefined,
    head: mr.headSha ?? undefined,
    merged_as: mr.mergeCommitSha ?? undefined,
    draft: mr.draft ?? undefined,
    url: mr.url ?? undefined,
    notes: mr.userNotesCount ?? undefined,
    created: time(mr.createdAt),
    updated: time(mr.updatedAt),
    merged: time(mr.mergedAt),
    closed: time(mr.closedAt),
    meta: mr.meta,
    digest: mr.digest,
    sanitized: mr.sanitized.length > 0 ? mr.sanitized : undefined,
  }
}
