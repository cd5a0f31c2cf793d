import type { Context } from '../../src/core/app/context.ts'
import { SyncError } from '../../src/core/domain/errors.ts'
import type { Wishes } from '../helpers/context.ts'
import { commitsOf } from '../helpers/git-repo.ts'
import { watched } from '../helpers/watched-source.ts'
import { outcomeOf } from './crash.ts'
import { hoursPass, once, type Pipeline, ROLES, startRole } from './pipeline.ts'
import { Wire } from './wire.ts'

/** Who is suspended, and in the middle of what. */
export interface Suspect {
  name: string
  /** Share of all zombies. */
  share: number
  /** Before any write of an undisturbed run; or before one of so many from the first that has this in its text. */
  where: 'anywhere' | { from: string; writes: number }
  wishes: () => Wishes
  run: (ctx: Context) => ReturnType<Parameters<typeof outcomeOf>[0]>
  /** What it finds when it begins. */
  before: (p: Pipeline) => Promise<unknown>
}

const jobsFor = (p: Pipeline) => once(p, 'scheduler')
/** Does it when the `n`-th page with commits is looked at, and at every later one. */
const atPage = (n: number, act: () => unknown) => {
  let pages = 0
  return { sources: watched((page) => (commitsOf(page).length > 0 && ++pages >= n ? act() : undefined)) }
}

const WORKER: Suspect = {
  name: 'a worker',
  share: 0.4,
  where: 'anywhere',
  wishes: () => ({}),
  run: ROLES.worker,
  before: jobsFor,
}

export const SUSPECTS: Suspect[] = [
  WORKER,
  {
    ...WORKER,
    name: 'a worker that fails',
    share: 0.1,
    where: { from: 'job_fail', writes: 2 },
    wishes: () => ({
      ...atPage(2, () => {
        throw new SyncError('upstream', 'the upstream is gone')
      }),
    }),
  },
  {
    ...WORKER,
    name: 'a worker that gives back',
    share: 0.1,
    where: { from: 'job_fail', writes: 2 },
    wishes: () => {
      const stop = new AbortController()
      const act = () => stop.abort(new SyncError('cancelled', 'stopped'))
      return { signal: stop.signal, ...atPage(2, act) }
    },
  },
  {
    ...WORKER,
    name: 'a worker that renews',
    share: 0.05,
    where: { from: 'job_renew', writes: 1 },
    wishes: () => ({
      lease: 1, // renewed three times as often
      ...atPage(1, () => new Promise((resolve) => setTimeout(resolve, 400))),
    }),
  },
  {
    name: 'a scheduler',
    share: 0.2,
    where: 'anywhere',
    wishes: () => ({}),
    run: ROLES.scheduler,
    before: async () => {},
  },
  {
    name: 'a reaper',
    share: 0.15,
    where: 'anywhere',
    wishes: () => ({}),
    run: ROLES.reaper,
    before: async (p) => {
      await jobsFor(p)
      await deadWorker(p)
      await hoursPass(p)
    },
  },
]

/** Somebody claimed, stored a page and died. */
async function deadWorker(p: Pipeline): Promise<void> {
  const wire = new Wire({ at: 40, how: 'before', dies: true })
  const one = startRole(p, wire)
  await outcomeOf(() => ROLES.worker(one.ctx))
  await one.end().catch(() => {})
}
