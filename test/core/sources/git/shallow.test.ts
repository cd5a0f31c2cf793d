import { mkdirSync, readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import type { Access } from '../../../../src/core/sources/source.ts'
import { serveGit } from '../../../helpers/git-http.ts'
import {
  accessTo,
  EVERYTHING,
  readPages,
  repoAt,
  shasOf,
  source,
  type TestRepo,
  tempFolder,
} from '../../../helpers/git-repo.ts'

const SHALLOW = { kind: 'unsupported', message: expect.stringMatching(/is a shallow clone/) }
const TIERS = ['paths', 'patch'] as const

/** A folder with a whole repository `deep` of three commits, and what of it is to be served as x.git. */
function scene(): { root: string; deep: TestRepo; shallow: (...args: string[]) => TestRepo } {
  const root = tempFolder()
  mkdirSync(join(root, 'deep'))
  const deep = repoAt(join(root, 'deep'))
  for (const message of ['one', 'two', 'three']) deep.commit(message)
  const shallow = (...args: string[]): TestRepo => {
    rmSync(join(root, 'x.git'), { recursive: true, force: true })
    deep.git('clone', '-q', '--bare', '--depth=1', ...args, `file://${deep.dir}`, join(root, 'x.git'))
    return repoAt(join(root, 'x.git'), null)
  }
  return { root, deep, shallow }
}

/** Every time, and nothing of the cut history stays behind to be taken for a whole one. */
async function refusedAgainAndAgain(access: Access): Promise<void> {
  for (let i = 0; i < 3; i++) {
    await expect(readPages(access)).rejects.toMatchObject(SHALLOW)
    expect(readdirSync(access.cacheDir)).toEqual([])
  }
}

test.each(TIERS)('a shallow remote is refused, with %s too', async (tier) => {
  const { root, deep, shallow } = scene()
  const cut = shallow()
  const { origin } = await serveGit(root)
  const access = accessTo(`${origin}/x.git`, { tier })
  await refusedAgainAndAgain(access)
  cut.git('fetch', '-q', '--unshallow', deep.dir, '+refs/heads/*:refs/heads/*')
  expect(shasOf(await readPages(access)).sort()).toEqual(deep.all())
})

test.each(TIERS)('one cut branch among whole ones, too, with %s', async (tier) => {
  const { root, deep, shallow } = scene()
  const cut = shallow()
  deep.git('checkout', '-q', '--orphan', 'other')
  deep.commit('alone', { branch: 'other', parents: [] })
  cut.git('fetch', '-q', deep.dir, 'refs/heads/other:refs/heads/other')
  const { origin } = await serveGit(root)
  await refusedAgainAndAgain(accessTo(`${origin}/x.git`, { tier }))
})

test.each(TIERS)('a remote that turned shallow since the last read, with %s', async (tier) => {
  const { root, deep, shallow } = scene()
  deep.git('clone', '-q', '--bare', deep.dir, join(root, 'x.git'))
  const { origin } = await serveGit(root)
  const access = accessTo(`${origin}/x.git`, { tier })
  const [{ pinned } = { pinned: {} }] = await readPages(access)
  for (const message of ['four', 'five', 'six']) deep.commit(message)
  shallow()
  const ask = { ...EVERYTHING, known: pinned } as typeof EVERYTHING
  for (let i = 0; i < 3; i++) await expect(readPages(access, ask)).rejects.toMatchObject(SHALLOW)

  rmSync(join(root, 'x.git'), { recursive: true })
  deep.git('clone', '-q', '--bare', deep.dir, join(root, 'x.git'))
  expect(shasOf(await readPages(access, ask))).toHaveLength(3)
})

test('a cut that lies within what was read before loses nothing', async () => {
  const { root, deep, shallow } = scene()
  deep.git('clone', '-q', '--bare', deep.dir, join(root, 'x.git'))
  const { origin } = await serveGit(root)
  const access = accessTo(`${origin}/x.git`)
  const [{ pinned } = { pinned: {} }] = await readPages(access)
  deep.commit('four')
  shallow('--depth=2')
  const pages = await readPages(access, { ...EVERYTHING, known: pinned } as typeof EVERYTHING)
  expect(shasOf(pages)).toEqual([deep.git('rev-parse', 'main')])
})

/** A bare copy of a repository with `main` and `second`, and what is to be done before each listing of its refs. */
async function listedStory() {
  const { root, deep } = scene()
  deep.git('clone', '-q', '--bare', deep.dir, join(root, 'x.git'))
  const served = repoAt(join(root, 'x.git'), null)
  const second = deep.git('rev-parse', 'main~1')
  const steps: (() => void)[] = []
  const { origin } = await serveGit(root, (request) => {
    if (request.url?.includes('/info/refs')) steps.shift()?.()
    return false
  })
  const show = (): void => void served.git('update-ref', 'refs/heads/second', second)
  const hide = (): void => void served.git('update-ref', '-d', 'refs/heads/second')
  const move = (): void => void served.git('update-ref', 'refs/heads/second', 'main')
  return { served, second, steps, access: accessTo(`${origin}/x.git`), show, hide, move }
}

test('a branch that is shown and not given is an error', async () => {
  const { access, steps, show, hide, second } = await listedStory()
  steps.push(show, hide, show)
  await expect(readPages(access)).rejects.toMatchObject({
    kind: 'upstream',
    message: expect.stringContaining('refs/heads/second'),
  })
  const [page] = await readPages(access)
  expect(page?.pinned['refs/heads/second']).toBe(second)
})

test('one that stays behind, too', async () => {
  const { access, steps, show, hide, move } = await listedStory()
  show()
  await readPages(access)
  steps.push(move, show, move)
  await expect(readPages(access)).rejects.toMatchObject({ kind: 'upstream' })
  hide()
  expect(Object.keys((await readPages(access))[0]?.pinned ?? {})).toEqual(['refs/heads/main'])
})

test('one that vanishes or moves between the listing and the fetch is none', async () => {
  const { access, steps, show, hide, move, served } = await listedStory()
  steps.push(show, hide)
  expect(Object.keys((await readPages(access))[0]?.pinned ?? {})).toEqual(['refs/heads/main'])
  steps.push(show, move)
  const [page] = await readPages(access)
  expect(page?.pinned['refs/heads/second']).toBe(served.git('rev-parse', 'main'))
})

test('only what is under refs/heads and refs/tags is asked for', async () => {
  const { access, served } = await listedStory()
  served.git('update-ref', 'refs/keep/refs/heads/x', 'main')
  expect(await source.survey(access, [EVERYTHING])).toMatchObject([{ refs: { total: 1, moved: 1 } }])
  await readPages(access)
  const said: string[] = []
  await readPages({ ...access, say: (what) => said.push(what) })
  expect(said.join()).not.toContain('fetching')
})
