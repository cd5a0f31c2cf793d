/**
 * A commit may come with any date, in any order, by any way. Generated histories are polled at random moments, and
 * after every poll the database holds exactly what `git rev-list --all` reaches.
 */
import { afterEach, beforeEach, expect, test } from 'vitest'
import { servers } from '../helpers/database.ts'
import { commitsOf, seeded, type TestRepo } from '../helpers/git-repo.ts'
import { openScene, type Scene } from '../helpers/scene.ts'
import { watched } from '../helpers/watched-source.ts'
import { chance, say, size } from './size.ts'

const POLLS = size('POLLS', 80, 3000)
/** Then a new repository, so that none grows old. */
const POLLS_PER_HISTORY = 40

let scene: Scene
beforeEach(async () => {
  scene = await openScene(servers()[0]!.url, { 'scm.git.page_size': 7 })
})
afterEach(() => scene.drop())

test('after every poll of a living repository, nothing is missing and nothing is out of place', async () => {
  const { seed } = chance('late arrivals')
  const from = performance.now()
  const seen = { polls: 0, commits: 0, late: 0, forced: 0 }
  for (let history = 0; seen.polls < POLLS; history++) {
    if (history > 0) {
      await scene.drop()
      scene = await openScene(servers()[0]!.url, { 'scm.git.page_size': 7 })
    }
    const life = living(scene.repo, seeded(seed + history))
    for (let poll = 0; poll < Math.min(POLLS_PER_HISTORY, POLLS); poll++) {
      const done = life.go()
      seen.late += done.late
      seen.forced += done.forced
      expect(await scene.incremental(), `seed ${seed}, history ${history}, poll ${poll}`).toMatchObject({
        status: 'success',
      })
      expect(
        await difference(scene),
        `seed ${seed}, history ${history}, poll ${poll}: ${done.did.join(', ')}`,
      ).toEqual({ missing: 0, unmarked: 0, marked: 0 })
      seen.polls += 1
    }
    seen.commits += life.ever
  }
  say(`${JSON.stringify(seen)} in ${((performance.now() - from) / 1000).toFixed(1)} s`)
  expect(seen.late).toBeGreaterThan(seen.polls / 4)
  expect(seen.forced).toBeGreaterThan(seen.polls / 20)
})

test('a cursor that is a date loses what comes late', async () => {
  const { seed } = chance('late arrivals, by date')
  let newest = Number.NEGATIVE_INFINITY
  let mark = newest
  const byDate = watched((page) => {
    page.facts.commits = commitsOf(page).filter((c) => (c.committer.epochSeconds ?? 0) >= mark)
    for (const c of commitsOf(page)) newest = Math.max(newest, c.committer.epochSeconds ?? 0)
  })
  const life = living(scene.repo, seeded(seed))
  for (let poll = 0; poll < POLLS_PER_HISTORY; poll++) {
    life.go()
    await scene.incremental(scene.ctx({ sources: byDate }))
    mark = newest
    const { missing } = await difference(scene)
    if (missing > 0) {
      say(`${missing} missing after ${poll + 1} polls`)
      return
    }
  }
  expect.unreachable('the model has not noticed a cursor by date')
})

async function difference({ repo, query }: Scene) {
  const reachable = new Set(repo.all())
  const stored = await query<{ sha: string; gone: boolean }>(
    'select commit_sha as sha, unreachable_since is not null as gone from scm.git_commits',
  )
  const have = new Set(stored.map((s) => s.sha))
  return {
    missing: [...reachable].filter((sha) => !have.has(sha)).length,
    unmarked: stored.filter((s) => !reachable.has(s.sha) && !s.gone).length,
    marked: stored.filter((s) => reachable.has(s.sha) && s.gone).length,
  }
}

interface Done {
  did: string[]
  /** Commits that came with a date older than something already seen. */
  late: number
  forced: number
}

/** What people do to a repository between two polls; one `git fast-import` each time. */
function living(repo: TestRepo, random: () => number) {
  const below = (n: number) => Math.floor(random() * n)
  const pick = <T>(of: readonly T[]): T => of[below(of.length)] as T
  /** Local branches nobody has seen yet: name → sha, kept alive outside of refs until they are pushed. */
  const heads = new Map<string, string>()
  const parked: string[] = []
  let clock = 1_700_000_000
  let newest = 0
  let made = 0

  /** A chain of commits on `from`, by a clock that is right, behind, ahead or stands still. */
  const chain = (
    from: string | null,
    count: number,
    merging: string | null,
  ): { tip: string; late: number } => {
    const skew = pick([0, 0, 0, -40_000, 40_000, -5_000_000])
    const still = random() < 0.3
    let late = 0
    const lines: string[] = []
    for (let i = 0; i < count; i++) {
      if (!still) clock += below(600)
      const date = clock + skew
      late += Number(date < newest)
      newest = Math.max(newest, date)
      const text = `commit ${++made}\n`
      lines.push(
        `commit refs/made/tip\nmark :${i + 1}\ncommitter C <c@example.com> ${date} +0100\ndata ${text.length}\n${text}`,
      )
      if (i === 0 && from !== null) lines.push(`from ${from}\n`)
      if (i === count - 1 && merging !== null && merging !== from) lines.push(`merge ${merging}\n`)
      lines.push('\n')
    }
    repo.feed(lines.join(''), 'fast-import', '--quiet', '--force')
    const tip = repo.git('rev-parse', 'refs/made/tip')
    return { tip, late }
  }

  return {
    get ever() {
      return made
    },
    go(): Done {
      const done: Done = { did: [], late: 0, forced: 0 }
      const updates = new Map<string, string | null>()
      const names = () => [...heads.keys()]
      const commit = (name: string, from: string | null, merging: string | null = null) => {
        const { tip, late } = chain(from, 1 + below(9), merging)
        done.late += late
        heads.set(name, tip)
        updates.set(name, tip)
      }
      for (let n = 1 + below(4); n > 0; n--) {
        const name = names().length > 0 && random() < 0.8 ? pick(names()) : `refs/heads/b${below(12)}`
        const at = heads.get(name) ?? null
        const other = names().length > 0 ? (heads.get(pick(names())) as string) : null
        const what = pick([
          'push',
          'push',
          'push',
          'branch',
          'merge',
          'rebase',
          'reset',
          'delete',
          'tag',
          'park',
          'unpark',
          'rename',
        ] as const)
        done.did.push(what)
        switch (what) {
          case 'push':
            commit(name, at)
            break
          case 'branch':
            commit(`refs/heads/n${below(30)}`, other)
            break
          case 'merge':
            commit(name, at, other)
            break
          // Old work on a new base; what it replaces is left behind.
          case 'rebase':
            if (at !== null) done.forced += 1
            commit(name, other)
            break
          case 'reset': {
            if (at === null) break
            const back = repo.git('rev-list', '--max-count=1', `--skip=${1 + below(6)}`, at)
            if (back === '') break
            done.forced += 1
            heads.set(name, back)
            updates.set(name, back)
            break
          }
          case 'delete':
            if (names().length < 2) break
            if (at !== null) parked.push(at)
            heads.delete(name)
            updates.set(name, null)
            break
          case 'tag':
            if (at !== null) updates.set(`refs/tags/t${made}`, at)
            break
          // Committed today, pushed in a week: the date will be old by then.
          case 'park':
            parked.push(chain(other, 1 + below(6), null).tip)
            break
          case 'unpark': {
            const late = parked.splice(below(parked.length), 1)[0]
            if (late === undefined) break
            const to = `refs/heads/late${below(9)}`
            heads.set(to, late)
            updates.set(to, late)
            done.late += 1
            break
          }
          case 'rename':
            if (at === null) break
            heads.delete(name)
            updates.set(name, null)
            heads.set(`${name}x`, at)
            updates.set(`${name}x`, at)
        }
      }
      // As one push: nobody sees half of it.
      const lines = [...updates].map(([name, sha]) =>
        sha === null ? `delete ${name}` : `update ${name} ${sha}`,
      )
      repo.feed([...lines, 'delete refs/made/tip', ''].join('\n'), 'update-ref', '--stdin')
      if (heads.size === 0) this.go()
      return done
    },
  }
}
