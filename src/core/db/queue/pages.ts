import type { Json } from '../../domain/ledger.ts'
import { batchKey } from '../../domain/ledger.ts'
import { type Db, row } from '../connect.ts'
import type { HeldJob } from './jobs.ts'

export interface StoredPage {
  beforeToken: string
  afterToken: string
  records: number
  stats: { synced: number; skipped: number }
  checkpoint: Json
  /** What the run has done up to here: shown while it runs, and left behind when it is killed. */
  runStats: Json
  /** Written with the first page only: it may be large. */
  pinned: Json | null
  last: boolean
}

/** The first batch of a run, RUNNING at the place where it starts; the same one again when it is there already. */
export async function openBatch(tx: Db, held: HeldJob, beforeToken: string): Promise<number> {
  const opened = await row<{ id: number }>(
    tx,
    'batch_open',
    `insert into ing_task_run_batch (run_id, task_id, slice_id, plan_id, expr_hash, batch_no, before_token, idempotent_key)
     values ($1, $2, $3, $4, $5, 1, $6, $7)
     on conflict (run_id, batch_no) do update set batch_no = excluded.batch_no
     returning id`,
    [
      held.runId,
      held.jobId,
      held.sliceId,
      held.planId,
      held.exprHash,
      beforeToken,
      batchKey(held.runId, beforeToken),
    ],
  )
  return (opened as { id: number }).id
}

/**
 * Batch RUNNING → SUCCEEDED with its tokens and count, and the next one opened. Returns the next batch's id (null
 * after the last page). A batch found SUCCEEDED with the same token was stored by a commit whose answer was lost:
 * `storedBefore` is what it said then.
 */
export async function closeBatch(
  tx: Db,
  held: HeldJob,
  batchId: number,
  page: StoredPage,
): Promise<{ nextBatchId: number | null; storedBefore: StoredPage['stats'] | null }> {
  const stored = await row<{ next: number | null; before: StoredPage['stats'] | null }>(
    tx,
    'batch_close',
    `with done as (
       update ing_task_run_batch
          set status_code = 'SUCCEEDED', before_token = $3, idempotent_key = $12, after_token = $4, record_count = $5, stats = $6, committed_at = now()
        where id = $1 and run_id = $2 and status_code = 'RUNNING'
       returning run_id, task_id, slice_id, plan_id, expr_hash, batch_no),
     next as (
       insert into ing_task_run_batch (run_id, task_id, slice_id, plan_id, expr_hash, batch_no, before_token, idempotent_key)
       select run_id, task_id, slice_id, plan_id, expr_hash, batch_no + 1, $4, $9 from done where not $8::boolean
       returning id),
     run as (
       update ing_task_run set checkpoint = $7, pinned = coalesce($10::jsonb, pinned), stats = $11 where id = $2)
     select coalesce((select id from next), (
              select b.id from ing_task_run_batch b join ing_task_run_batch mine on mine.id = $1
               where b.run_id = $2 and b.batch_no = mine.batch_no + 1)) as next,
            case when not exists (select from done) then stats end as before
       from ing_task_run_batch where id = $1 and (exists (select from done) or (status_code = 'SUCCEEDED' and after_token = $4))`,
    [
      batchId,
      held.runId,
      page.beforeToken,
      page.afterToken,
      page.records,
      JSON.stringify(page.stats),
      JSON.stringify(page.checkpoint),
      page.last,
      batchKey(held.runId, page.afterToken),
      page.pinned === null ? null : JSON.stringify(page.pinned),
      JSON.stringify(page.runStats),
      // Opened for the place to resume at; a read that began anew starts at '' instead, and may come by that place again.
      batchKey(held.runId, page.beforeToken),
    ],
  )
  if (stored === null) throw new Error(`batch ${batchId} is neither running nor stored with this token`)
  return { nextBatchId: stored.next, storedBefore: stored.before }
}
