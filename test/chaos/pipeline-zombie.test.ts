import { afterAll, beforeAll, expect, test } from 'vitest'
import { makePipelines } from './pipeline.ts'
import { SUSPECTS } from './pipeline-suspects.ts'
import { HEIRS, type Point, pointsOf, suspend, type Woken } from './pipeline-zombie.ts'
import { chance, over, sample, say, size } from './size.ts'

const ZOMBIES = size('PIPELINE_ZOMBIES', 10, 2000)
const PER_COPY = 20

let pipelines: Awaited<ReturnType<typeof makePipelines>>
beforeAll(async () => {
  pipelines = await makePipelines()
})
afterAll(() => pipelines.drop())

test.each(SUSPECTS)(
  '$name that was suspended anywhere while others took over writes nothing when it goes on',
  async (suspect) => {
    const { random } = chance(suspect.name)
    const p = await pipelines.copy()
    const points = await pointsOf(p, suspect)
    await p.drop()
    expect(points.length).toBeGreaterThan(0)

    const wanted = Math.ceil(ZOMBIES * suspect.share)
    const chosen: Point[] = []
    while (chosen.length < wanted) chosen.push(...sample(points, wanted - chosen.length, random))
    const chapters: Point[][] = []
    const length = Math.min(PER_COPY, Math.ceil(wanted / 2))
    for (let i = 0; i < wanted; i += length) chapters.push(chosen.slice(i, i + length))

    const found: (Woken & Point)[] = []
    const from = performance.now()
    await over(chapters, 2, async (chapter) => {
      const p = await pipelines.copy()
      for (const point of chapter) {
        const woken = { ...(await suspend(p, suspect, point, HEIRS[found.length % HEIRS.length]!)), ...point }
        found.push(woken)
        if (woken.broken.length > 0) break
      }
      await p.drop()
    })
    const kinds = new Map<string, number>()
    for (const { outcome } of found) {
      const kind = outcome.replace(/\d+|".*"/g, 'n').slice(0, 60)
      kinds.set(kind, (kinds.get(kind) ?? 0) + 1)
    }
    const hits = found.filter((f) => f.hit).length
    say(
      `${suspect.name}: ${hits} of ${wanted}, ${found.filter((f) => f.inside).length} inside a transaction, ${((performance.now() - from) / 1000).toFixed(1)} s: ${JSON.stringify([...kinds])}`,
    )
    expect(found.filter((f) => f.broken.length > 0)).toEqual([])
    // A run may be some writes shorter than the one it was measured by.
    expect(hits).toBeGreaterThanOrEqual(Math.max(1, Math.floor(wanted * 0.8)))
  },
)
