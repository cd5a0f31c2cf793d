import { expect, test } from 'vitest'
import { shasOf } from '../../../helpers/git-repo.ts'
import type { GitLabRequest } from '../../../helpers/gitlab/request.ts'
import { failure } from './asking.ts'
import { gitlabHere, openedAt, readAll, since } from './commit-room.ts'

const ofCommits = ({ route }: GitLabRequest): boolean => route === 'commits'
const pageOf = ({ query }: GitLabRequest): number => Number(query.get('page'))

async function lined(count: number) {
  const gitlab = await gitlabHere()
  const project = gitlab.project()
  for (let i = 0; i < count; i++) project.commit({ at: 1e12 + i * 1000 })
  return { gitlab, project }
}

test('pages that repeat, or invent commits for ever, are refused at the second', async () => {
  for (const fault of [{ samePage: true }, { endless: true }] as const) {
    const { gitlab, project } = await lined(150)
    gitlab.fault((request) => (ofCommits(request) ? fault : null))
    await expect(failure(readAll(openedAt(gitlab, project)))).resolves.toMatchObject({ kind: 'upstream' })
    expect(gitlab.requests.filter(ofCommits).length).toBeLessThanOrEqual(3)
  }
})

test('in a window of time, where children may be missing, pages that repeat are refused too', async () => {
  const { gitlab, project } = await lined(150)
  gitlab.fault((request) => (ofCommits(request) ? { samePage: true } : null))
  const ask = { window: 'time', of: 'commits', since: new Date(0), until: new Date(2e12) } as const
  await expect(failure(readAll(openedAt(gitlab, project), ask))).resolves.toMatchObject({ kind: 'upstream' })
})

test('branches whose pages repeat or never end are refused', async () => {
  for (const fault of [{ samePage: true }, { endless: true }] as const) {
    const { gitlab, project } = await lined(1)
    for (let i = 0; i < 150; i++) project.branch(`b${i}`)
    gitlab.fault(({ route }) => (route === 'branches' ? fault : null))
    await expect(failure(readAll(openedAt(gitlab, project)))).resolves.toMatchObject({ kind: 'upstream' })
  }
})

test('a page of another project, or one that lacks a row, is not taken for this one', async () => {
  const { gitlab, project } = await lined(250)
  const other = gitlab.project()
  for (let i = 0; i < 100; i++) other.commit({ message: 'elsewhere', at: 1e12 + i * 1000 })
  const rows = [...other.history.commits.values()].map(({ sha, parents, message }) => ({
    id: sha,
    parent_ids: parents,
    message,
  }))
  for (const page of [1, 2]) {
    const unhook = gitlab.fault((request) =>
      ofCommits(request) && pageOf(request) === page ? { json: rows } : null,
    )
    await expect(failure(readAll(openedAt(gitlab, project)))).resolves.toMatchObject({ kind: 'upstream' })
    unhook()
  }
  const skipping = gitlab.fault((request) => {
    if (!ofCommits(request) || pageOf(request) !== 2) return null
    return {
      json: project.history
        .log({ heads: [project.head()] })
        .slice(101, 200)
        .map((id) => ({ id, parent_ids: project.commitOf(id)?.parents })),
    }
  })
  await expect(failure(readAll(openedAt(gitlab, project)))).resolves.toMatchObject({ kind: 'upstream' })
  skipping()
  expect(shasOf(await readAll(openedAt(gitlab, project)))).toHaveLength(250)
})

test('without a word of a next page, reading goes on until one is not full', async () => {
  const { gitlab, project } = await lined(250)
  for (let i = 0; i < 250; i++) project.branch(`b${i}`)
  gitlab.fault(() => ({
    headers: { link: null, 'x-next-page': null, 'x-total': null, 'x-total-pages': null },
  }))
  const pages = await readAll(openedAt(gitlab, project))
  expect(shasOf(pages)).toHaveLength(250)
  expect(pages.at(-1)?.landing?.heads?.refs).toHaveLength(251)
})

test('messages of 7 MB are read in smaller pages, which grow again', async () => {
  const { gitlab, project } = await lined(120)
  for (let i = 0; i < 3; i++)
    project.commit({ message: `big\n\n${'x'.repeat(7_000_000)}`, at: 2e12 + i * 1000 })
  for (let i = 0; i < 277; i++) project.commit({ at: 3e12 + i * 1000 })
  const pages = await readAll(openedAt(gitlab, project))
  expect(shasOf(pages)).toHaveLength(400)
  expect(new Set(shasOf(pages)).size).toBe(400)
  const sizes = gitlab.requests.filter(ofCommits).map(({ query }) => Number(query.get('per_page')))
  process.stderr.write(`per_page: ${sizes.join(' ')}\n`)
  expect(Math.min(...sizes)).toBe(1)
  expect(sizes.at(-1)).toBeGreaterThanOrEqual(50)
  for (const { facts } of pages) expect(JSON.stringify(facts).length).toBeLessThan(12_000_000)
})

test('one commit larger than any answer may be ends the read with what to do', async () => {
  const { gitlab, project } = await lined(3)
  project.commit({ message: `big\n\n${'x'.repeat(9_000_000)}` })
  project.commit()
  const error = await failure(readAll(openedAt(gitlab, project)))
  expect(error).toMatchObject({ kind: 'upstream', limit: 'bytes' })
  expect(error.hint).toContain('commits_via')
})

test('branches whose commits have long messages are listed in smaller pages', async () => {
  const { gitlab, project } = await lined(1)
  for (let i = 0; i < 120; i++)
    project.branch(`b${i}`, project.commit({ message: `big ${i}\n\n${'x'.repeat(200_000)}` }))
  const pages = await readAll(openedAt(gitlab, project))
  expect(pages.at(-1)?.landing?.heads?.refs).toHaveLength(121)
})

test('a refusal of everything is no empty project', async () => {
  const { gitlab, project } = await lined(3)
  for (const [status, kind] of [
    [401, 'auth'],
    [403, 'permission'],
    [429, 'rate_limited'],
    [503, 'upstream'],
  ] as const) {
    for (const route of ['branches', 'tags', 'commits']) {
      const unhook = gitlab.fault((request) => (request.route === route ? { status } : null))
      await expect(failure(readAll(openedAt(gitlab, project), since({})))).resolves.toMatchObject({ kind })
      unhook()
    }
  }
})
