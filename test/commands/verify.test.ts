import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { linesOf, run } from '../helpers/cli.ts'
import { embeddedUrl, freshDatabase, type TestDatabase } from '../helpers/database.ts'
import type { Project } from '../helpers/gitlab/project.ts'
import { type GitLab, startGitLab } from '../helpers/gitlab/server.ts'
import { runHere } from '../helpers/one-process.ts'

/** `admin verify` as an operator meets it: what it sees, what it says, and that its repairs repair. */
const TOKEN = 'glpat-canary-70d3b81ce5'
const HOUR = 3_600_000
const REPORT = `phase repo dry_run status merge_requests_checked missing stale note_counts deleted gaps degraded_commits
  degraded_reviews repairs_queued total_requests message exit_code`

let db: TestDatabase
let gitlab: GitLab
let project: Project
let notes: number[]
let env: Record<string, string>

beforeAll(async () => {
  gitlab = await startGitLab({ token: TOKEN })
})
afterAll(() => gitlab?.stop())

/** Twelve merge requests, an hour apart, each with a comment. There is no !7. */
beforeEach(async () => {
  db = await freshDatabase(embeddedUrl())
  env = { POSTGRES_DSN: db.dsn, GITLAB_URL: gitlab.url, GITLAB_TOKEN: TOKEN, SCM_GITLAB_TIER: 'paths' }
  project = gitlab.project()
  const began = Date.now() - 100 * HOUR
  for (let i = 0; i < 4; i++) project.commit({ branch: 'main', message: `c${i}`, at: began + i * 2 * HOUR })
  notes = []
  for (let iid = 1; iid <= 13; iid++) {
    if (iid === 7) continue
    project.mr({ iid, at: began + iid * HOUR })
    notes[iid] = project.note(iid, { body: `said of ${iid}`, at: began + iid * HOUR })
  }
  await must(['repos', 'add', `gitlab:${project.path}`])
  return () => db.drop()
})

const must = async (args: string[], code = 0) => {
  const ran = await runHere(args, { env })
  expect(ran.code, ran.out + ran.err).toBe(code)
  return ran
}
const syncAll = async () => {
  for (const job of ['commits', 'mrs', 'reviews'])
    await must(['runner', 'incremental', '--repo', `gitlab:${project.path}`, '--job', job])
}
const verify = async (code: number, ...more: string[]) => {
  const ran = await must(['admin', 'verify', '--repo', `gitlab:${project.path}`, '--json', ...more], code)
  expect(linesOf(ran.out)).toHaveLength(1)
  const [report = {}] = ran.json()
  expect(report.exit_code).toBe(code)
  return report
}
const drain = async () => {
  const ran = await run(['--drain', '--json'], { bin: 'worker', env })
  expect(ran.code, ran.out + ran.err).toBe(0)
  return ran.json()[0]
}
const query = async <T>(sql: string): Promise<T[]> => (await db.pool.query(sql)).rows as T[]
const none = { count: 0, iids: [] }

test('all equal: 0, in a request for each hundred and one for the project', async () => {
  await syncAll()
  const report = await verify(0)
  expect(Object.keys(report).sort()).toEqual(REPORT.split(/\s+/).sort())
  expect(report).toMatchObject({
    phase: 'verify',
    repo: `gitlab:${project.path}`,
    dry_run: false,
    status: 'success',
    merge_requests_checked: 12,
    missing: none,
    stale: none,
    note_counts: none,
    deleted: none,
    gaps: 1,
    degraded_commits: 0,
    degraded_reviews: 0,
    repairs_queued: 0,
    message: null,
  })
  expect(report.total_requests).toBe(3) // the project, the list, the gap by its number
  const text = await must(['admin', 'verify', '--repo', `gitlab:${project.path}`])
  expect(text.out).toBe(
    `gitlab:${project.path}: 12 merge requests compared in 3 requests\n  numbers never seen  1\n  all equal\n`,
  )
})

test('what differs is found, told by a dry run, queued, and repaired by workers', async () => {
  const broken = project.head()
  const forget = gitlab.fault(({ path }) => (path.includes(`${broken}/diff`) ? { status: 500 } : null))
  await syncAll()
  forget()
  expect(
    await query(`select degraded_reason from scm.git_commits where degraded_reason is not null`),
  ).toEqual([{ degraded_reason: 'diff:server_error' }])
  project.deleteNote(notes[3] as number) // no bump: nothing but a smaller count shows it
  project.deleteMr(5)
  await db.pool.query('delete from scm.mrs where iid = 9')
  await db.pool.query('delete from scm.review_events where iid = 11')

  const expected = {
    status: 'partial',
    merge_requests_checked: 11,
    missing: { count: 1, iids: [9] },
    stale: { count: 1, iids: [3] },
    note_counts: { count: 1, iids: [11] },
    deleted: { count: 1, iids: [5] },
    gaps: 1,
    degraded_commits: 1,
    degraded_reviews: 0,
  }
  const state = () =>
    query('select (select count(*)::int from ing_plan) as plans, * from scm.mrs order by iid')
  const before = await state()
  expect(await verify(1, '--dry-run')).toMatchObject({ ...expected, dry_run: true, repairs_queued: 0 })
  expect(await state()).toEqual(before)

  const text = await must(['admin', 'verify', '--repo', `gitlab:${project.path}`], 1)
  expect(text.out).toMatch(
    /missing {2}1: !9\n {2}stale {2}1: !3\n {2}other comments {2}1: !11\n {2}deleted {2}1: !5\n {2}commits read in part {2}1\n/,
  )
  // 2 of mrs, 3 of reviews, 1 of commits; what is gone is marked and its row stays.
  expect(text.out).toContain('  6 repair jobs queued, what is gone marked as deleted\n')
  expect(await query('select iid from scm.mrs where deleted_at is not null')).toEqual([{ iid: 5 }])

  // Before the workers came: the same is found, and not queued again.
  expect(await verify(1)).toMatchObject({ ...expected, deleted: none, gaps: 2, repairs_queued: 0 })

  expect(await drain()).toMatchObject({ jobs_completed: 6, jobs_failed: 0 })
  expect(await verify(0)).toMatchObject({ status: 'success', merge_requests_checked: 11, gaps: 2 })
  expect(
    await query(`select iid::int, deleted_at is null as there from scm.review_events
                  where kind = 'note' and iid in (3, 9, 11) order by 1`),
  ).toEqual([
    { iid: 3, there: false },
    { iid: 9, there: true },
    { iid: 11, there: true },
  ])
  expect(await query('select 1 from scm.git_commits where degraded_reason is not null')).toEqual([])
})

test('what only the next sync has to bring is no difference', async () => {
  await syncAll()
  project.note(4, { at: Date.now() + 120_000 }) // later than any of before
  project.mr({ iid: 14, at: Date.now() + 120_000 })
  expect(await verify(0)).toMatchObject({ merge_requests_checked: 13, missing: none, stale: none })
})

test('diffs that were left out while GitLab struggled are read afterwards', async () => {
  await syncAll()
  await db.pool.query(
    `update scm.git_commits set tier = 'none', degraded_reason = 'diff:left_out' where ctid in (
       select ctid from scm.git_commits limit 2)`,
  )
  expect(await verify(1)).toMatchObject({ degraded_commits: 2 })
  await drain()
  expect(await verify(0)).toMatchObject({ degraded_commits: 0 })
})

test('what no reading can heal is no difference: comments this token may not see, diffs too large', async () => {
  project.note(2, { hidden: true, at: Date.now() - 98 * HOUR })
  await syncAll()
  await db.pool.query(
    `update scm.git_commits set tier = 'none', degraded_reason = 'paths_size:99,diff:too_large'`,
  )
  expect(await verify(0)).toMatchObject({ note_counts: none, degraded_commits: 0 })
})

test('a review of which the server owed a part is read again; one that is not given is not', async () => {
  const part = gitlab.fault(({ route, of }) =>
    route === 'states' && of === '6' ? { status: 502 } : route === 'approvals' ? { status: 403 } : null,
  )
  await syncAll()
  part()
  const report = await verify(1)
  expect(report).toMatchObject({ degraded_reviews: 1, repairs_queued: 1 })
  await drain()
  expect(await verify(0)).toMatchObject({ degraded_reviews: 0 })
})

test('job types nobody syncs are not compared, nor repaired', async () => {
  await must(['runner', 'incremental', '--repo', `gitlab:${project.path}`])
  expect(await verify(0)).toMatchObject({
    merge_requests_checked: 0,
    message: 'mrs were never synced: none were compared',
  })
  await must(['runner', 'incremental', '--repo', `gitlab:${project.path}`, '--job', 'mrs'])
  await db.pool.query('delete from scm.mrs where iid = 9')
  expect(await verify(1)).toMatchObject({ missing: { count: 1 }, repairs_queued: 1 })
})

test('merge requests switched off: nothing is taken for deleted', async () => {
  await syncAll()
  project.mergeRequestsOff()
  expect(await verify(0)).toMatchObject({
    merge_requests_checked: 0,
    deleted: none,
    message: 'merge requests are switched off: none were compared',
  })
  expect(await query('select 1 from scm.mrs where deleted_at is not null')).toEqual([])
})

describe('2 when it could not be done', () => {
  const failed = async (...args: string[]) => {
    const ran = await must(['admin', 'verify', ...args, '--json'], 2)
    return ran.json()[0]
  }
  test('not registered, removed, of a kind without, gone, no answer', async () => {
    expect(await failed('--repo', 'gitlab:99999')).toMatchObject({ kind: 'not_found' })
    await must(['repos', 'add', 'git:https://127.0.0.1:1/x.git'])
    expect(await failed('--repo', 'git:https://127.0.0.1:1/x.git')).toMatchObject({
      kind: 'usage',
      error: expect.stringContaining('a git repository has no mrs'),
    })
    await syncAll()
    const off = gitlab.fault(({ route }) => (route === 'mrs' ? { status: 401 } : null))
    expect(await failed('--repo', `gitlab:${project.path}`)).toMatchObject({ kind: 'auth' })
    off()
    project.delete()
    expect(await failed('--repo', `gitlab:${project.path}`)).toMatchObject({ kind: 'not_found' })
    expect(await query('select 1 from scm.mrs where deleted_at is not null')).toEqual([])
    await must(['repos', 'remove', `gitlab:${project.path}`])
    expect(await failed('--repo', `gitlab:${project.path}`)).toMatchObject({ kind: 'usage' })
  })
})

test('a number beyond all others costs a hundred requests, not memory', async () => {
  await syncAll()
  project.mr({ iid: 9_000_000_000_000_000, at: Date.now() - HOUR })
  const report = await verify(0)
  expect(report.total_requests).toBeLessThan(120)
  expect(report.gaps).toBe(9_000_000_000_000_000 - 13)
})
