import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { ended, HARMFUL, run, start, tempFolder } from '../helpers/cli.ts'
import { embeddedUrl, freshDatabase, type TestDatabase } from '../helpers/database.ts'
import { makeRepo } from '../helpers/git-repo.ts'

let db: TestDatabase
beforeAll(async () => {
  db = await freshDatabase(embeddedUrl())
})
afterAll(() => db.drop())

const env = (more: Record<string, string> = {}) => ({ POSTGRES_DSN: db.dsn, ...more })
const scan = (...args: string[]) => run([...args, '--json'], { bin: 'scheduler', env: env() })

/** A scheduler in a loop of one second, that tells its rounds as they come. */
function looping() {
  const rounds: { leader: boolean; iteration: number }[] = []
  // The flag is left out on purpose: the interval is the configured one.
  const child = start(['--loop', '--json'], {
    bin: 'scheduler',
    env: env({ SCM_SCHEDULER_SCAN_INTERVAL_SECONDS: '1' }),
  })
  let rest = ''
  child.stdout?.on('data', (text: string) => {
    const lines = (rest + text).split('\n')
    rest = lines.pop() as string
    rounds.push(...lines.map((line) => JSON.parse(line)))
  })
  const end = ended(child)
  return { child, rounds, end }
}

async function until(what: string, holds: () => boolean): Promise<void> {
  for (const end = performance.now() + 15_000; performance.now() < end; )
    if (holds()) return
    else await new Promise((resolve) => setTimeout(resolve, 20))
  throw new Error(`never came: ${what}`)
}

describe('several schedulers', () => {
  test('one leads, one stands by; when the first is told to stop the second leads with its next scan', async () => {
    const first = looping()
    await until('the first leads', () => first.rounds.length > 0)
    const second = looping()
    await until('the second stands by', () => second.rounds.length > 1)
    expect([first.rounds[0]?.leader, second.rounds[0]?.leader, second.rounds[1]?.leader]).toEqual([
      true,
      false,
      false,
    ])
    const by = await scan('--once')
    expect([by.code, by.json()]).toEqual([
      0,
      [expect.objectContaining({ leader: false, status: 'success', jobs_enqueued: 0, exit_code: 0 })],
    ])

    first.child.kill('SIGTERM')
    expect(await first.end).toMatchObject({ code: 0, signal: null })
    const [seen, stood] = [second.rounds.length, second.rounds.findIndex((r) => r.leader)]
    await until('the second leads', () => second.rounds.some((r) => r.leader))
    // A lease lasts thirty seconds at least: it was handed over, not waited for.
    expect(second.rounds.findIndex((r) => r.leader)).toBeLessThanOrEqual((stood === -1 ? seen : stood) + 1)
    second.child.kill('SIGINT')
    expect(await second.end).toMatchObject({ code: 0, signal: null })
    expect((await db.pool.query('select term, lease_until < now() as free from scm.leaders')).rows).toEqual([
      { term: 2, free: true },
    ])
  })

  test('one that was killed is followed when its lease is over, under a new term', async () => {
    const first = looping()
    await until('it leads', () => first.rounds.some((r) => r.leader))
    first.child.kill('SIGKILL')
    await first.end
    expect((await scan('--once')).json()[0]?.leader).toBe(false)
    const before = (await db.pool.query('select term from scm.leaders')).rows[0].term
    await db.pool.query(`update scm.leaders set lease_until = now() - interval '1 millisecond'`)
    expect((await scan('--once')).json()[0]?.leader).toBe(true)
    expect((await db.pool.query('select term from scm.leaders')).rows).toEqual([{ term: before + 1 }])
  })
})

test('--once and --loop exclude each other, and an interval of nothing is refused', async () => {
  expect(await scan('--once', '--loop')).toMatchObject({ code: 2 })
  expect(await scan('--loop', '--interval-seconds', '0')).toMatchObject({ code: 2 })
})

test('switched off it makes no jobs and says in one line how to switch it on', async () => {
  for (const args of [['--once'], ['--loop'], ['--dry-run']]) {
    const off = await run([...args, '--json'], {
      bin: 'scheduler',
      env: env({ ENGRAM_SCM_SYNC_ENABLED: 'false' }),
    })
    expect([off.code, off.json()]).toEqual([
      2,
      [expect.objectContaining({ kind: 'config', hint: expect.stringContaining('ENGRAM_SCM_SYNC_ENABLED') })],
    ])
  }
})

test('names that a tenant or host chose arrive as text, and no terminal obeys them', async () => {
  const evil = 'a\u001b[2J\u202egnp"\\'
  await run(['repos', 'add', `git:${makeRepo('--bare').dir}`], { env: env(), cwd: tempFolder() })
  await db.pool.query('update scm.repos set tenant_id = $1, instance_key = $1', [evil])
  for (const args of [['--dry-run'], ['--once'], ['--once']]) {
    const seen = await scan(...args)
    expect(seen.code).toBe(0)
    expect(seen.out).not.toMatch(HARMFUL)
    const [report] = seen.json() as {
      enqueued_jobs: { payload_json: object }[]
      budget_snapshot: { by_tenant: object }
    }[]
    if (report!.enqueued_jobs[0])
      expect(report!.enqueued_jobs[0].payload_json).toMatchObject({ tenant_id: evil })
    else expect(report!.budget_snapshot.by_tenant).toEqual({ [evil]: 1 })
  }
})
