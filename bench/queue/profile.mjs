/** Where one batch of ours spends its time: every statement of enqueueing, claim and completion, node by node, as auto_explain saw it. */
import mine from './contenders/ours.mjs'
import { buffersOf, explained } from './explain.mjs'
import * as ours from './ours.mjs'
import { median, show } from './print.mjs'

const BATCH = 100
const ROUNDS = 10
const MOST_PIECES = 25
const HEAD = ['', 'loops', 'us/job', 'buffers/job', 'WAL bytes/job']

export async function profile({ engine, server, print }) {
  const dsn = await server.database()
  await mine.install(dsn, engine)
  const plans = ours.plansFor(engine, await ours.seedRepos(dsn, BATCH * (2 * ROUNDS + 1)))
  const next = () => plans.splice(0, BATCH)
  // One connection, so that what is switched on for it holds for all of it.
  const ctx = ours.contextOn(engine, dsn)
  ctx.db.options.max = 1

  const phases = {}
  for (const phase of ['enqueue', 'claim', 'complete']) phases[phase] = { ms: [], plans: [] }
  for (let n = 0; n <= ROUNDS; n++) {
    const at = [performance.now()]
    await ours.insert(engine, ctx, next())
    at.push(performance.now())
    const held = await ours.claim(engine, ctx.db, BATCH)
    at.push(performance.now())
    await ours.complete(engine, ctx.db, held)
    at.push(performance.now())
    if (n === 0) await ctx.db.query('vacuum analyze')
    else for (const [i, { ms }] of Object.values(phases).entries()) ms.push(at[i + 1] - at[i])
  }
  const client = await ctx.db.connect()
  const same = { query: (asked) => client.query(asked), connect: async () => same, release() {} }
  for (let n = 0; n < ROUNDS; n++) {
    let held = []
    const work = {
      enqueue: () => ours.insert(engine, { db: same }, next()),
      claim: async () => {
        held = await ours.claim(engine, same, BATCH)
      },
      complete: () => ours.complete(engine, same, held),
    }
    for (const [phase, of] of Object.entries(phases)) of.plans.push(...(await explained(client, work[phase])))
  }
  client.release()
  await ctx.db.end()
  await server.drop(dsn)

  const jobs = BATCH * ROUNDS
  print.say(`\nprofile: ${BATCH} jobs per call, one after the other`)
  for (const [phase, { ms, plans }] of Object.entries(phases)) {
    const { pieces, statements } = piecesOf(plans)
    const perJob = median(ms) / BATCH
    print.say(
      `\n${phase}: ${show(1000 * perJob)} us a job; what follows was timed node by node, which costs too`,
    )
    print.table('statements, those inside functions too', HEAD, rowsOf(statements, jobs))
    print.table(
      'nodes by themselves; what a subquery does may be counted with whoever asked for it',
      HEAD,
      rowsOf(pieces, jobs).slice(0, MOST_PIECES),
    )
    print.record('profile', { phase, usPerJob: 1000 * perJob, pieces: Object.fromEntries(pieces) })
  }
}

/** Time, buffers and WAL of each kind of node, its children's taken off. */
function piecesOf(plans) {
  const statements = new Map()
  const pieces = new Map()
  for (const { text, ms, plan, triggers } of plans) {
    add(statements, text.trim().replace(/\s+/g, ' ').slice(0, 70), { ...costOf(plan), loops: 1, ms })
    const unread = new Map()
    walk(plan, (node) => {
      const name = cteMadeBy(node)
      if (name) unread.set(name, node)
    })
    walk(plan, (node) => {
      const own = costOf(node)
      for (const child of node.Plans ?? []) if (!cteMadeBy(child)) subtract(own, costOf(child))
      const made = node['Node Type'] === 'CTE Scan' && unread.get(node['CTE Name'])
      if (made) {
        subtract(own, costOf(made)) // the first who reads it has waited for it
        unread.delete(node['CTE Name'])
      }
      add(pieces, labelOf(node), own)
    })
    for (const t of triggers) {
      add(pieces, `trigger ${t['Trigger Name']}`, { loops: t.Calls, ms: t.Time, buffers: 0, wal: 0 })
    }
  }
  return { statements, pieces }
}

function walk(node, visit) {
  for (const child of node.Plans ?? []) walk(child, visit)
  visit(node)
}

const cteMadeBy = (node) => /^CTE (.*)$/.exec(node['Subplan Name'] ?? '')?.[1]

const costOf = (node) => ({
  loops: node['Actual Loops'],
  ms: node['Actual Total Time'] * node['Actual Loops'],
  buffers: buffersOf(node),
  wal: node['WAL Bytes'] ?? 0,
})

function subtract(own, other) {
  for (const key of ['ms', 'buffers', 'wal']) own[key] -= other[key]
}

function labelOf(node) {
  const kind = node.Operation ?? node['Node Type']
  const on = node['Relation Name'] ?? node['CTE Name'] ?? node['Function Name'] ?? ''
  const index = node['Index Name'] ? ` (${node['Index Name']})` : ''
  return `${kind} ${on}${index}`
}

function add(sums, key, cost) {
  const sum = sums.get(key) ?? { loops: 0, ms: 0, buffers: 0, wal: 0 }
  for (const name of Object.keys(sum)) sum[name] += cost[name]
  sums.set(key, sum)
}

function rowsOf(sums, jobs) {
  return [...sums]
    .sort((a, b) => b[1].ms - a[1].ms)
    .map(([name, s]) => [name, s.loops, (1000 * s.ms) / jobs, s.buffers / jobs, s.wal / jobs])
}
