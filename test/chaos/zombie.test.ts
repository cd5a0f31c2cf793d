import { afterAll, beforeAll, expect, test } from 'vitest'
import { INCREMENTAL, writesOf } from './crash.ts'
import { chance, over, sample, say, size } from './size.ts'
import { makeWorld, type World } from './world.ts'
import { type Woken, zombie } from './zombie.ts'

/** The long form stops before every write, several times over. */
const ZOMBIES = size('ZOMBIES', 12, 300)

let world: World
beforeAll(async () => {
  world = await makeWorld({ fresh: false })
})
afterAll(() => world.drop())

test('an owner that was stopped past its lease, anywhere, writes nothing when it goes on', async () => {
  const { random } = chance('zombies')
  const writes = (await writesOf(world, INCREMENTAL)).map((_, i) => i + 1)
  const rounds = Math.max(1, Math.ceil(ZOMBIES / writes.length))
  const points = Array.from({ length: rounds }, () =>
    sample(writes, Math.ceil(ZOMBIES / rounds), random),
  ).flat()
  const found: Woken[] = []
  const from = performance.now()
  await over(points, 4, async (at) => {
    found.push({ ...(await zombie(world, INCREMENTAL, at)), at } as Woken)
  })
  const [hits, inside] = [found.filter((f) => f.hit).length, found.filter((f) => f.inside).length]
  const kinds = new Map<string, number>()
  for (const { outcome } of found) {
    const kind = outcome.replace(/\d+|".*"/g, 'n').slice(0, 60)
    kinds.set(kind, (kinds.get(kind) ?? 0) + 1)
  }
  say(
    `${hits} zombies, ${inside} inside a transaction, in ${((performance.now() - from) / 1000).toFixed(1)} s: ${JSON.stringify([...kinds])}`,
  )
  expect(found.filter((f) => f.broken.length > 0)).toEqual([])
  expect(hits).toBeGreaterThanOrEqual(points.length * 0.9)
  expect(inside).toBeGreaterThanOrEqual(points.length / 4)
})
