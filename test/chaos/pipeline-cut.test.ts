import { afterAll, beforeAll, expect, test } from 'vitest'
import { seeded } from '../helpers/git-repo.ts'
import { makePipelines, type Pipeline } from './pipeline.ts'
import { cutWalk, manyCrashes, pointsOfWalk, type Story } from './pipeline-cut.ts'
import { chance, over, sample, say, size } from './size.ts'

/** Crash points that are reached; up to half of them, and no more than there are, in the walk. */
const POINTS = size('PIPELINE_POINTS', 20, 10_000)
/** Then a new database and new repositories, so that none grows old. */
const STORIES_PER_COPY = 25
let reached = 0

let pipelines: Awaited<ReturnType<typeof makePipelines>>
beforeAll(async () => {
  pipelines = await makePipelines()
})
afterAll(() => pipelines.drop())

/** Story after story, on two copies at a time. */
async function tell<T>(
  stories: T[],
  tellOne: (p: Pipeline, story: T) => Promise<Story>,
): Promise<{ hits: number; broken: unknown[] }> {
  const found = { hits: 0, broken: [] as unknown[] }
  const from = performance.now()
  const chapters: T[][] = []
  const length = Math.min(STORIES_PER_COPY, Math.ceil(stories.length / 2))
  for (let i = 0; i < stories.length; i += length) chapters.push(stories.slice(i, i + length))
  await over(chapters, 2, async (chapter) => {
    const p = await pipelines.copy()
    for (const story of chapter) {
      const { hits, broken } = await tellOne(p, story)
      found.hits += hits
      if (broken.length === 0) continue
      found.broken.push({ story, broken })
      break // what is broken here would be found in every later story of this copy
    }
    await p.drop()
  })
  reached += found.hits
  const seconds = ((performance.now() - from) / 1000).toFixed(1)
  say(`${found.hits} crash points in ${stories.length} stories, ${seconds} s; ${reached} in all`)
  return found
}

test('the line breaks at any write of the whole walk: enqueue, claim, pages, end, reap, next tick', async () => {
  const { random } = chance('pipeline, walk')
  const p = await pipelines.copy()
  const all = await pointsOfWalk(p)
  await p.drop()
  const points = sample(all, POINTS / 2, random)
  const { hits, broken } = await tell(points, cutWalk)
  say(`${hits} of ${points.length} points, of ${all.length} that there are`)
  expect(broken).toEqual([])
  expect(hits).toBeGreaterThanOrEqual(points.length * 0.9)
})

test('two to four crashes in one history of two schedulers, two workers and a reaper', async () => {
  const { seed } = chance('pipeline, several crashes')
  for (let story = 0; reached < POINTS; ) {
    // About three crash points each.
    const seeds = Array.from({ length: Math.ceil((POINTS - reached) / 3) }, () => seed + story++)
    const { broken } = await tell(seeds, (p, of) => manyCrashes(p, seeded(of)))
    expect(broken).toEqual([])
  }
})
