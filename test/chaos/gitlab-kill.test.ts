import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { afterEach, describe, expect, test } from 'vitest'
import { reap } from '../../src/core/app/queue/reap.ts'
import { tickScheduler } from '../../src/core/app/queue/tick-scheduler.ts'
import { tempFolder } from '../helpers/cli.ts'
import { embeddedUrl } from '../helpers/database.ts'
import type { Fault } from '../helpers/gitlab/faults.ts'
import type { Project } from '../helpers/gitlab/project.ts'
import { type GitLabScene, JOBS, openGitLabScene } from '../helpers/gitlab/scene.ts'
import { type GitLab, startGitLab } from '../helpers/gitlab/server.ts'
import { hoursPass } from './pipeline.ts'
import { type Program, startProgram } from './program.ts'
import { chance, say, size } from './size.ts'

const COMMITS = size('GITLAB_COMMITS', 5000, 5000)
const MRS = size('GITLAB_MRS', 60, 1000)
const NOTES = 8
const KILLS = size('GITLAB_KILLS', 2, 25)
const SIZES = process.env.CHAOS === 'long' ? [1, 7, 50, 100, 1000] : [100]
const TOKEN = 'glpat-kill'
/** Longer than any sync takes here between two of our looks. */
const PATIENCE_MS = 120_000
/** About what a sync asks for, of which a killed one gets some. */
const REQUESTS = { commits: COMMITS / 100, mrs: 4, reviews: MRS * 2 }

const FAULTS: Fault[] = [
  { status: 429 },
  { status: 500 },
  { status: 502 },
  { status: 503 },
  { cutAt: 300 },
  { cutAt: 300, framing: 'close' },
  { reset: 'at once' },
  { reset: 'mid-body' },
]

interface Stage {
  gitlab: GitLab
  project: Project
  scene: GitLabScene
  env: Record<string, string>
}

const stages: Stage[] = []
const running = new Set<Program>()
afterEach(async () => {
  for (const { pid } of running) process.kill(pid, 'SIGKILL')
  running.clear()
  for (const { scene, gitlab } of stages.splice(0)) {
    await scene.drop()
    await gitlab.stop()
  }
})

async function stage(pageSize: number): Promise<Stage> {
  const clock = { now: Date.now() - 30 * 86_400_000 }
  const from = clock.now - 86_400_000
  const gitlab = await startGitLab({ token: TOKEN, now: () => clock.now++ })
  const project = gitlab.project()
  for (let i = 0; i < COMMITS - 40; i++) project.commit({ at: from + i * 10_000 })
  for (const branch of ['side', 'other']) {
    project.branch(branch)
    for (let i = 0; i < 20; i++) project.commit({ branch })
  }
  project.tag('v1')
  project.tag('v2', project.head(), { annotated: true })
  for (let i = 0; i < MRS; i++) {
    const iid = project.mr({ source: 'side' })
    for (let n = 0; n < NOTES; n++) project.note(iid)
    clock.now += 10_000
  }
  const scene = await openGitLabScene(embeddedUrl(), gitlab, project)
  // More crashes than attempts is another story: here every job has to come to its end.
  await scene.query('alter table ing_task alter column max_attempts set default 200')
  const config = join(tempFolder(), 'config.toml')
  writeFileSync(
    config,
    '[scm.http]\nbackoff_base_seconds = 0\nmax_attempts = 5\n[scm.degradation]\nbase_sleep_seconds = 0.1\nmax_sleep_seconds = 1\n',
    { mode: 0o600 },
  )
  const env = {
    ENGRAM_SCM_CONFIG: config,
    GITLAB_URL: gitlab.url,
    GITLAB_TOKEN: TOKEN,
    SCM_WORKER_BATCH_SIZE: String(pageSize),
    SCM_WORKER_LEASE_SECONDS: '3',
    SCM_WORKER_RENEW_INTERVAL_SECONDS: '1',
    SCM_SCHEDULER_CURSOR_AGE_THRESHOLD_SECONDS: '1',
    // Whose workers are killed all the time would be paused for it.
    SCM_SCHEDULER_ERROR_BUDGET_THRESHOLD: '1',
  }
  const made = { gitlab, project, scene, env }
  stages.push(made)
  return made
}

function start({ scene, env }: Stage, args: string[], bin = 'sync'): Program {
  const program = startProgram(scene.dsn, args, env, bin)
  running.add(program)
  void program.over.then(() => running.delete(program))
  return program
}

const sync = ({ scene }: Stage, job: string) => ['runner', 'incremental', '--repo', scene.spelt, '--job', job]

/** Ends it `ms` after its `n`-th request; true when it was still at work. */
async function killAt({ gitlab }: Stage, program: Program, n: number, ms: number): Promise<boolean> {
  const from = gitlab.requests.length
  const enough = (async () => {
    while (gitlab.requests.length < from + n && program.child.exitCode === null) await pause(1)
  })()
  await Promise.race([enough, program.over])
  await Promise.race([pause(ms), program.over])
  const atWork = program.child.exitCode === null
  program.child.kill('SIGKILL')
  await program.over
  return atWork
}

/** Whatever is wrong: with the rows, held against the project, and with the ledger. Every commit is there once. */
async function wrongs({ scene, project, gitlab }: Stage): Promise<string[]> {
  const found = await scene.wrongs()
  expect(gitlab.truth(project).commits.size).toBe(COMMITS)
  const counts = await scene.query(
    `select (select count(*)::int from scm.git_commits) as commits, (select count(*)::int from scm.mrs) as mrs,
            (select count(*)::int from scm.review_events where kind = 'note') as notes`,
  )
  expect(counts).toEqual([{ commits: COMMITS, mrs: MRS, notes: MRS * NOTES }])
  return found
}

describe.each(SIZES)('%i rows a page', (pageSize) => {
  test('nothing goes wrong: everything, once, in few requests; and a second sync asks next to nothing', async () => {
    const here = await stage(pageSize)
    const count: Record<string, number> = {}
    for (const round of ['first', 'second'])
      for (const job of JOBS) {
        const before = here.gitlab.requests.length
        const program = start(here, sync(here, job))
        expect([job, await program.over], program.out() + program.err()).toEqual([job, 0])
        count[`${round} ${job}`] = here.gitlab.requests.length - before
      }
    say(`${pageSize} a page: ${JSON.stringify(count)}`)
    expect(await wrongs(here)).toEqual([])
    expect(count['first commits']).toBeLessThanOrEqual(Math.ceil(COMMITS / 100) + 8)
    expect(count['first mrs']).toBeLessThanOrEqual(Math.ceil(MRS / 99) + 2)
    // Discussions, state events and approvals of each; and the list, whose pages overlap by one: who pages by number
    // would need one page less, and miss what moves.
    expect(count['first reviews']).toBeLessThanOrEqual(MRS * 3 + Math.ceil(MRS / 99))
    expect(count['second commits']).toBeLessThanOrEqual(3)
    expect(count['second mrs']).toBeLessThanOrEqual(1)
    expect(count['second reviews']).toBeLessThanOrEqual(1)
  })

  test('faults at random requests, and SIGKILL of a sync at random moments: everything, once', async () => {
    const { random } = chance(`gitlab, incremental, ${pageSize} a page`)
    const here = await stage(pageSize)
    here.gitlab.fault(() => (random() < 0.05 ? FAULTS[Math.floor(random() * FAULTS.length)]! : null))
    const seen = { killed: 0, atWork: 0, failed: 0 }
    for (const job of JOBS) {
      for (let i = 0; i < KILLS; i++) {
        const program = start(here, sync(here, job))
        const n = 1 + Math.floor((random() * REQUESTS[job as keyof typeof REQUESTS]) / 2)
        seen.atWork += Number(await killAt(here, program, n, random() * 40))
        seen.killed += 1
      }
      for (const end = performance.now() + PATIENCE_MS; ; ) {
        const program = start(here, sync(here, job))
        if ((await program.over) === 0) break
        seen.failed += 1
        expect(performance.now(), program.out() + program.err()).toBeLessThan(end)
      }
    }
    say(JSON.stringify({ ...seen, requests: here.gitlab.requests.length }))
    expect(await wrongs(here)).toEqual([])
    // Whoever kills what has ended proves nothing.
    expect(seen.atWork).toBeGreaterThanOrEqual(seen.killed / 3)
  })

  test('faults at random requests, and SIGKILL of workers at random moments: everything, once', async () => {
    const { random } = chance(`gitlab, worker, ${pageSize} a page`)
    const here = await stage(pageSize)
    const { scene, gitlab } = here
    gitlab.fault(() => (random() < 0.05 ? FAULTS[Math.floor(random() * FAULTS.length)]! : null))
    const ctx = scene.ctx({
      settings: {
        'scm.scheduler.cursor_age_threshold_seconds': 1,
        'scm.scheduler.error_budget_threshold': 1,
      },
    })
    const round = async () => {
      await hoursPass(scene)
      await reap(ctx, { dryRun: false, policy: 'to_failed', retryDelaySeconds: 0 })
      await tickScheduler(ctx, { dryRun: false, keepLeading: true })
    }
    const seen = { killed: 0, atWork: 0, rounds: 0 }
    for (; seen.killed < KILLS * 2; seen.killed++) {
      await round()
      const worker = start(here, ['--poll-interval', '1'], 'worker')
      const n = 1 + Math.floor((random() * MRS * 3) / KILLS)
      seen.atWork += Number(await killAt(here, worker, n, random() * 40))
    }
    const cursors = `select 1 from ing_cursor where operation_code = 'HARVEST'`
    const open = `select 1 from ing_task where status in ('pending', 'reserved', 'running', 'failed')`
    for (const end = performance.now() + PATIENCE_MS; ; seen.rounds++) {
      const isDone =
        (await scene.query(cursors)).length === JOBS.length && (await scene.query(open)).length === 0
      if (isDone) break
      await round()
      const worker = start(here, ['--drain'], 'worker')
      await worker.over
      expect(performance.now(), worker.out() + worker.err()).toBeLessThan(end)
    }
    say(JSON.stringify({ ...seen, requests: gitlab.requests.length }))
    expect(await wrongs(here)).toEqual([])
    expect(seen.atWork).toBeGreaterThanOrEqual(seen.killed / 3)
  })
})
