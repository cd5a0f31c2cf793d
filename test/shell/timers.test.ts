import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { rest } from '../../src/shell/rounds.ts'
import { stopWithin } from '../../src/shell/stop.ts'

const DAY = 86_400

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] })
})
afterEach(() => {
  vi.useRealTimers()
})

// Node fires a timer of more than 2^31 - 1 ms, which are 24.8 days, at once.
test('a rest longer than a timer can be is a long one', async () => {
  let isOver = false
  const resting = rest(3_000_000_000, new AbortController().signal).then(() => {
    isOver = true
  })
  await vi.advanceTimersByTimeAsync(24 * DAY * 1000)
  expect(isOver).toBe(false)
  await vi.advanceTimersByTimeAsync(DAY * 1000)
  await resting
})

test.each([1, 24, 30, 3650])('a deadline of %i days is over then, and not before', (days) => {
  const signal = stopWithin(days * DAY)
  vi.advanceTimersByTime(days * DAY * 1000 - 60_000)
  expect(signal.aborted).toBe(false)
  vi.advanceTimersByTime(120_000)
  expect(signal.reason).toMatchObject({
    kind: 'deadline',
    message: `the deadline of ${days * DAY} s is over`,
  })
})
