import { outcomeOf } from './crash.ts'
import { hoursPass, moveOn, type Pipeline, ROLES, type Role, settle, startRole, wrongs } from './pipeline.ts'
import { CUTS, type Plan, Wire } from './wire.ts'
import { buried } from './world.ts'

/** What one machine's processes do one after the other: a whole life of jobs, and the beginning of the next. */
const WALK: (Role | 'later')[] = ['scheduler', 'worker', 'reaper', 'later', 'scheduler', 'worker', 'reaper']

async function walk(p: Pipeline, wire: Wire): Promise<{ sent: number; hit: boolean; broken: string[] }> {
  const one = startRole(p, wire, { settings: { 'scm.worker.parallelism': 1 } })
  const broken: string[] = []
  for (const step of WALK) {
    if (wire.dead) break
    if (step === 'later') {
      await later(p)
      continue
    }
    const outcome = await outcomeOf(() => ROLES[step](one.ctx))
    if (!wire.dead && !isClean(outcome)) broken.push(`the ${step} ended with ${outcome}`)
  }
  const seen = { sent: wire.sent.length, hit: wire.hit, broken } // what closes the connections is no write of its work
  await one.end().catch(() => {})
  await buried(p, one.ctx.worker)
  return seen
}

/** Whoever lost a connection may fail, and says so; a reaper counts what it could not do. */
function isClean(outcome: string): boolean {
  return outcome === 'success' || /database: |^partial: undefined$/.test(outcome)
}

async function later(p: Pipeline): Promise<void> {
  await hoursPass(p)
  moveOn(p.repos[0]!)
}

/** Every write of an undisturbed walk, in every way it can go wrong. */
export async function pointsOfWalk(p: Pipeline): Promise<Plan[]> {
  await later(p)
  const { sent } = await walk(p, new Wire(null))
  await settle(p)
  const ways = [true, false].flatMap((dies) => CUTS.map((how) => ({ how, dies })))
  return Array.from({ length: sent }, (_, i) => ways.map((way) => ({ at: i + 1, ...way }))).flat()
}

export interface Story {
  /** Crash points that were reached. */
  hits: number
  broken: string[]
}

/** The line breaks at `plan`; then fresh processes must bring everything to the end it would have had. */
export async function cutWalk(p: Pipeline, plan: Plan): Promise<Story> {
  await later(p)
  const { hit, broken } = await walk(p, new Wire(plan))
  return { hits: Number(hit), broken: [...broken, ...(await settle(p)), ...(await wrongs(p))] }
}

/** Who is there, and about how much it writes in a round: where its end is worth placing. */
const CAST: { role: Role; writes: number }[] = [
  { role: 'scheduler', writes: 9 },
  { role: 'scheduler', writes: 9 },
  { role: 'worker', writes: 45 },
  { role: 'worker', writes: 30 },
  { role: 'reaper', writes: 8 },
]
const ACTS = 3

/**
 * Two schedulers, two workers and a reaper at the same time, while people push and time flies: two to four of them die,
 * or lose a connection, somewhere; each is replaced.
 */
export async function manyCrashes(p: Pipeline, random: () => number): Promise<Story> {
  const left = 2 + Math.floor(random() * 3)
  const plans: (Plan | null)[] = CAST.map(() => null)
  while (plans.filter(Boolean).length < left) {
    const i = Math.floor(random() * CAST.length)
    plans[i] ??= {
      at: 1 + Math.floor(random() * CAST[i]!.writes * (ACTS - 1)),
      how: CUTS[Math.floor(random() * CUTS.length)]!,
      dies: random() < 0.7,
    }
  }
  const wires: Wire[] = []
  const take = (plan: Plan | null) => {
    const wire = new Wire(plan)
    wires.push(wire)
    return startRole(p, wire)
  }
  const crew = plans.map(take)
  const gone: string[] = []
  const broken: string[] = []
  for (let act = 0; act < ACTS; act++) {
    await later(p)
    await Promise.all(
      CAST.map(async ({ role }, i) => {
        const one = crew[i]!
        // Not all at once: whoever comes first must not always be the same.
        await new Promise((resolve) => setTimeout(resolve, random() * 40))
        const outcome = await outcomeOf(() => ROLES[role](one.ctx))
        if (one.wire?.dead) {
          gone.push(one.ctx.worker)
          await one.end().catch(() => {})
          crew[i] = take(null)
        } else if (!isClean(outcome)) {
          broken.push(`a ${role} ended with ${outcome}`)
        }
      }),
    )
  }
  const hits = wires.filter((wire) => wire.hit).length
  for (const one of crew) await one.end().catch(() => {})
  for (const worker of gone) await buried(p, worker)
  broken.push(...(await settle(p)), ...(await wrongs(p)))
  return { hits, broken }
}
