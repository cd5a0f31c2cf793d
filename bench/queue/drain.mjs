/** Jobs a second, from the first one in hand to the last acknowledgement committed, by one process and by two. */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { contenders } from './contenders/all.mjs'
import { median, show } from './print.mjs'
import { connect } from './server.mjs'

const CONCURRENCY = 8
const PATIENCE_MS = 120_000
const child = fileURLToPath(new URL('drainer.mjs', import.meta.url))

export async function drain({ engine, file, server, print, quick }) {
  const rounds = quick ? 1 : 3
  const scale = quick ? 0.25 : 1
  const queues = []
  for (const contender of contenders) {
    for (const [label, { jobs }] of Object.entries(contender.drains)) {
      const count = Math.round(jobs * scale)
      const template = await server.database()
      await contender.install(template, engine)
      await contender.fill(template, count, { engine })
      const db = await connect(template)
      await db.query('vacuum analyze')
      await db.end()
      queues.push({ contender, label, count, template, rates: { 1: [], 2: [] } })
    }
  }

  for (let round = 0; round < rounds; round++) {
    for (const processes of quick ? [1] : [1, 2]) {
      for (const queue of queues) {
        queue.rates[processes].push(await drainOnce({ ...queue, server, file, processes }))
      }
    }
  }
  for (const { template } of queues) await server.drop(template)

  const rate = (label, processes) => median(queues.find((q) => q.label === label).rates[processes])
  const floor = rate('bare SQL n=1', 1)
  print.table(
    `drain: jobs/s, ${CONCURRENCY} at a time in each process, median of ${rounds}`,
    ['', 'jobs', '1 process', quick ? '' : '2 processes', 'x bare n=1'],
    queues.map(({ label, count }) => [
      label,
      count,
      rate(label, 1),
      quick ? '' : rate(label, 2),
      rate(label, 1) / floor,
    ]),
  )
  for (const { label, rates } of queues) print.record('drain', { label, rates })
  const ratio = (a, b) => rate(a, 1) / rate(b, 1)
  print.target('worker / graphile-worker', ratio('engram-scm worker', 'graphile-worker'), '>=', 1)
  print.target(
    'core n=100 / pg-boss worker n=100',
    ratio('engram-scm core n=100', 'pg-boss worker n=100'),
    '>=',
    1,
  )
  print.say(`       core n=100 / pg-boss n=100: ${show(ratio('engram-scm core n=100', 'pg-boss n=100'))}`)
}

/** Jobs a second of one drain, on a copy of the filled database; throws when a job was not worked exactly once. */
async function drainOnce({ contender, label, count, template, server, file, processes }) {
  const dsn = await server.database(template)
  const db = await connect(dsn)
  const handled = Array(processes).fill(0)
  let first = Number.POSITIVE_INFINITY
  const children = await Promise.all(
    handled.map(async (_, n) => {
      const forked = fork(child, [file, contender.name, label, dsn, String(CONCURRENCY)])
      await once(forked, 'message')
      forked.on('message', (told) => {
        handled[n] = told.handled
        first = Math.min(first, told.first)
      })
      return { forked, ended: once(forked, 'exit') }
    }),
  )

  for (const { forked } of children) forked.send('go')
  const late = performance.now() + PATIENCE_MS
  while (sum(handled) < count || (await db.query(contender.left)).rows[0].n > 0) {
    await new Promise((resolve) => setTimeout(resolve, 1))
    const alive = children.some(({ forked }) => forked.exitCode === null)
    if (!alive || performance.now() > late)
      throw new Error(`${label}: ${sum(handled)} of ${count} jobs, then no more`)
  }
  const seconds = (performance.timeOrigin + performance.now() - first) / 1000

  for (const { forked } of children) forked.send('stop')
  for (const { ended } of children) {
    const [code] = await ended
    if (code !== 0) throw new Error(`${label}: a process of it ended with ${code}`)
  }
  if (sum(handled) !== count) throw new Error(`${label}: ${sum(handled)} handled of ${count} jobs`)
  await contender.verify?.(dsn, count) // of the others an empty queue tells all: they delete what is done
  await db.end()
  await server.drop(dsn)
  return count / seconds
}

const sum = (numbers) => numbers.reduce((a, b) => a + b, 0)
