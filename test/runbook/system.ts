import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { embeddedUrl, freshDatabase, type TestDatabase } from '../helpers/database.ts'
import { serveGit } from '../helpers/git-http.ts'
import { repoAt, type TestRepo, tempFolder } from '../helpers/git-repo.ts'
import { violations } from '../helpers/oracle.ts'
import { openShell, type Running, type Shell } from './command-line.ts'

/** A database, the five programs, and a git server whose answers can be held back, so that a job is at work for as long as a test wants. */
export interface System {
  db: TestDatabase
  shell: Shell
  upstream: { holds: boolean; refuses: boolean }
  /** A repository of that server, registered; it has `commits` commits. */
  add(name: string, commits?: number): Promise<{ repoId: number; repo: TestRepo }>
  worker(more?: string): Running
  scan(): Promise<number>
  one<T = string>(sql: string, values?: unknown[]): Promise<T>
  column(sql: string, values?: unknown[]): Promise<unknown[]>
  violations(of: { repoId: number; repo: TestRepo }): Promise<string[]>
  close(): Promise<void>
}

/** Short enough for a test, long enough for two slow cores. */
const QUICK = {
  SCM_WORKER_LEASE_SECONDS: '6',
  SCM_WORKER_RENEW_INTERVAL_SECONDS: '1',
  SCM_WORKER_POLL_INTERVAL: '0.2',
  SCM_GIT_PAGE_SIZE: '2',
  // A repository of these tests fails on purpose; it is not to be paused for it.
  SCM_SCHEDULER_ERROR_BUDGET_THRESHOLD: '1',
}

export async function openSystem(more: Record<string, string> = {}): Promise<System> {
  const db = await freshDatabase(embeddedUrl())
  const shell = openShell({ POSTGRES_DSN: db.dsn, ...QUICK, ...more })
  const root = tempFolder()
  const upstream = { holds: false, refuses: false }
  const server = await serveGit(root, (_request, response) => {
    if (upstream.refuses) response.writeHead(404).end()
    return upstream.holds || upstream.refuses
  })
  const column = async (sql: string, values: unknown[] = []) =>
    (await db.pool.query({ text: sql, values, rowMode: 'array' })).rows.map((r) => r[0])

  return {
    db,
    shell,
    upstream,
    add: async (name, commits = 3) => {
      const dir = join(root, `${name}.git`)
      mkdirSync(dir)
      const repo = repoAt(dir, ['--bare'])
      for (let i = 0; i < commits; i++) repo.commit(`${name} ${i}`)
      const added = await shell.run(`engram-scm-sync repos add git:${server.origin}/${name}.git --json`)
      return { repoId: JSON.parse(added.stdout).repo_id, repo }
    },
    worker: (flags = '') => shell.start(`engram-scm-worker --json ${flags}`),
    scan: async () =>
      JSON.parse((await shell.run('engram-scm-scheduler --once --json')).stdout).jobs_enqueued,
    one: async <T>(sql: string, values: unknown[] = []) => (await column(sql, values))[0] as T,
    column,
    violations: ({ repoId, repo }) => violations({ db: db.pool, repo, repoId }),
    close: async () => {
      upstream.refuses = true
      await shell.close()
      await db.drop()
    },
  }
}

export async function until(what: string, holds: () => Promise<boolean> | boolean): Promise<void> {
  for (const end = performance.now() + 25_000; performance.now() < end; await pause(25))
    if (await holds()) return
  throw new Error(`never came: ${what}`)
}
