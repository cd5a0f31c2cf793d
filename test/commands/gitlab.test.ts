import { afterAll, beforeAll, expect, test } from 'vitest'
import { run } from '../helpers/cli.ts'
import { embeddedUrl, freshDatabase, type TestDatabase } from '../helpers/database.ts'
import { type GitLab, startGitLab } from '../helpers/gitlab/server.ts'

/** GitLab as an operator meets it: the built program against a server, from `repos add` to the rows. */
const TOKEN = 'glpat-canary-20e5a1c7b9'
/** Longer ago than a transaction upstream may take, so that it counts as settled. */
const HOUR_AGO = Date.now() - 3_600_000
let db: TestDatabase
let gitlab: GitLab
let env: Record<string, string>

beforeAll(async () => {
  db = await freshDatabase(embeddedUrl())
  gitlab = await startGitLab({ token: TOKEN })
  env = { POSTGRES_DSN: db.dsn, GITLAB_URL: gitlab.url, GITLAB_TOKEN: TOKEN }
})
afterAll(async () => {
  await gitlab?.stop()
  await db?.drop()
})

const query = async <T>(sql: string): Promise<T[]> => (await db.pool.query(sql)).rows as T[]

test('added, synced, and synced again with nothing new: what is there is stored, and asking costs next to nothing', async () => {
  const project = gitlab.project({ id: 42, path: 'acme/app' })
  for (let i = 0; i < 250; i++) project.commit({ branch: 'main', message: `c${i}` })
  project.branch('feature')
  for (let i = 0; i < 3; i++) project.commit({ branch: 'feature', message: `f${i}` })
  project.tag('v1')
  const iids = Array.from({ length: 120 }, (_, i) =>
    project.mr({ title: `mr ${i}`, source: 'feature', at: HOUR_AGO + i * 1000 }),
  )
  for (const iid of iids.slice(0, 20)) project.note(iid, { body: `said of ${iid}` })
  project.approve(iids[0] as number)
  project.mergeMr(iids[1] as number)

  const added = await run(['repos', 'add', 'gitlab:42', '--json'], { env })
  expect(added, added.err).toMatchObject({ code: 0 })
  for (const job of ['commits', 'mrs', 'reviews']) {
    const synced = await run(['runner', 'incremental', '--repo', 'gitlab:42', '--job', job, '--json'], {
      env,
    })
    expect(synced, synced.err + synced.out).toMatchObject({ code: 0 })
    expect(synced.json()[0]).toMatchObject({ status: 'success', job })
  }
  const truth = gitlab.truth(project)
  expect(await query('select count(*)::int as n from scm.git_commits')).toEqual([{ n: truth.commits.size }])
  expect(await query('select count(*)::int as n from scm.mrs')).toEqual([{ n: truth.mrs.size }])
  expect(
    await query(`select event_type as type, count(*)::int as n from scm.review_events group by 1 order by 1`),
  ).toEqual([
    { type: 'approval', n: 1 },
    { type: 'approve', n: 1 },
    { type: 'comment', n: 20 },
    { type: 'merge', n: 1 },
  ])

  const before = gitlab.requests.length
  for (const job of ['commits', 'mrs', 'reviews']) {
    const quiet = await run(['runner', 'incremental', '--repo', 'gitlab:42', '--job', job, '--json'], { env })
    expect(quiet.json()[0], quiet.err).toMatchObject({ status: 'success', items_synced: 0 })
  }
  expect(gitlab.requests.slice(before).map((r) => r.route)).toEqual(['branches', 'tags', 'mrs', 'mrs'])

  const dry = await run(
    ['runner', 'incremental', '--repo', 'gitlab:42', '--job', 'mrs', '--dry-run', '--json'],
    { env },
  )
  expect(dry.json()[0]).toMatchObject({ dry_run: true, refs: null, items_found: 0 })
  const text = await run(['runner', 'incremental', '--repo', 'gitlab:42', '--job', 'mrs', '--dry-run'], {
    env,
  })
  expect(text.out).not.toContain('refs')
  const [listed] = (await run(['repos', 'list', '--json'], { env })).json() as [
    { repos: { state: string }[] },
  ]
  expect(listed.repos).toMatchObject([
    {
      repo: `gitlab:${gitlab.url}/projects/42`,
      state: 'active',
      items: truth.commits.size + truth.mrs.size + 23,
    },
  ])
}, 60_000)
