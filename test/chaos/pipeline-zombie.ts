import { commitsOf } from '../helpers/git-repo.ts'
import { watched } from '../helpers/watched-source.ts'
import { outcomeOf } from './crash.ts'
import { hoursPass, moveOn, type Pipeline, ROLES, settle, startRole, wrongs } from './pipeline.ts'
import type { Suspect } from './pipeline-suspects.ts'
import { type Plan, Wire } from './wire.ts'

export type Point = Pick<Plan, 'at' | 'from'>

/** Where it can be suspended. */
export async function pointsOf(p: Pipeline, suspect: Suspect): Promise<Point[]> {
  if (suspect.where !== 'anywhere') {
    const { from, writes } = suspect.where
    return Array.from({ length: writes }, (_, i) => ({ at: i + 1, from }))
  }
  await begin(p, suspect)
  const wire = new Wire(null)
  const one = startRole(p, wire, suspect.wishes())
  await outcomeOf(() => suspect.run(one.ctx))
  const points = wire.sent.map((_, i) => ({ at: i + 1 }))
  await one.end()
  await settle(p)
  return points
}

async function begin(p: Pipeline, suspect: Suspect): Promise<void> {
  await hoursPass(p)
  moveOn(p.repos[0]!)
  await suspect.before(p)
}

/**
 * When the zombie wakes up, the others have finished what it had and are in the middle of the next job; or they are in
 * the middle of the very same; or nobody came, and its lease is over all the same.
 */
export const HEIRS = ['next', 'same', 'nobody'] as const
export type Heir = (typeof HEIRS)[number]

export interface Woken {
  hit: boolean
  /** Where it was: in the middle of a transaction, or between two. */
  inside: boolean
  outcome: string
  broken: string[]
}

interface Zombie {
  name: string
  worker: string
  /** It goes on where it was, to its end. */
  wake: () => Promise<string>
}

/** A process is suspended before a write, hours pass, and it goes on where it was: nothing it still writes may count. */
export async function suspend(p: Pipeline, suspect: Suspect, point: Point, heir: Heir): Promise<Woken> {
  await begin(p, suspect)
  const wire = new Wire({ ...point, how: 'hold', dies: false })
  const first = startRole(p, wire, suspect.wishes())
  const { worker } = first.ctx
  const ending = outcomeOf(() => suspect.run(first.ctx))
  await Promise.race([wire.reached, ending])
  if (!wire.hit) {
    await first.end()
    return { hit: false, inside: false, outcome: await ending, broken: await settle(p) }
  }

  const inside = await sitsInTransaction(p, worker)
  let outcome = ''
  const wake = async () => {
    wire.release()
    outcome = await ending
    await first.end().catch(() => {})
    return outcome
  }
  const zombie = { name: suspect.name, worker, wake }
  const broken = heir === 'nobody' ? await wokenAlone(p, zombie) : await wokenAmong(p, zombie, heir)
  if (/bug/.test(outcome)) broken.push(`${suspect.name} ended with ${outcome}`)
  // The next job was planned after the last push, and is done.
  if (heir !== 'next') broken.push(...(await settle(p)))
  broken.push(...(await wrongs(p)))
  return { hit: true, inside, outcome, broken }
}

/**
 * The repository moves on, others take over and are in the middle of a job, and more is due. The zombie may not write
 * a single row, and the others must not even notice it.
 */
async function wokenAmong(p: Pipeline, zombie: Zombie, heir: Heir): Promise<string[]> {
  const limits = ownLimits(p, zombie.worker)
  moveOn(p.repos[0]!)
  const broken = heir === 'next' ? await settle(p) : []

  const gate = makeGate()
  const living = startRole(p, null, {
    sources: watched((page) => (commitsOf(page).length > 0 ? gate.stop() : null)),
  })
  await hoursPass(p)
  if (heir === 'next') moveOn(p.repos[0]!)
  await ROLES.reaper(living.ctx)
  await ROLES.scheduler(living.ctx)
  const working = ROLES.worker(living.ctx)
  await Promise.race([gate.reached, working])
  await othersDone(p)
  await dueAgain(p)

  await limits.stop()
  const before = await everything(p)
  await zombie.wake()
  const after = await everything(p)
  if (before !== after) broken.push(`${zombie.name} still wrote: ${difference(before, after)}`)

  gate.open()
  const { jobs_completed, jobs_failed, jobs_released } = await working
  if (jobs_completed !== p.repos.length || jobs_failed + jobs_released > 0)
    broken.push(
      `who took over was disturbed: ${JSON.stringify({ jobs_completed, jobs_failed, jobs_released })}`,
    )
  await living.end()
  return broken
}

/** It may give back what it had, and take it again; its old runs store nothing more, and its term is over. */
async function wokenAlone(p: Pipeline, zombie: Zombie): Promise<string[]> {
  const led = await p.query('select 1 from scm.leaders where held_by = $1', [zombie.worker])
  const runs = await p.query<{ id: number }>(
    `select id from ing_task_run where worker_id = $1 and status_code = 'RUNNING'`,
    [zombie.worker],
  )
  const limits = ownLimits(p, zombie.worker)
  await hoursPass(p)
  await limits.stop()
  const stored = async () => {
    const [all] = await p.query(
      `select (select count(*)::int from ing_task_run where id = any($1) and status_code = 'SUCCEEDED') as runs,
              (select count(*)::int from ing_task_run_batch where run_id = any($1) and status_code = 'SUCCEEDED') as pages,
              (select count(*)::int from ing_plan where $2) as plans`,
      [runs.map((r) => r.id), led.length > 0],
    )
    return JSON.stringify(all)
  }
  const before = await stored()
  await zombie.wake()
  const after = await stored()
  return before === after
    ? []
    : [`${zombie.name} wrote under a lease that was over: ${before} became ${after}`]
}

function makeGate() {
  const reached = promised()
  const opened = promised()
  const stop = () => {
    reached.keep()
    return opened.made
  }
  return { reached: reached.made, open: opened.keep, stop }
}

function promised() {
  let keep: () => void = () => {}
  const made = new Promise<void>((resolve) => {
    keep = resolve
  })
  return { made, keep: () => keep() }
}

/** Until all but the one that waits at the gate are done. */
async function othersDone(p: Pipeline): Promise<void> {
  for (;;) {
    const open = await p.query(`select 1 from ing_task where status in ('pending', 'running', 'failed')`)
    if (open.length <= 1) return
    await new Promise((resolve) => setTimeout(resolve, 2))
  }
}

/** Every cursor is old; who holds what does not change. */
async function dueAgain(p: Pipeline): Promise<void> {
  await p.query(
    `update logbook.kv set updated_at = updated_at - interval '2 hours' where namespace = 'scm.sync'`,
  )
}

async function sitsInTransaction(p: Pipeline, worker: string): Promise<boolean> {
  for (;;) {
    const states = await p.query<{ state: string }>(
      'select state from pg_stat_activity where application_name = $1 and datname = current_database()',
      [worker],
    )
    if (states.some((s) => s.state?.startsWith('idle in transaction'))) return true
    if (states.every((s) => s.state !== 'active')) return false
  }
}

/**
 * A transaction that its owner sits in is ended by the server after half the lease. Here that moment comes as soon as
 * somebody waits for one of its locks.
 */
function ownLimits(p: Pipeline, worker: string) {
  const sitting = `pg_stat_activity a where a.application_name = '${worker}' and a.datname = current_database() and a.state like 'idle in transaction%'`
  let over = false
  const end = (only: string) => p.query(`select pg_terminate_backend(a.pid) from ${sitting} ${only}`)
  const watching = (async () => {
    while (!over) {
      await end('and exists (select from pg_stat_activity w where a.pid = any(pg_blocking_pids(w.pid)))')
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
  })()
  return {
    stop: async () => {
      over = true
      await watching
    },
  }
}

/** Not scm.lanes: it only says where to look, and whoever claims tidies it. */
const LEDGER = [
  'scm.git_commits',
  'scm.git_refs',
  'scm.git_ref_events',
  'scm.sync_locks',
  'logbook.kv',
  'ing_schedule_instance',
  'ing_plan',
  'ing_plan_slice',
  'ing_task',
  'ing_task_run',
  'ing_task_run_batch',
  'ing_cursor',
  'ing_cursor_event',
]

/** Every row there is and which transaction wrote it. */
async function everything(p: Pipeline): Promise<string> {
  const one = LEDGER.map(
    (table) =>
      `select '${table} ' || md5(coalesce(string_agg(t.xmin || t::text, ' ' order by t::text), '')) as line from ${table} t`,
  )
  const lines = await p.query<{ line: string }>(one.join(' union all '))
  return lines
    .map((r) => r.line)
    .sort()
    .join('\n')
}

function difference(before: string, after: string): string {
  const was = new Set(before.split('\n'))
  return after
    .split('\n')
    .filter((line) => !was.has(line))
    .map((line) => line.split(' ')[0])
    .join(', ')
}
