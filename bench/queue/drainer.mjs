/**
 * A child of the drain: works one contender's queue off when told to go, and tells how many jobs it has had in hand.
 * Arguments: engine file, contender, drain, DSN, concurrency.
 */
import { contenders } from './contenders/all.mjs'
import { loadEngine } from './engine.mjs'

const REPORT_MS = 2
const [file, name, label, dsn, concurrency] = process.argv.slice(2)
const engine = await loadEngine(file)
const { drain } = contenders.find((c) => c.name === name).drains[label]

process.once('message', async () => {
  let handled = 0
  let first = null
  let told = 0
  const tell = () => {
    if (handled === told) return
    told = handled
    process.send({ handled, first })
  }
  const timer = setInterval(tell, REPORT_MS)
  const stop = await drain(
    dsn,
    Number(concurrency),
    (jobs) => {
      first ??= performance.timeOrigin + performance.now()
      handled += jobs
    },
    engine,
  )
  process.once('message', async () => {
    await stop()
    clearInterval(timer)
    tell()
    process.disconnect()
  })
})
process.send('ready')
