import { describe, expect, test } from 'vitest'
import {
  type Budget,
  type Candidate,
  judge,
  type Pair,
  type Policy,
  select,
} from '../../../src/core/domain/schedule.ts'

const policy: Policy = {
  cursorAgeThreshold: 3600,
  errorBudgetThreshold: 0.3,
  rateLimitThreshold: 0.1,
  maxRunning: 5,
  queueDepth: 10,
  perInstance: 3,
  perTenant: 5,
  maxEnqueue: 100,
  fairness: null,
  jobTypes: null,
}
const none = { total: 0, failed: 0, requests: 0, limited: 0 }
const fresh: Pair = {
  repoId: 1,
  jobType: 'commits',
  instanceKey: '',
  tenantId: '',
  cursorAge: 0,
  edited: false,
  active: false,
  pauseLeft: null,
  pausedAgo: null,
  runs: none,
  lastRun: null,
  bucket: null,
}
const old: Pair = { ...fresh, cursorAge: 7200 }
const failing = { runs: { ...none, total: 10, failed: 3 }, lastRun: { failed: true, ago: 500 } }

describe('who is due', () => {
  test.each<[why: string, pair: Partial<Pair>, verdict: string]>([
    ['younger than the threshold by a second', { cursorAge: 3599 }, 'within_threshold'],
    ['exactly as old as the threshold', { cursorAge: 3600 }, 'cursor_age=3600s'],
    ['never synced', { cursorAge: null }, 'never_synced'],
    ['fresh, but an operator moved the cursor', { edited: true }, 'cursor_edited'],
    ['a job of it waits already', { cursorAge: null, active: true }, 'active'],
    ['paused for one more second', { cursorAge: null, pauseLeft: 1 }, 'paused'],
    ['its pause ends now', { cursorAge: 7200, pauseLeft: 0 }, 'cursor_age=7200s'],
    [
      'failures just below the budget',
      { ...old, runs: { ...none, total: 10, failed: 2 }, lastRun: { failed: true, ago: 1 } },
      'cursor_age=7200s',
    ],
    ['failures exactly at the budget', { ...old, ...failing }, 'error_budget_exceeded'],
    [
      'one failure of one run',
      { ...old, runs: { ...none, total: 1, failed: 1 }, lastRun: { failed: true, ago: 9 } },
      'error_budget_exceeded',
    ],
    [
      'the rest for that failure is over: tried once more',
      { ...old, ...failing, pauseLeft: -1, pausedAgo: 300 },
      'cursor_age=7200s',
    ],
    [
      'failed again since that rest',
      { ...old, ...failing, pauseLeft: -1, pausedAgo: 501 },
      'error_budget_exceeded',
    ],
    [
      'nine failures, then a success',
      { ...old, runs: { ...none, total: 10, failed: 9 }, lastRun: { failed: false, ago: 1 } },
      'cursor_age=7200s',
    ],
    ['fresh and failing: nothing to decide yet', { ...failing }, 'within_threshold'],
  ])('%s', (_why, pair, verdict) => {
    expect(judge({ ...fresh, ...pair }, policy).reason).toBe(verdict)
  })

  test('MVP mode lets only its job types through', () => {
    expect(judge({ ...old, jobType: 'mrs' }, { ...policy, jobTypes: ['commits'] }).reason).toBe('mvp_mode')
    expect(judge(old, { ...policy, jobTypes: ['commits'] }).due).toBe(true)
  })
})

describe('how urgent', () => {
  test.each<[why: string, pair: Partial<Pair>, priority: number]>([
    ['never synced', { cursorAge: null }, 0],
    ['an hour old', { cursorAge: 3600 }, 99],
    ['two and a half hours count as two', { cursorAge: 9000 }, 98],
    ['a day', { cursorAge: 86_400 }, 76],
    ['a year counts as a day', { cursorAge: 31_536_000 }, 76],
    ['merge requests', { cursorAge: 3600, jobType: 'mrs' }, 199],
    ['reviews', { cursorAge: 3600, jobType: 'reviews' }, 299],
    [
      'a quarter of the runs failed',
      { cursorAge: 3600, runs: { ...none, total: 8, failed: 2 }, lastRun: { failed: false, ago: 1 } },
      124,
    ],
    [
      'throttled, just below the threshold',
      { cursorAge: 3600, runs: { ...none, requests: 1000, limited: 99 } },
      118,
    ],
    [
      'throttled, at the threshold',
      { cursorAge: 3600, runs: { ...none, requests: 1000, limited: 100 } },
      169,
    ],
    [
      'more refusals than requests count as all',
      { cursorAge: 3600, runs: { ...none, requests: 1, limited: 5 } },
      349,
    ],
    ['its host grants hardly anything', { cursorAge: 3600, bucket: { paused: false, fill: 0.19 } }, 299],
    ['its host grants a fifth', { cursorAge: 3600, bucket: { paused: false, fill: 0.2 } }, 99],
    ['its host rests', { cursorAge: 3600, bucket: { paused: true, fill: 1 } }, 1099],
  ])('%s', (_why, pair, priority) => {
    expect(judge({ ...fresh, ...pair }, policy)).toMatchObject({ due: true, priority })
  })
})

describe('who gets a place', () => {
  const idle: Budget = { running: 0, pending: 0, byInstance: {}, byTenant: {} }
  const candidate = (repoId: number, priority: number, more: Partial<Pair> = {}): Candidate => ({
    pair: { ...old, repoId, ...more },
    priority,
    reason: '',
  })
  const ids = (candidates: Candidate[], budget: Budget = idle, more: Partial<Policy> = {}) =>
    select(candidates, budget, { ...policy, ...more }).chosen.map((c) => c.pair.repoId)
  const many = (n: number) => Array.from({ length: n }, (_, i) => candidate(i + 1, 100))

  test.each<[why: string, budget: Partial<Budget>, more: Partial<Policy>, n: number]>([
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
      policy,
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
})
