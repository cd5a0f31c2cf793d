import type { Patch } from '../../domain/facts.ts'
import { type Db, rows } from '../connect.ts'

/** A patch with the key of its commit or revision, and why it is not the diff, where it is not. */
export type KeyedPatch = Patch & { key: string; why: string | null }

export function patchPayload(patches: KeyedPatch[]): string | null {
  return patches.length === 0 ? null : JSON.stringify(patches)
}

const RANK = (column: string) => `array_position(array['ministat', 'diffstat', 'diff'], ${column})`

/** Writes patches, but those of `except`. One that says less never replaces one that says more. */
export async function upsertPatches(
  tx: Db,
  by: { repoId: number; runId: number },
  payload: string | null,
  except: string[] = [],
): Promise<void> {
  if (payload === null) return
  await rows(
    tx,
    'patch_upsert',
    `insert into scm.patch_blobs as p (repo_id, source_key, format, content, sha256, size_bytes, degraded_reason, run_id)
     select $1, key, format, text, sha256, "sizeBytes", why, $2
       from jsonb_to_recordset($3::jsonb) as x(key text, format text, text text, sha256 text, "sizeBytes" bigint, why text)
      where key <> all($4)
     on conflict (repo_id, source_key) do update
        set format = excluded.format, content = excluded.content, sha256 = excluded.sha256, size_bytes = excluded.size_bytes,
            degraded_reason = excluded.degraded_reason, run_id = excluded.run_id, updated_at = now()
      where (p.format, p.sha256) is distinct from (excluded.format, excluded.sha256)
        and ${RANK('excluded.format')} >= ${RANK('p.format')}`,
    [by.repoId, by.runId, payload, except],
  )
}

/** Forgets the patches of what was replaced by another under the same key. */
export async function deletePatches(tx: Db, repoId: number, keys: string[]): Promise<void> {
  await rows(tx, 'patch_delete', 'delete from scm.patch_blobs where repo_id = $1 and source_key = any($2)', [
    repoId,
    keys,
  ])
}
