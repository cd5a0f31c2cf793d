import { setTimeout as pause } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { makePipelines, moveOn, type Pipeline, settle, wrongs } from './pipeline.ts'
import { type Program, startProgram } from './program.ts'
import { chance, say, size } from './size.ts'

const EDITS = size('ADMIN_EDITS', 8, 400)
const COMMITS = 90
/** About what a sync of so many commits, three to a page, takes here. */
const AT_WORK_MS = 200
const ENV = {
  SCM_GIT_PAGE_SIZE: '3',
  SCM_WORKER_LEASE_SECONDS: '3',
  SCM_WORKER_RENEW_INTERVAL_SECONDS: '1',
  SCM_SCHEDULER_CURSOR_AGE_THRESHOLD_SECONDS: '1',
  // Whose work is taken away all the time would be paused for it, or stopped.
  SCM_SCHEDULER_ERROR_BUDGET_THRESHOLD: '1',
  SCM_CB_FAILURE_RATE_THRESHOLD: '1',
  ENGRAM_SCM_LOG_LEVEL: 'error',
}
const CREW = {
  worker: ['--parallelism', '4', '--poll-interval', '1'],
  scheduler: ['--loop', '--interval-seconds', '1'],
  reaper: ['--loop', '--interval-seconds', '1', '--grace-seconds', '0', '--retry-delay', '0'],
}

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

function start(args: string[], bin = 'sync'): Program {
  const program = startProgram(p.dsn, args, ENV, bin)
  running.add(program)
  void program.over.then(() => running.delete(program))
  return program
}

async function admin(...words: string[]): Promise<{ code: number | null; said: Record<string, unknown> }> {
  const program = start(['admin', ...words])
  const code = await program.over
  expect(program.out().trim().split('\n'), program.err()).toHaveLength(1)
  return { code, said: JSON.parse(program.out()) }
}

const working = () => p.query<{ id: number }>(`select id from ing_task where status = 'running' order by id`)

/** Somebody is at work; or, with a breaker open or everything paused, nobody for a while. */
async function atWork(random: () => number): Promise<void> {
  for (const end = performance.now() + 800; performance.now() < end; await pause(5))
    if ((await working()).length > 0) break
  await pause(AT_WORK_MS * random())
}

/** Of a run that lost its lease or its lock: pages it stored after that. None, ever. */
const late = () =>
  p.query(
    `select e.action, b.run_id, b.batch_no from scm.operator_events e
       join ing_task_run_batch b on b.run_id <= (e.before_json->>'run_id')::bigint and b.committed_at > e.at
       join ing_task_run r on r.id = b.run_id and r.repo_id = (e.target->>'repo_id')::bigint and r.job_type = e.target->>'job_type'`,
  )

test('operators change everything at random while workers sync: everything is stored once, and each cursor is what its events say', async () => {
  const { random } = chance('admin commands, real processes')
  const from = performance.now()
  const pick = <T>(all: readonly T[]) => all[Math.floor(random() * all.length)] as T
  for (const upstream of p.repos) moveOn(upstream, COMMITS)
  const crew = Object.entries(CREW).map(([bin, args]) => ({ bin, program: start(args, bin) }))

  const edits: Record<string, () => Promise<{ code: number | null; said: Record<string, unknown> }>> = {
    release: () => admin('locks', 'force-release', '--repo-id', String(pick(p.repos).repoId)),
    stuck: () => admin('jobs', 'reset-stuck', '--older-than', '1ms'),
    dead: async () =>
      admin('jobs', 'mark-dead', String(pick(await working())?.id ?? 1), '--reason', 'nobody wants it'),
    revive: () => admin('jobs', 'reset-dead', '--all', '--yes'),
    back: () => {
      const day = String(1 + Math.floor(random() * 28)).padStart(2, '0')
      return admin('cursors', 'set', '--repo', `git:${pick(p.repos).repoId}`, '--watermark', `2024-02-${day}`)
    },
    forget: () => admin('cursors', 'delete', '--repo', `git:${pick(p.repos).repoId}`, '--yes'),
    pause: () => admin('pauses', 'set', '--repo', `git:${pick(p.repos).repoId}`, '--duration', '1h'),
    unpause: () => admin('pauses', 'unset', '--repo', `git:${pick(p.repos).repoId}`),
    open: () => admin('breakers', 'open'),
    close: () => admin('breakers', 'close'),
    prune: () => admin('jobs', 'prune', '--older-than', '1ms', '--priority-above', '500', '--yes'),
  }
  // What takes work away, twice as often; whatever stops it does not stay for long.
  const names = [...Object.keys(edits), 'release', 'stuck', 'dead', 'back', 'unpause', 'close']
  const seen: Record<string, number> = {}
  const taken = async () =>
    (await p.query(`select 1 from scm.operator_events where before_json->>'run_id' is not null`)).length
  // Whoever edits what nobody holds proves nothing.
  for (let n = 0; n < EDITS || (n < 5 * EDITS && (await taken()) === 0); n++) {
    if (n >= EDITS || random() < 0.5) moveOn(pick(p.repos), COMMITS)
    await atWork(random)
    const name = n === 0 || n >= EDITS ? 'stuck' : pick(names)
    const { code, said } = await edits[name]!()
    expect(code, JSON.stringify(said)).toBeLessThan(2)
    seen[name] = (seen[name] ?? 0) + 1
  }

  const unpaused = p.repos.map(({ repoId }) => admin('pauses', 'unset', '--repo', `git:${repoId}`))
  await Promise.all([...unpaused, admin('breakers', 'reset'), admin('jobs', 'reset-dead', '--all', '--yes')])
  for (const { program } of crew) program.child.kill('SIGTERM')
  for (const { bin, program } of crew) expect([bin, await program.over], program.err()).not.toContain(2)

  expect(await settle(p)).toEqual([])
  expect(await wrongs(p)).toEqual([])
  expect(await late()).toEqual([])
  expect((await admin('cursors', 'replay')).said.differences).toEqual([])
  say(
    `${JSON.stringify({ ...seen, taken: await taken() })} in ${((performance.now() - from) / 1000).toFixed(1)} s`,
  )
  expect(await taken()).toBeGreaterThan(0)
})
