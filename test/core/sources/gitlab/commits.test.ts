import { expect, test } from 'vitest'
import type { Commit } from '../../../../src/core/domain/facts.ts'
import { surveyCommits } from '../../../../src/core/sources/gitlab/commits/commit-pages.ts'
import {
  accessTo,
  commitsOf,
  importHistory,
  makeRepo,
  newSeed,
  readPages,
  shasOf,
} from '../../../helpers/git-repo.ts'
import { gitlabHere, openedAt, readAll, since } from './commit-room.ts'

const bySha = (a: Commit, b: Commit): number => (a.sha < b.sha ? -1 : 1)

test('a real history is read as git has it, field by field', async () => {
  const repo = makeRepo()
  importHistory(repo, newSeed(), 300)
  repo.git('tag', 'light', 'dev')
  repo.git('tag', '-a', '-m', 'x', 'heavy', 'x')
  repo.git('tag', 'tree', 'main^{tree}')
  const gitlab = await gitlabHere()
  const project = gitlab.project()
  project.importGit(repo.dir)

  const pages = await readAll(openedAt(gitlab, project, { pageSize: 70 }))
  const read = pages.flatMap(commitsOf)
  expect([...new Set(shasOf(pages))].sort()).toEqual(repo.all())
  const through = await readPages(accessTo(repo.dir))
  const once = [...new Map(read.map((commit) => [commit.sha, commit])).values()]
  expect(once.sort(bySha)).toEqual(through.flatMap(commitsOf).sort(bySha))
  expect(pages.at(-1)?.landing?.heads).toEqual({
    ...through.at(-1)?.landing?.heads,
    refs: expect.arrayContaining(through.at(-1)?.landing?.heads?.refs ?? []),
    moves: expect.arrayContaining(through.at(-1)?.landing?.heads?.moves ?? []),
  })
})

test('5,000 commits cost a request for each 100 and a few more, whatever the size of the pages stored', async () => {
  const gitlab = await gitlabHere()
  const project = gitlab.project()
  for (let i = 0; i < 5000; i++) project.commit({ at: 1_600_000_000_000 + i * 1000 })
  for (const pageSize of [1, 7, 50, 100, 1000]) {
    const before = gitlab.requests.length
    const pages = await readAll(openedAt(gitlab, project, { pageSize }))
    const requests = gitlab.requests.length - before
    process.stderr.write(`5,000 commits in pages of ${pageSize}: ${requests} requests\n`)
    // Branches, tags, the empty page that a full last one announces, and one asked for ahead.
    expect(requests).toBeLessThanOrEqual(54)
    expect(pages.map((page) => commitsOf(page).length)).toEqual(
      Array((5000 / pageSize) | 0)
        .fill(pageSize)
        .concat(5000 % pageSize || []),
    )
    expect(new Set(shasOf(pages)).size).toBe(5000)
  }
})

test('a poll of a project where nothing happened costs the two lists of refs', async () => {
  const gitlab = await gitlabHere()
  const project = gitlab.project()
  const sha = project.commit()
  const known = { 'refs/heads/main': sha }
  const pages = await readAll(openedAt(gitlab, project), since(known))
  expect(pages).toMatchObject([
    { facts: { commits: [] }, done: 0, landing: { heads: { moves: [], unreachable: [] } } },
  ])
  expect(gitlab.requests.map(({ route }) => route).sort()).toEqual(['branches', 'tags'])
  expect(await surveyCommits(openedAt(gitlab, project), since(known))).toEqual({
    items: 0,
    refs: { total: 1, moved: 0 },
    note: null,
  })
  expect(await surveyCommits(openedAt(gitlab, project), since({ 'refs/heads/old': sha }))).toMatchObject({
    items: null,
    refs: { total: 2, moved: 2 },
  })
})

test('merged branches cost nothing when their commits went by with the default branch', async () => {
  const gitlab = await gitlabHere()
  const project = gitlab.project()
  project.commit()
  for (let i = 0; i < 30; i++) {
    project.branch(`f${i}`)
    project.commit({ branch: `f${i}` })
    project.merge(`f${i}`)
    project.tag(`v${i}`)
  }
  const pages = await readAll(openedAt(gitlab, project))
  expect(new Set(shasOf(pages)).size).toBe(61)
  expect(gitlab.requests.filter(({ route }) => route === 'commits')).toHaveLength(1)
})

test('no repository, an empty one, and one that had refs and has none', async () => {
  const gitlab = await gitlabHere()
  const project = gitlab.project()
  expect(await readAll(openedAt(gitlab, project))).toMatchObject([
    { done: 0, landing: { heads: { refs: [], moves: [] } } },
  ])
  const known = { 'refs/heads/main': 'a'.repeat(40) }
  await expect(readAll(openedAt(gitlab, project), since(known))).rejects.toMatchObject({ kind: 'anomaly' })
  expect(await readAll(openedAt(gitlab, project), since(known, { refetch: 'beginning' }))).toMatchObject([
    { landing: { heads: { refs: [], unreachable: 'all' } } },
  ])
  project.commit()
  project.repositoryOff()
  expect(await readAll(openedAt(gitlab, project), since(known))).toEqual([
    { facts: {}, token: '0:0::0:', pinned: {}, done: 0, total: 0, landing: {} },
  ])
})

test('a window of time holds what was committed in it, on every branch, and lands nothing', async () => {
  const gitlab = await gitlabHere()
  const project = gitlab.project()
  const at = (day: number): number => Date.UTC(2024, 0, day)
  for (let day = 1; day <= 20; day++) project.commit({ at: at(day) })
  project.branch('side')
  for (let day = 5; day <= 25; day++) project.commit({ branch: 'side', at: at(day) })
  project.branch('old', project.commit({ branch: null, parents: [], at: at(2) }))
  const ask = { window: 'time', of: 'commits', since: new Date(at(7)), until: new Date(at(12)) } as const
  const pages = await readAll(openedAt(gitlab, project), ask)
  const days = pages
    .flatMap(commitsOf)
    .map(({ committer }) => new Date((committer.epochSeconds ?? 0) * 1000).getUTCDate())
  expect(days.sort((a, b) => a - b)).toEqual([7, 7, 8, 8, 9, 9, 10, 10, 11, 11])
  expect(pages.at(-1)?.landing).toBeNull()
  expect(gitlab.requests.filter(({ route }) => route === 'commits')).toHaveLength(2)
})

test('a refetch from a date brings that and the new; from the beginning everything', async () => {
  const gitlab = await gitlabHere()
  const project = gitlab.project()
  const at = (day: number): number => Date.UTC(2024, 0, day)
  for (let day = 1; day <= 10; day++) project.commit({ at: at(day) })
  const known = { 'refs/heads/main': project.head() }
  const late = project.commit({ branch: null, parents: [project.head()], at: at(3) })
  const top = project.merge(late, 'main', { at: at(11) })
  const read = async (refetch: Date | 'beginning') =>
    new Set(shasOf(await readAll(openedAt(gitlab, project), since(known, { refetch }))))
  expect((await read('beginning')).size).toBe(12)
  const some = await read(new Date(at(9)))
  expect(some.has(late)).toBe(true)
  expect(some.has(top)).toBe(true)
  expect(some.size).toBe(2 + 3) // and the 8th to 10th: a day earlier, for clocks that are wrong
})
