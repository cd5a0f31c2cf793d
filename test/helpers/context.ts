import { randomBytes, randomUUID } from 'node:crypto'
import { tmpdir } from 'node:os'
import type pg from 'pg'
import { pino } from 'pino'
import type { Context } from '../../src/core/app/context.ts'
import { makePaces } from '../../src/core/app/paces.ts'
import { workerName as nameOf } from '../../src/core/app/worker-name.ts'
import { ownTrigger } from '../../src/core/domain/trigger.ts'
import { loadConfig } from '../../src/core/runtime/config.ts'
import { gitSource } from '../../src/core/sources/git/git.ts'

export interface Wishes extends Partial<Omit<Context, 'db' | 'config'>> {
  /** By TOML path: { 'scm.git.page_size': 3 }. */
  settings?: Record<string, unknown>
  /** Seconds. Shorter than an operator may set, where a test has to wait for a lease. */
  lease?: number
}

/** What the program would run with and no configuration at all, on a database of the test's own. */
export function contextOn(db: pg.Pool, { settings = {}, lease, ...more }: Wishes = {}): Context {
  const { config } = loadConfig({ env: {}, flags: settings, file: null, cwd: tmpdir(), configHome: null })
  const { scm } = config
  return {
    db,
    config: lease ? { ...config, scm: { ...scm, worker: { ...scm.worker, lease_seconds: lease } } } : config,
    configSnapshot: {},
    paces: makePaces(config),
    sources: { git: gitSource({ path: process.env.PATH ?? '', home: null }) },
    log: pino({ level: 'silent' }),
    now: () => new Date(),
    newId: randomUUID,
    trigger: ownTrigger(randomUUID()),
    signal: new AbortController().signal,
    worker: workerName(),
    cacheDir: tmpdir(),
    progress: () => {},
    ...more,
  }
}

/** A worker of its own for each context of this process; with the pid of a dead process, a dead worker of this machine. */
export function workerName(pid?: number): string {
  return pid === undefined ? `test-${process.pid}-${randomBytes(6).toString('hex')}` : nameOf(pid)
}
