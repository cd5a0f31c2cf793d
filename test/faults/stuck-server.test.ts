import { setTimeout as pause } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { transaction } from '../../src/core/db/connect.ts'
import { say } from '../chaos/size.ts'
import {
  ARGS,
  begin,
  beginAll,
  caughtUp,
  complaints,
  expectClean,
  expectEnd,
  expectRecovered,
  gits,
  hearing,
  push,
  stage,
  until,
  working,
} from './crew.ts'
import { expectRefused } from './one-shots.ts'

const QUICK = { ENGRAM_PG_STATEMENT_TIMEOUT_MS: '300' }
const LIMITS = { transactionMs: 5000, statementMs: 5000, signal: new AbortController().signal }

const { server, repos } = await stage(3)

/** Holds a table while `meanwhile` lasts. */
async function locked(table: string, meanwhile: () => Promise<unknown>): Promise<void> {
  const client = await server.db.connect()
  try {
    await client.query(`begin; lock table ${table} in access exclusive mode`)
    await meanwhile()
  } finally {
    await client.query('rollback')
    client.release()
  }
}

test('two transactions that wait for each other both come to their end', async () => {
  const [a, b] = repos.map((r) => r.repoId) as [number, number]
  let tries = 0
  const both = new Promise<void>((resolve, reject) => {
    const touch =
      (first: number, second: number) => async (tx: { query: (...q: [string, number[]]) => unknown }) => {
        const turn = ++tries
        await tx.query('update scm.repos set updated_at = now() where repo_id = $1', [first])
        if (turn === 1) await met
        else arrive()
        await tx.query('update scm.repos set updated_at = now() where repo_id = $1', [second])
      }
    let arrive = () => {}
    const met = new Promise<void>((go) => {
      arrive = go
    })
    void Promise.all([
      transaction(server.db, LIMITS, touch(a, b)),
      transaction(server.db, LIMITS, touch(b, a)),
    ]).then(() => resolve(), reject)
  })
  await both
  expect(tries).toBe(3)
})

test('a table that somebody has locked: pages wait and go on', async () => {
  const crew = beginAll(server, QUICK)
  await until('the worker listens', hearing(server))
  for (const { repo } of repos) push(repo, 150)
  await until('work', working(server))
  await locked('scm.git_commits', () => pause(800))
  await caughtUp(server, repos)
  const failed = await server.query(`select error from ing_task_run where status_code = 'FAILED'`)
  expect(failed).toEqual([])
  await expectRecovered(server, crew, repos)
})

test('a queue that somebody has locked: commands say so, loops go on', async () => {
  const crew = beginAll(server, QUICK)
  await until('the worker listens', hearing(server))
  const before = complaints(crew.worker).length
  const from = performance.now()
  await locked('ing_task', async () => {
    const worker = begin(server, 'worker', ['--once'], QUICK)
    await expectRefused(
      server,
      repos[0]!,
      ['scheduler', 'reaper', 'status'],
      { error: /statement timeout|lock timeout|read timeout/, hint: /lock|answer/ },
      QUICK,
    )
    // A claim waits for its turn and for the table, each for 2 s at most, and is tried five times.
    expect(await worker.over, worker.err()).toBe(2)
    expect(JSON.parse(worker.out())).toMatchObject({ kind: 'database', hint: expect.stringMatching(/lock/) })
    expectClean(worker)
    const [waiting] = await server.query<{ n: number }>(
      `select count(*)::int as n from pg_stat_activity where application_name = 'engram-scm' and wait_event_type = 'Lock'`,
    )
    say(`${waiting?.n} connections wait for the lock after ${seconds(from)}`)
    // One of each loop, and a renewal; none of those that gave up.
    expect(waiting?.n).toBeLessThanOrEqual(4)
  })
  const lines = complaints(crew.worker, before)
  say(`the worker said ${lines.length} lines`)
  await expectRecovered(server, crew, repos)
})

test('a server that is frozen: what cannot be renewed is given up with its git, and nothing hangs', async () => {
  const crew = {
    worker: begin(server, 'worker', [...ARGS.worker, '--max-renew-failures', '1'], QUICK),
    scheduler: begin(server, 'scheduler', ARGS.scheduler, QUICK),
    reaper: begin(server, 'reaper', ARGS.reaper, QUICK),
  }
  const leaving = {
    worker: begin(server, 'worker', [...ARGS.worker, '--job-types', 'mrs'], QUICK),
    scheduler: begin(server, 'scheduler', ARGS.scheduler, QUICK),
    reaper: begin(server, 'reaper', ARGS.reaper, QUICK),
  }
  await until('both workers listen', hearing(server, 2))
  await until('a first word', () => Object.values(leaving).every((p) => p.out() + p.err() !== ''))
  for (const { repo } of repos) push(repo, 1500)
  const begun = `select 1 from ing_task_run_batch b join ing_task_run r on r.id = b.run_id
                  where r.status_code = 'RUNNING' and b.status_code = 'SUCCEEDED'`
  await until('a page, and more to come', async () => (await server.query(begun)).length > 0)
  expect(gits(repos).length).toBeGreaterThan(0)

  server.signal('SIGSTOP')
  const from = performance.now()
  try {
    await Promise.all([
      ...Object.entries(leaving).map(async ([bin, program]) => {
        await expectEnd(bin, program)
        say(`frozen: a ${bin} that was asked to stop ended after ${seconds(from)}`)
      }),
      until('the end of every git', () => gits(repos).length === 0).then(() =>
        say(`frozen: every git was gone after ${seconds(from)}`),
      ),
      expectRefused(server, repos[0]!, ['status'], { error: /timeout/, hint: /answer/ }, QUICK),
    ])
  } finally {
    server.signal('SIGCONT')
  }
  await caughtUp(server, repos, 60_000)
  await expectRecovered(server, crew, repos)
})

const seconds = (from: number) => `${((performance.now() - from) / 1000).toFixed(1)} s`
