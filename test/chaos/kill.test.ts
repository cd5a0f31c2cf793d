import { afterAll, afterEach, beforeEach, describe, expect, test } from 'vitest'
import { servers } from '../helpers/database.ts'
import { importHistory } from '../helpers/git-repo.ts'
import { violations } from '../helpers/oracle.ts'
import { openScene, type Scene } from '../helpers/scene.ts'
import { type Program, startProgram } from './program.ts'
import { chance, say, size } from './size.ts'

const KILLS = size('KILLS', 8, 300)
const STOPS = size('ZOMBIES', 2, 40)
const COMMITS = 240
/** About what so many commits in pages of three take here. */
const AT_WORK_MS = 500

const running = new Set<Program>()
afterAll(() => {
  for (const { pid } of running) process.kill(pid, 'SIGKILL')
})

describe('the real program', () => {
  const [server] = servers()
  let scene: Scene
  let dsn: string
  let ever: Set<string>
  beforeEach(async () => {
    scene = await openScene(server!.url)
    dsn = (await scene.query<{ db: string }>('select current_database() as db')).map(({ db }) =>
      server!.url.replace('DATABASE', db),
    )[0]!
    ever = new Set()
  })
  afterEach(() => scene.drop())

  const start = (env: Record<string, string> = {}) => {
    const program = startProgram(
      dsn,
      ['runner', 'incremental', '--repo', `git:${scene.repoId}`, '--lock-wait', '0'],
      {
        SCM_GIT_PAGE_SIZE: '3',
        ENGRAM_SCM_LOG_LEVEL: 'error',
        ...env,
      },
    )
    running.add(program)
    void program.over.then(() => running.delete(program))
    return program
  }
  const remember = () => {
    for (const sha of scene.repo.all()) ever.add(sha)
  }
  const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

  /** Something to do for the next program: many commits, and a branch that goes another way. */
  const moveOn = (round: number, seed: number) => {
    if (round === 0) importHistory(scene.repo, seed, COMMITS)
    else {
      const back = scene.repo.git('rev-list', '--max-count=1', '--skip=3', 'refs/heads/dev')
      scene.repo.git('update-ref', 'refs/heads/dev', back || 'refs/heads/main')
      const to = scene.repo.git('rev-parse', 'refs/heads/main')
      const stream = Array.from(
        { length: COMMITS },
        (_, i) =>
          `commit refs/heads/main\ncommitter C <c@example.com> ${1_600_000_000 + round * 1000 + i} +0000\ndata 8\n${String(round * 1000 + i).padStart(8)}\n${i === 0 ? `from ${to}\n` : ''}`,
      ).join('')
      scene.repo.feed(stream, 'fast-import', '--quiet', '--force')
    }
    remember()
  }

  test('is killed at random, and whoever comes next goes on at once where it was', async () => {
    const { seed, random } = chance('kills')
    let [killed, holding, finished, round] = [0, 0, 0, 0]
    const from = performance.now()
    moveOn(round++, seed)
    // Whoever kills what has ended already proves nothing.
    while (killed < KILLS || (holding < killed / 2 && killed < 4 * KILLS)) {
      const program = start()
      // One in five while it starts, plans or asks for the lock; the others at work.
      const early = random() < 0.2
      const moment = early ? pause(600 * random()) : holds(program).then(() => pause(AT_WORK_MS * random()))
      const code = await Promise.race([program.over, moment.then(() => 'kill' as const)])
      if (code === 'kill') {
        program.child.kill('SIGKILL')
        await program.over
        killed += 1
        const held = await scene.query('select 1 from scm.sync_locks where locked_by like $1', [
          `%-${program.pid}-%`,
        ])
        holding += held.length
        // A batch of the dead may still be on its way: what must hold at every moment, holds.
        expect(await violations({ ...scene, ever, unsettled: true })).toEqual([])
        continue
      }
      expect([code, code === 0 || program.out(), program.err()]).toEqual([0, true, ''])
      expect(await violations({ ...scene, ever })).toEqual([])
      finished += 1
      moveOn(round++, seed)
    }
    const last = start()
    expect([await last.over, last.err()]).toEqual([0, ''])
    expect(await violations({ ...scene, ever })).toEqual([])
    say(
      `${killed} killed, ${holding} of them held the lock, ${finished} finished, in ${((performance.now() - from) / 1000).toFixed(1)} s`,
    )
    expect(holding).toBeGreaterThanOrEqual(killed / 2)
  })

  test.each(['inside', 'outside'] as const)(
    'is stopped past its lease %s a transaction, and writes nothing when it goes on',
    async (where) => {
      const { seed } = chance(`stopped ${where}`)
      const from = performance.now()
      for (let stop = 0; stop < Math.ceil(STOPS / 2); stop++) {
        moveOn(stop, seed)
        const program = start({ SCM_WORKER_LEASE_SECONDS: '3', SCM_WORKER_RENEW_INTERVAL_SECONDS: '1' })
        await (where === 'inside' ? stoppedInside(program) : stoppedOutside(program))
        scene.repo.git('update-ref', 'refs/heads/main', 'refs/heads/main~2')
        remember()
        await scene.query(`update scm.sync_locks set locked_at = now() - interval '1 hour'`)
        await scene.query(
          `update ing_task set lease_until = now() - interval '1 s', updated_at = clock_timestamp() where status = 'running'`,
        )

        const heir = start()
        expect([await heir.over, heir.err()]).toEqual([0, ''])
        expect(await violations({ ...scene, ever })).toEqual([])

        program.child.kill('SIGCONT')
        expect(await program.over).toBe(2)
        expect(program.out()).toMatch(/no longer ours|lease is over|taken over/)
        expect(await violations({ ...scene, ever })).toEqual([])
      }
      say(
        `${Math.ceil(STOPS / 2)} stopped ${where} a transaction, in ${((performance.now() - from) / 1000).toFixed(1)} s`,
      )
    },
  )

  const holds = async (program: Program) => {
    while (program.child.exitCode === null && (await states(program)).length === 0) await pause(2)
  }
  const states = (program: Program) =>
    scene.query<{ state: string; wait: string | null }>(
      `select state, wait_event_type as wait from pg_stat_activity
        where datname = current_database() and application_name = 'engram-scm' and exists (select from scm.sync_locks where locked_by like $1)`,
      [`%-${program.pid}-%`],
    )

  /** It has asked whose job it is and waits for a table of ours; stopped there, and then given what it waited for. */
  async function stoppedInside(program: Program): Promise<void> {
    while ((await states(program)).length === 0) await pause(1)
    const ours = await scene.db.connect()
    await ours.query('begin; lock table scm.git_commits in share mode')
    while (!(await states(program)).some((s) => s.wait === 'Lock')) await pause(1)
    program.child.kill('SIGSTOP')
    await ours.query('commit')
    ours.release()
    while (!(await states(program)).some((s) => s.state === 'idle in transaction')) await pause(1)
  }

  /** It holds the job, and no transaction is open. */
  async function stoppedOutside(program: Program): Promise<void> {
    while ((await states(program)).length === 0) await pause(1)
    for (;;) {
      program.child.kill('SIGSTOP')
      await pause(20)
      const seen = await states(program)
      if (seen.length > 0 && seen.every((s) => s.state === 'idle')) return
      expect(program.child.exitCode).toBe(null)
      program.child.kill('SIGCONT')
      await pause(3)
    }
  }
})
