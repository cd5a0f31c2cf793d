/** Who is due, how urgent, and who gets one of the few places: decided here, without a clock or a database. */
import type { JobType } from './repo.ts'

/** One repo and job type as a tick finds it. Every age is in seconds, by the database's clock. */
export interface Pair {
  repoId: number
  jobType: JobType
  instanceKey: string
  tenantId: string
  /** Since the cursor was last written; null = never synced. */
  cursorAge: number | null
  /** An operator has set the cursor to another place and it was not obeyed yet. */
  edited: boolean
  /** A job of it waits or runs. */
  active: boolean
  /** Left of a pause; null = none was ever made, zero or less = it is over. */
  pauseLeft: number | null
  /** Since that pause was made. */
  pausedAgo: number | null
  /** Its latest finished runs, as many as the error budget looks at. */
  runs: { total: number; failed: number; requests: number; limited: number }
  /** The newest of them. */
  lastRun: { failed: boolean; ago: number } | null
  /** Requests its upstream host still grants; null = no budget is kept for it. */
  bucket: { paused: boolean; fill: number } | null
}

export interface Policy {
  cursorAgeThreshold: number
  errorBudgetThreshold: number
  rateLimitThreshold: number
  maxRunning: number
  queueDepth: number
  perInstance: number
  perTenant: number
  maxEnqueue: number
  fairness: { maxPerRound: number } | null
  /** null = all of them. */
  jobTypes: readonly JobType[] | null
}

/** What waits and runs before the tick. */
export interface Budget {
  running: number
  pending: number
  byInstance: Record<string, number>
  byTenant: Record<string, number>
}

export type Verdict =
  | { due: true; priority: number; reason: string }
  | { due: false; reason: 'active' | 'paused' | 'mvp_mode' | 'within_threshold' }
  /** Its error budget is spent: it rests, and is tried once more after that. */
  | { due: false; reason: 'error_budget_exceeded'; failureRate: number }

const WEIGHTS: Record<JobType, number> = { commits: 1, mrs: 2, reviews: 3 }
/** Beyond a day older is not more urgent. */
const MOST_HOURS = 24
const LOW_FILL = 0.2

export function judge(pair: Pair, policy: Policy): Verdict {
  if (policy.jobTypes && !policy.jobTypes.includes(pair.jobType)) return { due: false, reason: 'mvp_mode' }
  if (pair.active) return { due: false, reason: 'active' }
  if (pair.pauseLeft !== null && pair.pauseLeft > 0) return { due: false, reason: 'paused' }
  const isDue = pair.cursorAge === null || pair.edited || pair.cursorAge >= policy.cursorAgeThreshold
  if (!isDue) return { due: false, reason: 'within_threshold' }

  const failureRate = share(pair.runs.failed, pair.runs.total)
  const limitedRate = share(pair.runs.limited, pair.runs.requests)
  const spent = pair.runs.total > 0 && failureRate >= policy.errorBudgetThreshold
  // A last run that went well says more than nine bad ones before it. And a pause made after the last run was
  // served for that failure: now it is tried again, or it would never be.
  const served = pair.pausedAgo !== null && pair.lastRun !== null && pair.pausedAgo <= pair.lastRun.ago
  if (spent && pair.lastRun?.failed && !served)
    return { due: false, reason: 'error_budget_exceeded', failureRate }

  const base = WEIGHTS[pair.jobType] * 100
  const age = ageAdjustment(pair)
  const limited = limitedRate >= policy.rateLimitThreshold && pair.runs.requests > 0 ? 50 : 0
  const troubled = Math.trunc(failureRate * 100) + Math.trunc(limitedRate * 200)
  return {
    due: true,
    priority: base + age.adjustment + limited + troubled + bucketPenalty(pair.bucket),
    reason: age.reason,
  }
}

function ageAdjustment(pair: Pair): { adjustment: number; reason: string } {
  if (pair.cursorAge === null) return { adjustment: -100, reason: 'never_synced' }
  const hours = Math.trunc(Math.min(pair.cursorAge / 3600, MOST_HOURS))
  return {
    adjustment: -hours,
    reason: pair.edited ? 'cursor_edited' : `cursor_age=${Math.trunc(pair.cursorAge)}s`,
  }
}

function bucketPenalty(bucket: Pair['bucket']): number {
  if (bucket === null) return 0
  if (bucket.paused) return 1000
  return bucket.fill < LOW_FILL ? 200 : 0
}

function share(part: number, whole: number): number {
  return whole === 0 ? 0 : Math.min(1, part / whole)
}

export interface Candidate {
  pair: Pair
  priority: number
  reason: string
}

export interface Selection {
  chosen: Candidate[]
  /** Passed over because their host or tenant has all the places it may have. Whoever only stands too far back is not here. */
  skipped: { candidate: Candidate; reason: 'instance_limit' | 'tenant_limit' }[]
}

/** The best candidates that fit what is left: of the whole queue, of each host, of each tenant, of one tick. */
export function select(candidates: Candidate[], budget: Budget, policy: Policy): Selection {
  const selection: Selection = { chosen: [], skipped: [] }
  const places = placesLeft(budget, policy)
  if (places <= 0) return selection

  const instances = { ...budget.byInstance }
  const tenants = { ...budget.byTenant }
  for (const candidate of inTurn(candidates, policy)) {
    if (selection.chosen.length === places) break
    const { instanceKey, tenantId } = candidate.pair
    if (instanceKey !== '' && (instances[instanceKey] ?? 0) >= policy.perInstance) {
      selection.skipped.push({ candidate, reason: 'instance_limit' })
    } else if (tenantId !== '' && (tenants[tenantId] ?? 0) >= policy.perTenant) {
      selection.skipped.push({ candidate, reason: 'tenant_limit' })
    } else {
      instances[instanceKey] = (instances[instanceKey] ?? 0) + 1
      tenants[tenantId] = (tenants[tenantId] ?? 0) + 1
      selection.chosen.push(candidate)
    }
  }
  return selection
}

/** Nothing new while all that may run runs: it would only grow old in the queue. */
function placesLeft(budget: Budget, policy: Policy): number {
  if (budget.running >= policy.maxRunning) return 0
  return Math.min(policy.maxEnqueue, policy.queueDepth - budget.running - budget.pending)
}

/** By priority, equals in the order they came; with fairness the tenants take turns, the most urgent one first. */
function inTurn(candidates: Candidate[], policy: Policy): Candidate[] {
  const sorted = [...candidates].sort((a, b) => a.priority - b.priority)
  if (policy.fairness === null) return sorted

  const queues = new Map<string, Candidate[]>()
  for (const candidate of sorted) {
    const { tenantId } = candidate.pair
    const queue = queues.get(tenantId)
    if (queue) queue.push(candidate)
    else queues.set(tenantId, [candidate])
  }
  const fair: Candidate[] = []
  for (let taken = 0; fair.length < sorted.length; taken += policy.fairness.maxPerRound) {
    for (const queue of queues.values()) fair.push(...queue.slice(taken, taken + policy.fairness.maxPerRound))
  }
  return fair
}
