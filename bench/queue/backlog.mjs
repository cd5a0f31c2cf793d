/**
 * What one claim of one job costs while so many wait: buffers (free of noise) and ms, warm, median. "blocked": the oldest
 * 60 % may not run, because their tenant (group, queue) has all it may have.
 */
import bare, { CLAIM } from './contenders/bare.mjs'
import boss, * as bossClaims from './contenders/boss.mjs'
import graphile, * as graphileClaims from './contenders/graphile.mjs'
import mine from './contenders/ours.mjs'
import { buffersOf, explained } from './explain.mjs'
import * as ours from './ours.mjs'
import { median, show } from './print.mjs'
import { connect } from './server.mjs'

const BLOCKED_SHARE = 0.6
const PAUSED_SHARE = 0.01
const TIMES = 5
const GROUP_LIMIT = 5
/** The part of our claim that takes the job it has chosen: lock, fence, run, batch, slice. Peers have no such thing. */
const LEDGER = /^select \* from scm\.hold_jobs\(/

export async function backlog(run) {
  const { print, quick } = run
  const sizes = quick ? [1000, 20_000] : [1000, 100_000, 1_000_000]
  const rows = []
  for (const size of sizes) {
    const busy = size * BLOCKED_SHARE
    const found = [
      ...(await ofBare(run, size)),
      ...(await ofGraphile(run, size, busy)),
      ...(await ofBoss(run, size, busy)),
      ...(await ofOurs(run, size, busy)),
    ]
    for (const one of found) rows.push({ size, ...one })
  }
  print.table(
    `backlog: one claim of one job, median of ${TIMES}`,
    ['', 'pending', 'buffers', 'of them choosing', 'ms'],
    rows.map((r) => [r.what, show(r.size), r.buffers, r.choosing, r.ms]),
  )
  for (const row of rows) print.record('backlog', row)
  const last = rows.filter((r) => r.size === sizes.at(-1))
  const blocked = last.find((r) => r.what === LIMITED)
  const where = `${show(blocked.size)} pending, ${show(blocked.size * BLOCKED_SHARE)} of them blocked at the head`
  print.target(`buffers of a claim, ${where}`, blocked.buffers, '<=', 50)
  print.say(`       of them ${blocked.choosing} for choosing the job; the rest takes it and opens its run`)
  for (const peer of ['graphile-worker, busy queue', 'pg-boss, group at its limit']) {
    const theirs = last.find((r) => r.what === peer)
    print.say(`       ${peer} / ours, whole claim: ${show(theirs.buffers / blocked.buffers)} x the buffers`)
  }
}

const LIMITED = 'engram-scm, tenant at its limit'

async function ofBare({ server }, size) {
  const dsn = await server.database()
  await bare.install(dsn)
  await bare.fill(dsn, size)
  const open = await costOf(dsn, { text: CLAIM, values: [1] })
  await server.drop(dsn)
  return [{ what: 'bare SQL', ...open }]
}

async function ofGraphile({ server }, size, busy) {
  const dsn = await server.database()
  await graphile.install(dsn)
  await graphile.fill(dsn, size, { busy })
  const claim = await graphileClaims.claimOf(dsn)
  const open = await costOf(dsn, claim)
  await graphileClaims.block(dsn)
  const blocked = await costOf(dsn, claim)
  await server.drop(dsn)
  return [
    { what: 'graphile-worker', ...open },
    { what: 'graphile-worker, busy queue', ...blocked },
  ]
}

async function ofBoss({ server }, size, busy) {
  const dsn = await server.database()
  await boss.install(dsn)
  await boss.fill(dsn, size, { busy })
  const open = await costOf(dsn, await bossClaims.claimOf(dsn, null))
  await bossClaims.block(dsn)
  const blocked = await costOf(dsn, await bossClaims.claimOf(dsn, GROUP_LIMIT))
  await server.drop(dsn)
  return [
    { what: 'pg-boss', ...open },
    { what: 'pg-boss, group at its limit', ...blocked },
  ]
}

async function ofOurs({ engine, server }, size, busy) {
  const dsn = await server.database()
  await mine.install(dsn, engine)
  await mine.backlog(dsn, size, busy)
  const open = await costOf(dsn, claimOf(engine))

  const limited = { limits: { ...ours.WIDE, perTenant: 2 } }
  const ctx = ours.contextOn(engine, dsn)
  await ours.claim(engine, ctx.db, 2, { ...limited, tenants: ['tenant1'] })
  const blocked = await costOf(dsn, claimOf(engine, limited))

  // A worker that serves this tenant alone: every claim of it begins at the paused ones.
  const served = { tenants: ['tenant1'], instances: ['host1'] }
  await ctx.db.query(
    `insert into logbook.kv (namespace, key, value_json)
     select 'scm.sync_pauses', repo || ':commits', jsonb_build_object('paused_until', extract(epoch from now()) + 3600)
       from generate_series(1, $1::int) repo`,
    [Math.round(size * PAUSED_SHARE)],
  )
  await ours.claim(engine, ctx.db, 1, served)
  const paused = await costOf(dsn, claimOf(engine, served))
  await ctx.db.end()
  await server.drop(dsn)
  return [
    { what: 'engram-scm', ...open },
    { what: LIMITED, ...blocked },
    { what: `engram-scm, ${show(size * PAUSED_SHARE)} pairs paused at the head`, ...paused },
  ]
}

/** The statement claimJobs sends. */
function claimOf(engine, more) {
  let sent = null
  const deaf = {
    query: async (asked) => {
      sent = asked
      return { rows: [] }
    },
  }
  void ours.claim(engine, deaf, 1, more)
  return { ...sent, name: undefined }
}

/** Undone each time, so every one sees the same queue. */
async function costOf(dsn, { text, values }) {
  const db = await connect(dsn)
  await db.query('vacuum analyze')
  const undone = async (work) => {
    await db.query('begin')
    try {
      return await work()
    } finally {
      await db.query('rollback')
    }
  }
  const explain = () =>
    undone(async () => {
      const { rows } = await db.query(`explain (analyze, buffers, format json) ${text}`, values)
      const { Plan: plan } = rows[0]['QUERY PLAN'][0]
      if (plan['Actual Rows'] !== 1) throw new Error(`the claim found ${plan['Actual Rows']} jobs: ${text}`)
      return buffersOf(plan)
    })
  const chosen = () =>
    undone(async () => {
      const plans = await explained(db, () => db.query(text, values))
      const sum = (pattern) =>
        plans.filter((p) => pattern.test(p.text)).reduce((total, { plan }) => total + buffersOf(plan), 0)
      return buffersOf(plans.at(-1).plan) - sum(LEDGER)
    })
  const timed = () =>
    undone(async () => {
      const at = performance.now()
      await db.query(text, values)
      return performance.now() - at
    })
  const found = { buffers: [], choosing: [], ms: [] }
  for (let n = 0; n <= TIMES; n++) {
    const one = { buffers: await explain(), choosing: await chosen(), ms: await timed() }
    if (n > 0) for (const [name, value] of Object.entries(one)) found[name].push(value) // the first one warms
  }
  await db.end()
  return { buffers: median(found.buffers), choosing: median(found.choosing), ms: median(found.ms) }
}
