import { setMaxListeners } from 'node:events'
import { describe, expect, test } from 'vitest'
import {
  endpointOf,
  type Gate,
  makeGate,
  type Strain,
} from '../../../../src/core/sources/gitlab/http/gate.ts'

const never = new AbortController().signal
setMaxListeners(0, never)

async function pass(gate: Gate, strain: Strain, times = 1): Promise<void> {
  for (let i = 0; i < times; i++) (await gate.enter(never))(strain)
}

const said = { retryAfterMs: null, limit: 100, remaining: 4, resetInMs: 10_000 }

describe('B25 B26 side by side', () => {
  test('two at first; one more after ten good answers; eight at most', async () => {
    const gate = makeGate()
    expect(gate.width).toBe(2)
    await pass(gate, 'fine', 9)
    expect(gate.width).toBe(2)
    await pass(gate, 'fine')
    expect(gate.width).toBe(3)
    await pass(gate, 'unknown', 50)
    expect(gate.width).toBe(3)
    await pass(gate, 'fine', 500)
    expect(gate.width).toBe(8)
  })

  test('strain halves it, down to one, and it grows again', async () => {
    const gate = makeGate()
    await pass(gate, 'fine', 60)
    const widths = []
    for (let i = 0; i < 5; i++) {
      await pass(gate, 'strained')
      widths.push(gate.width)
    }
    expect(widths).toEqual([4, 2, 1, 1, 1])
    await pass(gate, 'fine', 10)
    expect(gate.width).toBe(2)
  })

  test('what was sent before the last halving is no new sign', async () => {
    const gate = makeGate()
    await pass(gate, 'fine', 60)
    const leaves = await Promise.all(Array.from({ length: 8 }, () => gate.enter(never)))
    for (const leave of leaves) leave('strained')
    expect(gate.width).toBe(4)
  })

  test('a third waits, in order, and an aborted one makes room', async () => {
    const gate = makeGate()
    const first = await gate.enter(never)
    const second = await gate.enter(never)
    const order: string[] = []
    const stop = new AbortController()
    const enter = async (name: string, signal = never) => {
      const leave = await gate.enter(signal)
      order.push(name)
      return leave
    }
    const third = enter('third')
    const fourth = enter('fourth', stop.signal).catch((reason) => order.push(reason))
    const fifth = enter('fifth')
    stop.abort('fourth stopped')
    await fourth
    first('fine')
    ;(await third)('fine')
    second('fine')
    ;(await fifth)('fine')
    expect(order).toEqual(['fourth stopped', 'third', 'fifth'])
    await expect(gate.enter(AbortSignal.abort('late'))).rejects.toBe('late')
    await Promise.all([gate.enter(never), gate.enter(never)]) // both places are free again
  })

  test('never more inside than the width, whatever comes of them', async () => {
    const gate = makeGate({ most: 5 })
    let inside = 0
    let most = 0
    await Promise.all(
      Array.from({ length: 300 }, async (_, i) => {
        const leave = await gate.enter(never)
        inside += 1
        most = Math.max(most, inside)
        expect(inside).toBeLessThanOrEqual(5)
        await Promise.resolve()
        inside -= 1
        leave(i % 40 === 0 ? 'strained' : 'fine')
      }),
    )
    expect(inside).toBe(0)
    expect(most).toBeGreaterThan(2)
  })
})

describe('B25 turns', () => {
  test('nothing heard: at once', () => {
    const gate = makeGate()
    for (let i = 0; i < 100; i++) expect(gate.turn('projects', 1000)).toBe(0)
  })

  test('few left: one every so often, until the reset', () => {
    const gate = makeGate()
    gate.heard(said, 1000)
    expect(gate.turn('a', 1000)).toBe(2000)
    expect(gate.turn('a', 3000)).toBe(0)
    expect(gate.turn('a', 3000)).toBe(2000)
    expect(gate.turn('a', 10_999)).toBe(0)
    expect(gate.turn('a', 10_999)).toBe(1) // the reset, not two seconds
    expect(gate.turn('a', 11_000)).toBe(0)
    expect(gate.turn('a', 11_000)).toBe(0)
  })

  test('plenty again ends the spacing', () => {
    const gate = makeGate()
    gate.heard(said, 1000)
    gate.heard({ ...said, remaining: 90 }, 1001)
    expect(gate.turn('a', 1001)).toBe(0)
  })

  test('a pause holds everybody, a pause of an endpoint only those who ask it; neither gets shorter', () => {
    const gate = makeGate()
    gate.pause(5000, 'projects/merge_requests')
    expect(gate.turn('projects', 1000)).toBe(0)
    expect(gate.turn('projects/merge_requests', 1000)).toBe(4000)
    gate.pause(3000)
    gate.pause(2000)
    expect(gate.turn('projects', 1000)).toBe(2000)
    expect(gate.turn('projects', 3000)).toBe(0)
    expect(gate.turn('projects/merge_requests', 5000)).toBe(0)
  })
})

test.each([
  ['projects/5/merge_requests/7/discussions', 'projects/merge_requests/discussions'],
  ['projects/group%2Fname/repository/commits', 'projects/repository/commits'],
  ['projects/5/repository/commits/0a1b2c/diff', 'projects/repository/commits/diff'],
  ['version', 'version'],
])('%s is counted as %s', (path, endpoint) => {
  expect(endpointOf(path)).toBe(endpoint)
})
