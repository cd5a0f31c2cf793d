import type { Json } from '../../domain/ledger.ts'
import { type Db, rows } from '../connect.ts'
import type { HeldJob } from './jobs.ts'

export interface Ending {
  held: HeldJob
  stats: Json
  cursorAfter: Json
}

/** running → completed, with run, slice, plan and lock, for any number of jobs. Answers those that were still ours. */
export async function completeJobs(tx: Db, ends: Ending[]): Promise<Set<number>> {
  const done = await rows<{ jobId: number }>(
    tx,
    'job_complete',
    'select id as "jobId" from scm.complete_jobs($1, $2, $3, $4, $5) id',
    endingValues(ends),
  )
  return new Set(done.map((d) => d.jobId))
}

/**
 * The same for syncs that found nothing: no cursor moves, there is no event; only the operators' kv cursor says that it
 * was looked at. Should one of them be setting it elsewhere, that is seen by what it holds, not by its age.
 */
export async function completePolls(db: Db, polls: (Ending & { kvKey: string })[]): Promise<Set<number>> {
  const done = await rows<{ jobId: number }>(
    db,
    'job_complete_polls',
    'select id as "jobId" from scm.complete_polls($1, $2, $3, $4, $5, $6) id',
    [...endingValues(polls), polls.map((p) => p.kvKey)],
  )
  return new Set(done.map((d) => d.jobId))
}

function endingValues(ends: Ending[]): unknown[] {
  return [
    ends.map((e) => e.held.jobId),
    ends.map((e) => e.held.fence),
    ends.map((e) => e.held.runId),
    ends.map((e) => JSON.stringify(e.stats)),
    ends.map((e) => JSON.stringify(e.cursorAfter)),
  ]
}
