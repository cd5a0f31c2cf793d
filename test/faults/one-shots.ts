/** Commands that do one thing, asked while the database cannot do it. */
import { expect } from 'vitest'
import { linesOf, type Options, type Ran, run } from '../helpers/cli.ts'
import type { Upstream } from './crew.ts'
import { CANARY, type OwnServer } from './server.ts'

export const ONE_SHOTS = (repo: Upstream) =>
  ({
    scheduler: { bin: 'scheduler', args: ['--once'] },
    worker: { bin: 'worker', args: ['--once'] },
    reaper: { bin: 'reaper', args: ['--once'] },
    status: { bin: 'status', args: [] },
    incremental: { bin: 'sync', args: ['runner', 'incremental', '--repo', `git:${repo.repoId}`] },
  }) satisfies Record<string, { bin: Options['bin']; args: string[] }>
export type OneShot = keyof ReturnType<typeof ONE_SHOTS>

/**
 * Each of them ends with 2 and says why: for a person the sentence and its remedy, for a machine one object; no stack,
 * no password.
 */
export async function expectRefused(
  server: OwnServer,
  repo: Upstream,
  which: OneShot[],
  says: { error: RegExp; hint: RegExp },
  env: Record<string, string> = {},
): Promise<void> {
  const ask = (name: OneShot, ...more: string[]) => {
    const { bin, args } = ONE_SHOTS(repo)[name]
    return run([...args, ...more, '--dsn', server.dsn], { bin, env: { POSTGRES_DSN: undefined, ...env } })
  }
  await Promise.all(
    which.flatMap((name) => [
      ask(name).then((ran) => expectText(name, ran, says)),
      ask(name, '--json').then((ran) => expectJson(name, ran, says)),
    ]),
  )
}

function expectText(name: string, ran: Ran, says: { error: RegExp; hint: RegExp }): void {
  const told = linesOf(ran.err).filter((line) => !isLog(line))
  expect([name, ran.code, ran.out, told.length], ran.err + ran.out).toEqual([name, 2, '', 2])
  expect(told[0]).toMatch(/^error: database: /)
  expect(told[0]).toMatch(says.error)
  expect(told[1]).toMatch(/^ {2}→ /)
  expect(told[1]).toMatch(says.hint)
  expectNoSecret(ran)
}

function expectJson(name: string, ran: Ran, says: { error: RegExp; hint: RegExp }): void {
  expect([name, ran.code, linesOf(ran.out).length], ran.err + ran.out).toEqual([name, 2, 1])
  expect(ran.json()[0]).toEqual({
    status: 'failed',
    kind: 'database',
    error: expect.stringMatching(says.error),
    hint: expect.stringMatching(says.hint),
    exit_code: 2,
  })
  expect(linesOf(ran.err).filter((line) => !isLog(line))).toEqual([])
  expectNoSecret(ran)
}

function expectNoSecret({ out, err }: Ran): void {
  expect(out + err).not.toMatch(/^\s+at .*:\d+:\d+|\\n\s+at /m)
  expect(out + err).not.toContain(CANARY)
}

const isLog = (line: string) => line.startsWith('{"level":')
