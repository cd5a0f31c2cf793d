/** A harness that never failed proves nothing: each of these wrong queues has to be found by it. */
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest'
import type * as jobs from '../../src/core/db/queue/jobs.ts'
import type * as leaders from '../../src/core/db/queue/leaders.ts'
import type * as batches from '../../src/core/db/queue/pages.ts'
import type * as reaping from '../../src/core/db/queue/reap.ts'
import { makePipelines } from './pipeline.ts'
import { cutWalk, pointsOfWalk } from './pipeline-cut.ts'
import { SUSPECTS } from './pipeline-suspects.ts'
import { type Point, pointsOf, suspend } from './pipeline-zombie.ts'
import { say } from './size.ts'

// biome-ignore lint/suspicious/noExplicitAny: any function of any module
type Any = (...args: any[]) => any
type Wrap = (name: string, real: Any) => Any
const planted = vi.hoisted(() => ({
  jobs: null as Wrap | null,
  leaders: null as Wrap | null,
  pages: null as Wrap | null,
  reap: null as Wrap | null,
}))

/** Every function of a module as it is, or as the mutant of the moment has it. */
const wrapped = vi.hoisted(() => <M extends object>(real: M, of: keyof typeof planted): M => {
  const each = Object.entries(real).map(([name, was]) =>
    typeof was !== 'function'
      ? [name, was]
      : [name, (...args: unknown[]) => (planted[of]?.(name, was) ?? was)(...args)],
  )
  return Object.fromEntries(each) as M
})
vi.mock('../../src/core/db/queue/jobs.ts', async (original) => wrapped(await original<typeof jobs>(), 'jobs'))
vi.mock('../../src/core/db/queue/leaders.ts', async (original) =>
  wrapped(await original<typeof leaders>(), 'leaders'),
)
vi.mock('../../src/core/db/queue/pages.ts', async (original) =>
  wrapped(await original<typeof batches>(), 'pages'),
)
vi.mock('../../src/core/db/queue/reap.ts', async (original) =>
  wrapped(await original<typeof reaping>(), 'reap'),
)

/** As long as somebody says it leads, it does. */
const everybodyLeads: Wrap = (name, real) => (name === 'leads' ? async () => true : real)

/** Whatever runs is taken for dead. */
const anyLease: Wrap = (name, real) =>
  name === 'reapJobs' ? (tx, ask) => real(tx, { ...ask, graceSeconds: -1e8 }) : real

/** An owner's job by its number, whoever has it by now: the fence it was given is forgotten. */
const unfenced: Wrap =
  (_, real) =>
  async (db, ...args) => {
    const forget = async (value: unknown): Promise<unknown> => {
      if (Array.isArray(value)) return Promise.all(value.map(forget))
      if (value === null || typeof value !== 'object') return value
      if ('held' in value) return { ...value, held: await forget(value.held) }
      if (!('jobId' in value && 'fence' in value)) return value
      const { rows } = await db.query(
        'select fence, last_run_id as "runId" from ing_task where id = $1 and last_run_id is not null',
        [value.jobId],
      )
      return { ...value, ...rows[0] }
    }
    return real(db, ...(await Promise.all(args.map(forget))))
  }

/** A page is committed, and only then what its end means. */
const earlyCommit: Wrap = (name, real) =>
  name !== 'closeBatch'
    ? real
    : async (tx, ...args) => {
        const stored = await real(tx, ...args)
        await tx.query('commit')
        await tx.query('begin')
        return stored
      }

describe('the harness finds', () => {
  let pipelines: Awaited<ReturnType<typeof makePipelines>>
  beforeAll(async () => {
    pipelines = await makePipelines()
  })
  afterEach(() => Object.assign(planted, { jobs: null, leaders: null, pages: null, reap: null }))
  afterAll(() => pipelines.drop())

  /** The points of an undisturbed run, from both ends; stops at the first find. */
  async function zombiesUntilFound(name: string, plant: () => void): Promise<string[]> {
    const suspect = SUSPECTS.find((s) => s.name === name)!
    const p = await pipelines.copy()
    const all = await pointsOf(p, suspect)
    const points = all.map((_, i) => (i % 2 === 0 ? all[i / 2] : all.at(-(i + 1) / 2)) as Point)
    plant()
    const tries = points.flatMap((point) => (['same', 'next'] as const).map((heir) => ({ point, heir })))
    for (const [i, { point, heir }] of tries.entries()) {
      const { broken } = await suspend(p, suspect, point, heir)
      if (broken.length === 0) continue
      say(`found after ${i + 1} zombies: ${broken.join('; ').slice(0, 300)}`)
      await p.drop()
      return broken
    }
    await p.drop()
    return []
  }

  /** Every other write of the walk, from its end backwards. */
  async function cutsUntilFound(plant: () => void): Promise<string[]> {
    const p = await pipelines.copy()
    const all = (await pointsOfWalk(p)).filter((point) => point.dies && point.how === 'before').reverse()
    const points = all.filter((_, i) => i % 2 === 0)
    plant()
    for (const [i, point] of points.entries()) {
      const { broken } = await cutWalk(p, point)
      if (broken.length === 0) continue
      say(`found after ${i + 1} cuts: ${broken.join('; ').slice(0, 300)}`)
      await p.drop()
      return broken
    }
    await p.drop()
    return []
  }

  test('a tick that does not ask whether its term is over: a suspended leader still writes', async () => {
    const found = await zombiesUntilFound('a scheduler', () => {
      planted.leaders = everybodyLeads
    })
    expect(found).toContainEqual(expect.stringMatching(/a scheduler still wrote.*ing_plan/))
  })

  test('a reaper that does not look at the lease: who works is disturbed', async () => {
    const found = await zombiesUntilFound('a reaper', () => {
      planted.reap = anyLease
    })
    expect(found).toContainEqual(expect.stringMatching(/a reaper still wrote.*ing_task/))
    expect(found).toContainEqual(expect.stringMatching(/who took over was disturbed/))
  })

  test('renewing, completing and giving back by the number of the job alone: a suspended worker still writes', async () => {
    const found = await zombiesUntilFound('a worker', () => {
      planted.jobs = unfenced
    })
    expect(found).toContainEqual(expect.stringMatching(/a worker still wrote/))
  })

  test('failing by the number of the job alone: a suspended worker still writes', async () => {
    const found = await zombiesUntilFound('a worker that fails', () => {
      planted.jobs = (name, real) => (name === 'failJob' ? unfenced(name, real) : real)
    })
    expect(found).toContainEqual(expect.stringMatching(/a worker that fails still wrote/))
  })

  test('a last page that is committed before the cursor: the ledger and the repository differ', async () => {
    const found = await cutsUntilFound(() => {
      planted.pages = earlyCommit
    })
    expect(found.length).toBeGreaterThan(0)
  })
})
