import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  type Met,
  type Pace,
  type PacePolicy,
  paced,
  pauseAfter,
  restAfter,
  startingPace,
} from '../../../src/core/domain/pace.ts'

const policy: PacePolicy = {
  batch: { least: 10, most: 500, shrink: 0.5, grow: 1.2 },
  limitedInRow: 3,
  timeoutsInRow: 3,
  tooLargeInRow: 5,
  sleep: { base: 1, most: 300 },
  goodInRow: 5,
}
const quiet: Met = { limited: 0, unannounced: 0, timeouts: 0, tooLarge: 0, broken: 0, came: true }
const paceAfter = (mets: Partial<Met>[], from: Pace = startingPace(100)): Pace =>
  mets.reduce<Pace>((pace, met) => paced(pace, { ...quiet, ...met }, policy), from)
const times = (n: number, met: Partial<Met>) => Array.from({ length: n }, () => met)

describe('the pace of one upstream', () => {
  test.each<[string, Partial<Met>[], Partial<Pace>]>([
    ['halves the batch for a 429', [{ limited: 1 }], { batchSize: 50 }],
    ['and for a timeout', [{ timeouts: 1, came: false }], { batchSize: 50 }],
    [
      'not for a content too large, nor for a 5xx',
      [{ tooLarge: 1 }, { broken: 1, came: false }],
      { batchSize: 100 },
    ],
    ['never below the least', times(9, { limited: 1 }), { batchSize: 10 }],
    ['asks for diffs at two 429 in a row', times(2, { limited: 1 }), { details: true }],
    ['for none at three', times(3, { limited: 1 }), { details: false }],
    ['at three within one page', [{ limited: 3 }], { details: false }],
    ['a page without one ends the row', [{ limited: 2 }, {}, { limited: 2 }], { details: true }],
    [
      'a reading that broke off ends none',
      [{ limited: 2 }, { came: false }, { limited: 1 }],
      { details: false },
    ],
    ['four contents too large', [{ tooLarge: 4 }], { details: true }],
    ['five', [{ tooLarge: 5 }], { details: false }],
    [
      'four good pages are not enough',
      [...times(3, { limited: 1 }), ...times(4, {})],
      { details: false, batchSize: 12 },
    ],
    ['five are', [...times(3, { limited: 1 }), ...times(5, {})], { details: true, batchSize: 14 }],
    ['it grows on to the most', times(60, {}), { batchSize: 500 }],
  ])('%s', (_, mets, expected) => {
    expect(paceAfter(mets)).toMatchObject(expected)
  })

  test('a small batch grows too', () => {
    const tiny = { ...policy, batch: { ...policy.batch, least: 1 } }
    let pace = startingPace(1)
    for (let i = 0; i < 12; i++) pace = paced(pace, quiet, tiny)
    expect(pace.batchSize).toBeGreaterThan(5)
  })

  test('it does not rest for a 429 that named a time: that was obeyed', () => {
    expect(restAfter(paceAfter(times(9, { limited: 3 })), policy)).toBe(0)
  })

  test('it rests after each page with another 429 twice as long, and not at all after a page without', () => {
    const rests = [1, 2, 3, 4, 9, 20].map((n) =>
      restAfter(paceAfter(times(n, { limited: 2, unannounced: 2 })), policy),
    )
    expect(rests).toEqual([1, 2, 4, 8, 256, 300])
    expect(restAfter(paceAfter([{ limited: 5, unannounced: 5 }, {}]), policy)).toBe(0)
  })

  test('a failed job waits from the third timeout or 5xx on', () => {
    const pauses = (met: Partial<Met>) =>
      [2, 3, 5, 20].map((n) => pauseAfter(paceAfter(times(n, { ...met, came: false })), policy))
    expect(pauses({ timeouts: 1 })).toEqual([0, 8, 32, 300])
    expect(pauses({ broken: 1 })).toEqual([0, 8, 32, 300])
    expect(pauseAfter(paceAfter([...times(3, { timeouts: 1, came: false }), {}]), policy)).toBe(0)
  })

  const met = fc.record({
    limited: fc.nat(4),
    unannounced: fc.nat(2),
    timeouts: fc.nat(4),
    tooLarge: fc.nat(6),
    broken: fc.nat(2),
    came: fc.boolean(),
  })

  test('whatever was met: within its bounds, and all is as before after enough good pages', () => {
    fc.assert(
      fc.property(fc.array(met, { maxLength: 50 }), fc.integer({ min: 10, max: 500 }), (mets, size) => {
        const worn = paceAfter(mets, startingPace(size))
        expect(worn.batchSize).toBeGreaterThanOrEqual(10)
        expect(worn.batchSize).toBeLessThanOrEqual(500)
        const rested = paceAfter(times(40, {}), worn)
        expect(rested).toMatchObject({
          batchSize: 500,
          details: true,
          limited: 0,
          unannounced: 0,
          timeouts: 0,
        })
        expect([restAfter(rested, policy), pauseAfter(rested, policy)]).toEqual([0, 0])
      }),
    )
  })

  test('more 429 never make it faster', () => {
    fc.assert(
      fc.property(fc.array(met, { maxLength: 20 }), met, fc.nat(5), (mets, last, more) => {
        const pace = paceAfter(mets)
        const some = paced(pace, last, policy)
        const worse = paced(
          pace,
          { ...last, limited: last.limited + more, unannounced: last.unannounced + more },
          policy,
        )
        expect(worse.batchSize).toBeLessThanOrEqual(some.batchSize)
        expect(restAfter(worse, policy)).toBeGreaterThanOrEqual(restAfter(some, policy))
        expect(Number(worse.details)).toBeLessThanOrEqual(Number(some.details))
      }),
    )
  })
})
