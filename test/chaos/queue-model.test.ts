import { expect, test } from 'vitest'
import { embeddedUrl } from '../helpers/database.ts'
import { race } from './queue-race.ts'
import { chance, say, size } from './size.ts'

/** The long form races for minutes; a seed brings back what was asked, not who was quicker. */
const OPERATIONS = size('QUEUE_OPS', 1_000, 100_000)

test('whoever races, dies, comes back late or edits by hand: every job has one owner and one end', async () => {
  const { seed } = chance('queue')
  const from = performance.now()
  const { broken, operations, samples, jobs, counts } = await race(embeddedUrl(), {
    seed,
    operations: OPERATIONS,
  })
  say(
    `${operations} operations, ${counts.claims} claims, ${counts.refused} zombie writes refused, seed ${seed}; ${jobs} jobs, ` +
      `${counts.completed} completed, ${counts.reaped} reaped, ${counts.calledOff} called off, ${samples} samples, ${((performance.now() - from) / 1000).toFixed(1)} s`,
  )
  expect(broken).toEqual([])
  expect(counts.claims).toBeGreaterThan(operations / 20)
  expect(counts.refused).toBeGreaterThan(operations / 50)
})
