import { setTimeout as pause } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { chance, say, size } from '../chaos/size.ts'
import {
  beginAll,
  caughtUp,
  complaints,
  expectRecovered,
  hearing,
  push,
  stage,
  until,
  working,
} from './crew.ts'

const ROUNDS = size('TERMINATIONS', 15, 500)
const CRASHES = size('CRASHES', 2, 30)
const BACKENDS = `from pg_stat_activity where application_name = 'engram-scm' and backend_type = 'client backend'`

const { server, repos } = await stage(3)

test('connections that are ended again and again, one or all of them: nothing is lost and nobody ends', async () => {
  const { random } = chance('terminations')
  const crew = beginAll(server)
  await until('the worker listens', hearing(server))
  let ended = 0
  let atWork = 0
  for (let round = 0; round < ROUNDS; round++) {
    if (round % 5 === 0) for (const { repo } of repos) push(repo, 150)
    await Promise.race([until('work', working(server)).catch(() => {}), pause(1500)])
    await pause(60 * random())
    if (await working(server)()) atWork += 1
    const whom = [BACKENDS, `${BACKENDS} and query = 'listen scm_jobs'`, `${BACKENDS} and random() < 0.4`]
    const gone = await server.query(`select pg_terminate_backend(pid) ${whom[round % whom.length]}`)
    ended += gone.length
  }
  const from = performance.now()
  await caughtUp(server, repos)
  say(`${ended} connections ended in ${ROUNDS} rounds, ${atWork} at work; caught up after ${ms(from)}`)
  // Whoever ends idle connections proves little.
  expect(atWork).toBeGreaterThanOrEqual(ROUNDS / 4)
  await expectRecovered(server, crew, repos)
})

test('a killed backend, after which the server begins anew: all loops go on', async () => {
  const crew = beginAll(server)
  await until('the worker listens', hearing(server))
  for (let n = 0; n < CRASHES; n++) {
    for (const { repo } of repos) push(repo, 150)
    await until('work', working(server))
    const [victim] = await server.query<{ pid: number }>(`select pid ${BACKENDS} limit 1`)
    process.kill(victim!.pid, 'SIGKILL')
    const from = performance.now()
    await caughtUp(server, repos)
    say(`a killed backend: caught up after ${ms(from)}`)
  }
  say(`complaints: ${Object.entries(crew).map(([bin, p]) => `${bin} ${complaints(p).length}`)}`)
  await expectRecovered(server, crew, repos)
})

const ms = (from: number) => `${(performance.now() - from).toFixed(0)} ms`
