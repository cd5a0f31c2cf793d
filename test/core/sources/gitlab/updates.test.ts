import { afterEach, describe, expect, test, vi } from 'vitest'
import { allMrs, mrPages, mrsByIid } from '../../../../src/core/sources/gitlab/mrs/mr-pages.ts'
import { surveyUpdates, updatesOf } from '../../../../src/core/sources/gitlab/mrs/updates.ts'
import type { Opened } from '../../../../src/core/sources/gitlab/opened.ts'
import type { Page, Resume, TimeAsk, UpdatesAsk } from '../../../../src/core/sources/source.ts'
import { type GitLab, startGitLab } from '../../../helpers/gitlab/server.ts'
import { asking, failure, LIMITS } from './asking.ts'
import { FakeStore } from './fake-store.ts'
import { opened } from './in-process.ts'

const NOON = Date.UTC(2026, 10, 22, 12)
const FIRST: UpdatesAsk = { window: 'updates', of: 'mrs', since: null, position: null, known: new Map() }

let gitlab: GitLab
afterEach(() => gitlab?.stop())

async function started(options: Parameters<typeof startGitLab>[0] = {}) {
  gitlab = await startGitLab({ now: () => NOON, ...options })
  const project = gitlab.project({ id: 7 })
  const open = (pageSize = 100, maxBytes?: number) =>
    opened(
      asking(gitlab.url, maxBytes === undefined ? {} : { limits: { ...LIMITS, maxBytes } }),
      project,
      pageSize,
    )
  return { project, open }
}

async function taken(pages: AsyncGenerator<Page>): Promise<Page[]> {
  const all: Page[] = []
  for await (const page of pages) all.push(page)
  return all
}

const iids = (pages: Page[]): number[] => pages.flatMap(({ facts }) => facts.mrs ?? []).map(({ iid }) => iid)

async function read(
  open: ReturnType<typeof opened>,
  ask: UpdatesAsk | TimeAsk = FIRST,
  resume: Resume | null = null,
) {
  return taken(mrPages(open, ask, resume))
}

test('a first sync, a quiet one, and one after changes', async () => {
  const { project, open } = await started()
  for (let i = 1; i <= 1000; i++) project.mr({ at: NOON - 10_000_000 + i * 5000 })
  const store = new FakeStore()
  const pages = await store.sync(open(), 'mrs')
  expect(pages).toHaveLength(10)
  expect(pages.at(-1)).toMatchObject({ done: 1000, total: 1000 })
  expect(store.amiss(gitlab.truth(project))).toEqual(
    expect.not.arrayContaining([expect.stringContaining('iid')]),
  )
  process.stderr.write(`1,000 merge requests: ${gitlab.requests.length} requests\n`)
  expect(gitlab.requests).toHaveLength(11)

  gitlab.requests.length = 0
  expect(await store.sync(open(), 'mrs')).toMatchObject([
    { facts: { mrs: [] }, landing: { position: store.mrs.get(1000) && new Date(NOON - 5_060_000) } },
  ])
  expect(gitlab.requests).toHaveLength(1)

  project.edit(17, { title: 'Another' })
  expect(iids(await store.sync(open(), 'mrs'))).toEqual([17])
  expect(gitlab.requests).toHaveLength(2)
  expect(store.position.mrs).toEqual(new Date(NOON - 60_000))
})

test('what is asked for', async () => {
  const { project, open } = await started()
  project.mr({ at: NOON - 5000 })
  await read(open(), { ...FIRST, since: new Date(NOON - 60_000.5) })
  expect(Object.fromEntries(gitlab.requests[0]?.query ?? [])).toEqual({
    scope: 'all',
    state: 'all',
    order_by: 'updated_at',
    sort: 'asc',
    updated_after: '2026-11-22T11:58:59.999Z',
    page: '1',
    per_page: '100',
  })
})

test('450 of one instant, touched while they are paged', async () => {
  const { project, open } = await started()
  for (let i = 1; i <= 450; i++) project.mr({ at: NOON - 9_000_000 })
  project.mr({ at: NOON - 8_000_000 })
  gitlab.beforeEach(({ n }) => {
    for (let i = 0; i < 20; i++)
      project.touch(project.inOrder('updated')[0]?.iid ?? 1, { at: NOON - 1000 + n })
  })
  expect(new Set(iids(await read(open()))).size).toBe(451)
})

test('a reading that stops behind many of one instant goes on at that instant', async () => {
  const { project, open } = await started()
  const instant = NOON - 9_000_000
  for (let i = 1; i <= 250; i++) project.mr({ at: instant })
  for (let i = 1; i <= 30; i++) project.mr({ at: instant + 1000 })
  // Rows of the third page move over to the second, which was read already.
  gitlab.beforeEach(({ n }) => {
    if (n !== 4) return
    for (const { iid } of project.inOrder('updated').slice(0, 30)) project.touch(iid, { at: instant + 5000 })
  })
  const got: Page[] = []
  for await (const page of mrPages(open(50), FIRST, null)) {
    got.push(page)
    if (page.done >= 250) break
  }
  const { token } = got.at(-1) as Page
  expect(got.flatMap(({ facts }) => facts.mrs ?? []).some(({ updatedAt }) => updatedAt > instant)).toBe(true)
  const known = new Map(got.flatMap(({ facts }) => facts.mrs ?? []).map((mr) => [mr.iid, mr.digest]))
  const rest = await read(open(50), { ...FIRST, known }, { token, pinned: {} })
  expect(new Set([...iids(got), ...iids(rest)]).size).toBe(280)
})

test('an interrupted reading goes on where it was', async () => {
  const { project, open } = await started()
  for (let i = 1; i <= 350; i++) project.mr({ at: NOON - 9_000_000 + Math.floor(i / 7) * 1000 })
  const [first, second] = (await read(open(60))) as [Page, Page]
  gitlab.requests.length = 0
  const known = new Map(
    [...(first.facts.mrs ?? []), ...(second.facts.mrs ?? [])].map((mr) => [mr.iid, mr.digest]),
  )
  const rest = await read(open(60), { ...FIRST, known }, { token: second.token, pinned: {} })
  expect(iids(rest)).toHaveLength(230)
  expect(rest.at(-1)).toMatchObject({ done: 350 })
  // The minute before the last one stored is listed again, and here that is nearly all.
  expect(gitlab.requests.length).toBeLessThanOrEqual(4)
})

test.each(['ms', 'us'] as const)(
  'a window of time: its beginning is in it, its end is not (%s)',
  async (resolution) => {
    const { project, open } = await started({ resolution })
    for (let i = 1; i <= 300; i++) project.mr({ at: NOON - 900_000 + i * 1000 })
    const ask: TimeAsk = {
      window: 'time',
      of: 'mrs',
      since: new Date(NOON - 900_000 + 20_000),
      until: new Date(NOON - 900_000 + 250_000),
    }
    const pages = await read(open(), ask)
    expect(iids(pages)).toEqual(Array.from({ length: 230 }, (_, i) => i + 20))
    expect(pages.at(-1)?.landing).toBeNull()
    // Upstream counts what was updated at its very end, too: no number is better than a wrong one.
    expect((await surveyUpdates(open(), ask)).items).toBeNull()
  },
)

test('a survey takes one request and changes nothing', async () => {
  const { project, open } = await started()
  expect(await surveyUpdates(open(), FIRST)).toEqual({ items: 0, refs: null, note: null })
  for (let i = 1; i <= 250; i++) project.mr({ at: NOON - 900_000 + i })
  expect(await surveyUpdates(open(), FIRST)).toMatchObject({ items: 250 })
  gitlab.fault(() => ({ headers: { 'x-total': null } }))
  expect(await surveyUpdates(open(), FIRST)).toMatchObject({ items: null })
  expect(gitlab.requests).toHaveLength(3)
})

test('merge requests switched off: nothing, and no failure', async () => {
  const { project, open } = await started()
  project.mergeRequestsOff()
  expect(await read(open())).toEqual([
    {
      facts: { mrs: [], reviews: [] },
      token: '1970-01-01T00:00:00.000Z#0',
      pinned: {},
      done: 0,
      total: null,
      landing: { position: null },
    },
  ])
  expect(await surveyUpdates(open(), FIRST)).toMatchObject({ items: 0, note: expect.stringContaining('off') })
  expect(gitlab.requests).toHaveLength(0)
})

test('an update in the future does not carry the position away', async () => {
  const { project, open } = await started()
  project.mr({ at: NOON - 100_000 })
  project.mr({ at: NOON + 1e11 })
  const store = new FakeStore()
  await store.sync(open(), 'mrs')
  expect(store.position.mrs).toEqual(new Date(NOON - 60_000))
  project.mr({ at: NOON })
  expect(iids(await store.sync(open(), 'mrs'))).toEqual([3])
})

test('every one, and some by number', async () => {
  const { project, open } = await started()
  for (let i = 1; i <= 230; i++) project.mr()
  project.deleteMr(150)
  const all: number[] = []
  for await (const { iid } of allMrs(open())) all.push(iid)
  expect(new Set(all)).toEqual(new Set(project.mrs.keys()))
  const some = Array.from({ length: 201 }, (_, i) => i + 50)
  gitlab.requests.length = 0
  const found = await mrsByIid(open(), some)
  expect(found.map(({ iid }) => iid).sort((a, b) => a - b)).toEqual(some.filter((n) => n <= 230 && n !== 150))
  expect(gitlab.requests).toHaveLength(3)
})

describe('bodies too large', () => {
  test('are asked for in smaller pages, and then in larger ones', async () => {
    const { project, open } = await started()
    for (let i = 1; i <= 300; i++)
      project.mr({
        at: NOON - 900_000 + i * 1000,
        description: i > 100 && i < 120 ? 'x'.repeat(50_000) : 'y',
      })
    expect(iids(await read(open(100, 400_000)))).toEqual(Array.from({ length: 300 }, (_, i) => i + 1))
    expect(new Set(gitlab.requests.map(({ query }) => query.get('per_page')))).toEqual(
      new Set(['100', '50', '25', '5']),
    )
    expect(gitlab.requests.at(-1)?.query.get('per_page')).toBe('100')
    expect(gitlab.requests.length).toBeLessThan(30)
  })

  test('also of one instant', async () => {
    const { project, open } = await started()
    for (let i = 1; i <= 130; i++) project.mr({ at: NOON - 900_000, description: 'x'.repeat(50_000) })
    expect(new Set(iids(await read(open(100, 400_000)))).size).toBe(130)
  })

  test('a single one is an error', async () => {
    const { project, open } = await started()
    project.mr({ description: 'x'.repeat(50_000) })
    expect(await failure(read(open(100, 40_000)))).toMatchObject({ kind: 'upstream', limit: 'bytes' })
  })
})

describe('a list that cannot be right', () => {
  const spoilt = async (spoil: (rows: Record<string, unknown>[]) => unknown) => {
    const { project, open } = await started()
    for (let i = 1; i <= 3; i++) project.mr({ at: NOON - 900_000 + i * 10_000 })
    const rows: Record<string, unknown>[] = JSON.parse(
      await (
        await fetch(`${gitlab.url}/api/v4/projects/7/merge_requests?order_by=updated_at&sort=asc`)
      ).text(),
    )
    gitlab.fault(() => ({ json: spoil(rows) }))
    return failure(read(open()))
  }

  test.each<[string, (rows: Record<string, unknown>[]) => unknown, RegExp]>([
    [
      'another project',
      (rows) => rows.map((row, i) => (i === 1 ? { ...row, project_id: 9 } : row)),
      /of project 9/,
    ],
    ['not in order', (rows) => rows.reverse(), /not by time of update/],
    ['no number', (rows) => rows.map((row) => ({ ...row, iid: null })), /iid is missing/],
    ['an absurd number', (rows) => rows.map((row) => ({ ...row, iid: 1e300 })), /iid is not usable/],
    ['a negative number', (rows) => rows.map((row) => ({ ...row, iid: -4 })), /iid is not usable/],
    ['no time', (rows) => rows.map((row) => ({ ...row, updated_at: 'soon' })), /updated_at is not usable/],
    ['no objects', () => [[], 7, null], /not an object/],
  ])('%s', async (_, spoil, why) => {
    const error = await spoilt(spoil)
    expect(error).toMatchObject({ kind: 'upstream' })
    expect(error.message).toMatch(why)
  })

  test('the first page under every number', async () => {
    const { project, open } = await started()
    for (let i = 1; i <= 150; i++) project.mr({ at: NOON - 900_000 + i * 10_000 })
    const same: string = await (
      await fetch(`${gitlab.url}/api/v4/projects/7/merge_requests?order_by=updated_at&sort=asc&per_page=100`)
    ).text()
    gitlab.fault(() => ({ body: same }))
    expect(await failure(read(open()))).toMatchObject({ kind: 'upstream' })
    expect(gitlab.requests.length).toBeLessThan(5)
  })

  test('the same page of one instant for ever', async () => {
    const { project, open } = await started()
    for (let i = 1; i <= 150; i++) project.mr({ at: NOON - 900_000 })
    gitlab.fault(() => ({ samePage: true }))
    const error = await failure(read(open()))
    expect(error.message).toMatch(/repeats a page/)
    expect(gitlab.requests.length).toBeLessThan(5)
  })

  test('no end', async () => {
    const { project, open } = await started()
    for (let i = 1; i <= 2; i++) project.mr({ at: NOON - 900_000 })
    gitlab.fault(() => ({ endless: true }))
    const error = await failure(read(open()))
    expect(error).toMatchObject({ kind: 'upstream', retry: 'later' })
    expect(error.message).toMatch(/no end/)
  })

  test('no end, with every page later than the one before', async () => {
    const { open } = await started()
    let asked = 0
    const get = async () => {
      asked += 1
      const at = new Date(NOON - 1e9 + asked * 1000).toISOString()
      const row = { id: asked, iid: asked, state: 'opened', updated_at: at }
      return { status: 200, json: [row], next: true, total: null, date: new Date(NOON) }
    }
    const rows = updatesOf({ ...open(), client: { get } as never }, FIRST, null).rows()
    const all = async () => {
      for await (const _ of rows);
    }
    const error = await failure(all())
    expect(error).toMatchObject({ kind: 'upstream' })
    expect(error.message).toMatch(/no end/)
    expect(asked).toBe(100_000)
  })
})

describe('the next page, while the first row of this one is held', () => {
  async function held() {
    const { project, open } = await started()
    for (let i = 1; i <= 250; i++) project.mr({ at: NOON - 900_000 + i * 1000 })
    const { client, ...rest } = open()
    let underWay = 0
    const get: Opened['client']['get'] = (...asked) => {
      underWay += 1
      return client.get(...asked).finally(() => {
        underWay -= 1
      })
    }
    const rows = updatesOf({ ...rest, client: { ...client, get } }, FIRST, null).rows()
    return { rows, first: () => rows.next(), underWay: () => underWay }
  }

  test('is asked for, and the one behind it is not', async () => {
    const { rows, first, underWay } = await held()
    expect((await first()).value).toMatchObject({ mr: { iid: 1 } })
    await vi.waitFor(() => expect(gitlab.requests).toHaveLength(2))
    await vi.waitFor(() => expect(underWay()).toBe(0))
    const got: number[] = []
    for await (const { mr } of rows) {
      got.push(mr.iid)
      if (mr.iid === 100) break
    }
    expect(got).toEqual(Array.from({ length: 99 }, (_, i) => i + 2))
    expect(gitlab.requests).toHaveLength(2)
  })

  test('fails: that is told behind all rows of this one', async () => {
    const unhandled: unknown[] = []
    const note = (reason: unknown) => unhandled.push(reason)
    process.on('unhandledRejection', note)
    try {
      const { rows, first, underWay } = await held()
      gitlab.fault((_, n) => (n === 2 ? { status: 403 } : null))
      await first()
      await vi.waitFor(() => expect(gitlab.requests[1]?.status).toBe(403))
      await vi.waitFor(() => expect(underWay()).toBe(0))
      await new Promise(setImmediate)
      const got: number[] = []
      const rest = async () => {
        for await (const { mr } of rows) got.push(mr.iid)
      }
      expect(await failure(rest())).toMatchObject({ kind: 'permission' })
      expect(got).toEqual(Array.from({ length: 99 }, (_, i) => i + 2))
      expect(gitlab.requests).toHaveLength(2)
      expect(unhandled).toEqual([])
    } finally {
      process.off('unhandledRejection', note)
    }
  })

  test('ends with a consumer that leaves', async () => {
    const { rows, first, underWay } = await held()
    gitlab.fault((_, n) => (n > 1 ? { hang: true } : null))
    await first()
    await vi.waitFor(() => expect(gitlab.requests).toHaveLength(2))
    expect(underWay()).toBe(1)
    await rows.return(undefined)
    expect(underWay()).toBe(0)
    expect(gitlab.requests).toHaveLength(2)
  })
})

test('refusals: of the project, of the token, of the right', async () => {
  const { project, open } = await started()
  project.delete()
  expect(await failure(read(open()))).toMatchObject({ kind: 'not_found', status: 404 })
  gitlab.fault(() => ({ status: 403 }))
  expect(await failure(read(open()))).toMatchObject({ kind: 'permission' })
})
