import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  type Breaker,
  type BreakerPolicy,
  CLOSED,
  closedAt,
  type Evidence,
  judgeBreaker,
  NO_EVIDENCE,
  openedByHand,
} from '../../../src/core/domain/breaker.ts'
import { breakerRow, readBreaker } from '../../../src/core/domain/breaker-row.ts'

const policy: BreakerPolicy = {
  failureRate: 0.3,
  rateLimitRate: 0.2,
  timeoutRate: 0.2,
  minSamples: 5,
  alpha: 1,
  openSeconds: 300,
  probes: { atMost: 3, perScan: 2, enough: 2, jobTypes: ['commits'] },
  repairs: { everySeconds: 600 },
}
const NOW = 1_800_000_000
const closed = closedAt(NOW - 10_000)
const seen = (more: Partial<Evidence>): Evidence => ({ ...NO_EVIDENCE, runs: 10, ...more })
const judge = (breaker: Breaker, more: Partial<Evidence> = {}, by: Partial<BreakerPolicy> = {}, now = NOW) =>
  judgeBreaker(breaker, seen(more), { ...policy, ...by }, now)
const open = judge(closed, { failed: 10 })
const probing = judge(open, {}, {}, NOW + 300)
const probed = (good: number, bad = 0, underway = 0) => ({
  runs: 0,
  probes: { good, bad, underway, why: bad > 0 ? 'timeout: no answer' : null },
})

describe('a closed breaker', () => {
  test.each<[string, Partial<Evidence>, Partial<BreakerPolicy>, Breaker['state']]>([
    ['two failures of ten', { failed: 2 }, {}, 'closed'],
    ['three failures of ten: the threshold itself', { failed: 3 }, {}, 'open'],
    ['as many, below the least sample', { runs: 4, failed: 4 }, {}, 'closed'],
    ['at the least sample', { runs: 5, failed: 2 }, {}, 'open'],
    ['a fifth of the requests answered 429', { requests: 100, limited: 20 }, {}, 'open'],
    ['less than a fifth', { requests: 100, limited: 19 }, {}, 'closed'],
    ['a fifth of the runs timed out', { failed: 2, timedOut: 2 }, {}, 'open'],
    ['one of ten', { failed: 1, timedOut: 1 }, {}, 'closed'],
    ['no requests are no rate', { requests: 0, limited: 0 }, {}, 'closed'],
    [
      'a threshold of 0 without a failure',
      {},
      { failureRate: 0, rateLimitRate: 0, timeoutRate: 0 },
      'closed',
    ],
    ['a threshold of 0 and one failure', { failed: 1 }, { failureRate: 0 }, 'open'],
    ['a threshold of 1', { failed: 9 }, { failureRate: 1 }, 'closed'],
    ['a threshold of 1, all failed', { failed: 10 }, { failureRate: 1 }, 'open'],
  ])('%s', (_, evidence, by, state) => {
    expect(judge(closed, evidence, by).state).toBe(state)
  })

  test('the moving average needs the outage to last', () => {
    const calm = judge(closed, { failed: 0 }, { alpha: 0.5 })
    const first = judge(calm, { failed: 5 }, { alpha: 0.5 })
    expect(first).toMatchObject({ state: 'closed', smoothed: { failure: 0.25 } })
    const second = judge(first, { failed: 5 }, { alpha: 0.5 })
    expect(second).toMatchObject({ state: 'open', openedAt: NOW })
    expect(second.reason).toBe('failure_rate=37.50%>=threshold=30.00% (raw=50.00%, smoothed=37.50%)')
  })

  test('too few samples leave the average alone', () => {
    const calm = judge(closed, { failed: 1 })
    expect(judge(calm, { runs: 4, failed: 4 })).toEqual(calm)
  })

  test('one that a person closed, or nobody has judged, begins a new window', () => {
    expect(judge({ ...open, state: 'closed' }, { failed: 10 })).toEqual(closedAt(NOW))
    expect(judge(CLOSED, { failed: 10 })).toEqual(closedAt(NOW))
  })
})

describe('an open breaker', () => {
  test('stays open for its time, then probes', () => {
    expect(judge(open, {}, {}, NOW + 299.9).state).toBe('open')
    expect(judge(open, {}, {}, NOW + 300)).toMatchObject({
      state: 'half_open',
      halfOpenAt: NOW + 300,
      credits: 2,
      attempts: 0,
    })
  })

  test('a time of opening that is not known keeps it open no longer', () => {
    expect(judge({ ...open, openedAt: null }).state).toBe('half_open')
  })

  test('a time that is ahead counts as now: nothing waits for it', () => {
    const ahead = judge({ ...open, openedAt: NOW + 1e9, grantedAt: NOW + 1e9 })
    expect(ahead).toMatchObject({ state: 'open', openedAt: NOW, grantedAt: NOW })
    expect(judge(ahead, {}, {}, NOW + 300).state).toBe('half_open')
    expect(judge({ ...probing, halfOpenAt: NOW + 1e9 }).halfOpenAt).toBe(NOW)
    expect(judge({ ...closed, closedAt: NOW + 1e9 }).closedAt).toBe(NOW)
  })

  test('lets a repair through every interval, the first one after an interval', () => {
    const long = { openSeconds: 10_000 }
    expect(open.credits).toBe(0)
    const early = judge(open, {}, long, NOW + 599)
    expect(early.credits).toBe(0)
    const granted = judge(early, {}, long, NOW + 600)
    expect(granted).toMatchObject({ credits: 1, grantedAt: NOW + 600 })
    expect(judge({ ...granted, credits: 0 }, {}, long, NOW + 1199).credits).toBe(0)
    expect(judge({ ...granted, credits: 0 }, {}, long, NOW + 1200).credits).toBe(1)
    expect(judge({ ...granted, credits: 1 }, {}, { ...long, repairs: null }, NOW + 1200).credits).toBe(0)
  })

  test('by hand: nothing but a hand closes it, and nothing passes', () => {
    const byHand = openedByHand(NOW, 'maintenance')
    expect(judge(byHand, { failed: 0 }, {}, NOW + 1e9)).toEqual(byHand)
    expect(judge({ ...byHand, credits: 5 }).credits).toBe(0)
  })
})

describe('a half-open breaker', () => {
  test.each<[string, Partial<Evidence>, Partial<Breaker>]>([
    ['nothing begun', probed(0), { state: 'half_open', credits: 2 }],
    ['one good', probed(1), { state: 'half_open', credits: 2, successes: 1 }],
    ['two good: enough', probed(2), { state: 'closed', closedAt: NOW, credits: 0, smoothed: null }],
    [
      'one bad',
      probed(0, 1),
      { state: 'open', openedAt: NOW, reason: 'half_open_probe_failed: timeout: no answer' },
    ],
    ['one bad beside enough good ones', probed(2, 1), { state: 'open' }],
    ['as many underway as may be tried', probed(0, 0, 3), { state: 'half_open', credits: 0 }],
    ['one place left', probed(1, 0, 1), { state: 'half_open', credits: 1 }],
    ['more underway than may be', probed(0, 0, 9), { state: 'half_open', credits: 0 }],
  ])('%s', (_, evidence, expected) => {
    expect(judge(probing, evidence)).toMatchObject(expected)
  })

  test('asked for more good probes than may be tried, it closes with those', () => {
    const by = { probes: { ...policy.probes, atMost: 1, enough: 5 } }
    expect(judge(probing, probed(1), by).state).toBe('closed')
  })

  test('the window it was opened for does not open it again', () => {
    const recovered = judge(probing, probed(2))
    expect(judge(recovered, { runs: 0 }).state).toBe('closed')
    expect(recovered.closedAt).toBe(NOW)
  })
})

describe('its row', () => {
  test('comes back as it was', () => {
    for (const breaker of [
      closed,
      open,
      probing,
      openedByHand(NOW, 'x'),
      judge(closed, { failed: 1 }, { alpha: 0.5 }),
    ])
      expect(readBreaker(JSON.parse(JSON.stringify(breakerRow('default:global', breaker))))).toEqual(breaker)
  })

  test.each<[string, unknown, Partial<Breaker>]>([
    // The runbook's own forms.
    [
      'force_open',
      {
        state: 'open',
        opened_at: NOW,
        half_open_attempts: 0,
        last_failure_reason: 'manual_pause_for_maintenance',
      },
      { state: 'open', byHand: true, reason: 'manual_pause_for_maintenance' },
    ],
    ['force_close', { state: 'closed', opened_at: null }, { state: 'closed', closedAt: null }],
    [
      '"open" set in a row the program closed',
      { ...breakerRow('k', closed), state: 'open' },
      { state: 'open', byHand: true },
    ],
    [
      '"closed" set in a row the program opened',
      { ...breakerRow('k', open), state: 'closed' },
      { state: 'closed', closedAt: null },
    ],
    ['nothing', null, { state: 'closed' }],
    ['an empty object', {}, { state: 'closed' }],
    ['a state nobody knows', { state: 'ajar', opened_by: 'scheduler' }, { state: 'open', byHand: true }],
    ['a state that is no word', { state: 7 }, { state: 'open', byHand: true }],
    ['a list', ['closed'], { state: 'open', byHand: true }],
    ['capitals and blanks', { state: ' Half_Open\n' }, { state: 'half_open' }],
    ['the bare word', 'OPEN', { state: 'open', byHand: true }],
    ['the bare word for closed', 'closed', { state: 'closed' }],
    [
      'numbers that are none',
      { state: 'half_open', credits: 'many', half_open_at: '1' },
      { state: 'half_open', credits: 0, halfOpenAt: null },
    ],
  ])('%s', (_, value, expected) => {
    expect(readBreaker(value)).toMatchObject(expected)
  })

  test('whatever it holds, it loads and can be judged', () => {
    fc.assert(
      fc.property(
        fc.jsonValue(),
        fc.dictionary(fc.constantFrom(...Object.keys(breakerRow('k', open))), fc.jsonValue()),
        (any, keys) => {
          for (const value of [any, keys]) {
            const judged = judge(readBreaker(value), { failed: 10 })
            expect(['closed', 'open', 'half_open']).toContain(judged.state)
          }
        },
      ),
    )
  })
})

describe('for any history', () => {
  const rate = fc.double({ min: 0.01, max: 1, noNaN: true })
  const count = fc.integer({ min: 0, max: 50 })
  const policies: fc.Arbitrary<BreakerPolicy> = fc.record({
    failureRate: rate,
    rateLimitRate: rate,
    timeoutRate: rate,
    minSamples: fc.integer({ min: 1, max: 20 }),
    alpha: rate,
    openSeconds: fc.integer({ min: 1, max: 1000 }),
    probes: fc.record({
      atMost: fc.integer({ min: 1, max: 5 }),
      perScan: fc.integer({ min: 1, max: 5 }),
      enough: fc.integer({ min: 1, max: 5 }),
      jobTypes: fc.constant(['commits']),
    }),
    repairs: fc.option(fc.record({ everySeconds: fc.integer({ min: 1, max: 1000 }) })),
  })
  const evidences = fc.tuple(count, count, count, count, count, count, count, count).map(
    ([runs, failed, timedOut, requests, limited, good, bad, underway]): Evidence => ({
      runs,
      failed: Math.min(failed, runs),
      timedOut: Math.min(timedOut, failed, runs),
      requests,
      limited: Math.min(limited, requests),
      probes: { good, bad, underway, why: null },
    }),
  )

  test('it always recovers: once the upstream is well it is closed after its time and as many probes as it wants', () => {
    fc.assert(
      fc.property(policies, fc.array(evidences, { maxLength: 20 }), (p, history) => {
        let breaker = closedAt(0)
        let now = 0
        for (const evidence of history) {
          now += 7
          breaker = judgeBreaker(breaker, evidence, p, now)
        }
        const wellSince = now
        let good = 0
        for (let scan = 0; breaker.state !== 'closed' && scan < 2000; scan++) {
          now += 1
          const before = breaker
          breaker = judgeBreaker(
            breaker,
            { ...NO_EVIDENCE, probes: { good, bad: 0, underway: 0, why: null } },
            p,
            now,
          )
          if (before.state === 'open') good = 0
          if (breaker.state === 'half_open') good += breaker.credits
        }
        expect(breaker.state).toBe('closed')
        expect(now - wellSince).toBeLessThanOrEqual(p.openSeconds + 10)
      }),
    )
  })

  test('it never lets through more than it may', () => {
    fc.assert(
      fc.property(policies, fc.array(evidences, { maxLength: 30 }), (p, history) => {
        let breaker = closedAt(0)
        let now = 0
        for (const evidence of history) {
          now += 50
          breaker = judgeBreaker(breaker, evidence, p, now)
          const most = {
            closed: 0,
            open: p.repairs === null ? 0 : 1,
            half_open: Math.min(p.probes.perScan, p.probes.atMost),
          }
          expect(breaker.credits).toBeLessThanOrEqual(most[breaker.state])
          expect(breaker.credits).toBeGreaterThanOrEqual(0)
        }
      }),
    )
  })

  test('more of what is bad never closes what less of it has opened', () => {
    fc.assert(
      fc.property(policies, evidences, evidences, (p, evidence, extra) => {
        const worse: Evidence = {
          ...evidence,
          failed: Math.min(evidence.runs, evidence.failed + extra.failed),
          timedOut: Math.min(evidence.runs, evidence.timedOut + extra.timedOut),
          limited: Math.min(evidence.requests, evidence.limited + extra.limited),
        }
        fc.pre(judgeBreaker(closed, evidence, p, NOW).state === 'open')
        expect(judgeBreaker(closed, worse, p, NOW).state).toBe('open')
      }),
    )
  })
})
