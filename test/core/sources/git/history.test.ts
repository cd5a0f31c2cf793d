import { renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import type { Ask, Heads, Page } from '../../../../src/core/sources/source.ts'
import {
  accessTo,
  commitsOf,
  EVERYTHING,
  importHistory,
  makeRepo,
  newSeed,
  readPages,
  seeded,
  shasOf,
  source,
  type TestRepo,
} from '../../../helpers/git-repo.ts'

function landed(pages: Page[]): Heads {
  return Object.fromEntries((pages.at(-1)?.landing?.heads?.refs ?? []).map(({ name, sha }) => [name, sha]))
}

function since(known: Heads, refetch: Date | 'beginning' | null = null): Ask {
  return { window: 'heads', known, refetch }
}

async function sync(
  repo: TestRepo,
  known: Heads = {},
): Promise<{ pages: Page[]; heads: Heads; shas: string[] }> {
  const pages = await readPages(accessTo(repo.dir), since(known))
  return { pages, heads: landed(pages), shas: shasOf(pages) }
}

test('every commit that rev-list --all knows is read once, parents first', async () => {
  const repo = makeRepo()
  importHistory(repo, newSeed(), 400)
  const { pages, shas } = await sync(repo)
  expect([...shas].sort()).toEqual(repo.all())
  const seen = new Set<string>()
  for (const commit of pages.flatMap((page) => commitsOf(page))) {
    for (const parent of commit.parents) expect(seen.has(parent)).toBe(true)
    seen.add(commit.sha)
  }
  expect(pages.at(-1)).toMatchObject({ done: shas.length, total: shas.length })
})

test('each poll brings exactly what is new, and the sum is everything, whatever branches did in between', async () => {
  const seed = newSeed()
  const random = seeded(seed)
  const repo = makeRepo()
  const branches = ['main', 'a', 'b', 'deep/er']
  const stored = new Set<string>()
  let known: Heads = {}
  for (let round = 0; round < 25; round++) {
    for (let i = 0; i < 4; i++) {
      const branch = branches[Math.floor(random() * branches.length)] as string
      const ref = `refs/heads/${branch}`
      const all = repo.all()
      const any = all[Math.floor(random() * all.length)]
      const dice = random()
      if (dice < 0.15 && any !== undefined)
        repo.git('update-ref', ref, any) // forced, or fast forward
      else if (dice < 0.2 && all.length > 5) repo.git('update-ref', '-d', ref)
      else if (dice < 0.4 && any !== undefined) {
        const tip = repo.git('for-each-ref', '--format=%(objectname)', ref)
        repo.commit(`merge ${round}.${i}`, { branch, parents: [...new Set([tip || any, any])] })
      } else repo.commit(`${round}.${i}`, { branch, date: 1_700_000_000 - Math.floor(random() * 1e8) })
    }
    const before = new Set(stored)
    const truth = repo.all()
    const { pages, heads } = await sync(repo, known)
    for (const sha of shasOf(pages)) stored.add(sha)
    for (const sha of truth) expect([seed, round, stored.has(sha)]).toEqual([seed, round, true])

    const landing = pages.at(-1)?.landing
    const reachable = new Set(truth)
    for (const sha of landing?.heads?.unreachable ?? [])
      expect([seed, before.has(sha), reachable.has(sha)]).toEqual([seed, true, false])
    for (const move of landing?.heads?.moves ?? []) {
      expect(move.oldSha).toBe(known[move.name] ?? null)
      expect(move.newSha).toBe(heads[move.name] ?? null)
      if (move.event === 'moved') expect(reachable.has(move.oldSha as string)).toBe(true)
    }
    known = heads
  }
})

test('a late merge is new although it is old, and moving refs are told apart', async () => {
  const repo = makeRepo()
  const base = repo.commit('base')
  const tip = repo.commit('tip')
  repo.git('update-ref', 'refs/heads/gone', tip)
  repo.git('update-ref', 'refs/heads/back', tip)
  repo.git('update-ref', 'refs/heads/still', base)
  const first = await sync(repo)
  expect(first.pages.at(-1)?.landing?.heads?.moves.map((move) => move.event)).toEqual(
    Array(4).fill('created'),
  )

  const late = repo.commit('written years ago', { branch: 'topic', date: 1_000_000_000, parents: [base] })
  const merge = repo.commit('merge', { parents: [tip, late] })
  repo.git('update-ref', '-d', 'refs/heads/topic')
  const only = repo.commit('only on back', { branch: 'back' })
  const second = await sync(repo, first.heads)
  expect(new Set(second.shas)).toEqual(new Set([late, merge, only]))

  repo.git('update-ref', 'refs/heads/back', base)
  repo.git('update-ref', '-d', 'refs/heads/gone')
  repo.git('update-ref', 'refs/tags/new', tip)
  const third = await sync(repo, second.heads)
  expect(third.shas).toEqual([])
  expect(third.pages).toHaveLength(1)
  expect(third.pages[0]?.landing?.heads?.unreachable).toEqual([only])
  expect(third.pages[0]?.landing?.heads?.moves).toEqual([
    { name: 'refs/heads/back', event: 'forced', oldSha: only, newSha: base },
    { name: 'refs/heads/gone', event: 'deleted', oldSha: tip, newSha: null },
    { name: 'refs/tags/new', event: 'created', oldSha: null, newSha: tip },
  ])
  expect(
    second.pages.at(-1)?.landing?.heads?.moves.find((move) => move.name === 'refs/heads/main')?.event,
  ).toBe('moved')

  // the old head is gone altogether
  repo.git('update-ref', 'refs/heads/main', tip)
  repo.git('reflog', 'expire', '--expire=all', '--all')
  repo.git('gc', '-q', '--prune=now')
  const fourth = await sync(repo, third.heads)
  const move = fourth.pages.at(-1)?.landing?.heads?.moves.find(({ name }) => name === 'refs/heads/main')
  expect(move).toMatchObject({ event: 'forced', oldSha: merge })
  expect(fourth.pages.at(-1)?.landing?.heads?.unreachable).toEqual([])
})

test('skewed clocks make nothing unreachable that is not', async () => {
  // git rev-list's own answer to "reachable from old, not from main" is wrong for this history
  const repo = makeRepo()
  const shared = repo.commit('shared', { date: 2_000_000_000 })
  let tip = shared
  for (let i = 0; i < 20; i++) tip = repo.commit(`${i}`, { date: 1_000_000_000 + i })
  const old = repo.commit('old', { branch: 'side', parents: [shared], date: 1_999_999_999 })
  const { heads } = await sync(repo)
  repo.git('update-ref', '-d', 'refs/heads/side')
  expect(repo.all(old, '--not', tip)).toEqual([old, shared].sort())
  expect((await sync(repo, heads)).pages.at(-1)?.landing?.heads?.unreachable).toEqual([old])
})

test('known heads that nobody has exclude nothing', async () => {
  const repo = makeRepo()
  const sha = repo.commit('x')
  const known = {
    'refs/heads/main': 'f'.repeat(40),
    'refs/heads/odd': '--all',
    'refs/heads/short': sha.slice(0, 10),
  }
  expect((await sync(repo, known)).shas).toEqual([sha])
})

test('a read resumed at any page brings exactly the rest', async () => {
  const repo = makeRepo()
  importHistory(repo, newSeed(), 60)
  const half = landed(await readPages(accessTo(repo.dir)))
  const known = { 'refs/heads/rel/1': half['refs/heads/rel/1'] as string }
  const asks: Ask[] = [
    EVERYTHING,
    since(known),
    since(half, new Date(1_500_001_000_000)),
    since(half, 'beginning'),
    { window: 'time', of: 'commits', since: new Date(0), until: new Date(1_500_002_000_000) },
  ]
  for (const ask of asks) {
    const access = accessTo(repo.dir, { pageSize: 7 })
    const whole = await readPages(access, ask)
    for (const [i, page] of whole.entries()) {
      const rest = await readPages(access, ask, { pinned: page.pinned, token: page.token })
      expect(shasOf(rest)).toEqual(shasOf(whole.slice(i + 1)))
      expect(rest.at(-1)?.landing).toEqual(whole.at(-1)?.landing)
      expect(rest.at(-1)?.total).toBe(whole.at(-1)?.total)
    }
    // what upstream got meanwhile waits for the next read
    const [first] = whole as [Page]
    const late = repo.commit('meanwhile', { branch: `m${asks.indexOf(ask)}`, date: 1_500_001_500 })
    const rest = await readPages(access, ask, { pinned: first.pinned, token: first.token })
    expect(shasOf(rest)).toEqual(shasOf(whole.slice(1)))
    expect(rest.at(-1)?.pinned).toEqual(first.pinned)
    expect(shasOf(rest)).not.toContain(late)
    repo.git('update-ref', '-d', `refs/heads/m${asks.indexOf(ask)}`)
  }
})

test('a token that does not verify, or pinned commits that are gone, start the read over', async () => {
  const repo = makeRepo()
  for (let i = 0; i < 6; i++) repo.commit(`${i}`)
  const access = accessTo(repo.dir, { pageSize: 2 })
  const all = repo.all('--reverse', 'main').length
  const [first] = (await readPages(access)) as [Page]
  const bad: [Heads, string][] = [
    [first.pinned, `3:${first.token.slice(2)}`],
    [first.pinned, `99:${first.token.slice(2)}`],
    [first.pinned, 'garbage'],
    [first.pinned, ''],
    [{ 'refs/heads/main': 'e'.repeat(40) }, first.token],
    [{ 'refs/heads/main': '--all' }, first.token],
    [{}, '0:'],
  ]
  for (const [pinned, token] of bad) {
    const pages = await readPages(access, EVERYTHING, { pinned, token })
    expect(shasOf(pages)).toHaveLength(all)
    expect(pages[0]?.pinned).toEqual(first.pinned)
  }
})

test('windows of time are half open, cut on the committer second, and add up to everything', async () => {
  const repo = makeRepo()
  const dates = [
    1_600_000_000, 1_600_000_000, 1_599_999_999, 5, 0, 1_600_086_399, 1_600_086_400, 4_000_000_000,
    1_600_000_001,
  ]
  const shas = dates.map((date) => repo.commit(`at ${date}`, { date }))
  const day: Ask = {
    window: 'time',
    of: 'commits',
    since: new Date(1_600_000_000_000),
    until: new Date(1_600_086_400_000),
  }
  const pages = await readPages(accessTo(repo.dir), day)
  expect(shasOf(pages)).toEqual([shas[0], shas[1], shas[5], shas[8]])
  expect(pages.at(-1)?.landing).toBeNull()

  const reading = await source.open(accessTo(repo.dir))
  const cuts = [0, 5, 1_600_000_000, 1_600_000_001, 1_600_086_400, 4_000_000_000, 4_000_000_001]
  const seen: string[] = []
  for (const [i, from] of cuts.slice(0, -1).entries()) {
    const window: Ask = {
      window: 'time',
      of: 'commits',
      since: new Date(from * 1000),
      until: new Date((cuts[i + 1] as number) * 1000),
    }
    for await (const page of reading.pages(window, null))
      seen.push(...commitsOf(page).map((commit) => commit.sha))
  }
  expect(seen.sort()).toEqual([...shas].sort())
})

test('a window is read once what made the one before it fail is mended', async () => {
  const repo = makeRepo()
  const [first, second] = [repo.commit('one', { date: 1000 }), repo.commit('two', { date: 2000 })]
  const object = join(repo.dir, '.git/objects', first.slice(0, 2), first.slice(2))
  const reading = await source.open(accessTo(repo.dir))
  const read = async () => {
    const pages: Page[] = []
    const window: Ask = { window: 'time', of: 'commits', since: new Date(0), until: new Date(3_000_000) }
    for await (const page of reading.pages(window, null)) pages.push(page)
    return shasOf(pages)
  }
  renameSync(object, `${object}.away`)
  await expect(read()).rejects.toMatchObject({ kind: 'upstream' })
  renameSync(`${object}.away`, object)
  expect(await read()).toEqual([first, second])
})

test('a refetch from a date passes over no young commit behind an old one', async () => {
  const repo = makeRepo()
  const shas = [1000, 2000, 10, 3000, 20].map((date) => repo.commit(`at ${date}`, { date }))
  const { heads } = await sync(repo)
  const fresh = repo.commit('new but old', { date: 1 })
  const pages = await readPages(accessTo(repo.dir), since(heads, new Date(2_000_000)))
  expect(shasOf(pages)).toEqual([shas[1], shas[3], fresh])
  expect(shasOf(await readPages(accessTo(repo.dir), since(heads, 'beginning')))).toHaveLength(6)
})

test('a date before 1970 and one beyond every calendar are where they belong', async () => {
  const repo = makeRepo()
  const tree = repo.git('mktree')
  const raw = (date: string) =>
    repo.rawCommit(`tree ${tree}\nauthor A <a@x> ${date} +0000\ncommitter C <c@x> ${date} +0000\n\n${date}\n`)
  const before = raw('-100')
  const beyond = raw('9223372036854775808')
  repo.git('update-ref', 'refs/heads/a', before)
  repo.git('update-ref', 'refs/heads/b', beyond)
  const early: Ask = { window: 'time', of: 'commits', since: new Date(-1_000_000), until: new Date(0) }
  expect(shasOf(await readPages(accessTo(repo.dir), early))).toEqual([before])
  expect(shasOf(await readPages(accessTo(repo.dir))).sort()).toEqual(repo.all())
})

test('an empty repository is one empty page; one that lost all its refs is an anomaly', async () => {
  const repo = makeRepo()
  const pages = await readPages(accessTo(repo.dir))
  expect(pages).toEqual([
    {
      facts: { commits: [] },
      token: '0:',
      pinned: {},
      done: 0,
      total: 0,
      landing: { heads: { refs: [], moves: [], unreachable: [] } },
    },
  ])
  const sha = repo.commit('x')
  const { heads } = await sync(repo)
  rmSync(join(repo.dir, '.git/refs/heads/main'))
  await expect(sync(repo, heads)).rejects.toMatchObject({
    kind: 'anomaly',
    hint: expect.stringMatching(/cursor/),
  })
  repo.git('update-ref', 'refs/heads/main', sha)
  expect((await sync(repo, heads)).shas).toEqual([])
})
