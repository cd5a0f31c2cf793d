import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { say } from '../chaos/size.ts'
import { run } from '../helpers/cli.ts'
import {
  begin,
  beginAll,
  caughtUp,
  complaints,
  expectClean,
  expectRecovered,
  hearing,
  push,
  stage,
  until,
  working,
  wrongs,
} from './crew.ts'
import { expectRefused } from './one-shots.ts'
import { CANARY } from './server.ts'

const { server, repos } = await stage(3)

test('a server that takes no writes for a while, as after a failover', async () => {
  const crew = beginAll(server)
  await until('the worker listens', hearing(server))
  for (const { repo } of repos) push(repo, 150)
  await until('work', working(server))
  await server.query('alter system set default_transaction_read_only = on')
  await server.query('select pg_reload_conf()')
  try {
    await expectRefused(server, repos[0]!, ['scheduler', 'worker', 'reaper', 'incremental'], {
      error: /read-only/,
      hint: /primary/,
    })
    // Whoever only looks is answered.
    const looked = await run(['--json', '--dsn', server.dsn], { bin: 'status' })
    expect([looked.code, looked.json().length], looked.err).toEqual([0, 1])
  } finally {
    await server.query('alter system reset default_transaction_read_only')
    await server.query('select pg_reload_conf()')
  }
  say(`read-only: ${Object.entries(crew).map(([bin, p]) => `${bin} ${complaints(p).length} lines`)}`)
  await expectRecovered(server, crew, repos)
})

describe('a role that may have two connections', () => {
  beforeAll(async () => {
    await server.query('create role tight login connection limit 2')
    await server.query('grant pg_read_all_data, pg_write_all_data to tight')
  })
  const tight = () => ({ ...server, dsn: server.dsn.replace('user=engram', 'user=tight') })

  test('is enough for eight jobs at once', async () => {
    for (const { repo } of repos) push(repo, 40)
    await pause(1500) // what was looked at within the last second is not due
    expect(await begin(server, 'scheduler', ['--once']).over).toBe(0)
    const worker = begin(tight(), 'worker', ['--drain', '--parallelism', '8'])
    expect(await worker.over, worker.err()).toBe(0)
    expect(JSON.parse(worker.out())).toMatchObject({ status: 'success', jobs_failed: 0 })
    expectClean(worker)
    await caughtUp(server, repos)
    expect(await wrongs(server, repos)).toEqual([])
  })

  test('when others have them, is told so', async () => {
    await server.query('alter role tight connection limit 0')
    await expectRefused(tight(), repos[0]!, ['scheduler', 'worker', 'status'], {
      error: /too many connections/,
      hint: /connection limit/,
    })
  })
})

const canMount = process.getuid?.() === 0 && process.platform === 'linux'
if (!canMount) say('not root: a full disk is not tried, for it takes a small file system')

describe.runIf(canMount)('a full disk', () => {
  let disk: string
  const filler = () => join(disk, 'filler')
  beforeAll(async () => {
    const [{ dir }] = (await server.query<{ dir: string }>('show data_directory')).map((r) => ({
      dir: (r as unknown as { data_directory: string }).data_directory,
    })) as [{ dir: string }]
    disk = mkdtempSync(join(tmpdir(), 'full-'))
    const { uid, gid } = statSync(dir)
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=16m,uid=${uid},gid=${gid},mode=755`, 'tmpfs', disk])
    execFileSync('install', ['-d', '-o', `${uid}`, '-g', `${gid}`, '-m', '700', join(disk, 'table')])
    await server.query(`create tablespace tiny location '${join(disk, 'table')}'`)
    await server.query('alter table scm.git_commits set tablespace tiny')
  })
  afterAll(async () => {
    await server.query('alter table scm.git_commits set tablespace pg_default')
    await server.query('drop tablespace tiny')
    execFileSync('umount', [disk])
    rmSync(disk, { recursive: true })
  })

  function fill(): void {
    const block = Buffer.alloc(4096)
    try {
      for (;;) writeFileSync(filler(), block, { flag: 'a' })
    } catch (error) {
      expect((error as NodeJS.ErrnoException).code).toBe('ENOSPC')
    }
  }

  test('gives back the jobs that meet it, uncounted and with its name; the loops go on, and what was stored is whole', async () => {
    const crew = beginAll(server)
    await until('the worker listens', hearing(server))
    fill()
    for (const { repo } of repos) push(repo, 300)
    const met = `select error_summary_json->>'error_message' as why, attempts from ing_task where status = 'pending' and error_summary_json is not null`
    await until('all jobs met it', async () => (await server.query(met)).length === repos.length)
    for (const { why, attempts } of await server.query<{ why: string; attempts: number }>(met)) {
      expect(why).toMatch(/No space left/)
      expect(attempts).toBe(0)
    }

    const sync = (which: number, ...more: string[]) =>
      run(['runner', 'incremental', '--repo', `git:${repos[which]?.repoId}`, '--dsn', server.dsn, ...more])
    const told = await sync(0)
    expect([told.code, told.out], told.err).toEqual([2, ''])
    expect(told.err).toMatch(/No space left on device/)
    expect(told.err).toMatch(/make room on the disk/)
    expect(told.err).not.toContain(CANARY)
    const report = await sync(1, '--json')
    expect([report.code, report.json()]).toEqual([
      2,
      [expect.objectContaining({ status: 'failed', error: expect.stringMatching(/No space left/) })],
    ])

    rmSync(filler())
    // Their next try is a minute away.
    await server.query(
      `update ing_task set scheduled_at = now(), parked_until = null, updated_at = clock_timestamp() where status = 'pending'`,
    )
    await expectRecovered(server, crew, repos)
  })
})
