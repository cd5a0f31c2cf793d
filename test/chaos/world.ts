import { randomBytes } from 'node:crypto'
import { cpSync } from 'node:fs'
import type pg from 'pg'
import type { Context } from '../../src/core/app/context.ts'
import { registerRepo } from '../../src/core/app/manage/repos.ts'
import { openPool } from '../../src/core/db/connect.ts'
import { contextOn, type Wishes, workerName } from '../helpers/context.ts'
import { admin, freshDatabase, servers } from '../helpers/database.ts'
import { makeRepo, repoAt, type TestRepo, tempFolder } from '../helpers/git-repo.ts'
import { type Scene, sceneOf } from '../helpers/scene.ts'
import { onServer } from '../helpers/servers.ts'
import type { Wire } from './wire.ts'

/** A repository and a database as they stand just before the command that will be disturbed; copied for every point. */
export interface World {
  repo: TestRepo
  ever: Set<string>
  settings: Record<string, unknown>
  /** A copy of the database, and with `ownRepo` one of the repository too, because the point will change it. */
  copy: (o?: { ownRepo?: boolean }) => Promise<Copy>
  drop: () => Promise<void>
}

export interface Copy extends Scene {
  dsn: string
}

export interface Process {
  ctx: Context
  wire: Wire | null
  /** The process ends: its connections are closed. */
  end: () => Promise<void>
}

export const WINDOW = { since: '2024-03-01T00:00:00Z', until: '2024-03-01T12:00:00Z' }
const START = Date.parse(WINDOW.since) / 1000
const HOUR = 3600

/** Some history, already synced unless `fresh`; then a forced push, a deleted, a new and a moved branch, and a tag. */
export async function makeWorld(o: { fresh: boolean }): Promise<World> {
  const [server] = servers()
  const url = server!.url
  const settings = { 'scm.git.page_size': 2 }
  const repo = makeRepo('--bare')
  for (let i = 0; i < 8; i++) repo.commit(`old ${i}`, { date: START + i * HOUR })
  repo.commit('doomed', {
    branch: 'doomed',
    parents: [repo.git('rev-parse', 'main')],
    date: START + 8 * HOUR,
  })
  const ever = new Set(repo.all())

  const { pool, dsn, drop } = await freshDatabase(url)
  const { repo_id: repoId } = await registerRepo(contextOn(pool), {
    repo: `git:${repo.dir}`,
    projectKey: null,
  })
  if (!o.fresh) await sceneOf(pool, repo, repoId, settings, drop).incremental()

  repo.git('update-ref', 'refs/heads/main', 'main~2')
  for (let i = 0; i < 14; i++) repo.commit(`new ${i}`, { date: START + 6 * HOUR + i * 1200 })
  repo.commit('side', { branch: 'side', parents: [repo.git('rev-parse', 'main~3')], date: START - HOUR })
  repo.git('update-ref', '-d', 'refs/heads/doomed')
  repo.git('-c', 'user.name=x', '-c', 'user.email=x@example.com', 'tag', '-a', 'v1', '-m', 'one', 'main~1')
  repo.git('gc', '--quiet')
  for (const sha of repo.all()) ever.add(sha)
  await pool.end()

  const template = new URL(dsn.replace(/^postgresql:\/\/\//, 'postgresql://x/')).pathname.slice(1)
  return {
    repo,
    ever,
    settings,
    copy: async ({ ownRepo = false } = {}) => {
      const name = `t_${randomBytes(6).toString('hex')}`
      await admin(url, `create database ${name} strategy file_copy template ${template}`)
      const copyDsn = onServer(url, name)
      const db = openPool({ dsn: copyDsn, max: 4, applicationName: 'test', statementTimeoutMs: 60_000 })
      const own = ownRepo ? await moved(repo, db, repoId) : repo
      const end = async () => {
        await db.end()
        await admin(url, `drop database ${name} with (force)`)
      }
      return { ...sceneOf(db, own, repoId, settings, end), dsn: copyDsn }
    },
    drop: async () => {
      await admin(url, `drop database ${template} with (force)`)
    },
  }
}

async function moved(repo: TestRepo, db: pg.Pool, repoId: number): Promise<TestRepo> {
  const dir = tempFolder()
  cpSync(repo.dir, dir, { recursive: true })
  await db.query('update scm.repos set url = $2 where repo_id = $1', [repoId, dir])
  return repoAt(dir, null)
}

/** A process of its own, as far as the server can tell: own name, own connections. */
export function startProcess(copy: Pick<Copy, 'dsn'>, wire: Wire | null, wishes: Wishes = {}): Process {
  const worker = workerName()
  const pool = openPool({ dsn: copy.dsn, max: 5, applicationName: worker, statementTimeoutMs: 60_000 })
  wire?.carry(pool)
  return { ctx: contextOn(pool, { worker, settings: {}, ...wishes }), wire, end: () => pool.end() }
}

/** Waits until the server has noticed that a process is gone: what was on its way is done or undone then. */
export async function buried(copy: Pick<Copy, 'query'>, worker: string): Promise<void> {
  for (;;) {
    const left = await copy.query(
      'select 1 from pg_stat_activity where application_name = $1 and datname = current_database()',
      [worker],
    )
    if (left.length === 0) return
    await new Promise((resolve) => setTimeout(resolve, 2))
  }
}

/** Everybody's lease is over. */
export async function age(copy: Copy): Promise<void> {
  await copy.query(
    `update ing_task set leased_at = leased_at - interval '1 day', lease_until = now() - interval '1 s', updated_at = clock_timestamp() where status = 'running'`,
  )
  await copy.query(`update scm.sync_locks set locked_at = now() - make_interval(secs => lease_seconds + 1)`)
}
