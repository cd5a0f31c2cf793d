/** Who gets one of the few places in the queue. */
import type { Candidate } from './candidate.ts'
import type { Gates, Refusal } from './gates.ts'
import type { Pair } from './schedule.ts'

/** What waits and runs before the tick. */
export interface Budget {
  running: number
  pending: number
  byInstance: Record<string, number>
  byTenant: Record<string, number>
}

export interface Limits {
  maxRunning: number
  queueDepth: number
  perInstance: number
  perTenant: number
  maxEnqueue: number
  fairness: { maxPerRound: number } | null
}

export interface Selection<C extends Candidate> {
  chosen: C[]
  /**
   * Passed over because of a breaker, or because their host or tenant has all the places it may have. Whoever only
   * stands too far back is not here.
   */
  skipped: { candidate: C; reason: Refusal | 'instance_limit' | 'tenant_limit' }[]
}

/** The best candidates that fit what is left: of the whole queue, of each host, of each tenant, of one tick. */
export function select<C extends Candidate>(
  candidates: C[],
  budget: Budget,
  limits: Limits,
  gates: Gates,
): Selection<C> {
  const selection: Selection<C> = { chosen: [], skipped: [] }
  const places = placesLeft(budget, limits)
  if (places <= 0) return selection

  const instances = tallyOf(budget.byInstance)
  const tenants = tallyOf(budget.byTenant)
  for (const candidate of inTurn(candidates, limits)) {
    if (selection.chosen.length === places) break
    const { instanceKey, tenantId } = candidate.pair
    const refusal = gates.refusal(candidate)
    if (refusal !== null) {
      selection.skipped.push({ candidate, reason: refusal })
    } else if (instanceKey !== '' && instances.of(instanceKey) >= limits.perInstance) {
      selection.skipped.push({ candidate, reason: 'instance_limit' })
    } else if (tenantId !== '' && tenants.of(tenantId) >= limits.perTenant) {
      selection.skipped.push({ candidate, reason: 'tenant_limit' })
    } else {
      instances.add(instanceKey)
      tenants.add(tenantId)
      gates.passed(candidate)
      selection.chosen.push(candidate)
    }
  }
  return selection
}

/** Nothing new while all that may run runs: it would only grow old in the queue. */
function placesLeft(budget: Budget, limits: Limits): number {
  if (budget.running >= limits.maxRunning) return 0
  return Math.min(limits.maxEnqueue, limits.queueDepth - budget.running - budget.pending)
}

/** Syncs before repairs; with fairness the tenants take turns in each, the most urgent one first. */
function inTurn<C extends Candidate>(candidates: C[], { fairness }: Limits): C[] {
  const sorted = [...candidates].sort(byUrgency)
  return (['incremental', 'backfill'] as const).flatMap((mode) => {
    const mine = sorted.filter((c) => c.mode === mode)
    return fairness === null ? mine : inRounds(mine, fairness.maxPerRound)
  })
}

/**
 * By priority, then the older first, then in the order they came. Age decides among equals although it counts in the
 * priority, because there it ends at a day: with more repositories than a day can sync, the same ones would come first
 * each day and the last would never come.
 */
function byUrgency(a: Candidate, b: Candidate): number {
  return a.priority - b.priority || ageOf(b.pair) - ageOf(a.pair)
}

const ageOf = (pair: Pair): number => pair.cursorAge ?? Number.MAX_SAFE_INTEGER

function inRounds<C extends Candidate>(sorted: C[], perRound: number): C[] {
  const queues = new Map<string, C[]>()
  for (const candidate of sorted) {
    const { tenantId } = candidate.pair
    const queue = queues.get(tenantId)
    if (queue) queue.push(candidate)
    else queues.set(tenantId, [candidate])
  }
  const fair: C[] = []
  for (let taken = 0; fair.length < sorted.length; taken += perRound) {
    for (const [tenantId, queue] of queues) {
      fair.push(...queue.slice(taken, taken + perRound))
      if (queue.length <= taken + perRound) queues.delete(tenantId) // else each round walks all who have nothing left
    }
  }
  return fair
}

/** A Map: a tenant may be called `constructor`, and an object has one of those before anybody counts. */
function tallyOf(counted: Record<string, number>) {
  const counts = new Map(Object.entries(counted))
  const of = (key: string) => counts.get(key) ?? 0
  return { of, add: (key: string) => void counts.set(key, of(key) + 1) }
}
