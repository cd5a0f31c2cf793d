/**
 * `npm run bench:queue [-- [section …] [--quick] [--json]]`: our queue beside graphile-worker, pg-boss and bare SQL, on one
 * PostgreSQL server, in one run. Read the ratios: absolute figures are this machine's, at this hour. Sections: drain,
 * backlog, enqueue, latency, tick; and profile, which shows where our own time goes.
 *
 * BENCH_DSN: a server of your own instead (superuser; databases are made and dropped there).
 * BENCH_STRICT=1: a missed target is a failure.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { cpus, loadavg, tmpdir, totalmem } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { installPeers, named } from './peers.mjs'

const SECTIONS = ['drain', 'backlog', 'enqueue', 'latency', 'tick']
const EVERY = [...SECTIONS, 'profile']

const { wanted, quick, json } = asked()
installPeers()
// Only now: what they import may just have been installed.
const [{ bundleEngine, loadEngine }, { startServer }, { printer }] = await Promise.all([
  import('./engine.mjs'),
  import('./server.mjs'),
  import('./print.mjs'),
])

const print = printer(json)
const dir = mkdtempSync(join(tmpdir(), 'engram-bench-queue-'))
let starting = null
let ended = null
// The server has a session of its own and would outlive us. Under npm a signal comes twice.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  process.on(signal, () => end().finally(() => process.exit(2)))
}
try {
  const file = await bundleEngine(dir)
  const engine = await loadEngine(file)
  starting = startServer(engine, dir)
  const server = await starting
  const machine = `${cpus().length} x ${cpus()[0]?.model}, ${Math.round(totalmem() / 2 ** 30)} GiB, load ${loadavg()[0]?.toFixed(1)}, Node ${process.version}`
  print.say(`${machine}\nPostgreSQL ${server.version}: ${server.settings}\n${named()}`)
  for (const section of wanted) {
    const at = performance.now()
    const { [section]: measure } = await import(`./${section}.mjs`)
    await measure({ engine, file, server, print, quick })
    print.say(`  (${((performance.now() - at) / 1000).toFixed(0)} s)`)
  }
  const { results, targets } = print
  const missed = targets.filter((t) => !t.ok)
  if (targets.length > 0)
    print.say(`\n${targets.length - missed.length} of ${targets.length} targets reached`)
  if (json) {
    const { version: postgres, settings } = server
    process.stdout.write(
      `${JSON.stringify({ machine, postgres, settings, peers: named(), quick, targets, results })}\n`,
    )
  }
  if (missed.length > 0 && process.env.BENCH_STRICT === '1') process.exitCode = 1
} finally {
  await end()
}

function end() {
  ended ??= Promise.resolve(starting)
    .then(
      (server) => server?.stop(),
      () => {},
    )
    .finally(() => rmSync(dir, { recursive: true, force: true }))
  return ended
}

function asked() {
  try {
    const { values, positionals } = parseArgs({
      allowPositionals: true,
      options: { quick: { type: 'boolean', default: false }, json: { type: 'boolean', default: false } },
    })
    const stranger = positionals.find((name) => !EVERY.includes(name))
    if (stranger !== undefined) throw new Error(`there is no section ${stranger}`)
    return { ...values, wanted: positionals.length > 0 ? positionals : SECTIONS }
  } catch (error) {
    process.stderr.write(
      `bench:queue: ${error.message}; sections are ${EVERY.join(', ')}; options --quick, --json\n`,
    )
    process.exit(2)
  }
}
