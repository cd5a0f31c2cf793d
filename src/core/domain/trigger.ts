import type { Json } from './ledger.ts'

export const SCHEDULER_CODES = ['XXL', 'QUARTZ', 'CRON', 'INTERNAL'] as const
export const TRIGGER_TYPES = ['SCHEDULE', 'MANUAL', 'RETRY', 'API'] as const

export type SchedulerCode = (typeof SCHEDULER_CODES)[number]
export type TriggerType = (typeof TRIGGER_TYPES)[number]

/** The k-th of n who were triggered at once, counted from 0. */
export interface Shard {
  index: number
  total: number
}

/** Who asked for the work of this process, as far as it was said. */
export interface Trigger {
  schedulerCode: SchedulerCode
  /** The scheduler's names for the job and for this one firing of it. With the second, the same trigger twice is once. */
  jobId: string | null
  logId: string | null
  /** null: not said; then it is MANUAL for a person's command and SCHEDULE for a scan. */
  triggerType: TriggerType | null
  triggeredAt: Date | null
  params: Json
  correlationId: string
  shard: Shard | null
}

/** Of a process that nobody handed anything. */
export function ownTrigger(correlationId: string): Trigger {
  return {
    schedulerCode: 'INTERNAL',
    jobId: null,
    logId: null,
    triggerType: null,
    triggeredAt: null,
    params: null,
    correlationId,
    shard: null,
  }
}

/** By their numbers: each repository belongs to one shard of n. */
export function isInShard(repoId: number, shard: Shard | null): boolean {
  return shard === null || repoId % shard.total === shard.index
}
