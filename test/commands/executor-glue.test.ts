import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { environment, ROOT, run, tempFolder } from '../helpers/cli.ts'
import { embeddedUrl, freshDatabase, type TestDatabase } from '../helpers/database.ts'
import { makeRepo, type TestRepo } from '../helpers/git-repo.ts'
import { until } from '../helpers/xxl-admin.ts'

/** The template for GLUE(Shell), run as XXL-Job's ScriptUtil runs a script: its argv, its pipes, its one signal. */
const TEMPLATE = readFileSync(join(ROOT, 'docs/xxl-job/glue.sh'), 'utf8')
const COMMITS = 6_000

let db: TestDatabase
let big: TestRepo
const folder = tempFolder()
const orphans: number[] = []

beforeAll(async () => {
  db = await freshDatabase(embeddedUrl())
  big = makeRepo()
  const stream = Array.from({ length: COMMITS }, (_, i) => {
    const from = i === 0 ? '' : `from :${i}\n`
    return `commit refs/heads/main\nmark :${i + 1}\ncommitter C <c@example.com> ${1_600_000_000 + i * 60} +0000\ndata 1\nx\n${from}`
  })
  big.feed(stream.join(''), 'fast-import', '--quiet')
  mkdirSync(join(folder, 'bin'))
  symlinkSync(join(ROOT, 'bin/engram-scm-sync.js'), join(folder, 'bin/engram-scm-sync'))
  mkdirSync(join(folder, 'gluesource'))
})
afterAll(async () => {
  for (const pid of orphans) if (existsSync(`/proc/${pid}`)) process.kill(pid, 'SIGKILL')
  await db.drop()
})

const env = () => ({
  POSTGRES_DSN: db.dsn,
  SCM_GIT_PAGE_SIZE: '20',
  PATH: `${join(folder, 'bin')}:${process.env.PATH}`,
})

async function registered(name: string): Promise<{ repoId: number; path: string }> {
  const path = join(tempFolder(), name)
  cpSync(big.dir, path, { recursive: true })
  const [added] = (await run(['repos', 'add', `git:${path}`, '--json'], { env: env() })).json()
  return { repoId: added?.repo_id as number, path }
}

function glue(
  param: string,
  o: { script?: string; jobId?: number } = {},
): ChildProcess & { out: () => string } {
  const file = join(folder, 'gluesource', `${o.jobId ?? 42}_1750000000000.sh`)
  writeFileSync(file, o.script ?? TEMPLATE)
  const child = spawn('bash', [file, param, '0', '1'], {
    cwd: folder,
    env: environment(env()),
    stdio: 'pipe',
  })
  let out = ''
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (bytes) => {
      out += bytes
    })
  return Object.assign(child, { out: () => out })
}

async function query<T = Record<string, unknown>>(sql: string, values: unknown[] = []): Promise<T[]> {
  return (await db.pool.query(sql, values)).rows
}

const stored = async (repoId: number) =>
  Number((await query('select count(*) as n from scm.git_commits where repo_id = $1', [repoId]))[0]?.n)

const locks = (repoId: number) => query('select 1 from scm.sync_locks where repo_id = $1', [repoId])

function childrenOf(pid: number): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((name) => {
      try {
        const stat = readFileSync(`/proc/${name}/stat`, 'utf8')
        return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]) === pid
      } catch {
        return false
      }
    })
    .map(Number)
}

test('the script syncs what its parameter says, and the ledger knows the job by its file name', async () => {
  const repo = makeRepo('--bare')
  repo.commit('one')
  await run(['repos', 'add', `git:${repo.dir}`], { env: env() })
  const child = glue(`git:${repo.dir} commits`, { jobId: 4711 })
  expect(await once(child, 'exit')).toEqual([0, null])
  expect(
    await query('select scheduler_code, scheduler_job_id, scheduler_log_id from ing_schedule_instance'),
  ).toEqual([{ scheduler_code: 'XXL', scheduler_job_id: '4711', scheduler_log_id: null }])
})

test.each<[why: string, param: string]>([
  ['a repository that is not there', 'git:999'],
  ['no parameter', ''],
  ['a shell in the parameter', 'git:1;>owned commits'],
  ['a flag for a job', 'git:999 --help'],
  ['a flag for a repository', '--help'],
])('%s is a failure', async (_why, param) => {
  const child = glue(param)
  expect((await once(child, 'exit'))[0]).not.toBe(0)
  expect(existsSync(join(folder, 'owned'))).toBe(false)
})

test('a timeout or a kill: the signal reaches the sync, which ends its page and lets go', async () => {
  const { repoId, path } = await registered('with-exec')
  const child = glue(`git:${path}`)
  await until('a page', async () => (await stored(repoId)) > 0)
  // As Process.destroy() does it: the signal, and nobody reads any more.
  child.kill('SIGTERM')
  for (const stream of [child.stdout, child.stderr]) stream?.destroy()
  expect(await once(child, 'exit')).toEqual([2, null])
  expect(await locks(repoId)).toEqual([])
  expect(await query('select status from ing_task where repo_id = $1', [repoId])).toEqual([
    { status: 'pending' },
  ])
  expect((await stored(repoId)) % 20).toBe(0)
})

test('without exec the shell dies alone: the sync goes on as an orphan, and holds its lock', async () => {
  const { repoId, path } = await registered('without-exec')
  // The shell of the template would replace itself also without the word, were this its last command.
  const child = glue(`git:${path}`, { script: `${TEMPLATE.replace('exec ', '')}\necho done` })
  await until('a page', async () => (await stored(repoId)) > 0)
  const [sync] = childrenOf(child.pid as number)
  orphans.push(sync as number)
  child.kill('SIGTERM')
  expect(await once(child, 'exit')).toEqual([null, 'SIGTERM'])
  const before = await stored(repoId)
  await until('another page', async () => (await stored(repoId)) > before)
  expect(existsSync(`/proc/${sync}`)).toBe(true)
  expect(await locks(repoId)).toHaveLength(1)
})
