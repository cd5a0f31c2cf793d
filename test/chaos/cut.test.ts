import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { BACKFILL, crash, INCREMENTAL, pointsOf } from './crash.ts'
import { chance, over, sample, say, size } from './size.ts'
import { makeWorld, type World } from './world.ts'

/** Of each kind. The long form takes all there are. */
const POINTS = size('POINTS', 4, Number.POSITIVE_INFINITY)

describe.each([INCREMENTAL, BACKFILL])('the line to the database breaks during $name', (command) => {
  let world: World
  beforeAll(async () => {
    world = await makeWorld({ fresh: command === BACKFILL })
  })
  afterAll(() => world.drop())

  test.each([
    { dies: true, who: 'and the process dies with it' },
    { dies: false, who: 'and the process goes on' },
  ])(
    'at any write, before, within or after it, $who: nothing is lost, doubled or left open',
    async ({ dies, who }) => {
      const { random } = chance(`${command.name}, ${who}`)
      const points = sample(await pointsOf(world, command, dies), POINTS, random)
      const outcomes = new Map<string, number>()
      const broken: unknown[] = []
      let hits = 0
      const from = performance.now()
      await over(points, 2, async (plan) => {
        const found = await crash(world, command, plan)
        hits += Number(found.hit)
        const kind = found.outcome.replace(/\d+|".*"/g, 'n').slice(0, 90)
        outcomes.set(kind, (outcomes.get(kind) ?? 0) + 1)
        if (found.broken.length > 0) broken.push({ ...plan, ...found })
      })
      say(
        `${hits} of ${points.length} points in ${((performance.now() - from) / 1000).toFixed(1)} s: ${JSON.stringify([...outcomes])}`,
      )
      expect(broken).toEqual([])
      // A point beyond the last write disturbs nothing and proves nothing.
      expect(hits).toBeGreaterThanOrEqual(points.length * 0.9)
      expect(points.length).toBeGreaterThanOrEqual(Math.min(POINTS, 150))
    },
  )
})
