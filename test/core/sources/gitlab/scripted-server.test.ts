import { existsSync, readFileSync } from 'node:fs'
import { afterEach, describe, expect, test } from 'vitest'
import { historyStream, importHistory, makeRepo, newSeed, seeded } from '../../../helpers/git-repo.ts'
import type { Fault } from '../../../helpers/gitlab/faults.ts'
import { EMPTY_TREE } from '../../../helpers/gitlab/history.ts'
import { type GitLab, type GitLabOptions, startGitLab } from '../../../helpers/gitlab/server.ts'

/** The scripted GitLab is what other tests believe: here it is held against recorded answers and real git. */

const servers: GitLab[] = []
afterEach(async () => {
  await Promise.all(servers.splice(0).map((gitlab) => gitlab.stop()))
})

async function start(options?: GitLabOptions): Promise<GitLab> {
  const gitlab = await startGitLab(options)
  servers.push(gitlab)
  return gitlab
}

const SOME = { 'private-token': 'any' }

function ask(gitlab: GitLab, path: string, headers: Record<string, string> = SOME): Promise<Response> {
  return fetch(`${gitlab.url}/api/v4${path}`, { headers, redirect: 'manual' })
}

type Row = Record<string, unknown>

async function rows(gitlab: GitLab, path: string): Promise<Row[]> {
  const response = await ask(gitlab, path)
  expect(response.status).toBe(200)
  return (await response.json()) as Row[]
}

/** Every page, as a client that believes x-next-page reads them. */
async function everyPage(gitlab: GitLab, path: string, perPage: number): Promise<Row[][]> {
  const pages: Row[][] = []
  for (let page = '1'; page !== ''; ) {
    const response = await ask(
      gitlab,
      `${path}${path.includes('?') ? '&' : '?'}per_page=${perPage}&page=${page}`,
    )
    pages.push((await response.json()) as Row[])
    page = response.headers.get('x-next-page') ?? ''
  }
  return pages
}

const ids = (list: Row[]): unknown[] => list.map(({ id }) => id)

const corpus = new URL('../../../../../shared/corpus/', import.meta.url)
const there = existsSync(corpus)
if (!there) process.stderr.write('../shared/corpus is absent: the shapes of answers are not checked\n')

describe.skipIf(!there)('its answers have what recorded ones have', () => {
  const recorded = (path: string): Row => {
    const text = readFileSync(new URL(path, corpus), 'utf8')
    const read: unknown = JSON.parse(text.startsWith('HTTP/') ? text.slice(text.search(/^[[{]/m)) : text)
    const first = Array.isArray(read) ? read[0] : read
    return Array.isArray(first?.response) ? first.response[0] : (first?.response ?? first)
  }
  /** The kind of each field: null fits all, since one sample may have what another has not. */
  const misfits = (mine: Row, theirs: Row, apart: string[] = []): string[] =>
    Object.entries(theirs).flatMap(([key, value]) => {
      if (apart.includes(key)) return []
      if (!(key in mine)) return `${key} is missing`
      const [a, b] = [mine[key], value]
      if (a === null || b === null) return []
      return typeof a === typeof b && Array.isArray(a) === Array.isArray(b) ? [] : `${key} is a ${typeof a}`
    })

  async function scene(): Promise<GitLab> {
    const gitlab = await start()
    const project = gitlab.project({ id: 7, path: 'group/app' })
    const first = project.commit({
      files: [{ path: 'a', additions: 1, deletions: 0, diff: '@@ -0,0 +1 @@\n+a\n' }],
    })
    project.branch('feature-1', first)
    project.tag('base', first)
    project.commit({ branch: 'feature-1' })
    const iid = project.mr({ assignees: ['ann'], reviewers: ['ben'] })
    project.note(iid, { position: { newPath: 'a', newLine: 1 } })
    project.approve(iid)
    project.mergeMr(iid)
    return gitlab
  }

  test.each([
    ['merge_requests?state=all', 'devlake-gitlab-raw/_raw_gitlab_api_merge_requests.csv', []],
    ['merge_requests', 'narkoz-gitlab/merge_requests.json', ['closed', 'merged']],
    ['merge_requests/1', 'danger-js-gitlab/getMergeRequestInfo.json', []],
    [
      'merge_requests/1',
      'go-gitlab/get_merge_request.json',
      ['diverged_commits_count', 'rebase_in_progress', 'first_contribution', 'has_conflicts'],
    ],
    ['merge_requests/1/notes', 'danger-js-gitlab/getMergeRequestNotes.json', []],
    ['merge_requests/1/discussions', 'danger-js-gitlab/getMergeRequestDiscussions.json', []],
    ['merge_requests/1/discussions', 'gitlab4j/merge-request-discussions.json', []],
    ['merge_requests/1/approvals', 'danger-js-gitlab/getMergeRequestApprovals.json', []],
    ['merge_requests/1/resource_state_events', 'narkoz-gitlab/mr_resource_state_events.json', []],
    ['repository/commits', 'gitlab-commits-derived/page-001.json', []],
  ] as const)('%s as %s', async (path, file, apart) => {
    const gitlab = await scene()
    const response = await ask(gitlab, `/projects/7/${path}`)
    const read: unknown = await response.json()
    const mine = (Array.isArray(read) ? read[0] : read) as Row
    const theirs = file.endsWith('.csv')
      ? (JSON.parse(
          /"(\{""id"".*?\})"(?:,|$)/m
            .exec(readFileSync(new URL(file, corpus), 'utf8'))?.[1]
            ?.replaceAll('""', '"') as string,
        ) as Row)
      : recorded(file)
    expect(misfits(mine, theirs, [...apart])).toEqual([])
  })

  test('project, diff and note of a line', async () => {
    const gitlab = await scene()
    const mine = (await (await ask(gitlab, '/projects/group%2Fapp')).json()) as Row
    const read = [
      'id',
      'path_with_namespace',
      'default_branch',
      'web_url',
      'http_url_to_repo',
      'archived',
      'empty_repo',
    ]
    const theirs = recorded('gitlab4j/project.json')
    expect(misfits(mine, Object.fromEntries(read.map((key) => [key, theirs[key]])))).toEqual([])
    const [diff] = await rows(gitlab, '/projects/7/repository/commits/base/diff')
    expect(misfits(diff as Row, recorded('narkoz-gitlab/project_commit_diff.json'))).toEqual([])
    const [thread] = await rows(gitlab, '/projects/7/merge_requests/1/discussions')
    const notes = recorded('gitlab4j/merge-request-discussions.json').notes as Row[]
    const note = (thread as { notes: Row[] }).notes[0] as Row
    expect(misfits(note, notes[0] as Row)).toEqual([])
    expect(Object.keys(note.position as Row)).toEqual(
      expect.arrayContaining([
        'base_sha',
        'start_sha',
        'head_sha',
        'old_path',
        'new_path',
        'position_type',
        'old_line',
        'new_line',
      ]),
    )
  })

  test('headers of a page', async () => {
    const gitlab = await scene()
    gitlab.rateLimit({ limit: 600, windowMs: 60_000 })
    const { headers } = await ask(gitlab, '/projects/7/merge_requests/1/notes')
    const text = readFileSync(new URL('danger-js-gitlab/getMergeRequestNotes.json', corpus), 'utf8')
    const raw = (JSON.parse(text) as { rawHeaders: string[] }[])[0]?.rawHeaders ?? []
    const names = raw.filter((_, i) => i % 2 === 0).map((name) => name.toLowerCase())
    const wanted = names.filter((name) =>
      /^(x-(total|page|per|next|prev)|ratelimit-(l|o|rem|reset$)|link|etag|date)/.test(name),
    )
    expect(wanted.length).toBeGreaterThan(10)
    expect(wanted.filter((name) => !headers.has(name))).toEqual([])
    expect(headers.get('etag')).toMatch(/^W\/"[0-9a-f]{32}"$/)
  })
})

describe('pages', () => {
  test.each([1, 7, 20, 50, 100])('cut a list of 250 into whole pages of %i', async (perPage) => {
    const gitlab = await start()
    const project = gitlab.project({ id: 7 })
    for (let i = 0; i < 250; i++) project.mr()
    const pages = await everyPage(gitlab, '/projects/7/merge_requests?sort=asc', perPage)
    expect(pages.length).toBe(Math.ceil(250 / perPage))
    expect(
      pages
        .flat()
        .map(({ iid }) => iid)
        .sort((a, b) => Number(a) - Number(b)),
    ).toEqual(Array.from({ length: 250 }, (_, i) => i + 1))
    const { headers } = await ask(gitlab, `/projects/7/merge_requests?per_page=${perPage}&page=2`)
    expect(headers.get('x-total')).toBe('250')
    expect(headers.get('x-total-pages')).toBe(String(pages.length))
    expect(headers.get('x-prev-page')).toBe('1')
  })

  test('are of 20, and of 100 at most', async () => {
    const gitlab = await start()
    const project = gitlab.project({ id: 7 })
    for (let i = 0; i < 130; i++) project.mr()
    expect((await rows(gitlab, '/projects/7/merge_requests')).length).toBe(20)
    expect((await rows(gitlab, '/projects/7/merge_requests?per_page=1000')).length).toBe(100)
    expect((await rows(gitlab, '/projects/7/merge_requests?page=0&per_page=0')).length).toBe(20)
    expect((await ask(gitlab, '/projects/7/merge_requests?page=x')).status).toBe(400)
    expect(await rows(gitlab, '/projects/7/merge_requests?page=99')).toEqual([])
  })

  test('of commits never tell a total, and promise one more page when they are full', async () => {
    const gitlab = await start()
    const project = gitlab.project({ id: 7 })
    for (let i = 0; i < 40; i++) project.commit({ at: i * 1000 })
    const pages = await everyPage(gitlab, '/projects/7/repository/commits', 20)
    expect(pages.map(({ length }) => length)).toEqual([20, 20, 0])
    const { headers } = await ask(gitlab, '/projects/7/repository/commits')
    expect([headers.get('x-total'), headers.get('x-total-pages')]).toEqual([null, null])
    expect(headers.get('link')).not.toContain('rel="last"')
  })

  test('are not sent again to who has them', async () => {
    const gitlab = await start()
    const project = gitlab.project({ id: 7 })
    const iid = project.mr()
    const etag = (await ask(gitlab, '/projects/7/merge_requests')).headers.get('etag') ?? ''
    const again = (): Promise<Response> =>
      ask(gitlab, '/projects/7/merge_requests', { 'if-none-match': etag })
    expect((await again()).status).toBe(304)
    project.note(iid)
    expect((await again()).status).toBe(200)
  })

  test('have no total above 10,000 rows', async () => {
    const gitlab = await start()
    const project = gitlab.project({ id: 7, maxTotal: 30 })
    for (let i = 0; i < 31; i++) project.mr()
    const { headers } = await ask(gitlab, '/projects/7/merge_requests')
    expect([headers.get('x-total'), headers.get('x-next-page')]).toEqual([null, '2'])
  })

  test('come out short where notes are hidden, and go on', async () => {
    const gitlab = await start()
    const project = gitlab.project({ id: 7 })
    const iid = project.mr()
    project.hideEvery = 3
    for (let i = 0; i < 50; i++) project.note(iid)
    for (const list of ['notes', 'discussions']) {
      const pages = await everyPage(gitlab, `/projects/7/merge_requests/${iid}/${list}`, 20)
      expect(pages.length).toBe(3)
      expect(pages[0]?.length).toBeLessThan(20)
      expect(pages.flat().length).toBe(gitlab.truth(project).reviews.get(iid)?.notes.length)
    }
    expect(gitlab.truth(project).reviews.get(iid)?.notes.length).toBe(34)
  })

  test('may be refused far down', async () => {
    const gitlab = await start()
    const project = gitlab.project({ id: 7, offsetCap: 100 })
    for (let i = 0; i < 150; i++) project.mr()
    expect((await ask(gitlab, '/projects/7/merge_requests?per_page=50&page=3')).status).toBe(200)
    const refused = await ask(gitlab, '/projects/7/merge_requests?per_page=50&page=4')
    expect(refused.status).toBe(405)
    expect(await refused.text()).toContain('Offset pagination has a maximum allowed offset of 100 ')
  })
})

describe('merge requests', () => {
  test('updated_after and updated_before mean "at or"', async () => {
    const gitlab = await start()
    const project = gitlab.project({ id: 7 })
    for (const at of [1000, 2000, 2000, 3000]) project.mr({ at })
    const found = async (query: string): Promise<unknown[]> =>
      (await rows(gitlab, `/projects/7/merge_requests?order_by=updated_at&sort=asc&${query}`)).map(
        ({ updated_at }) => updated_at,
      )
    const at = (ms: number): string => new Date(ms).toISOString()
    expect(await found(`updated_after=${at(2000)}`)).toEqual([at(2000), at(2000), at(3000)])
    expect(await found(`updated_after=${at(2001)}`)).toEqual([at(3000)])
    expect(await found(`updated_before=${at(2000)}`)).toEqual([at(1000), at(2000), at(2000)])
    expect(await found(`updated_before=${at(1999)}`)).toEqual([at(1000)])
    expect((await ask(gitlab, '/projects/7/merge_requests?updated_after=soon')).status).toBe(400)
  })

  test('hidden microseconds put a row behind the instant it shows', async () => {
    const gitlab = await start({ resolution: 'us' })
    const project = gitlab.project({ id: 7 })
    for (let i = 0; i < 20; i++) project.mr({ at: 2000 })
    const at = new Date(2000).toISOString()
    expect((await rows(gitlab, `/projects/7/merge_requests?updated_after=${at}`)).length).toBe(20)
    expect((await rows(gitlab, `/projects/7/merge_requests?updated_before=${at}`)).length).toBeLessThan(3)
  })

  test('between equal times their order is any, and stays', async () => {
    const gitlab = await start({ now: () => 5_000 })
    const project = gitlab.project({ id: 7 })
    for (let i = 0; i < 60; i++) project.mr()
    const query = '/projects/7/merge_requests?order_by=updated_at&sort=asc'
    const [once, again] = [await everyPage(gitlab, query, 7), await everyPage(gitlab, query, 11)]
    const iids = once.flat().map(({ iid }) => Number(iid))
    expect(again.flat().map(({ iid }) => iid)).toEqual(iids)
    expect(iids).not.toEqual([...iids].sort((a, b) => a - b))
    expect(iids).not.toEqual([...iids].sort((a, b) => b - a))
  })

  test('a list that is updated while it is paged loses rows', async () => {
    let clock = 1_000_000
    const gitlab = await start({ now: () => clock++ })
    const project = gitlab.project({ id: 7 })
    for (let i = 0; i < 100; i++) project.mr()
    gitlab.beforeEach(({ query }) => {
      if (query.get('page') === '2') for (const iid of [1, 2, 3]) project.touch(iid)
    })
    const pages = await everyPage(gitlab, '/projects/7/merge_requests?order_by=updated_at&sort=asc', 20)
    const seen = new Set(pages.flat().map(({ iid }) => iid))
    expect([21, 22, 23].filter((iid) => !seen.has(iid))).toEqual([21, 22, 23])
    expect(seen.size).toBe(97)
  })

  test('what moves updated_at, and what does not', async () => {
    let clock = 1000
    const gitlab = await start({ now: () => clock })
    const project = gitlab.project({ id: 7 })
    project.commit({ at: 1000 })
    project.branch('feature-1')
    const iid = project.mr()
    const moved = async (act: () => unknown): Promise<boolean> => {
      const before = project.one(iid).updatedAt
      clock += 10
      act()
      const [row] = await rows(gitlab, '/projects/7/merge_requests?iids[]=1')
      expect(row?.updated_at).toBe(new Date(project.one(iid).updatedAt).toISOString())
      return project.one(iid).updatedAt > before
    }
    let note = 0
    expect(await moved(() => (note = project.note(iid)))).toBe(true)
    expect(await moved(() => project.editNote(note, { body: 'other' }))).toBe(true)
    expect(await moved(() => project.editNote(note, { body: 'more' }, { bump: false }))).toBe(false)
    expect(await moved(() => project.approve(iid, { by: 'ann' }))).toBe(true)
    expect(await moved(() => project.unapprove(iid, { by: 'ann' }))).toBe(true)
    expect(await moved(() => project.commit({ branch: 'feature-1' }))).toBe(true)
    expect(await moved(() => project.commit({ branch: 'main' }))).toBe(false)
    expect(await moved(() => project.close(iid))).toBe(true)
    expect(await moved(() => project.reopen(iid))).toBe(true)
    expect(await moved(() => project.deleteNote(note))).toBe(false)
    expect(await moved(() => project.mergeMr(iid))).toBe(true)
    const [row] = await rows(gitlab, '/projects/7/merge_requests?iids[]=1')
    expect(row).toMatchObject({
      state: 'merged',
      user_notes_count: 0,
      merge_commit_sha: project.branches.get('main'),
    })
    const states = await rows(gitlab, '/projects/7/merge_requests/1/resource_state_events')
    expect(states.map(({ state }) => state)).toEqual(['closed', 'reopened', 'merged'])
    expect(ids(states).map((id) => `state:${id}`)).toEqual(gitlab.truth(project).reviews.get(1)?.states)
  })
})

describe('history', () => {
  test('walks as real git does, from refs, in ranges, in both orders', { timeout: 120_000 }, async () => {
    const seed = newSeed()
    const random = seeded(seed)
    const repo = makeRepo()
    // Ten commits share a second, since ties have an order too.
    const stream = historyStream(seed, 300).replace(/> (\d+) /g, (_, at) => `> ${at - (at % 600)} `)
    repo.feed(stream, 'fast-import', '--quiet', '--force')
    repo.git('update-ref', 'refs/heads/main', 'dev')
    const all = repo.all()
    repo.git('tag', 'light', all[0] as string)
    repo.git('tag', '-a', '-m', 'heavy', 'heavy', all[1] as string)
    repo.git('tag', '-a', '-m', 'twice', 'twice', 'heavy')
    repo.git('tag', 'tree', 'main^{tree}')
    const gitlab = await start()
    const project = gitlab.project({ id: 7 })
    project.importGit(repo.dir)

    const truth = gitlab.truth(project)
    expect([...truth.commits.keys()].sort()).toEqual(repo.all('--branches', '--tags'))
    expect(truth.refs.get('refs/tags/twice')).toBe(all[1])
    expect(truth.refs.has('refs/tags/tree')).toBe(false)

    const listed = async (query: string): Promise<unknown[]> =>
      (await everyPage(gitlab, `/projects/7/repository/commits?${query}`, 100)).flat().map(({ id }) => id)
    const walked = (...args: string[]): string[] =>
      repo
        .git('rev-list', ...args)
        .split('\n')
        .filter(Boolean)
    expect(await listed('ref_name=main')).toEqual(walked('main'))
    expect(await listed('ref_name=main&order=topo')).toEqual(walked('--topo-order', 'main'))
    expect(await listed('ref_name=main&first_parent=true')).toEqual(walked('--first-parent', 'main'))
    expect((await listed('all=true')).sort()).toEqual(repo.all('--branches', '--tags'))
    const pick = (): string => all[Math.floor(random() * all.length)] as string
    for (let i = 0; i < 40; i++) {
      const range = `${pick()}..${pick()}`
      expect(await listed(`ref_name=${range}`), range).toEqual(walked(range))
      expect(await listed(`ref_name=${range}&order=topo`), range).toEqual(walked('--topo-order', range))
    }
    const dates = repo.git('log', '--all', '--format=%cI').split('\n')
    for (let i = 0; i < 5; i++) {
      const since = dates[Math.floor(random() * dates.length)] as string
      expect(await listed(`ref_name=main&since=${encodeURIComponent(since)}`)).toEqual(
        walked(`--since=${since}`, 'main'),
      )
      expect(await listed(`ref_name=main&until=${encodeURIComponent(since)}`)).toEqual(
        walked(`--until=${since}`, 'main'),
      )
      const range = `${pick()}..main`
      const query = `ref_name=${range}&since=${encodeURIComponent(since)}`
      expect(await listed(query), query).toEqual(walked(`--since=${since}`, range))
    }
  })

  test('commits carry what git has', async () => {
    const repo = makeRepo()
    importHistory(repo, 5, 60)
    const gitlab = await start()
    const project = gitlab.project({ id: 7 })
    project.importGit(repo.dir)
    const format = '%H%x00%P%x00%an%x00%ae%x00%cn%x00%ce%x00%at%x00%ct%x00%B'
    const [head, ...rest] = await rows(
      gitlab,
      '/projects/7/repository/commits?ref_name=main&per_page=60&with_stats=true',
    )
    for (const row of [head as Row, ...rest]) {
      const [sha, parents, an, ae, cn, ce, at, ct, body] = repo
        .git('log', '-1', `--format=${format}`, String(row.id))
        .split('\0')
      expect(row).toMatchObject({
        id: sha,
        author_name: an,
        author_email: ae,
        committer_name: cn,
        committer_email: ce,
      })
      expect((row.parent_ids as string[]).join(' ')).toBe(parents)
      expect([Date.parse(String(row.authored_date)), Date.parse(String(row.committed_date))]).toEqual([
        Number(at) * 1000,
        Number(ct) * 1000,
      ])
      expect(String(row.message).trimEnd()).toBe(body)
      expect(String(row.committed_date)).toMatch(/\.000-03:30$/)
      const before = parents === '' ? EMPTY_TREE : `${sha}^1`
      const numbers = repo.git('diff', '-M', '--numstat', before, String(sha))
      const added = numbers
        .split('\n')
        .filter(Boolean)
        .reduce((sum, line) => sum + Number(line.split('\t')[0]), 0)
      expect((row.stats as Row).additions).toBe(added)
    }
  })

  test('made commits have the ids git gives them', async () => {
    const repo = makeRepo()
    const gitlab = await start()
    const project = gitlab.project({ id: 7 })
    const message = 'made\n\nwith a body\n'
    const author = { name: 'A U Thor', email: 'author@example.com' }
    const theirs = repo.commit(message, { date: 1_600_000_000 })
    const committer = { name: 'C O Mitter', email: 'committer@example.com' }
    expect(project.commit({ message, author, committer, at: 1_600_000_000_000 })).toBe(theirs)
  })

  test('a forced push leaves its commits until they are collected', async () => {
    const gitlab = await start()
    const project = gitlab.project({ id: 7 })
    const base = project.commit()
    const lost = project.commit({ branch: 'x', parents: [base] })
    const next = project.commit({ branch: null, parents: [base] })
    project.forcePush('x', next)
    expect(ids(await rows(gitlab, `/projects/7/repository/commits?ref_name=${lost}..${next}`))).toEqual([
      next,
    ])
    project.gc()
    expect((await ask(gitlab, `/projects/7/repository/commits?ref_name=${lost}..${next}`)).status).toBe(404)
    expect(gitlab.truth(project).commits.has(lost)).toBe(false)
  })

  test('older servers call an unknown range empty', async () => {
    const gitlab = await start()
    gitlab.project({ id: 7, unknownRef: 'empty' }).commit()
    expect(await rows(gitlab, `/projects/7/repository/commits?ref_name=${'0'.repeat(40)}..main`)).toEqual([])
    expect(await rows(gitlab, '/projects/7/repository/commits?ref_name=nowhere')).toEqual([])
  })

  test('branches and tags: merged flags, peeled commits', async () => {
    const gitlab = await start()
    const project = gitlab.project({ id: 7 })
    const base = project.commit()
    project.branch('old', base)
    project.commit()
    project.branch('same')
    project.commit({ branch: 'ahead', parents: [base] })
    project.tag('v1', base, { annotated: true })
    const branches = await rows(gitlab, '/projects/7/repository/branches')
    expect(branches.map(({ name, merged, default: is }) => [name, merged, is])).toEqual([
      ['ahead', false, false],
      ['main', false, true],
      ['old', true, false],
      ['same', false, false],
    ])
    const [tag] = await rows(gitlab, '/projects/7/repository/tags')
    expect((tag as { commit: Row }).commit.id).toBe(base)
    expect(tag?.target).not.toBe(base)
  })
})

describe('who may see what', () => {
  test('tokens', async () => {
    const gitlab = await start({ token: 'glpat-secret' })
    gitlab.project({ id: 7, path: 'group/app' }).mr()
    gitlab.project({ id: 8, visibility: 'public' }).mr()
    const status = async (path: string, headers: Record<string, string>): Promise<number> =>
      (await ask(gitlab, path, headers)).status
    expect(await status('/projects/7', { 'private-token': 'glpat-secret' })).toBe(200)
    expect(await status('/projects/7', { 'private-token': 'glpat-other' })).toBe(401)
    expect(await status('/projects/7', {})).toBe(404)
    expect(await status('/projects/8', {})).toBe(200)
    expect(await status('/projects/8/merge_requests/1/notes', {})).toBe(401)
    expect(await status('/version', {})).toBe(401)
    expect(JSON.stringify(gitlab.requests)).not.toContain('glpat')
    gitlab.token = 'glpat-new'
    expect(await status('/projects/7', { 'private-token': 'glpat-secret' })).toBe(401)
  })

  test('renamed, switched off, empty, deleted', async () => {
    const gitlab = await start({ root: '/gitlab' })
    const project = gitlab.project({ id: 7, path: 'group/sub/app' })
    const status = async (path: string): Promise<number> => (await ask(gitlab, path)).status
    expect(await rows(gitlab, '/projects/7/repository/branches')).toEqual([])
    expect(await (await ask(gitlab, '/projects/7/repository/commits')).json()).toEqual({
      message: '404 Repository Not Found',
    })
    project.commit()
    project.rename('other/app')
    expect(await status('/projects/other%2Fapp')).toBe(200)
    const moved = await ask(gitlab, '/projects/group%2Fsub%2Fapp/repository/commits?per_page=5')
    expect([moved.status, moved.headers.get('location')]).toEqual([
      301,
      `${gitlab.url}/api/v4/projects/7/repository/commits?per_page=5`,
    ])
    project.repositoryOff()
    expect(await status('/projects/7/repository/commits')).toBe(403)
    project.mergeRequestsOff()
    expect(await status('/projects/7/merge_requests')).toBe(403)
    const shown = (await (await ask(gitlab, '/projects/7')).json()) as Row
    expect(shown).toMatchObject({
      repository_access_level: 'disabled',
      merge_requests_access_level: 'disabled',
    })
    project.delete()
    expect(await status('/projects/7')).toBe(404)
    expect(await status('/projects/group/sub/app')).toBe(404)
  })

  test('rate limits', async () => {
    let clock = 60_000_000
    const gitlab = await start({ now: () => clock })
    gitlab.project({ id: 7 }).mr()
    gitlab.rateLimit({ limit: 3, windowMs: 60_000 })
    const left: (string | null)[] = []
    for (let i = 0; i < 3; i++) left.push((await ask(gitlab, '/version')).headers.get('ratelimit-remaining'))
    expect(left).toEqual(['2', '1', '0'])
    clock += 20_000
    const refused = await ask(gitlab, '/version')
    expect([refused.status, refused.headers.get('content-type'), refused.headers.get('retry-after')]).toEqual(
      [429, 'text/plain', '40'],
    )
    expect(await refused.text()).toBe('Retry later\n')
    clock += 40_000
    gitlab.applicationLimit({ route: 'mrs', limit: 1, windowMs: 60_000 })
    expect((await ask(gitlab, '/projects/7/merge_requests')).status).toBe(200)
    const limited = await ask(gitlab, '/projects/7/merge_requests')
    expect([limited.status, limited.headers.get('ratelimit-remaining')]).toEqual([429, null])
    expect((await ask(gitlab, '/version')).status).toBe(200)
  })
})

describe('faults', () => {
  async function withFault(fault: Fault): Promise<GitLab> {
    const gitlab = await start()
    const project = gitlab.project({ id: 7 })
    for (let i = 0; i < 30; i++) project.mr()
    gitlab.fault((request) => (request.route === 'mrs' ? fault : null))
    return gitlab
  }
  const LIST = '/projects/7/merge_requests?per_page=10'

  test('of content', async () => {
    const seen = async (fault: Fault): Promise<[number, string | null, string]> => {
      const response = await ask(await withFault(fault), LIST)
      return [response.status, response.headers.get('content-type'), await response.text()]
    }
    expect(await seen({ status: 429 })).toEqual([429, 'text/plain', 'Retry later\n'])
    expect(await seen({ status: 403, body: { error: 'insufficient_scope' } })).toEqual([
      403,
      'application/json',
      '{"error":"insufficient_scope"}',
    ])
    expect(await seen({ body: '' })).toEqual([200, 'application/json', ''])
    expect(await seen({ json: {} })).toEqual([200, 'application/json', '{}'])
    expect((await seen({ html: true }))[2]).toContain('Sign in')
    expect((await seen({ contentType: 'text/html' }))[1]).toBe('text/html')
    const away = await ask(await withFault({ redirect: 'http://other.invalid/' }), LIST)
    expect([away.status, away.headers.get('location')]).toEqual([302, 'http://other.invalid/'])
    const undated = await ask(await withFault({ headers: { date: null, 'x-next-page': null } }), LIST)
    expect([undated.headers.get('date'), undated.headers.get('x-next-page')]).toEqual([null, null])
  })

  test('of pages', async () => {
    const same = await withFault({ samePage: true })
    const first = ids(await rows(same, LIST))
    expect(ids(await rows(same, `${LIST}&page=7`))).toEqual(first)
    expect((await ask(same, `${LIST}&page=7`)).headers.get('x-next-page')).toBe('8')
    const endless = await withFault({ endless: true })
    expect(
      new Set([...ids(await rows(endless, `${LIST}&page=4`)), ...ids(await rows(endless, `${LIST}&page=5`))])
        .size,
    ).toBe(20)
  })

  test('of the wire', async () => {
    const gone = async (fault: Fault): Promise<unknown> =>
      ask(await withFault(fault), LIST).then(
        (response) => response.text(),
        (error: unknown) => error,
      )
    expect(await gone({ reset: 'at once' })).toBeInstanceOf(TypeError)
    for (const fault of [{ reset: 'mid-body' }, { cutAt: 50 }, { cutAt: 50, framing: 'chunked' }] as const) {
      const response = await ask(await withFault(fault), LIST)
      await expect(response.text(), JSON.stringify(fault)).rejects.toThrow()
    }
    expect(((await gone({ cutAt: 50, framing: 'close' })) as string).length).toBe(50)
    expect(await gone({ cutAt: 0, framing: 'close' })).toBe('')
    const gitlab = await withFault({ hang: true })
    const waiting = fetch(`${gitlab.url}/api/v4${LIST}`, { signal: AbortSignal.timeout(200) })
    await expect(waiting).rejects.toThrow(/timeout/)
    expect(gitlab.requests.at(-1)?.status).toBe(null)
  })

  test('of size: a dripping body and floods, left by the client or taken whole', async () => {
    const slow = await ask(await withFault({ dripMs: 1, bytes: 4096 }), LIST)
    expect(((await slow.json()) as Row[]).length).toBe(10)
    for (const fault of [{ hugeBytes: 3_000_000 }, { gzipBombBytes: 3_000_000 }]) {
      const response = await ask(await withFault(fault), LIST)
      expect((await response.text()).length).toBe(3_000_000)
      const left = await ask(await withFault(fault), LIST)
      await left.body?.cancel()
    }
  })

  test('only where the plan says so, and no longer than it stands', async () => {
    const gitlab = await start()
    const lift = gitlab.fault((_request, n) => (n === 2 ? { status: 503 } : null))
    const seen = async (): Promise<number> => (await ask(gitlab, '/version')).status
    expect([await seen(), await seen(), await seen()]).toEqual([200, 503, 200])
    lift()
    expect(gitlab.requests.map(({ route, status }) => [route, status])).toEqual([
      ['version', 200],
      ['version', 503],
      ['version', 200],
    ])
  })
})
