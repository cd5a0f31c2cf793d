import type { Pair } from './schedule.ts'

/** A job somebody wants, before it is known whether there is a place for it. */
export interface Candidate {
  pair: Pair
  /** backfill = a repair, which takes only what the others leave. */
  mode: 'incremental' | 'backfill'
  priority: number
  reason: string
}
