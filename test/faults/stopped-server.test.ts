import { setTimeout as pause } from 'node:timers/promises'
import { afterEach, expect, test } from 'vitest'
import { say } from '../chaos/size.ts'
import {
  beginAll,
  type Crew,
  caughtUp,
  complaints,
  expectRecovered,
  hearing,
  push,
  stage,
  until,
  working,
} from './crew.ts'
import { expectRefused, type OneShot } from './one-shots.ts'

const ALL: OneShot[] = ['scheduler', 'worker', 'reaper', 'status', 'incremental']
/** Connections that one process may lose at the same moment, each with a line of its own. */
const CONNECTIONS = 11
const LOOPS = ['worker', 'scheduler', 'reaper'] as const

const { server, repos } = await stage(3)
afterEach(() => server.start())

async function atWork(): Promise<Crew> {
  const crew = beginAll(server)
  await until('the worker listens', hearing(server))
  for (const { repo } of repos) push(repo, 150)
  await until('work', working(server))
  return crew
}

test.each([
  ['fast', ALL],
  ['immediate', []],
] as const)('a server that is stopped (%s) and comes back', async (mode, asked) => {
  const crew = await atWork()
  const before = LOOPS.map((bin) => complaints(crew[bin]).length)
  const from = performance.now()
  await server.stop(mode)
  await Promise.all([
    pause(3000),
    expectRefused(server, repos[0]!, [...asked], { error: /ENOENT|ECONNREFUSED/, hint: /server running/ }),
  ])
  const seconds = (performance.now() - from) / 1000
  for (const [i, bin] of LOOPS.entries()) {
    const lines = complaints(crew[bin], before[i])
    say(
      `${mode}: ${bin} said ${lines.length} lines in ${seconds.toFixed(1)} s without a server, ${lines.filter((l) => /lost/.test(l)).length} of them for a lost connection`,
    )
    // A round a second, and a renewal; not one for each try. Who is in the middle of a transaction tries for a minute.
    if (bin === 'worker') expect(lines.length).toBeGreaterThan(0)
    expect(lines.length, lines.join('\n')).toBeLessThanOrEqual(CONNECTIONS + 3 * (seconds + 1))
  }
  await server.start()
  const again = performance.now()
  await caughtUp(server, repos)
  say(`${mode}: caught up ${(performance.now() - again).toFixed(0)} ms after the start`)
  await expectRecovered(server, crew, repos)
})
