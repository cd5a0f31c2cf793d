/** One tick of the scheduler, with nothing due and with all due: ms, statements sent (begin and commit among them), jobs made. */
import mine from './contenders/ours.mjs'
import * as ours from './ours.mjs'
import { median, show } from './print.mjs'

const SIZES = [1000, 10_000]
const ROUNDS = 3

export async function tick({ engine, server, print }) {
  const rows = []
  for (const size of SIZES) {
    const dsn = await server.database()
    await mine.install(dsn, engine)
    await ours.seedRepos(dsn, size)
    const ctx = ours.contextOn(engine, dsn)
    let sent = 0
    ctx.db.on('connect', (client) => {
      const query = client.query.bind(client)
      client.query = (...asked) => {
        sent += 1
        return query(...asked)
      }
    })
    const once = async (what, due) => {
      sent = 0
      const at = performance.now()
      const report = await engine.tickScheduler(ctx, { dryRun: false, keepLeading: true })
      const found = { ms: performance.now() - at, statements: sent, jobs: report.jobs_enqueued }
      // Repairs may come on top.
      const made = await ctx.db.query(`select count(*)::int as n from ing_task where mode = 'incremental'`)
      if (made.rows[0].n !== due)
        throw new Error(`a tick over ${size} repositories, ${what}: ${made.rows[0].n} incremental jobs`)
      return found
    }
    await once('nothing due', 0)
    for (const [what, age, due] of [
      ['nothing due', '0 seconds', 0],
      ['all due', '1 day', size],
    ]) {
      const found = []
      for (let round = 0; round < ROUNDS; round++) {
        await ctx.db.query('truncate ing_task, ing_plan, ing_plan_slice, ing_schedule_instance, scm.lanes')
        await ctx.db.query(
          `update logbook.kv set updated_at = now() - $1::interval where namespace = 'scm.sync'`,
          [age],
        )
        await ctx.db.query('vacuum analyze')
        found.push(await once(what, due))
      }
      const ms = median(found.map((f) => f.ms))
      const { statements, jobs } = found[0]
      rows.push({ what, size, jobs, ms, statements })
    }
    await ctx.db.end()
    await server.drop(dsn)
  }
  print.table(
    `tick: one scan of the scheduler, median of ${ROUNDS}`,
    ['', 'repositories', 'ms', 'statements', 'jobs made', 'jobs/s'],
    rows.map((r) => [
      r.what,
      show(r.size),
      r.ms,
      r.statements,
      show(r.jobs),
      r.jobs ? (1000 * r.jobs) / r.ms : null,
    ]),
  )
  for (const row of rows) print.record('tick', row)
  for (const row of rows.filter((r) => r.size === SIZES.at(-1))) {
    print.target(
      `statements of a tick over ${show(row.size)} repositories, ${row.what}`,
      row.statements,
      '<=',
      10,
    )
  }
  const idle = rows.find((r) => r.size === SIZES.at(-1) && r.jobs === 0)
  print.target(`ms of a tick over ${show(idle.size)} repositories, nothing due`, idle.ms, '<=', 500)
}
