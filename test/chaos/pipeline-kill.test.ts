import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { setTimeout as pause } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { hoursPass, makePipelines, moveOn, once, type Pipeline, settle, wrongs } from './pipeline.ts'
import { type Program, startProgram } from './program.ts'
import { chance, say, size } from './size.ts'

const KILLS = size('PIPELINE_KILLS', 4, 200)
const STOPS = size('PIPELINE_STOPS', 1, 40)
/** About what a sync of so many commits, three to a page, takes here. */
const COMMITS = 150
const AT_WORK_MS = 300
const ENV = {
  SCM_GIT_PAGE_SIZE: '3',
  SCM_WORKER_LEASE_SECONDS: '3',
  SCM_WORKER_RENEW_INTERVAL_SECONDS: '1',
  SCM_SCHEDULER_CURSOR_AGE_THRESHOLD_SECONDS: '1',
  // Whose workers are killed all the time would be paused for it.
  SCM_SCHEDULER_ERROR_BUDGET_THRESHOLD: '1',
}
const ARGS = {
  worker: ['--parallelism', '4', '--poll-interval', '1'],
  scheduler: ['--loop', '--interval-seconds', '1'],
  reaper: ['--loop', '--interval-seconds', '1', '--grace-seconds', '0', '--retry-delay', '0'],
}
type Bin = keyof typeof ARGS
const CREW: Bin[] = ['worker', 'worker', 'scheduler', 'scheduler', 'reaper']

const running = new Set<Program>()
afterAll(() => {
  for (const { pid } of running) process.kill(pid, 'SIGKILL')
})

let pipelines: Awaited<ReturnType<typeof makePipelines>>
let p: Pipeline
beforeAll(async () => {
  pipelines = await makePipelines()
})
afterAll(() => pipelines.drop())
beforeEach(async () => {
  p = await pipelines.copy()
})
afterEach(() => p.drop())

function start(bin: Bin, args = ARGS[bin]): Program {
  const program = startProgram(p.dsn, args, ENV, bin)
  running.add(program)
  void program.over.then(() => running.delete(program))
  return program
}

async function until(what: string, holds: () => Promise<boolean> | boolean): Promise<void> {
  for (const end = performance.now() + 20_000; performance.now() < end; await pause(5))
    if (await holds()) return
  throw new Error(`never came: ${what}`)
}

const held = ({ pid }: Program) =>
  p.query<{ id: number }>(`select id from ing_task where status = 'running' and lease_owner like $1`, [
    `%-${pid}-%`,
  ])

/** Processes, whosever children they are, that have one of the repositories in hand. */
function gits(): string[] {
  return readdirSync('/proc').filter((pid) => {
    if (!/^\d+$/.test(pid)) return false
    try {
      const line = readFileSync(`/proc/${pid}/cmdline`, 'utf8') + readFileSync(`/proc/${pid}/environ`, 'utf8')
      return p.repos.some(({ repo }) => line.includes(repo.dir))
    } catch {
      return false // gone meanwhile
    }
  })
}

/** The leases of one that will not renew them are over: nobody need wait for the clock. Rows it has locked keep theirs. */
async function lapse({ pid }: Program): Promise<void> {
  const by = `%-${pid}-%`
  await p.query(
    `update ing_task set leased_at = leased_at - interval '1 hour', lease_until = now() - interval '1 s', updated_at = clock_timestamp()
      where id in (select id from ing_task where status = 'running' and lease_owner like $1 for update skip locked)`,
    [by],
  )
  await p.query(
    `update scm.sync_locks set locked_at = now() - interval '1 hour'
      where lock_id in (select lock_id from scm.sync_locks where locked_by like $1 for update skip locked)`,
    [by],
  )
  await p.query(
    `update scm.leaders set lease_until = now() - interval '1 s'
      where duty in (select duty from scm.leaders where held_by like $1 for update skip locked)`,
    [by],
  )
}

const grow = () => {
  for (const upstream of p.repos) moveOn(upstream, COMMITS)
}

/** The moment: a worker at work, anybody else whenever. Who has ended his job before the moment comes is given more. */
async function atWork({ bin, program }: Member, random: () => number): Promise<void> {
  for (let chances = 5; chances > 0; chances--) {
    const busy = async () => bin !== 'worker' || (await held(program)).length > 0
    await Promise.race([until('work', busy).catch(() => {}), pause(2000)])
    await pause(AT_WORK_MS * random())
    if (await busy()) return
    grow()
  }
}

interface Member {
  bin: Bin
  program: Program
}

test('workers, schedulers and a reaper, killed or stopped at random: everything is stored once, and nothing is left behind', async () => {
  const { random } = chance('pipeline, real processes')
  const from = performance.now()
  const seen = { killed: 0, working: 0, stopped: 0, taken: 0 }
  grow()
  const crew: Member[] = CREW.map((bin) => ({ bin, program: start(bin) }))
  while (seen.killed < KILLS || seen.stopped < STOPS) {
    // Workers have the most to lose.
    const member = crew[Math.floor(random() * (random() < 0.6 ? 2 : crew.length))]!
    if (random() < 0.5) grow()
    await atWork(member, random)
    const { program } = member
    const had = (await held(program)).length
    if (random() * (KILLS - seen.killed + STOPS - seen.stopped) < KILLS - seen.killed) {
      program.child.kill('SIGKILL')
      await program.over
      await lapse(program)
      seen.killed += 1
      seen.working += Number(had > 0)
      member.program = start(member.bin)
    } else {
      program.child.kill('SIGSTOP')
      seen.stopped += 1
      seen.taken += had
      // What it sits on is locked until the server ends its transaction, after half the lease.
      await until('others to take over', async () => {
        await lapse(program)
        return (await held(program)).length === 0
      })
      program.child.kill('SIGCONT')
    }
  }

  // A process that has only just begun does not know yet what a SIGTERM means to it.
  for (const { program } of crew) await until('a sign of life', () => program.out() + program.err() !== '')
  for (const { program } of crew) program.child.kill('SIGTERM')
  for (const { bin, program } of crew) expect([bin, await program.over], program.err()).toEqual([bin, 0])
  // What a killed one had may still be its own for a while; these were asked.
  const left = await p.query(
    `select id, lease_owner as owner, lease_until - now() as left, error_summary_json as why from ing_task where status = 'running' and lease_owner like any($1)
     union all select 0, held_by, lease_until - now(), null from scm.leaders where lease_until > now() and held_by like any($1)`,
    [crew.map(({ program }) => `%-${program.pid}-%`)],
  )
  expect(left).toEqual([])
  await until('the end of every git', () => gits().length === 0)

  for (const bin of ['reaper', 'scheduler', 'worker'] as const) {
    const last = start(bin, { reaper: ['--grace-seconds', '0'], scheduler: [], worker: ['--drain'] }[bin])
    expect([bin, await last.over], last.err()).toEqual([bin, 0])
  }
  expect(await settle(p)).toEqual([])
  expect(await wrongs(p)).toEqual([])
  say(`${JSON.stringify(seen)} in ${((performance.now() - from) / 1000).toFixed(1)} s`)
  // Whoever kills idle processes proves nothing.
  expect(seen.working).toBeGreaterThanOrEqual(Math.floor(KILLS / 4))
})

describe('a worker that is asked to stop', () => {
  const begun = async () => {
    moveOn(p.repos[0]!, 600)
    await hoursPass(p)
    await once(p, 'scheduler')
    const worker = start('worker')
    const pages = `select 1 from ing_task_run_batch b join ing_task_run r on r.id = b.run_id
                    where r.status_code = 'RUNNING' and b.status_code = 'SUCCEEDED' and r.repo_id = $1`
    await until('a first page', async () => (await p.query(pages, [p.repos[0]!.repoId])).length > 0)
    return worker
  }

  test('gives back what it has in hand, without penalty, and ends with 0', async () => {
    const worker = await begun()
    const from = performance.now()
    worker.child.kill('SIGTERM')
    expect(await worker.over, worker.err()).toBe(0)
    say(`a stopped worker has ended after ${(performance.now() - from).toFixed(0)} ms`)
    expect(JSON.parse(worker.out())).toMatchObject({ status: 'success', jobs_failed: 0, jobs_released: 1 })
    expect(await p.query(`select attempts from ing_task where status <> 'completed'`)).toEqual([
      { attempts: 0 },
    ])
    expect(
      await p.query(
        `select 1 from ing_task_run where status_code = 'RUNNING' union all select 1 from scm.sync_locks`,
      ),
    ).toEqual([])
    expect(gits()).toEqual([])
    expect(await settle(p)).toEqual([])
    expect(await wrongs(p)).toEqual([])
  })

  test('does not wait when it is asked a second time', async () => {
    const worker = await begun()
    const wall = await p.db.connect()
    try {
      await wall.query('begin; lock table ing_task in access exclusive mode')
      worker.child.kill('SIGTERM')
      await pause(300)
      expect(worker.child.exitCode).toBe(null)
      worker.child.kill('SIGTERM')
      expect([await worker.over, worker.out()]).toEqual([143, ''])
      await until('the end of every git', () => gits().length === 0)
      expect(existsSync(`/proc/${worker.pid}`)).toBe(false)
    } finally {
      await wall.query('rollback')
      wall.release()
    }
  })
})
