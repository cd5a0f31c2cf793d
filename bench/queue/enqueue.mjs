/** Jobs a second of bulk enqueueing: one call, one statement or whatever the library makes of it, committed. */
import { createHash } from 'node:crypto'
import { contenders } from './contenders/all.mjs'
import mine from './contenders/ours.mjs'
import * as ours from './ours.mjs'
import { median, show } from './print.mjs'

const SIZES = [1000, 10_000]

export async function enqueue({ engine, server, print, quick }) {
  const rounds = quick ? 2 : 5
  const ways = []
  for (const contender of contenders.filter((c) => c.bulk)) {
    const dsn = await server.database()
    await contender.install(dsn, engine)
    ways.push({ what: contender.name, dsn, ...(await contender.bulk(dsn)) })
  }
  ways.push(...(await waysOfOurs(engine, server)))

  const rates = new Map()
  const failures = new Map()
  for (let round = 0; round <= rounds; round++) {
    for (const way of ways) {
      for (const size of SIZES) {
        const prepared = way.prepare?.(size)
        const key = `${way.what} ${size}`
        if (failures.has(key)) continue
        const at = performance.now()
        try {
          await way.insert(size, prepared)
        } catch (error) {
          failures.set(key, error.message)
          continue
        }
        const rate = (1000 * size) / (performance.now() - at)
        if (round === 0) continue // statements are parsed, files have grown
        rates.set(key, [...(rates.get(key) ?? []), rate])
      }
    }
  }
  for (const way of ways) {
    await way.end()
    await server.drop(way.dsn)
  }

  const rate = (what, size) => median(rates.get(`${what} ${size}`) ?? [Number.NaN])
  print.table(
    `enqueue: jobs/s, median of ${rounds}`,
    ['', ...SIZES.map((size) => `${show(size)} per call`), 'x bare'],
    ways.map(({ what }) => [
      what,
      ...SIZES.map((size) => rate(what, size)),
      rate(what, SIZES[1]) / rate('bare SQL', SIZES[1]),
    ]),
  )
  for (const [what, why] of failures) print.say(`  FAILED ${what} per call: ${why}`)
  for (const [what, found] of rates) print.record('enqueue', { what, rates: found })
  for (const size of SIZES) {
    print.target(
      `bulk enqueue, a plan per job, ${show(size)} per call`,
      rate(PLAN_PER_JOB, size),
      '>=',
      30_000,
    )
  }
}

const PLAN_PER_JOB = 'engram-scm, a plan per job'

async function waysOfOurs(engine, server) {
  const made = []
  let repoId = 0
  const repos = (count) =>
    Array.from({ length: count }, () => {
      repoId += 1
      return {
        repoId,
        kind: 'git',
        locator: `/srv/${repoId}.git`,
        projectKey: null,
        instanceKey: `host${repoId % 20}`,
        tenantId: `tenant${repoId % 15}`,
        enabled: true,
      }
    })
  const way = async (what, prepare, insert) => {
    const dsn = await server.database()
    await mine.install(dsn, engine)
    const ctx = ours.contextOn(engine, dsn)
    made.push({
      what,
      dsn,
      prepare,
      insert: (_, prepared) => insert(ctx, prepared),
      end: () => ctx.db.end(),
    })
  }
  const plans = (size) => ours.plansFor(engine, repos(size))
  await way(PLAN_PER_JOB, plans, (ctx, list) => ours.insert(engine, ctx, list))
  await way('engram-scm, the same with making the plans', repos, (ctx, list) =>
    ours.insert(engine, ctx, ours.plansFor(engine, list)),
  )
  await way(
    'engram-scm, one plan of many slices',
    (size) => [sliced(plans(1)[0], size)],
    (ctx, list) => ours.insert(engine, ctx, list),
  )
  return made
}

/** As a backfill makes them: the slices are jobs of one repository. */
function sliced(plan, count) {
  const [slice] = plan.slices
  const hash = (what, no) => createHash('sha256').update(`${plan.planKey} ${what} ${no}`).digest('hex')
  return {
    ...plan,
    operation: 'BACKFILL',
    slices: Array.from({ length: count }, (_, no) => ({
      ...slice,
      no,
      signature: hash('slice', no),
      taskKey: hash('task', no),
    })),
    job: { ...plan.job, mode: 'backfill', activeKey: null },
  }
}
