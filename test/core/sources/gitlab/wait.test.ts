import { describe, expect, test } from 'vitest'
import {
  askedWaitMs,
  httpDate,
  type NextTry,
  nextTry,
  saidBy,
  spacingMs,
} from '../../../../src/core/sources/gitlab/http/wait.ts'
import { LIMITS, NOON } from './asking.ts'

const EPOCH = NOON / 1000
const at = (seconds: number) => new Date(NOON + seconds * 1000).toUTCString()
const again = (inMs: number): NextTry => ({ again: true, inMs })
const stop = (retryAfterSeconds?: number): NextTry =>
  retryAfterSeconds === undefined ? { again: false } : { again: false, retryAfterSeconds }

/** The local clock shows noon, chance is a half, a backoff begins with 1 s and ends at 60 s, three attempts. */
const decide = (status: number, attempt: number, headers: Record<string, string>): NextTry =>
  nextTry(
    { again: true, askedMs: askedWaitMs(status, saidBy(new Headers(headers), NOON)) },
    attempt,
    LIMITS,
    0.5,
  )

describe('B25 how long a refusal makes us wait', () => {
  test.each<[why: string, status: number, attempt: number, headers: Record<string, string>, then: NextTry]>([
    ['nothing said: half of 1 s', 429, 1, {}, again(500)],
    ['nothing said: doubled', 429, 2, {}, again(1000)],
    ['nothing said, last attempt', 429, 3, {}, stop()],
    ['seconds, and up to one more', 429, 1, { 'retry-after': '7' }, again(7500)],
    ['seconds, second attempt: not doubled', 429, 2, { 'retry-after': '7' }, again(7500)],
    ['seconds, last attempt: told on', 429, 3, { 'retry-after': '7' }, stop(7)],
    ['zero seconds', 429, 1, { 'retry-after': '0' }, again(500)],
    ['as long as we wait', 429, 1, { 'retry-after': '60' }, again(60_500)],
    ['longer than we wait', 429, 1, { 'retry-after': '61' }, stop(61)],
    ['a quarter of an hour', 429, 1, { 'retry-after': '900' }, stop(900)],
    ['more than that is cut', 429, 1, { 'retry-after': '901' }, stop(900)],
    ['thirty years are cut', 429, 1, { 'retry-after': '1000000000' }, stop(900)],
    ['1e9 is no number of seconds', 429, 1, { 'retry-after': '1e9' }, again(500)],
    ['twenty digits are none either', 429, 1, { 'retry-after': '9'.repeat(20) }, again(500)],
    ['negative', 429, 1, { 'retry-after': '-5' }, again(500)],
    ['broken', 429, 1, { 'retry-after': '1.5' }, again(500)],
    ['empty', 429, 1, { 'retry-after': '' }, again(500)],
    ['words', 429, 1, { 'retry-after': 'blue 1' }, again(500)],
    ['a date', 429, 1, { 'retry-after': at(10) }, again(10_500)],
    ['a date that is over', 429, 1, { 'retry-after': at(-10) }, again(500)],
    ['a date far away', 429, 1, { 'retry-after': at(1e6) }, stop(900)],
    ['a date by a clock 2 h ahead', 429, 1, { date: at(7200), 'retry-after': at(7210) }, again(10_500)],
    ['a date by a clock 2 h behind', 429, 1, { date: at(-7200), 'retry-after': at(-7190) }, again(10_500)],
    ['a date beside a broken Date', 429, 1, { date: 'now', 'retry-after': at(10) }, again(10_500)],
    ['no such day', 429, 1, { 'retry-after': 'Sun, 99 Nov 2026 12:00:10 GMT' }, again(500)],
    ['no time zone', 429, 1, { 'retry-after': 'Sun, 22 Nov 2026 12:00:10' }, again(500)],
    ['reset only', 429, 1, { 'ratelimit-reset': `${EPOCH + 20}` }, again(20_500)],
    [
      'reset by a clock 2 h ahead',
      429,
      1,
      { date: at(7200), 'ratelimit-reset': `${EPOCH + 7220}` },
      again(20_500),
    ],
    [
      'reset by a clock 2 h behind',
      429,
      1,
      { date: at(-7200), 'ratelimit-reset': `${EPOCH - 7180}` },
      again(20_500),
    ],
    ['reset is over', 429, 1, { 'ratelimit-reset': `${EPOCH - 20}` }, again(500)],
    ['reset far away', 429, 1, { 'ratelimit-reset': `${EPOCH + 86_400}` }, stop(900)],
    ['reset in seconds from now', 429, 1, { 'ratelimit-reset': '20' }, again(20_500)],
    ['reset is no number', 429, 1, { 'ratelimit-reset': 'soon' }, again(500)],
    ['reset is negative', 429, 1, { 'ratelimit-reset': '-1' }, again(500)],
    ['Retry-After before reset', 429, 1, { 'retry-after': '3', 'ratelimit-reset': '20' }, again(3500)],
    [
      'reset where Retry-After is broken',
      429,
      1,
      { 'retry-after': '-3', 'ratelimit-reset': '20' },
      again(20_500),
    ],
    ['reset with none left', 429, 1, { 'ratelimit-reset': '20', 'ratelimit-remaining': '0' }, again(20_500)],
    [
      'reset with some left: another limit',
      429,
      1,
      { 'ratelimit-reset': '20', 'ratelimit-remaining': '9' },
      again(500),
    ],
    ['a 503 may ask, too', 503, 1, { 'retry-after': '7' }, again(7500)],
    ['a 503 and a reset: nothing to do with each other', 503, 1, { 'ratelimit-reset': '20' }, again(500)],
  ])('%s', (_why, status, attempt, headers, then) => {
    expect(decide(status, attempt, headers)).toEqual(then)
  })

  test('what would only be refused again is not tried again', () => {
    expect(nextTry({ again: false }, 1, LIMITS, 0.5)).toEqual(stop())
    expect(nextTry({ again: false, askedMs: 1e9 }, 1, LIMITS, 0.5)).toEqual(stop(900))
  })

  test('a backoff ends at its most', () => {
    const limits = { ...LIMITS, maxAttempts: 100 }
    expect(nextTry({ again: true }, 6, limits, 0.5)).toEqual(again(16_000))
    expect(nextTry({ again: true }, 7, limits, 0.5)).toEqual(again(30_000))
    expect(nextTry({ again: true }, 99, limits, 0.5)).toEqual(again(30_000))
  })
})

describe('B25 pacing', () => {
  const said = (limit: string, remaining: string, reset: string) =>
    saidBy(
      new Headers({ 'ratelimit-limit': limit, 'ratelimit-remaining': remaining, 'ratelimit-reset': reset }),
      NOON,
    )

  test.each<[why: string, limit: string, remaining: string, reset: string, ms: number]>([
    ['above a tenth of the limit nothing', '2000', '201', '30', 0],
    ['at a tenth, what is left is spread until the reset', '2000', '200', '30', 30_000 / 201],
    ['of a small limit, five are kept', '10', '6', '30', 0],
    ['of a small limit, the last five are spread', '10', '5', '30', 5000],
    ['with none left, nobody before the reset', '600', '0', '30', 30_000],
    ['a reset that is over', '600', '0', `${EPOCH - 1}`, 0],
    ['a reset next year is an hour at most', '600', '0', `${EPOCH + 31_536_000}`, 3_600_000],
    ['no limit said', '', '5', '30', 5000],
    ['no remaining said', '600', '', '30', 0],
    ['no reset said', '600', '0', '', 0],
    ['nonsense', '-1', 'many', '1e9', 0],
  ])('%s', (_why, limit, remaining, reset, ms) => {
    expect(spacingMs(said(limit, remaining, reset))).toBe(ms)
  })
})

test('only what servers must write is a date', () => {
  expect(httpDate('Sun, 22 Nov 2026 12:00:00 GMT')?.getTime()).toBe(NOON)
  for (const text of [null, '', '2026-11-22', 'blue 1', 'Sun, 22 Nov 2026 12:00:00 GMT, x', '1'])
    expect(httpDate(text)).toBeNull()
})
