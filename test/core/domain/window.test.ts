import fc from 'fast-check'
import { expect, test } from 'vitest'
import { inLedger, outOfLedger } from '../../../src/core/domain/ledger-window.ts'
import {
  chunksOf,
  piecesOf,
  revisionChunksOf,
  revisionsWished,
  windowWished,
} from '../../../src/core/domain/window.ts'

const now = new Date('2025-01-31T12:34:56.789Z')
const HOUR = 3_600_000

test.each<[why: string, wish: Parameters<typeof windowWished>[0], since: string, until: string]>([
  ['the last 24 hours end now', { lastHours: 24 }, '2025-01-30T12:34:56.789Z', now.toISOString()],
  ['days are 24 hours', { lastDays: 7 }, '2025-01-24T12:34:56.789Z', now.toISOString()],
  ['nothing said: the default', {}, '2025-01-30T12:34:56.789Z', now.toISOString()],
  ['--since alone ends now', { since: '2025-01-31' }, '2025-01-31T00:00:00.000Z', now.toISOString()],
  [
    '--until alone begins the default before it',
    { until: '2025-01-10' },
    '2025-01-09T00:00:00.000Z',
    '2025-01-10T00:00:00.000Z',
  ],
  [
    'before 1970 too',
    { since: '1900-01-01', until: '1969-12-31T23:59:00Z' },
    '1900-01-01T00:00:00.000Z',
    '1969-12-31T23:59:00.000Z',
  ],
  [
    'no default begins before the first year',
    { until: '0001-01-01T01:00:00Z' },
    '0001-01-01T00:00:00.000Z',
    '0001-01-01T01:00:00.000Z',
  ],
])('%s', (_why, wish, since, until) => {
  const window = windowWished(wish, now, 24)
  expect([window.since.toISOString(), window.until.toISOString()]).toEqual([since, until])
})

test('a window that ends where it begins, or before, is refused', () => {
  expect(() => windowWished({ since: '2025-01-02', until: '2025-01-02' }, now, 24)).toThrow(/not before/)
  expect(() => windowWished({ since: '2025-02-01' }, now, 24)).toThrow(/not before/)
})

test.each([
  [24, 6],
  [1, 1],
  [4, 1],
  [5, 2],
  [31 * 24, 186],
])('the last %i hours are %i chunks of four hours', (hours, chunks) => {
  expect(chunksOf(windowWished({ lastHours: hours }, now, 24), 4)).toHaveLength(chunks)
})

test.each<[wish: Parameters<typeof revisionsWished>[0], chunks: number[][]]>([
  [
    { startRev: 100, endRev: 500 },
    [
      [100, 199],
      [200, 299],
      [300, 399],
      [400, 499],
      [500, 500],
    ],
  ],
  [{ endRev: 100 }, [[1, 100]]],
  [{ startRev: 650 }, [[650, 700]]],
  [{ startRev: 7, endRev: 7 }, [[7, 7]]],
])('%j of 700 revisions, in hundreds: %j', (wish, chunks) => {
  const cut = revisionChunksOf(revisionsWished(wish, 700), 100)
  expect(cut.map((c) => [c.startRev, c.endRev])).toEqual(chunks)
  for (const chunk of cut) expect(outOfLedger(inLedger(chunk))).toEqual(chunk)
  expect(inLedger({ startRev: 100, endRev: 500 })).toMatchObject({ from: '100', to: '501' })
})

test('revisions that end before they begin are refused', () => {
  expect(() => revisionsWished({ startRev: 5, endRev: 3 }, 9)).toThrow('--start-rev 5 is after --end-rev 3')
  expect(() => revisionsWished({ startRev: 12 }, 9)).toThrow('--start-rev 12 is after r9')
})

test('chunks tile their window without gap or overlap, whatever it is', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 2_000 }),
      fc.integer({ min: 1, max: 48 }),
      fc.integer({ min: 0, max: HOUR }),
      (hours, step, odd) => {
        const window = { since: new Date(0), until: new Date(hours * HOUR + odd) }
        const chunks = chunksOf(window, step)
        expect(chunks[0]?.since).toEqual(window.since)
        expect(chunks.at(-1)?.until).toEqual(window.until)
        for (const [i, c] of chunks.entries()) {
          expect(c.until > c.since).toBe(true)
          if (i > 0) expect(c.since).toEqual(chunks[i - 1]?.until)
        }
      },
    ),
  )
})

test('pieces of a window are equal, tile it, and leave no sliver', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 700 * HOUR }),
      fc.integer({ min: 1, max: 86_400 }),
      (length, seconds) => {
        fc.pre(length / seconds < 1_000_000)
        const window = { since: now, until: new Date(now.getTime() + length) }
        const pieces = piecesOf(window, seconds)
        expect(pieces[0]?.since).toEqual(window.since)
        expect(pieces.at(-1)?.until).toEqual(window.until)
        for (const [i, piece] of pieces.entries()) {
          if (i > 0) expect(piece.since).toEqual(pieces[i - 1]?.until)
          expect(piece.until.getTime() - piece.since.getTime()).toBeLessThanOrEqual(seconds * 1500 + 1)
        }
      },
    ),
    { numRuns: 50 },
  )
})
