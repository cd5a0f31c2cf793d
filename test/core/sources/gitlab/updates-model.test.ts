import { expect, test } from 'vitest'
import { Project } from '../../../helpers/gitlab/project.ts'
import { truthOf } from '../../../helpers/gitlab/truth.ts'
import { World } from '../../../helpers/gitlab/world.ts'
import { FakeStore } from './fake-store.ts'
import { inProcess, opened } from './in-process.ts'

const HISTORIES = Number(process.env.GITLAB_HISTORIES ?? 150)
const SEED = Number(process.env.GITLAB_SEED ?? Date.now() % 1_000_000)

/** Mulberry32. */
function dice(seed: number): () => number {
  let a = seed
  return () => {
    a = (a + 0x6d2b79f5) | 0
    let t = Math.imul(a ^ (a >>> 15), 1 | a)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }
}

class History {
  readonly chance: () => number
  readonly project: Project
  readonly store: FakeStore
  now = Date.UTC(2026, 10, 22, 12)
  quiet = false
  requests = 0
  readonly #isCoarse: boolean

  constructor(seed: number, many: number) {
    this.chance = dice(seed)
    this.#isCoarse = this.chance() < 0.6
    this.project = new Project(
      new World(() => this.now, seed, this.#isCoarse ? 'second' : 'ms'),
      {},
      'public',
    )
    this.project.hideEvery = this.chance() < 0.3 ? 3 : 0
    this.store = new FakeStore(this.chance)
    const count = many + this.upTo(14)
    for (let i = 0; i < count; i++) {
      this.project.mr({ at: this.now - 86_400_000 + (this.chance() < 0.5 ? 0 : this.upTo(30) * 1000) })
      if (this.chance() < 0.2) this.happen(this.now - 86_000_000 + this.upTo(20) * 1000)
    }
    this.now += 3_600_000
  }

  upTo(n: number): number {
    return Math.floor(this.chance() * n)
  }

  /** Something, at any of the merge requests. */
  happen(before?: number): void {
    const { project } = this
    const all = [...project.mrs.values()]
    const mr = all[this.upTo(all.length)]
    if (mr === undefined || this.chance() < 0.1)
      return void project.mr(before === undefined ? {} : { at: before })
    // A transaction that began earlier may be seen only now.
    const late = this.now - this.upTo(50_000)
    const stamp = this.#isCoarse ? late - (late % 1000) : late
    const at = before ?? (this.chance() < 0.2 && stamp > mr.updatedAt ? stamp : undefined)
    const when = at === undefined || at <= mr.updatedAt ? {} : { at }
    const note = mr.notes[this.upTo(mr.notes.length)]
    const act = this.upTo(13)
    if (act < 3 || note === undefined)
      project.note(mr.iid, { ...when, ...(note && this.chance() < 0.5 && { replyTo: note.id }) })
    else if (act < 5) project.editNote(note.id, { body: `edited ${this.now} ${this.upTo(1e6)}` })
    else if (act < 7) project.deleteNote(note.id, { bump: true })
    else if (act < 8) project.edit(mr.iid, { title: `Title ${this.now} ${this.upTo(1e6)}` })
    else if (act < 9) project.touch(mr.iid, when)
    else if (act < 10) project.approve(mr.iid, { by: `user-${this.upTo(3)}` })
    else if (act < 11) project.unapprove(mr.iid, { by: `user-${this.upTo(3)}` })
    else if (mr.state === 'closed') project.reopen(mr.iid, when)
    else if (mr.state === 'opened' && act < 12) project.close(mr.iid, when)
    else if (mr.state === 'opened') project.mergeMr(mr.iid, when)
    else if (this.chance() < 0.2) project.deleteMr(mr.iid)
  }

  client(shrink: number, headers: Record<string, null>) {
    return inProcess(this.project, {
      shrink,
      headers,
      before: () => {
        this.requests += 1
        if (this.quiet) return
        this.now += 1 + this.upTo(this.chance() < 0.5 ? 20 : 8000)
        const times = 1 + this.upTo(2)
        for (let i = 0; i < times; i++) {
          this.happen()
          this.now += 1
        }
      },
    })
  }
}

/** Two runs of each job while everything changes, most of them with a crash; then quiet. */
async function live(
  seed: number,
  {
    many = 0,
    shrink = 25,
    headers = {},
  }: { many?: number; shrink?: number; headers?: Record<string, null> } = {},
): Promise<{ amiss: string[]; requests: number; crashes: number }> {
  const history = new History(seed, many)
  const { store, project } = history
  let crashes = 0
  const client = history.client(shrink, headers)
  const run = async (of: 'mrs' | 'reviews', mayDie: boolean): Promise<void> => {
    const diesAt = mayDie && history.chance() < 0.4 ? 1 + history.upTo(6) : undefined
    const pages = await store.sync(opened(client, project, 1 + history.upTo(12)), of, diesAt)
    if (pages.at(-1)?.landing === undefined) crashes += 1
  }
  for (let i = 0; i < 2; i++) {
    await run('mrs', true)
    await run('reviews', true)
    if (history.chance() < 0.5) history.now += history.upTo(200_000)
  }
  history.quiet = true
  history.now += 5000
  for (let i = 0; i < 2; i++) {
    await run('mrs', false)
    await run('reviews', false)
  }
  const amiss = store.amiss(truthOf(project))
  for (const of of ['mrs', 'reviews'] as const) {
    const pages = await store.sync(opened(client, project), of)
    if (pages.some(({ facts }) => (facts.mrs?.length ?? 0) + (facts.reviews?.length ?? 0) > 0))
      amiss.push(`a quiet sync of ${of} brought something`)
  }
  return { amiss, requests: history.requests, crashes }
}

async function liveAll(count: number, more: Parameters<typeof live>[1], least: number): Promise<void> {
  let [requests, crashes] = [0, 0]
  const wrong: string[] = []
  for (let i = 0; i < count; i++) {
    const lived = await live(SEED + i, more)
    requests += lived.requests
    crashes += lived.crashes
    if (lived.amiss.length > 0) wrong.push(`seed ${SEED + i}: ${lived.amiss.slice(0, 3).join('; ')}`)
  }
  process.stderr.write(
    `${count} histories, ${requests} requests, ${crashes} crashes, ${wrong.length} amiss (seed ${SEED})\n`,
  )
  expect(wrong.slice(0, 20)).toEqual([])
  expect(requests).toBeGreaterThan(count * least)
}

test(
  `B33 ${HISTORIES} histories that change at every request, with crashes (seed ${SEED})`,
  { timeout: 600_000 },
  () => liveAll(HISTORIES, {}, 50),
)

test(`a proxy takes the headers that announce a next page (seed ${SEED})`, { timeout: 600_000 }, () =>
  liveAll(
    Math.ceil(HISTORIES / 50),
    { many: 200, shrink: 1, headers: { 'x-next-page': null, link: null, 'x-total': null } },
    100,
  ),
)
