import { chmodSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { linesOf, run, tempFolder } from '../helpers/cli.ts'
import { embeddedUrl, freshDatabase, type TestDatabase } from '../helpers/database.ts'
import { type GitLab, startGitLab } from '../helpers/gitlab/server.ts'
import { runHere } from '../helpers/one-process.ts'

const TOKEN = 'glpat-canary-doctor'
let db: TestDatabase
let gitlab: GitLab
beforeAll(async () => {
  db = await freshDatabase(embeddedUrl())
  gitlab = await startGitLab({ token: TOKEN })
  gitlab.fault((r) => (r.path.endsWith('/self') ? { json: { active: true, scopes: ['read_api'] } } : null))
})
afterAll(async () => {
  await gitlab?.stop()
  await db?.drop()
})

const here = () => ({ POSTGRES_DSN: db.dsn, GITLAB_URL: gitlab.url, GITLAB_TOKEN: TOKEN })

test('all is well: 0, one line for each check, and --quiet says nothing', async () => {
  const ran = await run(['doctor'], { env: here() })
  expect(ran, ran.out).toMatchObject({ code: 0, err: '' })
  expect(linesOf(ran.out).slice(0, -1)).toEqual(Array(19).fill(expect.stringMatching(/^ok {7}[a-z_]+ +\S/)))
  expect(ran.out).toMatch(/^ok +gitlab +127\.0\.0\.1:\d+: GitLab 17\.5\.2, scopes read_api$/m)
  expect(ran.out).toMatch(/\n19 ok, 0 warnings, 0 failed\n$/)
  expect(await runHere(['doctor', '-q'], { env: here() })).toMatchObject({ code: 0, out: '', err: '' })
  const json = await runHere(['doctor', '--json'], { env: here() })
  expect(json.json()).toMatchObject([{ status: 'success', ok: 19, warnings: 0, failed: 0, exit_code: 0 }])
})

test('a warning: 1; a failure: 2, with a remedy, on stdout; no secret anywhere', async () => {
  const env = {
    ...here(),
    GITLAB_TOKEN: 'glpat-revoked-5522',
    SVN_PASSWORD: 'geheim-5522',
    SVN_USERNAME: 'u',
  }
  const ran = await runHere(['doctor'], { env })
  expect(ran).toMatchObject({ code: 2, err: '' })
  expect(ran.out).toMatch(/^failed +gitlab .*401 Unauthorized\n +→ give a valid token with scope read_api/m)
  const warned = await runHere(['doctor', '--json'], { env: { ...here(), GITLAB_TOKEN: undefined } })
  expect(warned).toMatchObject({ code: 1, err: '' })
  expect(warned.json()).toMatchObject([{ status: 'partial', warnings: 1, failed: 0, exit_code: 1 }])

  const password = 'geheim-7733'
  const dsn = `postgresql://u:${password}@127.0.0.1:1/x`
  const gone = await runHere(['doctor', '--json', '--verbose'], { env: { ...env, POSTGRES_DSN: dsn } })
  expect(gone.code).toBe(2)
  const [report] = gone.json()
  expect(report?.not_examined).toEqual(expect.arrayContaining(['schema', 'queue', 'workers']))
  expect(report?.checks).toEqual(expect.arrayContaining([expect.objectContaining({ check: 'gitlab' })]))
  for (const text of [ran.out, gone.out, gone.err])
    for (const secret of [password, 'geheim-5522', 'glpat-revoked-5522']) expect(text).not.toContain(secret)
})

test('without a database nothing is started or written, and the rest is looked at', async () => {
  const home = tempFolder()
  const env = { HOME: home, POSTGRES_DSN: undefined, ENGRAM_SCM_DATA_DIR: join(home, 'data') }
  const ran = await run(['doctor'], { env, cwd: home })
  expect(ran).toMatchObject({ code: 1, err: '' })
  expect(ran.out).toMatch(
    /^warning +server +the embedded PostgreSQL of .* does not run\n +→ engram-scm-sync db up/m,
  )
  expect(ran.out).toMatch(/^ok +git +git \d/m)
  expect(readdirSync(home)).toEqual([])
})

test('a configuration that is wrong is said line by line', async () => {
  const file = join(tempFolder(), 'config.toml')
  writeFileSync(file, '[scm.worker]\nparallelism = 0\nlease_secnds = 3\n[scm.gitlab.instances.staging]\n')
  const ran = await runHere(['doctor', '--config', file])
  expect(ran).toMatchObject({ code: 2, err: '' })
  expect(ran.out).toMatch(/^failed +configuration .*parallelism must be a whole number/m)
  expect(ran.out).toMatch(
    /^failed +configuration .*lease_secnds is not a key\n +→ did you mean scm\.worker\.lease_seconds\?/m,
  )
  expect(ran.out).toMatch(/^failed +configuration .*instances\.staging has no url/m)
  expect(ran.out).toMatch(/^ok +git/m)
})

test.skipIf(process.getuid?.() !== 0)('a data folder of somebody else (skipped unless root)', async () => {
  const folder = tempFolder()
  mkdirSync(join(folder, 'data'))
  chmodSync(join(folder, 'data'), 0o755)
  const env = { ...here(), HOME: folder, ENGRAM_SCM_DATA_DIR: join(folder, 'data') }
  const ran = await run(['doctor'], { env, uid: 65_534, cwd: folder })
  expect(ran.out).toMatch(/^failed +data_folder +.* cannot be written by this user$/m)
})
