import { afterEach, expect, test } from 'vitest'
import { systemClock } from '../../../../src/core/sources/gitlab/http/clock.ts'
import { makeGate } from '../../../../src/core/sources/gitlab/http/gate.ts'
import { type GitLab, startGitLab } from '../../../helpers/gitlab/server.ts'
import { asking } from './asking.ts'

let gitlab: GitLab
afterEach(() => gitlab?.stop())

test('what waits for one endpoint, or for its tenant, does not stand in the door of all others', async () => {
  gitlab = await startGitLab()
  const project = gitlab.project({ id: 7 })
  for (let i = 1; i <= 6; i++) project.mr({})
  const gate = makeGate()
  const order: string[] = []
  const slow = asking(gitlab.url, {
    gate,
    clock: systemClock,
    budget: {
      take: async () => (order.includes('other') ? 0 : 50),
      pause: async () => {},
      heard: async () => {},
    },
  })
  const other = asking(gitlab.url, { gate, clock: systemClock })
  const waiting = Promise.all(
    [1, 2, 3].map(async (iid) => {
      await slow.get(`projects/7/merge_requests/${iid}/discussions`)
      order.push(`tenant without a budget ${iid}`)
    }),
  )
  const free = other.get('projects/7/merge_requests').then(() => order.push('other'))
  await Promise.race([Promise.all([free, waiting]), new Promise((resolve) => setTimeout(resolve, 3000))])
  expect(order[0]).toBe('other')
})

test('an endpoint that asked for silence leaves the door to the others', async () => {
  gitlab = await startGitLab()
  const project = gitlab.project({ id: 7 })
  for (let i = 1; i <= 6; i++) project.mr({})
  let refused = 0
  gitlab.fault(({ route }) =>
    route === 'discussions' && refused++ === 0
      ? {
          status: 429,
          headers: { 'retry-after': '4', 'ratelimit-remaining': '900', 'ratelimit-reset': '60' },
        }
      : null,
  )
  const gate = makeGate()
  const client = asking(gitlab.url, { gate, clock: systemClock })
  const order: string[] = []
  const discussions = (iid: number) =>
    client.get(`projects/7/merge_requests/${iid}/discussions`).then(() => order.push('discussions'))
  const first = discussions(1)
  while (refused === 0) await new Promise((resolve) => setTimeout(resolve, 10))
  await new Promise((resolve) => setTimeout(resolve, 100))
  await Promise.all([
    first,
    ...[2, 3, 4].map(discussions),
    client.get('projects/7/merge_requests').then(() => order.push('list')),
  ])
  expect(order[0]).toBe('list')
})
