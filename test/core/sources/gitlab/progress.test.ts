import { afterEach, expect, test } from 'vitest'
import { type GitLab, startGitLab } from '../../../helpers/gitlab/server.ts'
import { asking } from './asking.ts'
import { FakeStore } from './fake-store.ts'
import { opened } from './in-process.ts'

const NOON = Date.UTC(2026, 10, 22, 12)
let gitlab: GitLab
afterEach(() => gitlab?.stop())

async function projectOf(count: number) {
  gitlab = await startGitLab({ now: () => NOON })
  const project = gitlab.project({ id: 7 })
  for (let i = 1; i <= count; i++) {
    const at = NOON - 3_600_000 + i * 1000
    project.note(project.mr({ at }), { at })
  }
  return project
}

/** Runs, as a worker would have them, until one succeeds; how each ended, and what was stored then. */
async function runs(
  project: Awaited<ReturnType<typeof projectOf>>,
  most: number,
  before = () => {},
): Promise<string[]> {
  const store = new FakeStore()
  const ended: string[] = []
  for (let run = 1; run <= most && !ended.at(-1)?.startsWith('done'); run++) {
    before()
    const how = await store.sync(opened(asking(gitlab.url), project, 50), 'reviews').then(
      () => 'done',
      (error) => `${error.kind} ${error.status} retry=${error.retry} asks=${gitlab.requests.length}`,
    )
    ended.push(`${how}: ${store.events.size} events`)
  }
  return ended
}

test('a limit smaller than a page of reviews does not stop their sync for ever', async () => {
  const project = await projectOf(80)
  let left = 0
  gitlab.fault(() => (--left < 0 ? { status: 429, headers: { 'retry-after': '3600' } } : null))
  const ended = await runs(project, 8, () => {
    left = 100
  })
  expect(ended.at(-1), ended.join('\n')).toBe('done: 80 events')
})

test('approvals that always fail do not keep the notes away', async () => {
  const project = await projectOf(40)
  gitlab.fault(({ route }) => (route === 'approvals' ? { status: 500 } : null))
  const ended = await runs(project, 5)
  expect(ended.at(-1), ended.join('\n')).toBe('done: 40 events')
})

test('eight neighbours whose discussions always fail do not hide the reviews of all others', async () => {
  const project = await projectOf(40)
  gitlab.fault(({ route, of }) =>
    route === 'discussions' && Number(of) > 10 && Number(of) < 19 ? { status: 500 } : null,
  )
  const ended = await runs(project, 8)
  expect(ended.at(-1), ended.join('\n')).toBe('done: 32 events')
})

test('a late commit upstream is seen although the Date of its proxy is two minutes ahead', async () => {
  const project = await projectOf(3)
  gitlab.fault(() => ({ headers: { date: new Date(NOON + 120_000).toUTCString() } }))
  const store = new FakeStore()
  project.mr({ at: NOON - 5_000 })
  await store.sync(opened(asking(gitlab.url), project, 50), 'mrs')
  project.mr({ at: NOON - 10_000 })
  await store.sync(opened(asking(gitlab.url), project, 50), 'mrs')
  expect(store.mrs.size).toBe(5)
})
