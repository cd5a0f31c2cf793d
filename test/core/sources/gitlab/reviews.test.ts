import { afterEach, describe, expect, test } from 'vitest'
import type { Review } from '../../../../src/core/domain/facts.ts'
import { reviewPages } from '../../../../src/core/sources/gitlab/mrs/review-pages.ts'
import type { Page, TimeAsk, UpdatesAsk } from '../../../../src/core/sources/source.ts'
import type { Route } from '../../../helpers/gitlab/request.ts'
import { type GitLab, startGitLab } from '../../../helpers/gitlab/server.ts'
import { asking, failure, LIMITS } from './asking.ts'
import { FakeStore } from './fake-store.ts'
import { opened } from './in-process.ts'

const NOON = Date.UTC(2026, 10, 22, 12)
const FIRST: UpdatesAsk = { window: 'updates', of: 'reviews', since: null, position: null, known: new Map() }

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

/** Some merge requests, an hour ago, with so many notes each. */
function some(project: ReturnType<GitLab['project']>, count: number, notes = 2): void {
  for (let i = 1; i <= count; i++) {
    const at = NOON - 3_600_000 + i * 1000
    const iid = project.mr({ at })
    for (let k = 0; k < notes; k++) project.note(iid, { at })
  }
}

async function read(open: ReturnType<typeof opened>, ask: UpdatesAsk | TimeAsk = FIRST): Promise<Page[]> {
  const all: Page[] = []
  for await (const page of reviewPages(open, ask, null)) all.push(page)
  return all
}

test('a consumer that leaves waits for no answer', async () => {
  const { project, open } = await started()
  some(project, 4)
  const pages = reviewPages(open(1), FIRST, null)
  // The last review would be waited for until its time is over, and asked for again.
  gitlab.fault(({ path }) => (/merge_requests\/4\//.test(path) ? { hang: true } : null))
  await pages.next()
  const asked = gitlab.requests.length
  await pages.return(undefined)
  expect(gitlab.requests.length).toBe(asked)
})

const reviewsOf = (pages: Page[]): Review[] => pages.flatMap(({ facts }) => facts.reviews ?? [])
const asked = (route: Route): number => gitlab.requests.filter((request) => request.route === route).length
const truthfully = (store: FakeStore, project: ReturnType<GitLab['project']>): string[] =>
  store.amiss(gitlab.truth(project))

test('1,000 merge requests with 8 notes each', { timeout: 120_000 }, async () => {
  const { project, open } = await started()
  some(project, 1000, 8)
  for (let iid = 1; iid <= 700; iid++) {
    const at = NOON - 2_000_000 + iid * 1000
    if (iid % 10 === 0) project.approve(iid, { at })
    if (iid % 7 === 0) project.close(iid, { at })
    else project.mergeMr(iid, { at })
  }
  const store = new FakeStore()
  await store.sync(open(), 'mrs')
  const pages = await store.sync(open(), 'reviews')
  expect(truthfully(store, project)).toEqual([])
  expect(reviewsOf(pages)).toHaveLength(1000)
  expect(pages.at(-1)).toMatchObject({ done: 1000, total: 1000 })
  process.stderr.write(
    `1,000 merge requests, 300 of them open, and their reviews: ${gitlab.requests.length} requests\n`,
  )
  expect(gitlab.requests.length).toBeLessThanOrEqual(3010)

  gitlab.requests.length = 0
  for (const job of ['mrs', 'reviews'] as const)
    expect(await store.sync(open(), job)).toMatchObject([{ facts: { mrs: [], reviews: [] } }])
  expect(gitlab.requests).toHaveLength(2)

  project.note(5)
  await store.sync(open(), 'mrs')
  expect(reviewsOf(await store.sync(open(), 'reviews'))).toMatchObject([{ iid: 5 }])
  expect(truthfully(store, project)).toEqual([])
  expect(gitlab.requests).toHaveLength(2 + 1 + 3)
})

test('pages hold merge requests in the order of their update, whatever is answered first', async () => {
  const { project, open } = await started()
  some(project, 60)
  gitlab.fault(({ route, of, n }) =>
    route === 'discussions' && Number(of) % 3 === 0 ? { delayMs: (n * 7) % 20 } : null,
  )
  const pages = await read(open(7))
  expect(reviewsOf(pages).map(({ iid }) => iid)).toEqual(Array.from({ length: 60 }, (_, i) => i + 1))
  expect(pages.map(({ facts }) => facts.reviews?.length)).toEqual([7, 7, 7, 7, 7, 7, 7, 7, 4])
  expect(pages.filter((page) => page.landing !== undefined)).toEqual([pages.at(-1)])
})

test('no request is made twice by a reading that goes on', async () => {
  const { project, open } = await started()
  some(project, 50)
  const store = new FakeStore()
  await store.sync(open(), 'mrs')
  await store.sync(open(10), 'reviews', 4)
  await new Promise((resolve) => setTimeout(resolve, 100)) // what was given up may still be on its way to the server
  gitlab.requests.length = 0
  expect(reviewsOf(await store.sync(open(10), 'reviews'))).toHaveLength(20)
  expect(asked('discussions')).toBe(20)
  expect(asked('mrs')).toBe(1)
  expect(truthfully(store, project)).toEqual([])
})

test('a failure comes when its turn has come: what is before it is yielded', async () => {
  const { project, open } = await started()
  some(project, 40)
  gitlab.fault(({ of }) => (of === '23' ? { status: 401 } : null))
  const got: Page[] = []
  const reading = (async () => {
    for await (const page of reviewPages(open(5), FIRST, null)) got.push(page)
  })()
  expect(await failure(reading)).toMatchObject({ kind: 'auth' })
  // Also what was read for a page that never became full.
  expect(reviewsOf(got).map(({ iid }) => iid)).toEqual(Array.from({ length: 22 }, (_, i) => i + 1))
})

test('notes that go away while 350 discussions are paged take no others with them', async () => {
  const { project, open } = await started()
  some(project, 1, 350)
  project.hideEvery = 2
  for (let i = 0; i < 150; i++) project.note(1, { at: NOON - 100_000 })
  const store = new FakeStore()
  await store.sync(open(), 'mrs')
  await store.sync(open(), 'reviews')
  project.touch(1)
  await store.sync(open(), 'mrs')
  gitlab.beforeEach(({ route }) => {
    if (route !== 'discussions') return
    for (let i = 0; i < 30; i++) project.deleteNote(project.one(1).notes[0]?.id as number)
  })
  await store.sync(open(), 'reviews')
  const alive = [...store.events.values()].filter(({ deleted }) => !deleted).map(({ id }) => id)
  for (const id of gitlab.truth(project).reviews.get(1)?.notes ?? []) expect(alive).toContain(id)
})

test('what was taken back is named: the last note of all, an approval', async () => {
  const { project, open } = await started()
  const iid = project.mr({ at: NOON - 900_000 })
  const note = project.note(iid, { at: NOON - 800_000 })
  project.approve(iid, { at: NOON - 700_000 })
  const store = new FakeStore()
  const sync = async () => {
    await store.sync(open(), 'mrs')
    const pages = await store.sync(open(), 'reviews')
    expect(truthfully(store, project)).toEqual([])
    return reviewsOf(pages)
  }
  await sync()
  project.unapprove(iid, { at: NOON - 600_000 })
  await sync()
  for (const { id } of [...project.one(iid).notes]) project.deleteNote(id, { bump: true })
  expect(project.one(iid).notes).toEqual([])
  expect(await sync()).toMatchObject([
    { events: [], whole: { ids: [], kinds: ['note', 'state', 'approval'] } },
  ])
  expect([...store.events.values()].find(({ id }) => id === `note:${note}`)).toMatchObject({ deleted: true })

  project.approve(iid)
  await sync()
  project.mergeMr(iid)
  expect(await sync()).toMatchObject([{ whole: { kinds: ['note', 'state'], degraded: null } }])
})

test('a merge request deleted between list and reading is passed over', async () => {
  const { project, open } = await started()
  some(project, 20)
  gitlab.beforeEach(({ route }) => {
    if (route === 'discussions' && project.mrs.has(13)) project.deleteMr(13)
  })
  const pages = await read(open(4))
  expect(reviewsOf(pages).map(({ iid }) => iid)).not.toContain(13)
  expect(reviewsOf(pages)).toHaveLength(19)
})

test('stamped in whole seconds: what is read in the second of its update is read again', async () => {
  let now = NOON + 300
  const { project, open } = await started({ now: () => now, resolution: 'second' })
  const iid = project.mr()
  const note = project.note(iid)
  const store = new FakeStore()
  const sync = async () => {
    await store.sync(open(), 'mrs')
    return store.sync(open(), 'reviews')
  }
  await sync()
  now += 500
  project.editNote(note, { body: 'edited in the same second' })
  now += 5000
  await sync()
  expect(truthfully(store, project)).toEqual([])
  expect(reviewsOf(await sync())).toEqual([])
})

test('a window of time reads again what lies in it, and lands nowhere', async () => {
  const { project, open } = await started()
  some(project, 30)
  const from = NOON - 3_600_000
  const window = { since: new Date(from + 5000), until: new Date(from + 25_000) }
  const pages = await read(open(), { window: 'time', of: 'reviews', ...window })
  expect(reviewsOf(pages).map(({ iid }) => iid)).toEqual(Array.from({ length: 20 }, (_, i) => i + 5))
  expect(pages.at(-1)?.landing).toBeNull()
})

describe('kinds that are not given', () => {
  // A server that fails at approvals and gives notes must not hide these.
  test.each([402, 403, 404, 503])(
    'approvals, %i: known after three, and asked for again by the next reading',
    async (status) => {
      const { project, open } = await started()
      some(project, 40)
      const unhook = gitlab.fault(({ route }) => (route === 'approvals' ? { status } : null))
      const store = new FakeStore()
      await store.sync(open(), 'mrs')
      const reviews = reviewsOf(await store.sync(open(), 'reviews'))
      expect(reviews).toHaveLength(40)
      for (const { whole } of reviews)
        expect(whole).toMatchObject({ kinds: ['note', 'state'], degraded: `approvals:${status}` })
      // Of the failures each is tried three times, and six are under way at once.
      expect(asked('approvals')).toBeLessThan(status === 503 ? 20 : 10)
      expect(truthfully(store, project)).toEqual([])

      unhook()
      project.approve(3)
      await store.sync(open(), 'mrs')
      await store.sync(open(), 'reviews')
      expect(truthfully(store, project)).toEqual([])
      expect(store.mrs.get(3)?.degraded).toBeNull()
    },
  )

  test('an approval that is stored stays when approvals are no longer given', async () => {
    const { project, open } = await started()
    some(project, 1)
    project.approve(1, { at: NOON - 100_000 })
    const store = new FakeStore()
    await store.sync(open(), 'mrs')
    await store.sync(open(), 'reviews')
    gitlab.fault(({ route }) => (route === 'approvals' || route === 'states' ? { status: 403 } : null))
    project.note(1)
    await store.sync(open(), 'mrs')
    await store.sync(open(), 'reviews')
    expect(truthfully(store, project)).toEqual([])
    expect(store.mrs.get(1)?.degraded).toBe('resource_state_events:403, approvals:403')
  })

  test('one that the server fails at, at one merge request', async () => {
    const { project, open } = await started()
    some(project, 20)
    gitlab.fault(({ route, of }) => (route === 'discussions' && of === '5' ? { status: 500 } : null))
    const reviews = reviewsOf(await read(open()))
    expect(reviews.find(({ iid }) => iid === 5)?.whole).toMatchObject({
      kinds: ['state', 'approval'],
      degraded: 'discussions:500',
    })
    expect(reviews.filter(({ whole }) => whole?.degraded === null)).toHaveLength(19)
  })

  test.each<[string, Parameters<GitLab['fault']>[0], object]>([
    [
      'a server that is down',
      ({ route }) => (route === 'mrs' ? null : { status: 502 }),
      { kind: 'upstream', status: 502 },
    ],
    [
      'one that fails at notes',
      ({ route }) => (route === 'discussions' ? { status: 500 } : null),
      { kind: 'upstream', status: 500 },
    ],
    [
      'notes nobody may read',
      ({ route }) => (route === 'discussions' ? { status: 403 } : null),
      { kind: 'permission' },
    ],
    [
      'notes that want a token',
      ({ route }) => (route === 'discussions' ? { status: 401 } : null),
      { kind: 'auth' },
    ],
    [
      'too many requests',
      ({ route }) => (route === 'states' ? { status: 429, headers: { 'retry-after': '800' } } : null),
      { kind: 'rate_limited', retryAfterSeconds: 800 },
    ],
    ['a login page', ({ route }) => (route === 'discussions' ? { html: true } : null), { kind: 'upstream' }],
    [
      'notes that are no list',
      ({ route }) => (route === 'discussions' ? { json: [{ id: 'x' }] } : null),
      { kind: 'upstream' },
    ],
    [
      'pages that repeat',
      ({ route }) => (route === 'discussions' ? { samePage: true } : null),
      { kind: 'upstream', message: expect.stringContaining('repeats') },
    ],
    [
      'no end',
      ({ route, of }) => (route === 'states' && of === '1' ? { endless: true } : null),
      { kind: 'upstream', message: expect.stringContaining('no end') },
    ],
  ])('%s: the reading ends', async (_, fault, expected) => {
    const { project, open } = await started()
    some(project, 12)
    for (let iid = 1; iid <= 12; iid++) project.close(iid, { at: NOON - 1_000_000 })
    for (let iid = 1; iid <= 12; iid++) project.reopen(iid, { at: NOON - 900_000 })
    gitlab.fault(fault)
    expect(await failure(read(open()))).toMatchObject(expected)
  })
})

describe('long reviews', () => {
  test('come in parts, whole with the last one', async () => {
    const { project, open } = await started()
    some(project, 3)
    for (let i = 0; i < 400; i++) project.note(2, { body: `${i} ${'x'.repeat(30_000)}`, at: NOON - 100_000 })
    const store = new FakeStore()
    await store.sync(open(), 'mrs')
    const pages = await store.sync(open(), 'reviews')
    const parts = reviewsOf(pages).filter(({ iid }) => iid === 2)
    expect(parts.length).toBeGreaterThan(3)
    expect(parts.map(({ whole }) => whole !== null)).toEqual(parts.map((_, i) => i === parts.length - 1))
    expect(parts.at(-1)?.whole?.ids).toHaveLength(402)
    expect(truthfully(store, project)).toEqual([])
    for (const { facts } of pages) expect(JSON.stringify(facts).length).toBeLessThan(9_000_000)
  })

  test('how many discussions are too many is learned from the first, and once', async () => {
    const { project, open } = await started()
    for (let m = 0; m < 8; m++) {
      const iid = project.mr({ at: NOON - 3_600_000 + m * 1000 })
      for (let i = 0; i < 30; i++)
        project.note(iid, { body: `${i} ${'x'.repeat(100_000)}`, at: NOON - 100_000 })
    }
    expect(reviewsOf(await read(open())).flatMap(({ events }) => events)).toHaveLength(240)
    const sizes = gitlab.requests.flatMap(({ route, query }) =>
      route === 'discussions' ? [Number(query.get('per_page'))] : [],
    )
    expect(sizes.filter((size) => size > 5)).toEqual([100, 50, 25])
  })

  test('a discussion larger than an answer may be is left out, and deletes nothing', async () => {
    const { project, open } = await started()
    some(project, 1)
    const stored = project.note(1, { body: 'x', at: NOON - 100_000 })
    const store = new FakeStore()
    await store.sync(open(), 'mrs')
    await store.sync(open(), 'reviews')
    project.editNote(stored, { body: 'x'.repeat(300_000) })
    await store.sync(open(), 'mrs')
    const [review] = reviewsOf(await store.sync(open(100, 200_000), 'reviews'))
    expect(review).toMatchObject({
      whole: { kinds: ['state', 'approval'], degraded: 'discussions:too large' },
    })
    expect(review?.events).toHaveLength(2)
    expect([...store.events.values()].filter(({ deleted }) => deleted)).toEqual([])
  })
})

test('merge requests switched off: one empty page, no request', async () => {
  const { project, open } = await started()
  project.mergeRequestsOff()
  expect(await read(open())).toMatchObject([{ facts: { reviews: [] }, landing: { position: null } }])
  expect(gitlab.requests).toEqual([])
})
