import { expect, test } from 'vitest'
import { SyncError } from '../../../../src/core/domain/errors.ts'
import { commitPages } from '../../../../src/core/sources/gitlab/commits/commit-pages.ts'
import type { Resume } from '../../../../src/core/sources/source.ts'
import { size } from '../../../chaos/size.ts'
import { newSeed, seeded } from '../../../helpers/git-repo.ts'
import type { Project } from '../../../helpers/gitlab/project.ts'
import type { GitLab } from '../../../helpers/gitlab/server.ts'
import { gitlabHere, openedAt, readAll, Stored, since } from './commit-room.ts'

const HISTORIES = size('GITLAB_MOVING', 100, 200)

type Random = () => number
const pick = <T>(random: Random, list: readonly T[]): T => list[Math.floor(random() * list.length)] as T

/** One thing that people do to a repository, clocks wrong by months now and then. */
function happen(project: Project, random: Random, clock: { at: number }): void {
  clock.at += 60_000
  const at = clock.at - (random() < 0.15 ? Math.floor(random() * 1e10) : 0)
  const branches = [...project.branches.keys()]
  const any = (): string => pick(random, [...project.history.commits.keys()])
  const branch = pick(random, branches)
  const others = branches.filter((name) => name !== project.defaultBranch)
  const dice = random()
  if (dice < 0.4) project.commit({ branch, at })
  else if (dice < 0.55) project.merge(pick(random, branches), branch, { at })
  else if (dice < 0.65) project.branch(`b${Math.floor(random() * 1e6)}`, any())
  else if (dice < 0.73) project.forcePush(branch, project.commit({ branch: null, parents: [any()], at }))
  else if (dice < 0.77) project.forcePush(branch, any())
  else if (dice < 0.85 && others.length > 0) project.deleteBranch(pick(random, others))
  else if (dice < 0.89) project.tag(`v${Math.floor(random() * 30)}`, any(), { annotated: random() < 0.5 })
  else if (dice < 0.92 && project.tags.size > 0) project.deleteTag(pick(random, [...project.tags.keys()]))
  else if (dice < 0.94)
    project.branch(`o${Math.floor(random() * 1e6)}`, project.commit({ branch: null, parents: [], at }))
  else if (dice < 0.95) project.gc()
  else if (dice < 0.96 && others.length > 0) project.defaultBranch = pick(random, others)
  else project.commit({ branch: project.defaultBranch, at })
}

/** As the engine does it: page by page, again from the last token after a failure or a stop. */
async function sync(
  gitlab: GitLab,
  project: Project,
  stored: Stored,
  random: Random,
  stops: boolean,
): Promise<void> {
  let resume: Resume | null = null
  let last: unknown = 'stopped'
  for (let attempt = 1; attempt <= 20; attempt++) {
    const opened = openedAt(gitlab, project, { pageSize: pick(random, [1, 3, 10, 100]) })
    let pages = 0
    try {
      for await (const page of commitPages(opened, since(stored.heads, { seen: stored.seen }), resume)) {
        if (page.restarted) expect(pages).toBe(0)
        pages += 1
        if (page.landing === undefined && (page.facts.commits ?? []).length > 0) {
          resume = { token: page.token, pinned: page.pinned }
          stored.seen.push(...Object.values(page.pinned))
        }
        stored.take(page)
        if (page.landing !== undefined) return
        if (stops && attempt < 6 && random() < 0.1) break
      }
    } catch (error) {
      if (!(error instanceof SyncError) || error.retry !== 'later') throw error
      last = error.message
    }
  }
  throw new Error(`20 attempts were not enough: ${last}`)
}

test('B34 whatever is pushed, rewritten and deleted at every request, the next quiet sync has it all', async () => {
  const seed = newSeed()
  const random = seeded(seed)
  const gitlab = await gitlabHere()
  const figures = { histories: 0, syncs: 0, commits: 0, requests: 0, dead: 0, marked: 0 }
  for (let history = 0; history < HISTORIES; history++) {
    const unknownRef = pick(random, [404, 404, 'empty', 500] as const)
    const project = gitlab.project({ unknownRef })
    const clock = { at: Date.UTC(2020, 0, 1) }
    project.commit({ at: clock.at })
    const many = history % 10 === 0 ? 130 : 3
    for (let i = 0; i < many; i++) project.branch(`b${Math.floor(random() * 1e6)}`)
    for (let i = 0; i < 20; i++) happen(project, random, clock)

    const stored = new Stored()
    const rate = random() * 0.7
    for (let round = 0; round < 3; round++) {
      for (let i = 0; i < 6; i++) happen(project, random, clock)
      const stop = gitlab.beforeEach(() => {
        while (random() < rate) happen(project, random, clock)
      })
      // A list that never stands still is a failure that is tried again; then it has to stand still at last.
      await sync(gitlab, project, stored, random, true).catch((error: Error) => {
        if (!/20 attempts/.test(error.message)) throw error
      })
      stop()
      await sync(gitlab, project, stored, random, random() < 0.3)

      const truth = gitlab.truth(project)
      expect([...truth.commits.keys()].filter((sha) => !stored.shas.has(sha))).toEqual([])
      expect(stored.heads).toEqual(Object.fromEntries(truth.refs))
      expect([...truth.commits.keys()].filter((sha) => stored.unreachable.has(sha))).toEqual([])
      figures.syncs += 2
      figures.commits += truth.commits.size
      figures.dead += [...stored.shas].filter((sha) => !truth.commits.has(sha)).length
      figures.marked += stored.unreachable.size
    }
    figures.histories += 1
  }
  figures.requests = gitlab.requests.length
  process.stderr.write(`${JSON.stringify(figures)}\n`)
})

test('quiet syncs mark exactly what is left behind, and tell forward from forced', async () => {
  const seed = newSeed()
  const random = seeded(seed)
  const gitlab = await gitlabHere()
  for (let history = 0; history < 40; history++) {
    const project = gitlab.project()
    const clock = { at: Date.UTC(2020, 0, 1) }
    project.commit({ at: clock.at })
    for (let i = 0; i < 20; i++) happen(project, random, clock)
    const stored = new Stored()
    for (let round = 0; round < 8; round++) {
      const before = stored.heads
      await sync(gitlab, project, stored, random, false)
      const truth = gitlab.truth(project)
      const dead = [...stored.shas].filter(
        (sha) => !truth.commits.has(sha) && project.commitOf(sha) !== undefined,
      )
      expect(dead.filter((sha) => !stored.unreachable.has(sha))).toEqual([])
      expect([...stored.unreachable].filter((sha) => truth.commits.has(sha))).toEqual([])
      for (const { name, event, oldSha, newSha } of stored.moves) {
        expect(before[name] ?? null).toBe(oldSha)
        if (oldSha === null || newSha === null) expect(event).toBe(oldSha === null ? 'created' : 'deleted')
        else expect(event).toBe(project.history.reachable([newSha]).has(oldSha) ? 'moved' : 'forced')
      }
      for (let i = 0; i < 1 + random() * 6; i++) happen(project, random, clock)
    }
  }
})

test('what a ref had when it was listed is not marked, although it has left it before GitLab was asked', async () => {
  const gitlab = await gitlabHere()
  const project = gitlab.project()
  const main = project.commit()
  const lowest = project.commit({ branch: null, parents: [main] })
  const lower = project.commit({ branch: null, parents: [lowest] })
  const upper = project.commit({ branch: null, parents: [lower] })
  const known = { 'refs/heads/main': main, 'refs/heads/b': lower, 'refs/heads/c': upper }
  project.branch('b', lower)
  gitlab.beforeEach(({ route }) => {
    if (route === 'refs') project.deleteBranch('b')
  })
  const pages = await readAll(openedAt(gitlab, project), since(known))
  expect(pages.at(-1)?.landing?.heads).toMatchObject({
    moves: [{ name: 'refs/heads/c', event: 'deleted' }],
    unreachable: [upper],
  })
})

test('what an interrupted read stored and a forced push then left behind is marked', async () => {
  const gitlab = await gitlabHere()
  const project = gitlab.project()
  const main = project.commit()
  const lost = project.commit()
  project.forcePush('main', main)
  const known = { 'refs/heads/main': main }
  const pages = await readAll(openedAt(gitlab, project), since(known, { seen: [lost, main] }))
  expect(pages).toMatchObject([{ done: 0, landing: { heads: { moves: [], unreachable: [lost] } } }])
})

test('a refused /refs marks nothing', async () => {
  const gitlab = await gitlabHere()
  const project = gitlab.project()
  const main = project.commit()
  const lost = project.commit()
  project.forcePush('main', main)
  gitlab.fault(({ route }) => (route === 'refs' ? { status: 404 } : null))
  const pages = await readAll(openedAt(gitlab, project), since({ 'refs/heads/main': lost }))
  expect(pages.at(-1)?.landing?.heads).toMatchObject({ moves: [{ event: 'forced' }], unreachable: [] })
})

test('a base that is thrown away while the read is under way makes no branch look known', async () => {
  const gitlab = await gitlabHere()
  const project = gitlab.project({ unknownRef: 'empty' })
  const root = project.commit()
  const main = project.commit()
  const side = project.commit({ branch: 'side', parents: [root] })
  const stop = gitlab.beforeEach(({ route }) => {
    if (route !== 'commits' || project.head() !== main) return
    project.forcePush('main', project.commit({ branch: null, parents: [root] }))
    project.gc()
  })
  const known = { 'refs/heads/main': main }
  await expect(readAll(openedAt(gitlab, project), since(known))).rejects.toMatchObject({ kind: 'upstream' })
  stop()
  const pages = await readAll(openedAt(gitlab, project), since(known))
  expect(pages.flatMap(({ facts }) => facts.commits ?? []).map(({ sha }) => sha)).toContain(side)
})
