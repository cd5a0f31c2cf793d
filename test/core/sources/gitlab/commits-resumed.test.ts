import { expect, test } from 'vitest'
import { commitPages } from '../../../../src/core/sources/gitlab/commits/commit-pages.ts'
import { importHistory, makeRepo, newSeed, shasOf } from '../../../helpers/git-repo.ts'
import { gitlabHere, openedAt, readAll, since } from './commit-room.ts'

test('resumed at any token a read brings the rest, and lands the same', async () => {
  const repo = makeRepo()
  importHistory(repo, newSeed(), 260)
  const gitlab = await gitlabHere()
  const project = gitlab.project()
  project.importGit(repo.dir)
  const opened = openedAt(gitlab, project, { pageSize: 7 })
  const known = {
    'refs/heads/main': repo.git('rev-parse', 'main~20'),
    'refs/heads/gone': repo.git('rev-parse', 'dev~3'),
  }

  for (const ask of [since({}), since(known)]) {
    const pages = await readAll(opened, ask)
    const all = shasOf(pages)
    for (const [i, { token, pinned }] of pages.entries()) {
      const rest = await readAll(opened, ask, { token, pinned })
      expect(rest[0]?.restarted).toBeUndefined()
      // A branch that went by with another before the stop is looked at again: only it can come a second time.
      const before = new Set(shasOf(pages.slice(0, i + 1)))
      const fresh = (read: string[]) => [...new Set(read)].filter((sha) => !before.has(sha))
      expect(fresh(shasOf(rest))).toEqual(fresh(shasOf(pages.slice(i + 1))))
      expect(shasOf(rest).filter((sha) => !all.includes(sha))).toEqual([])
      expect(rest.at(-1)?.landing).toEqual(pages.at(-1)?.landing)
    }
    const not = ask.known['refs/heads/main'] === undefined ? [] : ['--not', 'main~20', 'dev~3']
    expect(all).toEqual(expect.arrayContaining(repo.all('--all', ...not)))
  }
})

test('resumed at any token of one line of history, a read brings exactly the rest', async () => {
  const gitlab = await gitlabHere()
  const project = gitlab.project()
  for (let i = 0; i < 230; i++) project.commit({ at: i * 1000 })
  for (const pageSize of [1, 9, 100]) {
    const opened = openedAt(gitlab, project, { pageSize })
    const pages = await readAll(opened)
    for (const [i, { token, pinned }] of pages.entries()) {
      const before = gitlab.requests.length
      expect(shasOf(await readAll(opened, since({}), { token, pinned }))).toEqual(shasOf(pages.slice(i + 1)))
      // Two pages at most, and as many that were asked for ahead.
      expect(gitlab.requests.length - before).toBeLessThanOrEqual(4)
    }
  }
})

test('a read goes on from what was pinned, although everything has moved since', async () => {
  const gitlab = await gitlabHere()
  const project = gitlab.project()
  for (let i = 0; i < 250; i++) project.commit({ at: i * 1000 })
  const pages = commitPages(openedAt(gitlab, project, { pageSize: 100 }), since({}), null)
  const first = (await pages.next()).value
  if (!first) expect.unreachable()
  await pages.return(undefined)
  const pinned = project.head()
  project.commit()
  project.forcePush('main', project.commit({ branch: null, parents: [] }))

  const rest = await readAll(openedAt(gitlab, project), since({}), {
    token: first.token,
    pinned: first.pinned,
  })
  expect(shasOf(rest)).toHaveLength(150)
  expect(rest.at(-1)?.landing?.heads?.refs).toEqual([
    { name: 'refs/heads/main', kind: 'branch', sha: pinned },
  ])
})

test.each([404, 500, 'empty'] as const)(
  'what was pinned is thrown away (%s): the read starts anew and says so',
  async (unknownRef) => {
    const gitlab = await gitlabHere()
    const project = gitlab.project({ unknownRef })
    for (let i = 0; i < 120; i++) project.commit({ at: i * 1000 })
    const [first] = await readAll(openedAt(gitlab, project, { pageSize: 50 }))
    if (!first) expect.unreachable()
    project.forcePush('main', project.commit({ branch: null, parents: [] }))
    project.gc()
    const pages = await readAll(openedAt(gitlab, project), since({}), {
      token: first.token,
      pinned: first.pinned,
    })
    expect(pages).toMatchObject([
      { restarted: true, done: 1, landing: { heads: { refs: [{ sha: project.head() }] } } },
    ])
  },
)

test.each([404, 500, 'empty'] as const)(
  'the head that is known is thrown away (%s): its branch is read behind the default branch, that one whole',
  async (unknownRef) => {
    const gitlab = await gitlabHere()
    const project = gitlab.project({ unknownRef })
    for (let i = 0; i < 30; i++) project.commit({ at: i * 1000 })
    project.branch('side')
    const main = project.head()
    const lost = project.commit({ branch: 'side' })
    project.forcePush('side', project.commit({ branch: null, parents: [main] }))
    project.gc()
    const side = await readAll(
      openedAt(gitlab, project),
      since({ 'refs/heads/main': main, 'refs/heads/side': lost }),
    )
    expect(shasOf(side)).toEqual([project.branches.get('side')])
    expect(side.at(-1)?.landing?.heads).toMatchObject({
      moves: [{ name: 'refs/heads/side', event: 'forced', oldSha: lost }],
      unreachable: [],
    })
    const whole = await readAll(openedAt(gitlab, project), since({ 'refs/heads/main': lost }))
    expect(shasOf(whole)).toHaveLength(31)
  },
)

test('a token of another plan, or none at all, starts anew', async () => {
  const gitlab = await gitlabHere()
  const project = gitlab.project()
  for (let i = 0; i < 5; i++) project.commit({ at: i * 1000 })
  const opened = openedAt(gitlab, project, { pageSize: 2 })
  const [first] = await readAll(opened)
  if (!first) expect.unreachable()
  const { token, pinned } = first
  const other = [...project.history.commits.keys()][0] as string
  for (const resume of [
    { token: '', pinned },
    { token: '0:2:x', pinned },
    { token: token.replace(/:[0-9a-f]{40}:/, `:${other}:`), pinned },
    { token: token.replace(/^0:2/, '0:999'), pinned },
    { token, pinned: {} },
    { token, pinned: { ...pinned, 'refs/heads/x': other } },
  ]) {
    const pages = await readAll(opened, since({}), resume)
    expect(pages[0]?.restarted).toBe(true)
    expect(shasOf(pages)).toHaveLength(5)
  }
  const changed = await readAll(opened, since({ 'refs/heads/main': other }), { token, pinned })
  expect(changed[0]?.restarted).toBe(true)
})
