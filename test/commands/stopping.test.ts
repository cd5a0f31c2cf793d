import { once } from 'node:events'
import { closeSync, cpSync, existsSync, openSync, readdirSync, readFileSync, renameSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { COMMANDS, ended, linesOf, run, start, tempFolder, wordsOf } from '../helpers/cli.ts'
import { embeddedUrl, freshDatabase, type TestDatabase } from '../helpers/database.ts'
import { makeRepo, type TestRepo } from '../helpers/git-repo.ts'
import { runHere } from '../helpers/one-process.ts'

const COMMITS = 20_000
const STACK = /^\s+at .*:\d+:\d+/m

let db: TestDatabase
let big: TestRepo
/** Small pages, so that a stop meets one; a page takes a few milliseconds. */
const env = () => ({ POSTGRES_DSN: db.dsn, SCM_GIT_PAGE_SIZE: '20' })

beforeAll(async () => {
  db = await freshDatabase(embeddedUrl())
  big = makeRepo()
  const stream = Array.from({ length: COMMITS }, (_, i) => {
    const when = 1_600_000_000 + i * 60
    const from = i === 0 ? '' : `from :${i}\n`
    return `commit refs/heads/main\nmark :${i + 1}\ncommitter C <c@example.com> ${when} +0000\ndata 1\nx${from === '' ? '\n' : `\n${from}`}`
  })
  big.feed(stream.join(''), 'fast-import', '--quiet')
})
afterAll(() => db.drop())

/** A copy under an address of its own, registered. */
async function registered(): Promise<number> {
  const folder = join(tempFolder(), 'big')
  cpSync(big.dir, folder, { recursive: true })
  const [added] = (await runHere(['repos', 'add', `git:${folder}`, '--json'], { env: env() })).json()
  return added?.repo_id as number
}

async function stored(repoId: number): Promise<number> {
  const { rows } = await db.pool.query('select count(*)::int as n from scm.git_commits where repo_id = $1', [
    repoId,
  ])
  return rows[0].n
}

async function until(what: string, holds: () => Promise<boolean> | boolean): Promise<void> {
  for (const end = performance.now() + 15_000; performance.now() < end; await pause(10))
    if (await holds()) return
  throw new Error(`never came: ${what}`)
}

function sync(repoId: number, ...more: string[]) {
  return start(['runner', 'incremental', '--repo', `git:${repoId}`, '--json', ...more], { env: env() })
}

/** Processes whose parent it is. */
function childrenOf(pid: number): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((one) => {
      try {
        const stat = readFileSync(`/proc/${one}/stat`, 'utf8')
        return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]) === pid
      } catch {
        return false
      }
    })
}

describe('a stop in the middle of a sync', () => {
  test.each(['SIGTERM', 'SIGINT', 'SIGHUP'] as const)(
    '%s: the page is finished or left, the job given back, the lock gone',
    async (signal) => {
      const repoId = await registered()
      const child = sync(repoId)
      const end = ended(child)
      await until('a first page', async () => (await stored(repoId)) > 0)
      const gits = childrenOf(child.pid as number)
      expect(gits.length).toBeGreaterThan(0)
      child.kill(signal)

      const ran = await end
      expect(ran.json()).toMatchObject([{ status: 'cancelled', error: `stopped by ${signal}`, exit_code: 2 }])
      expect({ code: ran.code, signal: ran.signal }).toEqual({ code: 2, signal: null })
      expect(gits.filter((pid) => existsSync(`/proc/${pid}`))).toEqual([])

      const count = await stored(repoId)
      expect(count % 20).toBe(0)
      expect(count).toBeLessThan(COMMITS)
      const { rows: jobs } = await db.pool.query('select status, attempts from ing_task where repo_id = $1', [
        repoId,
      ])
      expect(jobs).toEqual([{ status: 'pending', attempts: 0 }])
      const { rows: left } = await db.pool.query(
        `select 'lock' as what from scm.sync_locks where repo_id = $1
          union all select 'run' from ing_task_run where repo_id = $1 and status_code = 'RUNNING'`,
        [repoId],
      )
      expect(left).toEqual([])
    },
  )

  test('the next sync goes on where it stood', async () => {
    const repoId = await registered()
    const child = sync(repoId)
    const end = ended(child)
    await until('a first page', async () => (await stored(repoId)) > 0)
    child.kill('SIGTERM')
    await end
    const before = await stored(repoId)

    const o = { env: { ...env(), SCM_GIT_PAGE_SIZE: '5000' } }
    const ran = await run(['runner', 'incremental', '--repo', `git:${repoId}`, '--json'], o)
    expect(ran.json()).toMatchObject([{ status: 'success', items_synced: COMMITS - before }])
    expect(await stored(repoId)).toBe(COMMITS)
  })

  test.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const)('a second %s does not wait: %i', async (signal, code) => {
    const repoId = await registered()
    const child = sync(repoId)
    const end = ended(child)
    await until('a first page', async () => (await stored(repoId)) > 0)
    const gits = childrenOf(child.pid as number)
    const wall = await db.pool.connect()
    try {
      await wall.query('begin; lock table ing_task in access exclusive mode')
      child.kill(signal)
      await pause(300)
      expect(child.exitCode).toBeNull()
      const startedAt = performance.now()
      child.kill(signal)
      expect(await end).toMatchObject({ code, out: '' })
      expect(performance.now() - startedAt).toBeLessThan(2000)
      await until('the end of git', () => !gits.some((pid) => existsSync(`/proc/${pid}`)))
    } finally {
      await wall.query('rollback')
      wall.release()
    }
  })
})

describe('rounds', () => {
  let repo: TestRepo
  let ref: string
  beforeAll(async () => {
    repo = makeRepo()
    repo.commit('first')
    ref = `git:${repo.dir}`
    await run(['repos', 'add', ref], { env: env() })
  })

  const loop = (...more: string[]) =>
    start(['runner', 'incremental', '--repo', ref, '--loop', '--json', ...more], { env: env() })

  test('each prints its line, and sees what was committed in between', async () => {
    const child = loop('--loop-interval', '1', '--max-iterations', '3')
    const end = ended(child)
    await once(child.stdout as NodeJS.EventEmitter, 'data')
    repo.commit('second')
    const ran = await end
    expect(ran.json()).toMatchObject([
      { iteration: 1, items_synced: 1, status: 'success' },
      { iteration: 2, items_synced: 1, status: 'success' },
      { iteration: 3, items_synced: 0, status: 'success' },
    ])
    expect(ran.code).toBe(0)
  })

  test('a failed one ends nothing, and the worst is the exit code', async () => {
    const child = loop('--loop-interval', '1', '--max-iterations', '3')
    const end = ended(child)
    await once(child.stdout as NodeJS.EventEmitter, 'data')
    renameSync(repo.dir, `${repo.dir}.away`)
    await once(child.stdout as NodeJS.EventEmitter, 'data')
    renameSync(`${repo.dir}.away`, repo.dir)
    const ran = await end
    expect(ran.json()).toMatchObject([
      { iteration: 1, status: 'success', exit_code: 0 },
      { iteration: 2, status: 'failed', exit_code: 2 },
      { iteration: 3, status: 'success', exit_code: 0 },
    ])
    expect(ran.code).toBe(2)
  })

  test('a request that is wrong from the start is not repeated', async () => {
    const args = ['runner', 'incremental', '--repo', 'git:4711', '--loop', '--json']
    expect((await run(args, { env: env() })).json()).toMatchObject([{ kind: 'not_found', exit_code: 2 }])
  })

  test.each(['SIGTERM', 'SIGINT'] as const)('%s at rest: 0, at once', async (signal) => {
    const child = loop('--loop-interval', '60')
    const end = ended(child)
    await once(child.stdout as NodeJS.EventEmitter, 'data')
    await pause(100)
    const startedAt = performance.now()
    child.kill(signal)
    const ran = await end
    expect(ran).toMatchObject({ code: 0, signal: null })
    expect(ran.json()).toHaveLength(1)
    expect(performance.now() - startedAt).toBeLessThan(3000)
  })

  test('a reader that goes away ends the loop', async () => {
    const child = loop('--loop-interval', '1')
    const end = ended(child)
    await once(child.stdout as NodeJS.EventEmitter, 'data')
    child.stdout?.destroy()
    const ran = await end
    expect(ran).toMatchObject({ code: 0, signal: null })
    expect(ran.err).not.toMatch(STACK)
  })
})

describe('stdout', () => {
  const QUICK = [
    '--help',
    '--version',
    'runner --help',
    'runner incremental --help',
    'status',
    'status --json',
    'repos list --json',
    'config show',
    'config show --json',
    'config validate',
    'db status --json',
    'db url',
  ]

  test.each(QUICK)('of "%s" closed by its reader: no word of it', async (args) => {
    const ran = await run(args.split(' '), { env: env(), watch: (child) => child.stdout?.destroy() })
    expect(ran).toMatchObject({ code: 0, signal: null, err: '' })
  })

  test('closed by its reader does not turn a failure into a success', async () => {
    const watch = (child: ReturnType<typeof start>) => void child.stdout?.destroy()
    expect((await run(['bogus', '--json'], { watch })).code).toBe(2)
    expect((await run(['status', '--json'], { watch })).code).toBe(2)
  })

  test.each([...QUICK, 'bogus --json'])('of "%s" on a full disk: 2 and one line', async (args) => {
    const full = openSync('/dev/full', 'w')
    const ran = await run(args.split(' '), { env: env(), stdout: full })
    closeSync(full)
    expect({ code: ran.code, signal: ran.signal }, ran.err).toEqual({ code: 2, signal: null })
    expect(linesOf(ran.err).filter((line) => line.startsWith('error: '))).toHaveLength(1)
    expect(ran.err).not.toMatch(STACK)
    if (!args.startsWith('bogus')) expect(ran.err).toMatch(/^error: the output cannot be written.*ENOSPC/m)
  })

  test('a command of every topic can be piped into head', async () => {
    const topics = new Set(COMMANDS.map((c) => c.id.split(':', 1)[0]))
    for (const command of [...topics].map(
      (topic) => COMMANDS.findLast((c) => c.id.split(':', 1)[0] === topic)!,
    )) {
      const watch = (child: ReturnType<typeof start>) => void child.stdout?.destroy()
      const ran = await run([...wordsOf(command), '--help'], { watch })
      expect(ran, command.id).toMatchObject({ code: 0, err: '' })
    }
  })
})
