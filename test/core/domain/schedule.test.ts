import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { JOB_TYPES } from '../../../src/core/domain/repo.ts'
import { judge, type Pair, type Policy, repairChunk, repairOf } from '../../../src/core/domain/schedule.ts'

const HOUR = 3600
const policy: Policy = {
  cursorAgeThreshold: HOUR,
  errorBudgetThreshold: 0.3,
  rateLimitThreshold: 0.1,
  repair: {
    after: 24 * HOUR,
    atMost: 168 * HOUR,
    chunk: { calm: 24 * HOUR, afterTrouble: HOUR, least: 300, shrink: 0.5, grow: 1.5, goodRuns: 5 },
  },
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
  repaired: false,
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
    [
      '29 of 100 failed: whole points, whatever 0.29 * 100 is in a computer',
      { cursorAge: 3600, runs: { ...none, total: 100, failed: 29 }, lastRun: { failed: false, ago: 1 } },
      128,
    ],
    [
      'all runs failed, and its rest is over',
      {
        cursorAge: 3600,
        runs: { ...none, total: 4, failed: 4 },
        lastRun: { failed: true, ago: 9 },
        pauseLeft: 0,
        pausedAgo: 9,
      },
      199,
    ],
    ['just under a day', { cursorAge: 86_399 }, 77],
    ['an operator moved the cursor a moment ago', { edited: true, cursorAge: 0 }, 100],
    ['its host grants hardly anything', { cursorAge: 3600, bucket: { pauseLeft: 0, fill: 0.1999 } }, 299],
    ['its host grants a fifth', { cursorAge: 3600, bucket: { pauseLeft: -5, fill: 0.2 } }, 99],
    ['its host rests', { cursorAge: 3600, bucket: { pauseLeft: 0.1, fill: 1 } }, 1099],
  ])('%s', (_why, pair, priority) => {
    expect(judge({ ...fresh, ...pair }, policy)).toMatchObject({ due: true, priority })
  })
})

describe('out of sight', () => {
  const at = (cursorAge: number | null, more: Partial<Pair> = {}) =>
    repairOf({ ...fresh, cursorAge, ...more }, policy)

  test.each<[why: string, found: ReturnType<typeof at>, seconds: number | null]>([
    ['a second less than the window', at(24 * HOUR - 1), null],
    ['exactly the window', at(24 * HOUR), 24 * HOUR],
    ['two days: from the last good sync on', at(48 * HOUR), 48 * HOUR],
    ['a year: no further back than a repair may read', at(8760 * HOUR), 168 * HOUR],
    ['never synced: the first sync reads it all', at(null), null],
    ['an operator set the cursor: that is obeyed, nothing else', at(48 * HOUR, { edited: true }), null],
    ['a repair is under way', at(48 * HOUR, { repaired: true }), null],
  ])('%s', (_why, found, seconds) => {
    expect(found?.seconds ?? null).toBe(seconds)
  })

  test.each([
    ['commits', 150],
    ['mrs', 250],
    ['reviews', 350],
  ] as const)('a repair of %s has priority %i', (jobType, priority) => {
    expect(at(24 * HOUR, { jobType })).toMatchObject({ priority, reason: 'repair:cursor_age=86400s' })
  })
})

describe('whatever is found', () => {
  const counts = fc.record({ total: fc.nat(50), requests: fc.nat(5000) }).chain(({ total, requests }) =>
    fc.record({
      total: fc.constant(total),
      failed: fc.nat(total),
      requests: fc.constant(requests),
      limited: fc.nat(requests),
    }),
  )
  const pairs = fc.record<Pair>({
    repoId: fc.nat(),
    jobType: fc.constantFrom(...JOB_TYPES),
    instanceKey: fc.constant(''),
    tenantId: fc.constant(''),
    cursorAge: fc.option(fc.integer({ min: 0, max: 1e7 })),
    edited: fc.boolean(),
    active: fc.constant(false),
    pauseLeft: fc.constant(null),
    pausedAgo: fc.constant(null),
    repaired: fc.constant(false),
    runs: counts,
    lastRun: fc.option(fc.record({ failed: fc.constant(false), ago: fc.nat(1e6) })),
    bucket: fc.option(
      fc.record({ pauseLeft: fc.nat(100), fill: fc.double({ min: 0, max: 1, noNaN: true }) }),
    ),
  })
  const priorityOf = (pair: Pair) => {
    const verdict = judge(pair, policy)
    return verdict.due ? verdict.priority : null
  }
  const noLater = (a: Pair, b: Pair) => {
    const [before, after] = [priorityOf(a), priorityOf(b)]
    if (before !== null) expect(after).not.toBeNull()
    if (before !== null) expect(after).toBeLessThanOrEqual(before)
  }

  test('an older cursor is never less urgent, and never no longer due', () => {
    fc.assert(
      fc.property(pairs, fc.nat(1e6), (pair, more) => {
        fc.pre(pair.cursorAge !== null)
        noLater(pair, { ...pair, cursorAge: (pair.cursorAge as number) + more })
        noLater(pair, { ...pair, cursorAge: null })
      }),
    )
  })

  test('fewer failures, fewer refusals and a fuller bucket never make it later', () => {
    fc.assert(
      fc.property(pairs, (pair) => {
        const { runs, bucket } = pair
        noLater(pair, { ...pair, runs: { ...runs, failed: Math.max(0, runs.failed - 1) } })
        noLater(pair, { ...pair, runs: { ...runs, limited: Math.max(0, runs.limited - 1) } })
        if (bucket) noLater(pair, { ...pair, bucket: { ...bucket, fill: 1 } })
        if (bucket) noLater(pair, { ...pair, bucket: { ...bucket, pauseLeft: 0 } })
        noLater(pair, { ...pair, bucket: null })
      }),
    )
  })

  test('trouble puts it behind, and never makes what is due not due: only a spent budget rests', () => {
    fc.assert(
      fc.property(pairs, (pair) => {
        const isDue = pair.cursorAge === null || pair.edited || pair.cursorAge >= HOUR
        expect(priorityOf(pair) !== null).toBe(isDue)
        const priority = priorityOf(pair)
        if (priority !== null)
          expect(Number.isInteger(priority) && priority >= 0 && priority < 2000).toBe(true)
      }),
    )
  })
})

describe('a chunk of a repair', () => {
  const chunk = (runs: Partial<Pair['runs']>) =>
    repairChunk({ ...old, runs: { ...none, total: 10, ...runs } }, policy)
  test.each<[string, Partial<Pair['runs']>, number]>([
    ['is a day in calm weather', {}, 24 * HOUR],
    ['half an hour after one failure, grown by what went well', { failed: 1 }, 2700],
    ['less after each', { failed: 2 }, 1350],
    ['no less than the least', { failed: 10 }, 300],
    ['an hour and more where only 429 were met', { limited: 3 }, 8100],
  ])('%s', (_, runs, seconds) => {
    expect(chunk(runs)).toBe(seconds)
  })

  test('is never longer for more failures, and within its bounds', () => {
    fc.assert(
      fc.property(fc.nat(20), fc.nat(20), (failed, more) => {
        const total = 40
        const [some, worse] = [chunk({ total, failed }), chunk({ total, failed: failed + more })]
        expect(worse).toBeLessThanOrEqual(some)
        expect(worse).toBeGreaterThanOrEqual(300)
        expect(some).toBeLessThanOrEqual(24 * HOUR)
      }),
    )
  })
})
