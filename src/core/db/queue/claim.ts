import type pg from 'pg'
import type { CircuitState } from '../../domain/breaker.ts'
import { JOB_TYPES, type Repo } from '../../domain/repo.ts'
import { rows } from '../connect.ts'
import { codeOf } from '../failure.ts'
import { HELD, type HeldJob } from './jobs.ts'

/** Who claims, what it may have (null = anything), and how much may run at once, by all workers together. */
export interface Claiming {
  /** Whose breakers hold jobs back. */
  project: string
  count: number
  worker: string
  leaseSeconds: number
  jobTypes: string[] | null
  instances: string[] | null
  tenants: string[] | null
  limits: { running: number; perInstance: number; perTenant: number }
}

/** A held job with what its worker looks at first. */
export interface ClaimedJob extends HeldJob {
  /** null: not registered (any more). */
  repo: Repo | null
  /** What the operators' kv cursor holds at this moment; null when there is none. */
  kvCursor: unknown
  /** The breaker that let it through although it is not closed. */
  circuit: Exclude<CircuitState, 'closed'> | null
}

/**
 * Due jobs → held, up to `count`, in one round trip that is a transaction of its own: never call it inside another
 * one, and least of all beside a completion (measured: deadlocks within seconds). Fair and exact: see scm.claim_jobs.
 */
export async function claimJobs(pool: pg.Pool, ask: Claiming): Promise<ClaimedJob[]> {
  const askedAt = performance.now()
  const claimed = await taken(
    pool,
    `select ${HELD}, repo, kv_cursor as "kvCursor", circuit from scm.claim_jobs($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
    [
      ask.project,
      ask.count,
      ask.worker,
      ask.leaseSeconds,
      // Each is looked for by itself, so that no backlog of another type is walked over.
      ask.jobTypes ?? JOB_TYPES,
      ask.instances,
      ask.tenants,
      ask.limits.running,
      ask.limits.perInstance,
      ask.limits.perTenant,
    ],
  )
  return claimed.map((job) => ({ ...job, askedAt }))
}

/** An enqueue or an operator raced us for an active key: nothing was taken, and the next look finds it settled. */
async function taken(pool: pg.Pool, text: string, values: unknown[]): Promise<Omit<ClaimedJob, 'askedAt'>[]> {
  try {
    return await rows(pool, 'job_claim', text, values)
  } catch (error) {
    if (codeOf(error) !== '23505') throw error
    throw Object.assign(new Error('another job took the active key at this moment', { cause: error }), {
      code: '40001',
    })
  }
}
