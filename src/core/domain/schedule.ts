/** Who is due, how urgent, and who was out of sight for so long that a repair is wanted: without a clock or a database. */
import type { JobType } from './repo.ts'

/** One repo and job type as a tick finds it. Every age is in seconds, by the database's clock. */
export interface Pair {
  repoId: number
  jobType: JobType
  instanceKey: string
  tenantId: string
  /** Since a sync last ended well, whether or not it found anything; null = never. */
  cursorAge: number | null
  /** An operator has set the cursor to another place and it was not obeyed yet. */
  edited: boolean
  /** A job of it waits or runs. */
  active: boolean
  /** Left of a pause; null = none was ever made, zero or less = it is over. */
  pauseLeft: number | null
  /** Since that pause was made. */
  pausedAgo: number | null
  /** A repair of it is under way, or was made within the repair window. */
  repaired: boolean
  /** Its latest finished runs, as many as the error budget looks at. */
  runs: { total: number; failed: number; requests: number; limited: number }
  /** The newest of them. */
  lastRun: { failed: boolean; ago: number } | null
  /** Requests its upstream host still grants, as a share of all it may; null = no budget is kept for it. */
  bucket: { pauseLeft: number; fill: number } | null
}

export interface Policy {
  cursorAgeThreshold: number
  errorBudgetThreshold: number
  rateLimitThreshold: number
  /** Seconds out of sight after which a repair is wanted, and the most it reads again. */
  repair: { after: number; atMost: number; chunk: ChunkPolicy }
  /** null = all of them. */
  jobTypes: readonly JobType[] | null
}

/** Seconds, and factors for bad and good runs. */
export interface ChunkPolicy {
  calm: number
  afterTrouble: number
  least: number
  shrink: number
  grow: number
  goodRuns: number
}

export type Verdict =
  | { due: true; priority: number; reason: string }
  | { due: false; reason: 'active' | 'paused' | 'mvp_mode' | 'within_threshold' }
  /** Its error budget is spent: it rests, and is tried once more after that. */
  | { due: false; reason: 'error_budget_exceeded' }

const WEIGHTS: Record<JobType, number> = { commits: 1, mrs: 2, reviews: 3 }
/** Beyond a day older is not more urgent; among equals the older still comes first. */
const MOST_HOURS = 24
const LOW_FILL = 0.2

export function judge(pair: Pair, policy: Policy): Verdict {
  if (policy.jobTypes && !policy.jobTypes.includes(pair.jobType)) return { due: false, reason: 'mvp_mode' }
  if (pair.active) return { due: false, reason: 'active' }
  if (pair.pauseLeft !== null && pair.pauseLeft > 0) return { due: false, reason: 'paused' }
  const isDue = pair.cursorAge === null || pair.edited || pair.cursorAge >= policy.cursorAgeThreshold
  if (!isDue) return { due: false, reason: 'within_threshold' }

  const spent = pair.runs.total > 0 && failureRate(pair) >= policy.errorBudgetThreshold
  // A last run that went well says more than nine bad ones before it. And a pause made after the last run was
  // served for that failure: now it is tried again, or it would never be.
  const served = pair.pausedAgo !== null && pair.lastRun !== null && pair.pausedAgo <= pair.lastRun.ago
  if (spent && pair.lastRun?.failed && !served) return { due: false, reason: 'error_budget_exceeded' }

  const { failed, total, limited, requests } = pair.runs
  const age = ageAdjustment(pair)
  const throttled = requests > 0 && limitedRate(pair) >= policy.rateLimitThreshold ? 50 : 0
  return {
    due: true,
    priority:
      WEIGHTS[pair.jobType] * 100 +
      age.adjustment +
      throttled +
      points(100, failed, total) +
      points(200, limited, requests) +
      (bucketPenalty(pair)?.value ?? 0),
    reason: age.reason,
  }
}

/**
 * A sync that ended well, and then none for the length of the repair window: the time since is to be read again by
 * date, beside the sync that goes on from the cursor. null = not wanted. Meant for those who are due.
 */
export function repairOf(
  pair: Pair,
  policy: Policy,
): { priority: number; reason: string; seconds: number } | null {
  if (pair.cursorAge === null || pair.edited || pair.repaired || pair.cursorAge < policy.repair.after)
    return null
  return {
    priority: WEIGHTS[pair.jobType] * 100 + 50,
    reason: `repair:${ageAdjustment(pair).reason}`,
    seconds: Math.min(pair.cursorAge, policy.repair.atMost),
  }
}

/** Seconds of one chunk of a repair: all at once in calm weather, in pieces after trouble. */
export function repairChunk({ runs }: Pair, { repair: { chunk } }: Policy): number {
  if (runs.failed === 0 && runs.limited === 0) return chunk.calm
  const steps = Math.floor((runs.total - runs.failed) / chunk.goodRuns)
  const wanted = chunk.afterTrouble * chunk.shrink ** runs.failed * chunk.grow ** steps
  return Math.min(Math.max(chunk.calm, chunk.least), Math.max(chunk.least, Math.floor(wanted)))
}

export const failureRate = ({ runs }: Pair): number => share(runs.failed, runs.total)
export const limitedRate = ({ runs }: Pair): number => share(runs.limited, runs.requests)

/** A host that rests or grants little puts its repositories behind the others; it forgets none of them. */
export function bucketPenalty({ bucket }: Pair): { reason: string; value: number } | null {
  if (bucket === null) return null
  if (bucket.pauseLeft > 0) return { reason: 'bucket_paused', value: 1000 }
  return bucket.fill < LOW_FILL ? { reason: 'bucket_low_tokens', value: 200 } : null
}

function ageAdjustment(pair: Pair): { adjustment: number; reason: string } {
  if (pair.cursorAge === null) return { adjustment: -100, reason: 'never_synced' }
  const hours = Math.trunc(Math.min(pair.cursorAge / 3600, MOST_HOURS))
  return {
    adjustment: -hours,
    reason: pair.edited ? 'cursor_edited' : `cursor_age=${Math.trunc(pair.cursorAge)}s`,
  }
}

function share(part: number, whole: number): number {
  return whole === 0 ? 0 : Math.min(1, part / whole)
}

/** Whole points of a share. Multiplied first: 0.29 * 100 is 28.999999999999996. */
function points(most: number, part: number, whole: number): number {
  return whole === 0 ? 0 : Math.trunc(Math.min(most, (most * part) / whole))
}
