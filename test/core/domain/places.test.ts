import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Candidate } from '../../../src/core/domain/candidate.ts'
import { makeGates } from '../../../src/core/domain/gates.ts'
import { type Budget, type Limits, select } from '../../../src/core/domain/places.ts'
import { judge, type Pair, type Policy } from '../../../src/core/domain/schedule.ts'

const NO_GATES = makeGates(new Map(), [])
const limits: Limits = {
  maxRunning: 5,
  queueDepth: 10,
  perInstance: 3,
  perTenant: 5,
  maxEnqueue: 100,
  fairness: null,
}
const old: Pair = {
  repoId: 1,
  jobType: 'commits',
  instanceKey: '',
  tenantId: '',
  cursorAge: 7200,
  edited: false,
  active: false,
  pauseLeft: null,
  pausedAgo: null,
  repaired: false,
  runs: { total: 0, failed: 0, requests: 0, limited: 0 },
  lastRun: null,
  bucket: null,
}
const idle: Budget = { running: 0, pending: 0, byInstance: {}, byTenant: {} }

describe('who gets a place', () => {
  const candidate = (repoId: number, priority: number, more: Partial<Pair> = {}): Candidate => ({
    pair: { ...old, repoId, ...more },
    mode: 'incremental',
    priority,
    reason: '',
  })
  const ids = (candidates: Candidate[], budget: Budget = idle, more: Partial<Limits> = {}) =>
    select(candidates, budget, { ...limits, ...more }, NO_GATES).chosen.map((c) => c.pair.repoId)
  const many = (n: number) => Array.from({ length: n }, (_, i) => candidate(i + 1, 100))

  test.each<[why: string, budget: Partial<Budget>, more: Partial<Limits>, n: number]>([
    ['an empty queue takes its depth', {}, {}, 10],
    ['what waits and runs leaves the rest', { running: 2, pending: 5 }, {}, 3],
    ['a full queue takes nothing', { running: 2, pending: 8 }, {}, 0],
    ['an overfull queue takes nothing', { pending: 50 }, {}, 0],
    ['all that may run runs', { running: 5 }, {}, 0],
    ['one less than that runs', { running: 4 }, {}, 6],
    ['a tick makes no more than it may', {}, { maxEnqueue: 4 }, 4],
  ])('%s', (_why, budget, more, n) => {
    expect(ids(many(20), { ...idle, ...budget }, more)).toHaveLength(n)
  })

  test('the most urgent first, equals in the order they came', () => {
    expect(ids([candidate(1, 100), candidate(2, 50), candidate(3, 100), candidate(4, 50)])).toEqual([
      2, 4, 1, 3,
    ])
  })

  test('limits of host and tenant count what is active and what was chosen in this tick; who has neither is free', () => {
    const on = { instanceKey: 'a', tenantId: 't' }
    const chosen = select(
      [
        candidate(1, 1, on),
        candidate(2, 2, on),
        candidate(3, 3),
        candidate(4, 4, { tenantId: 't' }),
        candidate(5, 5, { tenantId: 't' }),
      ],
      { ...idle, byInstance: { a: 2 }, byTenant: { t: 3 } },
      limits,
      NO_GATES,
    )
    expect(chosen.chosen.map((c) => c.pair.repoId)).toEqual([1, 3, 4])
    expect(chosen.skipped.map((s) => [s.candidate.pair.repoId, s.reason])).toEqual([
      [2, 'instance_limit'],
      [5, 'tenant_limit'],
    ])
  })

  test('whoever is passed over for the host does not use up the tenant', () => {
    const on = { instanceKey: 'a', tenantId: 't' }
    const budget = { ...idle, byInstance: { a: 3 }, byTenant: { t: 4 } }
    expect(
      ids([candidate(1, 1, on), candidate(2, 2, on), candidate(3, 3, { tenantId: 't' })], budget),
    ).toEqual([3])
  })

  test('with fairness tenants take turns, beginning with the most urgent one; without a tenant is a tenant too', () => {
    const all = [
      ...[1, 2, 3, 4].map((id) => candidate(id, 10, { tenantId: 'big' })),
      candidate(5, 20, { tenantId: 'small' }),
      candidate(6, 30),
      candidate(7, 5, { tenantId: 'small' }),
    ]
    expect(ids(all, idle, { fairness: { maxPerRound: 1 } })).toEqual([7, 1, 6, 5, 2, 3, 4])
    expect(ids(all, idle, { fairness: { maxPerRound: 2 } })).toEqual([7, 5, 1, 2, 6, 3, 4])
    expect(ids(many(3), idle, { fairness: { maxPerRound: 1 } })).toEqual([1, 2, 3])
  })

  test('among equals the older first, then in the order they came', () => {
    const ages = [7200, 90_000, null, 400_000, 90_000]
    expect(ids(ages.map((cursorAge, i) => candidate(i + 1, 76, { cursorAge })))).toEqual([3, 4, 2, 5, 1])
  })

  test('repairs take what the syncs leave, whatever their priority', () => {
    const repair = (repoId: number, priority: number): Candidate => ({
      ...candidate(repoId, priority),
      mode: 'backfill',
    })
    const all = [repair(8, 150), candidate(1, 1099), candidate(2, 99), repair(9, 150)]
    expect(ids(all, idle, { maxEnqueue: 3 })).toEqual([2, 1, 8])
    expect(ids(all, idle, { maxEnqueue: 2 })).toEqual([2, 1])
    expect(ids(all, idle, { fairness: { maxPerRound: 1 } })).toEqual([2, 1, 8, 9])
  })

  test.each(['constructor', '__proto__', 'toString', 'hasOwnProperty'])(
    'a tenant or host that calls itself %s has limits like any other',
    (name) => {
      const all = Array.from({ length: 9 }, (_, i) => candidate(i + 1, 1, { tenantId: name }))
      expect(ids(all)).toHaveLength(limits.perTenant)
      expect(
        ids(all.map((c) => ({ ...c, pair: { ...c.pair, tenantId: '', instanceKey: name } }))),
      ).toHaveLength(3)
      const byTenant = JSON.parse(`{${JSON.stringify(name)}: 4}`)
      expect(ids(all, { ...idle, byTenant })).toHaveLength(1)
    },
  )
})

describe('whatever is due', () => {
  const names = fc.constantFrom('', 'a', 'b', 'c', 'constructor')
  const budgets: fc.Arbitrary<Budget> = fc.record({
    running: fc.nat(12),
    pending: fc.nat(12),
    byInstance: fc.dictionary(names, fc.nat(5)),
    byTenant: fc.dictionary(names, fc.nat(5)),
  })
  const anyLimits: fc.Arbitrary<Limits> = fc.record({
    maxRunning: fc.integer({ min: 1, max: 12 }),
    queueDepth: fc.integer({ min: 1, max: 40 }),
    perInstance: fc.integer({ min: 1, max: 6 }),
    perTenant: fc.integer({ min: 1, max: 6 }),
    maxEnqueue: fc.integer({ min: 1, max: 30 }),
    fairness: fc.option(fc.record({ maxPerRound: fc.integer({ min: 1, max: 3 }) })),
  })
  const candidates = fc
    .array(
      fc.record({
        instanceKey: names,
        tenantId: names,
        priority: fc.constantFrom(0, 76, 99, 150, 299, 1099),
        cursorAge: fc.option(fc.nat(100_000)),
        mode: fc.constantFrom('incremental' as const, 'incremental' as const, 'backfill' as const),
      }),
      { maxLength: 60 },
    )
    .map((found) =>
      found.map(
        ({ priority, mode, ...more }, i): Candidate => ({
          pair: { ...old, repoId: i + 1, ...more },
          mode,
          priority,
          reason: '',
        }),
      ),
    )
  const count = (chosen: Candidate[], key: 'instanceKey' | 'tenantId', name: string) =>
    chosen.filter((c) => c.pair[key] === name).length

  test('no limit is ever passed, nobody is chosen twice, and no place stays empty that somebody could have', () => {
    fc.assert(
      fc.property(candidates, budgets, anyLimits, (found, budget, l) => {
        const { chosen, skipped } = select(found, budget, l, NO_GATES)
        expect(new Set(chosen).size).toBe(chosen.length)
        expect(chosen.every((c) => found.includes(c))).toBe(true)
        expect(chosen.length).toBeLessThanOrEqual(l.maxEnqueue)
        if (budget.running >= l.maxRunning) expect(chosen).toEqual([])
        if (chosen.length > 0)
          expect(budget.running + budget.pending + chosen.length).toBeLessThanOrEqual(l.queueDepth)

        const roomIn = (key: 'instanceKey' | 'tenantId', name: string) => {
          const [used, most] =
            key === 'instanceKey' ? [budget.byInstance, l.perInstance] : [budget.byTenant, l.perTenant]
          const before = new Map(Object.entries(used)).get(name) ?? 0
          return name === '' ? Number.POSITIVE_INFINITY : most - before - count(chosen, key, name)
        }
        const fits = ({ pair }: Candidate) =>
          roomIn('instanceKey', pair.instanceKey) > 0 && roomIn('tenantId', pair.tenantId) > 0
        for (const { pair } of chosen) {
          expect(roomIn('instanceKey', pair.instanceKey)).toBeGreaterThanOrEqual(0)
          expect(roomIn('tenantId', pair.tenantId)).toBeGreaterThanOrEqual(0)
        }

        const places = Math.min(l.maxEnqueue, l.queueDepth - budget.running - budget.pending)
        if (budget.running < l.maxRunning && chosen.length < places)
          for (const c of found) expect(chosen.includes(c) || !fits(c)).toBe(true)
        for (const { candidate, reason } of skipped) {
          const key = reason === 'instance_limit' ? 'instanceKey' : 'tenantId'
          expect(roomIn(key, candidate.pair[key])).toBeLessThanOrEqual(0)
        }
      }),
      { numRuns: 500 },
    )
  })

  test('the order they come in decides among equals only', () => {
    const shuffled = candidates.chain((found) =>
      fc.shuffledSubarray(found, { minLength: found.length }).map((other) => [found, other] as const),
    )
    const rank = (c: Candidate) =>
      [c.mode, c.priority, c.pair.cursorAge, c.pair.instanceKey, c.pair.tenantId].join()
    fc.assert(
      fc.property(shuffled, budgets, anyLimits, ([found, other], budget, l) => {
        const unique = (all: Candidate[]) => {
          const seen = new Set<string>()
          // Same priority and same age: there the order may count.
          return all.filter((c) => {
            const key = [c.mode, c.priority, c.pair.cursorAge].join()
            return !seen.has(key) && seen.add(key)
          })
        }
        const kept = unique(found)
        const mixed = other.filter((c) => kept.includes(c))
        expect(select(mixed, budget, l, NO_GATES).chosen.map(rank)).toEqual(
          select(kept, budget, l, NO_GATES).chosen.map(rank),
        )
      }),
    )
  })
})

describe('in the long run', () => {
  const policy: Policy = {
    cursorAgeThreshold: 3600,
    errorBudgetThreshold: 0.3,
    rateLimitThreshold: 0.1,
    repair: {
      after: 86_400,
      atMost: 604_800,
      chunk: { calm: 86_400, afterTrouble: 3600, least: 300, shrink: 0.5, grow: 1.5, goodRuns: 5 },
    },
    jobTypes: null,
  }

  /** Ticks until everybody was chosen, each choice being synced before the next tick. */
  function ticksUntilAllHad(seen: Float64Array, tickSeconds: number, l: Limits, atMost: number): number {
    const missing = new Set(seen.keys())
    for (let tick = 1; tick <= atMost; tick++) {
      const now = tick * tickSeconds
      const due = [...seen.keys()].flatMap((repoId): Candidate[] => {
        const pair = { ...old, repoId, tenantId: `t${repoId % 7}`, cursorAge: now - (seen[repoId] as number) }
        const verdict = judge(pair, policy)
        return verdict.due ? [{ pair, mode: 'incremental', priority: verdict.priority, reason: '' }] : []
      })
      for (const { pair } of select(due, idle, l, NO_GATES).chosen) {
        seen[pair.repoId] = now
        missing.delete(pair.repoId)
      }
      if (missing.size === 0) return tick
    }
    return Number.POSITIVE_INFINITY
  }
  const wide = { ...limits, queueDepth: 1e6, perInstance: 1e6, perTenant: 1e6 }

  // A tick every ten minutes makes 14,400 places a day; before all have had theirs, the first are due again many times.
  test.each([
    ['by priority alone', null],
    ['in turns', { maxPerRound: 1 }],
  ])(
    'ten thousand that are all as urgent as can be, a hundred a tick, %s: none is left out',
    (_how, fairness) => {
      const seen = new Float64Array(10_000).fill(-10 * 86_400)
      expect(ticksUntilAllHad(seen, 600, { ...wide, fairness }, 120)).toBeLessThanOrEqual(103)
    },
  )

  test('when a day is too short for all of them, the last still has its turn', () => {
    const seen = new Float64Array(2_000).fill(-86_400)
    expect(ticksUntilAllHad(seen, 3600, { ...wide, maxEnqueue: 20 }, 200)).toBe(100)
  })
})
