import type { Ref, RefMove } from '../../domain/facts.ts'
import { type Db, rows } from '../connect.ts'

/** Ref name → commit: the commit cursor of a repository. */
export async function readHeads(db: Db, repoId: number): Promise<Record<string, string>> {
  const found = await rows<{ name: string; sha: string }>(
    db,
    'ref_read',
    'select ref_name as name, sha from scm.git_refs where repo_id = $1 order by ref_name',
    [repoId],
  )
  return Object.fromEntries(found.map((r) => [r.name, r.sha]))
}

export interface HeadsKnown {
  known: Record<string, string>
  seen: string[]
}

/**
 * The heads of repositories, and those that runs since the last landed sync were held against (backfills, interrupted
 * syncs). What these stored is not behind any ref of ours, so only this tells that a forced push has left it behind.
 */
export async function headsKnown(db: Db, repoIds: number[]): Promise<Map<number, HeadsKnown>> {
  const found = await rows<{ repoId: number; name: string | null; sha: string }>(
    db,
    'ref_known',
    'select repo_id as "repoId", name, sha from scm.heads_known($1)',
    [repoIds],
  )
  const heads = new Map(repoIds.map((id) => [id, { known: {}, seen: [] } as HeadsKnown]))
  for (const { repoId, name, sha } of found) {
    const of = heads.get(repoId)
    if (name === null) of?.seen.push(sha)
    else if (of) of.known[name] = sha
  }
  return heads
}

/** Moves the heads, in the transaction that stored the last of their commits. */
export async function moveHeads(
  tx: Db,
  by: { repoId: number; runId: number },
  refs: Ref[],
  moves: RefMove[],
): Promise<void> {
  if (moves.length === 0) return
  const moved = new Set(moves.map((m) => m.name))
  await rows(
    tx,
    'ref_move',
    `with gone as (
       delete from scm.git_refs where repo_id = $1 and ref_name = any($5::text[])),
     event as (
       insert into scm.git_ref_events (repo_id, ref_name, event, old_sha, new_sha, run_id)
       select $1, name, event, "oldSha", "newSha", $2
         from jsonb_to_recordset($4::jsonb) as x(name text, event text, "oldSha" text, "newSha" text))
     insert into scm.git_refs (repo_id, ref_name, kind, sha, run_id)
     select $1, name, kind, sha, $2 from jsonb_to_recordset($3::jsonb) as x(name text, kind text, sha text)
     on conflict (repo_id, ref_name) do update
        set sha = excluded.sha, kind = excluded.kind, run_id = excluded.run_id, updated_at = now()`,
    [
      by.repoId,
      by.runId,
      JSON.stringify(refs.filter((r) => moved.has(r.name))),
      JSON.stringify(moves),
      moves.filter((m) => m.event === 'deleted').map((m) => m.name),
    ],
  )
}
