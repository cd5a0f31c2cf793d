/** The three loops on a server that breaks, and what must hold when it is whole again. */
import { readFileSync } from 'node:fs'
import { setTimeout as pause } from 'node:timers/promises'
import { afterAll, afterEach, expect } from 'vitest'
import { registerRepo } from '../../src/core/app/manage/repos.ts'
import { type Program, startProgram } from '../chaos/program.ts'
import { contextOn } from '../helpers/context.ts'
import { makeRepo, type TestRepo } from '../helpers/git-repo.ts'
import { violations } from '../helpers/oracle.ts'
import { CANARY, type OwnServer, ownServer, processes } from './server.ts'

export interface Upstream {
  repo: TestRepo
  repoId: number
}

const ENV = {
  SCM_GIT_PAGE_SIZE: '5',
  SCM_WORKER_LEASE_SECONDS: '4',
  SCM_WORKER_RENEW_INTERVAL_SECONDS: '1',
  SCM_SCHEDULER_CURSOR_AGE_THRESHOLD_SECONDS: '1',
  // Whose database is taken away all the time would be paused for it.
  SCM_SCHEDULER_ERROR_BUDGET_THRESHOLD: '1',
}
export const ARGS = {
  worker: ['--parallelism', '4', '--poll-interval', '1'],
  scheduler: ['--loop', '--interval-seconds', '1'],
  reaper: ['--loop', '--interval-seconds', '1', '--grace-seconds', '0', '--retry-delay', '0'],
}
export type Bin = keyof typeof ARGS
export type Crew = Record<Bin, Program>

const running = new Set<Program>()

export function begin(
  server: OwnServer,
  bin: Bin,
  args = ARGS[bin],
  env: Record<string, string> = {},
): Program {
  const program = startProgram(server.dsn, args, { ...ENV, ...env }, bin)
  running.add(program)
  void program.over.then(() => running.delete(program))
  return program
}

export function beginAll(server: OwnServer, env: Record<string, string> = {}): Crew {
  const of = (bin: Bin) => begin(server, bin, ARGS[bin], env)
  return { worker: of('worker'), scheduler: of('scheduler'), reaper: of('reaper') }
}

/** After each test: nothing of it goes on. */
export async function endAll(): Promise<void> {
  for (const { pid } of running) process.kill(pid, 'SIGKILL')
  await Promise.all([...running].map((program) => program.over))
}

/** A server of the file's own and repositories on it; what a test begins ends with it. */
export async function stage(count: number): Promise<{ server: OwnServer; repos: Upstream[] }> {
  const server = await ownServer()
  afterAll(() => server.drop())
  afterEach(endAll)
  return { server, repos: await upstreams(server, count) }
}

async function upstreams(server: OwnServer, count: number): Promise<Upstream[]> {
  const made: Upstream[] = []
  for (let i = 0; i < count; i++) {
    const repo = makeRepo('--bare', '--template=')
    push(repo, 10)
    const { repo_id: repoId } = await registerRepo(contextOn(server.db), {
      repo: `git:${repo.dir}`,
      projectKey: null,
    })
    made.push({ repo, repoId })
  }
  return made
}

let pushed = 0

export function push(repo: TestRepo, commits: number): void {
  const from = repo.all().length > 0 ? 'from refs/heads/main^0\n' : ''
  const stream = Array.from({ length: commits }, (_, i) => {
    const text = `commit ${++pushed}\n`
    return `commit refs/heads/main\ncommitter C <c@example.com> ${1_700_000_000 + pushed} +0000\ndata ${text.length}\n${text}${i === 0 ? from : ''}\n`
  })
  repo.feed(stream.join(''), 'fast-import', '--quiet')
}

export async function until(
  what: string,
  holds: () => Promise<boolean> | boolean,
  ms = 30_000,
): Promise<void> {
  for (const end = performance.now() + ms; performance.now() < end; await pause(20)) if (await holds()) return
  throw new Error(`never came: ${what}`)
}

export const working = (server: OwnServer) => async () =>
  (await server.query(`select 1 from ing_task where status = 'running' and lease_until > now()`)).length > 0

/** All that was pushed is stored. */
export async function caughtUp(server: OwnServer, repos: Upstream[], ms?: number): Promise<void> {
  const stored = async () => {
    for (const { repo, repoId } of repos) {
      const [found] = await server.query<{ n: number }>(
        'select count(*)::int as n from scm.git_commits where repo_id = $1',
        [repoId],
      )
      if (found?.n !== repo.all().length) return false
    }
    return true
  }
  await until('everything pushed is stored', stored, ms).catch(async (error) => {
    const open = await server.query(
      `select id, status, attempts, scheduled_at, lease_until, now(), error_summary_json as why from ing_task where status not in ('completed', 'cancelled')`,
    )
    throw new Error(`${error.message}: ${JSON.stringify(open)}`)
  })
}

export const hearing =
  (server: OwnServer, ears = 1) =>
  async () => {
    const [found] = await server.query<{ n: number }>(
      `select count(*)::int as n from pg_stat_activity where application_name = 'engram-scm' and query = 'listen scm_jobs'`,
    )
    return found?.n === ears
  }

/** Processes, whosever children they are, that have one of the repositories in hand. */
export function gits(repos: Upstream[]): number[] {
  return processes().filter((pid) => {
    try {
      const line = readFileSync(`/proc/${pid}/cmdline`, 'utf8') + readFileSync(`/proc/${pid}/environ`, 'utf8')
      return repos.some(({ repo }) => line.includes(repo.dir))
    } catch {
      return false // gone meanwhile
    }
  })
}

/** Every loop is alive; it goes on where it was, and when it is asked to stop, ends with 0 and leaves nothing. */
export async function expectRecovered(server: OwnServer, crew: Crew, repos: Upstream[]): Promise<void> {
  for (const [bin, { child, err }] of Object.entries(crew))
    expect([bin, child.exitCode, child.signalCode], err()).toEqual([bin, null, null])
  for (const { repo } of repos) push(repo, 3)
  await caughtUp(server, repos)
  await until('the worker listens', hearing(server))

  await expectEnd('scheduler', crew.scheduler)
  const open = `select id, status, error_summary_json as why from ing_task where status not in ('completed', 'cancelled')`
  let left: unknown[] = []
  const closed = async () => {
    left = await server.query(open)
    return left.length === 0
  }
  await until('the end of every job', closed).catch((error) => {
    throw new Error(`${error.message}: ${JSON.stringify(left)}`)
  })
  await expectEnd('worker', crew.worker)
  await expectEnd('reaper', crew.reaper)
  expect(await wrongs(server, repos)).toEqual([])
  expect(gits(repos)).toEqual([])
}

export async function expectEnd(bin: string, program: Program): Promise<void> {
  program.child.kill('SIGTERM')
  expect([bin, await program.over], program.err()).toEqual([bin, 0])
  expectClean(program)
}

export async function wrongs(server: OwnServer, repos: Upstream[]): Promise<string[]> {
  const found = await Promise.all(repos.map((r) => violations({ db: server.db, ...r })))
  const left = await server.query(
    `select 'lock ' || lock_id as what from scm.sync_locks union all select 'lane ' || tenant_id from scm.lanes
     union all select 'active key of job ' || id from ing_task where active_key is not null
     union all select 'job ' || task_id || ' succeeded twice' from ing_task_run where status_code = 'SUCCEEDED' group by task_id having count(*) > 1
     union all select 'term of ' || duty from scm.leaders where lease_until > now()`,
  )
  return [...found.flat(), ...left.map((l) => String(l.what))]
}

/** Whatever happened to it: its lines are JSON, name no secret, and a foreseen failure has no stack. */
export function expectClean(program: Program): void {
  const lines = (text: string) => text.split('\n').filter(Boolean)
  for (const line of [...lines(program.out()), ...lines(program.err())]) {
    const said = JSON.parse(line)
    expect(said.err?.stack, line).toBe(undefined)
    expect(line).not.toContain(CANARY)
  }
}

/** Lines that were written since `from`, of stderr and of failures on stdout. */
export function complaints(program: Program, from = 0): string[] {
  const warned = program
    .err()
    .split('\n')
    .filter((line) => /"level":(4|5)0/.test(line))
  const failed = program
    .out()
    .split('\n')
    .filter((line) => /"status":"(failed|partial)"/.test(line))
  return [...warned, ...failed].slice(from)
}
