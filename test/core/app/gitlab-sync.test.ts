import { mkdirSync } from 'node:fs'
import { get as httpGet } from 'node:http'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import type { JobType } from '../../../src/core/domain/repo.ts'
import { chance, say, size } from '../../chaos/size.ts'
import { embeddedUrl } from '../../helpers/database.ts'
import { serveGit } from '../../helpers/git-http.ts'
import { importHistory, repoAt, tempFolder } from '../../helpers/git-repo.ts'
import type { Fault } from '../../helpers/gitlab/faults.ts'
import { Life } from '../../helpers/gitlab/life.ts'
import { type GitLabScene, JOBS, openGitLabScene } from '../../helpers/gitlab/scene.ts'
import { type GitLab, startGitLab } from '../../helpers/gitlab/server.ts'

/** The real engine and real tables against a GitLab that changes while it is read. SEED brings a run back. */
const HISTORIES = size('GITLAB_HISTORIES', 4, 2000)
const ROUNDS = 3

const opened: { stop?: () => unknown; drop?: () => unknown }[] = []
afterEach(async () => {
  for (const one of opened.splice(0).reverse()) await (one.drop ?? one.stop)?.()
})
async function sceneOf(gitlab: GitLab, project = gitlab.project(), settings = {}): Promise<GitLabScene> {
  opened.push(gitlab)
  const scene = await openGitLabScene(embeddedUrl(), gitlab, project, settings)
  opened.push(scene)
  return scene
}

const FAULTS: Fault[] = [
  { status: 429 }, // with a Retry-After, also of 0, it would take up to a second each
  { status: 503 },
  { status: 500 },
  { cutAt: 40 },
  { reset: 'at once' },
  { reset: 'mid-body' },
  { html: true },
]

interface Figures {
  syncs: number
  failed: number
  cancelled: number
  degraded: number
  requests: number
}

/** Three runs of each job while everything changes, with faults and stops in between, and operators' edits. */
async function live(life: Life, scene: GitLabScene, figures: Figures): Promise<void> {
  const { random, gitlab } = life
  const trouble = random() < 0.5 ? 0.1 : 0
  const unfault = gitlab.fault(() => (random() < trouble ? life.pick(FAULTS) : null))
  for (let round = 0; round < ROUNDS; round++) {
    life.rate = random() * 0.7
    for (const job of JOBS) {
      const stop = new AbortController()
      let left = random() < 0.4 ? 1 + life.upTo(8) : Number.POSITIVE_INFINITY
      const unhook = gitlab.beforeEach(() => {
        if (--left <= 0) stop.abort()
      })
      const settings = { 'scm.worker.batch_size': life.pick([1, 3, 10, 100]) }
      const report = await scene.incremental(job, scene.ctx({ signal: stop.signal, settings }))
      unhook()
      figures.syncs += 1
      figures.failed += Number(report.status === 'failed')
      figures.cancelled += Number(report.status === 'cancelled')
      if (random() < 0.1) await edit(life, scene, job)
    }
    if (random() < 0.5) life.pass(life.upTo(200_000))
  }
  unfault()
}

/** An operator deletes the cursor, or sets it back. */
async function edit({ random }: Life, { query, repoId }: GitLabScene, job: JobType): Promise<void> {
  const key = { commits: 'gitlab_cursor', mrs: 'gitlab_mr_cursor', reviews: 'gitlab_reviews_cursor' }[job]
  const at = [`${key}:${repoId}`]
  if (random() < 0.5) await query(`delete from logbook.kv where namespace = 'scm.sync' and key = $1`, at)
  else
    await query(
      `update logbook.kv set value_json = jsonb_build_object('watermark', (now() - interval '31 days')::text)
        where namespace = 'scm.sync' and key = $1`,
      at,
    )
}

test(`${HISTORIES} histories that change at every request, with faults, stops and operators' edits`, async () => {
  const { seed } = chance('gitlab, model')
  const figures: Figures = { syncs: 0, failed: 0, cancelled: 0, degraded: 0, requests: 0 }
  const wrong: string[] = []
  for (let n = 0; n < HISTORIES; n++) {
    const life = await Life.begin(seed + n, n % 8 === 0 ? { commits: 250, mrs: 230 } : {})
    const scene = await sceneOf(life.gitlab, life.project)
    await live(life, scene, figures)

    life.rate = 0
    life.pass(5000)
    for (const job of JOBS) {
      const quiet = await scene.incremental(job)
      if (quiet.status !== 'success') wrong.push(`seed ${seed + n}: ${job}: ${quiet.error}`)
    }
    // What a server in trouble did not give of a review is read again by the audit.
    const degraded = await scene.query('select 1 from scm.mrs where review_degraded is not null')
    figures.degraded += degraded.length
    if (degraded.length > 0) {
      await scene.verify()
      await scene.drain()
    }
    const found = await scene.wrongs()
    figures.requests += life.gitlab.requests.length
    if (found.length > 0) wrong.push(`seed ${seed + n}: ${found.length}: ${found.slice(0, 3).join('; ')}`)
    for (const one of opened.splice(0).reverse()) await (one.drop ?? one.stop)?.()
  }
  say(JSON.stringify(figures))
  expect(wrong).toEqual([])
  expect(figures.syncs).toBe(HISTORIES * ROUNDS * JOBS.length)
  expect(figures.requests).toBeGreaterThan(HISTORIES * 60)
}, 7_200_000)

test('a change that is shown half a minute after it was stamped is not missed', async () => {
  let now = Date.now() - 30 * 86_400_000
  const gitlab = await startGitLab({ token: 'glpat-late', now: () => now })
  const project = gitlab.project()
  const iids = Array.from({ length: 3 }, () => project.mr())
  now += 3_600_000
  project.note(iids[2] as number)
  const scene = await sceneOf(gitlab, project)
  for (const job of JOBS) await scene.incremental(job)
  now += 5000
  // Its transaction began before what was seen last, and ended after.
  project.note(iids[0] as number, { at: now - 30_000 })
  for (const job of JOBS) expect((await scene.incremental(job)).status).toBe('success')
  expect(await scene.wrongs()).toEqual([])
})

test('what GitLab changes without saying so is found by the audit, and what is missing is read again', async () => {
  const { seed } = chance('gitlab, audit')
  const wrong: string[] = []
  for (let n = 0; n < Math.ceil(HISTORIES / 6); n++) {
    const life = await Life.begin(seed + n, { mrs: 20 })
    const scene = await sceneOf(life.gitlab, life.project)
    for (const job of JOBS) await scene.incremental(job)
    for (let i = 0; i < 6; i++) life.silently()
    await scene.query(
      'delete from scm.mrs where repo_id = $1 and iid = (select min(iid) from scm.mrs where repo_id = $1)',
      [scene.repoId],
    )
    expect(await scene.verify()).toMatchObject({ exit_code: 1 })
    await scene.drain()
    const found = await scene.wrongs({ whole: true })
    if (found.length > 0) wrong.push(`seed ${seed + n}: ${found.length}: ${found.slice(0, 3).join('; ')}`)
    expect(await scene.verify()).toMatchObject({ exit_code: 0 })
  }
  expect(wrong).toEqual([])
})

describe('a backfill by time', () => {
  const HOUR = 3_600_000
  const START = Math.floor(Date.now() / HOUR) * HOUR - 48 * HOUR
  const WISH = { since: new Date(START).toISOString(), until: new Date(START + 24 * HOUR).toISOString() }
  const COUNT = { commits: 24, mrs: 24, reviews: 24 }
  const TABLES = { commits: 'scm.git_commits', mrs: 'scm.mrs', reviews: 'scm.review_events' }
  const kvOf = { commits: 'gitlab_cursor', mrs: 'gitlab_mr_cursor', reviews: 'gitlab_reviews_cursor' }

  /** One commit and one merge request with a note an hour, and some before and after it. */
  async function day(): Promise<{ gitlab: GitLab; scene: GitLabScene }> {
    const gitlab = await startGitLab({ token: 'glpat-backfill' })
    const project = gitlab.project()
    for (let hour = -2; hour < 26; hour++) {
      const at = START + hour * HOUR
      project.commit({ at })
      project.note(project.mr({ at: at - HOUR }), { at })
    }
    return { gitlab, scene: await sceneOf(gitlab, project) }
  }

  test.each(JOBS)('%s: 0, 1 and 2; the watermark moves only when all succeeded', async (job) => {
    const { gitlab, scene } = await day()
    const count = async () => (await scene.query(`select 1 from ${TABLES[job]}`)).length
    const kv = async () =>
      (await scene.query(`select 1 from logbook.kv where key = $1`, [`${kvOf[job]}:${scene.repoId}`])).length
    // What a review is read for is stored with it.
    if (job === 'reviews') await scene.incremental('mrs')
    const ask = { wish: WISH, updateWatermark: true }

    const all = gitlab.fault(() => ({ status: 503 }))
    expect(await scene.backfill(job, ask)).toMatchObject({
      status: 'failed',
      exit_code: 2,
      watermark_updated: false,
    })
    all()
    expect([await count(), await kv()]).toEqual([0, 0])

    const third = new Date(START + 8 * HOUR).getTime()
    const bound = ({ query }: { query: URLSearchParams }) =>
      Date.parse(query.get(job === 'commits' ? 'since' : 'updated_after') ?? '')
    // Commits are listed from a day before, for clocks that are wrong.
    const one = gitlab.fault((request) =>
      bound(request) === (job === 'commits' ? third - 24 * HOUR : third) ? { status: 503 } : null,
    )
    expect(await scene.backfill(job, ask)).toMatchObject({
      status: 'partial',
      exit_code: 1,
      total_chunks: 6,
      failed_chunks: 1,
      watermark_updated: false,
    })
    one()
    expect([await count(), await kv()]).toEqual([20, 0])

    const before = gitlab.requests.length
    expect(await scene.backfill(job, ask)).toMatchObject({
      status: 'success',
      exit_code: 0,
      total_items_synced: 4,
      watermark_updated: true,
      watermark_after: WISH.until,
    })
    expect(gitlab.requests.length - before).toBeLessThan(20)
    expect([await count(), await kv()]).toEqual([COUNT[job], 1])

    for (const each of JOBS) expect((await scene.incremental(each)).status).toBe('success')
    expect(await scene.wrongs()).toEqual([])
  })
})

describe('commits via git', () => {
  const COLUMNS = `commit_sha, parent_shas, author_name, author_email, authored_at, author_tz_minutes, committer_name,
    committer_email, ts, committer_tz_minutes, message, is_merge, is_bulk, tier, degraded_reason, sanitized,
    unreachable_since is not null as left_behind`
  const tables = async ({ query }: GitLabScene) => ({
    commits: await query(`select ${COLUMNS} from scm.git_commits order by commit_sha`),
    refs: await query('select ref_name, kind, sha from scm.git_refs order by 1'),
    moves: await query(
      'select ref_name, event, old_sha, new_sha from scm.git_ref_events order by 1, ref_event_id',
    ),
  })
  const written = async ({ query }: GitLabScene) => ({
    commits: await query('select commit_sha, xmin::text from scm.git_commits order by 1'),
    refs: await query('select ref_name, sha, xmin::text from scm.git_refs order by 1'),
    moves: await query('select count(*) from scm.git_ref_events'),
  })

  test('the same tables as through the API, and switching to and fro moves nothing', async () => {
    const { seed, random } = chance('gitlab, via git')
    const root = tempFolder()
    const dir = join(root, 'group', 'app.git')
    mkdirSync(dir, { recursive: true })
    const repo = repoAt(dir, ['--bare'])
    importHistory(repo, seed, 150)
    const head = repo.git('rev-parse', 'main')
    repo.git('-c', 'user.name=x', '-c', 'user.email=x@example.com', 'tag', '-a', 'v1', '-m', 'one', head)
    repo.git('tag', 'v2', 'main~1')

    const gitlab = await startGitLab({ token: 'glpat-git' })
    const project = gitlab.project({ path: 'group/app' })
    // One address for both, as a GitLab has.
    const server = await serveGit(root, (request, response) => {
      if (!request.url?.startsWith('/api/')) return false
      const { url = '', headers } = request
      httpGet(`${gitlab.url}${url}`, { headers }, (answer) => {
        response.writeHead(answer.statusCode ?? 500, answer.headers)
        answer.pipe(response)
      })
      return true
    })
    const cacheDir = tempFolder()
    const at = { ...gitlab, url: server.origin }
    const through = async (via: string) => {
      const scene = await openGitLabScene(embeddedUrl(), at, project, { 'scm.gitlab.commits_via': via })
      opened.push(scene)
      return {
        scene,
        sync: (by = via) =>
          scene.incremental('commits', scene.ctx({ cacheDir, settings: { 'scm.gitlab.commits_via': by } })),
      }
    }
    opened.push(gitlab)
    const [api, git] = [await through('api'), await through('git')]

    for (let round = 0; round < 4; round++) {
      project.importGit(repo.dir)
      for (const { sync } of [api, git]) expect(await sync()).toMatchObject({ status: 'success' })
      expect(await tables(git.scene)).toEqual(await tables(api.scene))
      expect(await api.scene.wrongs({ jobs: ['commits'] })).toEqual([])
      expect(await git.scene.wrongs({ jobs: ['commits'] })).toEqual([])

      const [before, calls] = [await written(api.scene), server.seen.length]
      for (const by of ['git', 'api', 'git'])
        expect(await api.sync(by)).toMatchObject({ status: 'success', items_synced: 0 })
      expect(await written(api.scene)).toEqual(before)
      expect(server.seen.slice(calls).some(({ url }) => url.includes('info/refs'))).toBe(true)

      // A forced push, a merge, a deleted and a new branch, a late commit.
      const names = repo.git('for-each-ref', '--format=%(refname:short)', 'refs/heads').split('\n')
      const any = () => names[Math.floor(random() * names.length)]!
      repo.git('update-ref', 'refs/heads/main', 'main~3')
      for (let i = 0; i < 4; i++)
        repo.commit(`round ${round} ${i}`, { date: 1_600_000_000 + round * 1000 + i })
      repo.commit('late', {
        branch: `late-${round}`,
        parents: [repo.git('rev-parse', `${any()}~1`)],
        date: 1_500_000_000 + round,
      })
      const other = names.filter((name) => name !== 'main').at(-1)
      if (round === 1 && other) repo.git('update-ref', '-d', `refs/heads/${other}`)
    }
  })
})
