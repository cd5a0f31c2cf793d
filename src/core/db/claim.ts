import type pg from 'pg'
import { rows } from './connect.ts'
import { HELD, type HeldJob } from './jobs.ts'

/** Who claims, what it may have (null = anything), and how much may run at once, by all workers together. */
export interface Claiming {
  count: number
  worker: string
  leaseSeconds: number
  jobTypes: string[] | null
  instances: string[] | null
  tenants: string[] | null
  limits: { running: number; perInstance: number; perTenant: number }
}

/**
 * Due jobs → held, up to `count`, in one round trip that is a transaction of its own: never call it inside another
 * one, and least of all beside a completion (measured: deadlocks within seconds). Fair and exact: see scm.claim_jobs.
 */
export async function claimJobs(pool: pg.Pool, ask: Claiming): Promise<HeldJob[]> {
  return rows<HeldJob>(
    pool,
    'job_claim',
    `select ${HELD} from scm.claim_jobs($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
    [
      ask.count,
      ask.worker,
      ask.leaseSeconds,
      ask.jobTypes,
      ask.instances,
      ask.tenants,
      ask.limits.running,
      ask.limits.perInstance,
      ask.limits.perTenant,
    ],
  )
}
