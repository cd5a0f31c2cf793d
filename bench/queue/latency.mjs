/** ms from the call that enqueues a job to the start of its handler, with one idle worker that listens, all in one process. */
import { contenders } from './contenders/all.mjs'
import { percentile } from './print.mjs'

const WARM_UP = 50
/** Between two jobs: the worker is idle again. */
const REST_MS = 3
const PATIENCE_MS = 30_000

export async function latency({ engine, server, print, quick }) {
  const samples = quick ? 200 : 1000
  const found = []
  for (const contender of contenders) {
    const dsn = await server.database()
    await contender.install(dsn, engine)
    let begun = () => {}
    const line = await contender.listen(dsn, () => begun(performance.now()), {
      engine,
      jobs: samples + WARM_UP,
    })
    await rest(500) // until it listens
    const ms = []
    for (let n = 0; n < samples + WARM_UP; n++) {
      const start = new Promise((resolve, reject) => {
        begun = resolve
        setTimeout(reject, PATIENCE_MS, new Error(`${contender.name}: job ${n} never began`)).unref()
      })
      const at = performance.now()
      await line.send(n)
      ms.push((await start) - at)
      await rest(REST_MS)
    }
    await line.end()
    await server.drop(dsn)
    found.push({ what: contender.name, ms: ms.slice(WARM_UP) })
  }

  const floor = percentile(found[0].ms, 50)
  print.table(
    `latency: enqueue to start, ms, ${samples} jobs one after the other`,
    ['', 'p50', 'p99', 'min', 'x bare'],
    found.map(({ what, ms }) => [
      what,
      percentile(ms, 50),
      percentile(ms, 99),
      Math.min(...ms),
      percentile(ms, 50) / floor,
    ]),
  )
  for (const { what, ms } of found) {
    print.record('latency', { what, p50: percentile(ms, 50), p99: percentile(ms, 99), samples })
  }
  const { ms } = found.at(-1)
  print.target('latency p50, ms', percentile(ms, 50), '<=', 2)
  print.target('latency p99, ms', percentile(ms, 99), '<=', 10)
}

const rest = (ms) => new Promise((resolve) => setTimeout(resolve, ms))
