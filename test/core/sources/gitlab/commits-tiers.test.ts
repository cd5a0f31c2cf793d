import { expect, test } from 'vitest'
import type { Commit, Tier } from '../../../../src/core/domain/facts.ts'
import {
  accessTo,
  commitsOf,
  importHistory,
  makeRepo,
  newSeed,
  readPages,
} from '../../../helpers/git-repo.ts'
import type { Fault } from '../../../helpers/gitlab/faults.ts'
import type { GitLabRequest } from '../../../helpers/gitlab/request.ts'
import { asking, failure, LIMITS } from './asking.ts'
import { gitlabHere, openedAt, readAll } from './commit-room.ts'

const commitsBySha = (pages: Awaited<ReturnType<typeof readAll>>): Map<string, Commit> =>
  new Map(pages.flatMap(commitsOf).map((commit) => [commit.sha, commit]))

/** GitLab finds renames, and git as it is asked does not: those lines cannot be the same. */
const hasRename = (commit: Commit): boolean =>
  (commit.paths ?? []).some(({ action, additions }) => action === 'D' && additions === null)

test.each(['paths', 'numstat', 'patch'] as const)(
  'tier %s holds what git has, where GitLab tells',
  async (tier: Tier) => {
    const repo = makeRepo()
    importHistory(repo, newSeed(), 60)
    const gitlab = await gitlabHere()
    const project = gitlab.project()
    project.importGit(repo.dir)
    const rest = commitsBySha(await readAll(openedAt(gitlab, project, { tier })))
    const git = commitsBySha(await readPages(accessTo(repo.dir, { tier })))
    expect(rest.size).toBe(git.size)
    let compared = 0
    for (const [sha, commit] of rest) {
      const truth = git.get(sha) as Commit
      expect(commit.degraded).toBeNull()
      expect(commit.tier).toBe(tier)
      if (commit.parents.length > 1) {
        expect(commit).toEqual(truth)
        continue
      }
      if (tier === 'numstat') {
        if (truth.additions === commit.additions) compared += 1
        expect(commit.paths).toBeNull()
        continue
      }
      expect(commit.pathCount).toBe(truth.pathCount)
      const sorted = (paths: Commit['paths']) => [...(paths ?? [])].sort((a, b) => (a.path < b.path ? -1 : 1))
      if (hasRename(commit)) continue
      expect(sorted(commit.paths)).toEqual(sorted(truth.paths))
      if (tier === 'patch') {
        expect(commit.additions).toBe(truth.additions)
        for (const line of (commit.patch?.text ?? '').split('\n').filter((line) => /^[+-]{3} /.test(line)))
          if (!line.endsWith('/dev/null')) expect(line).toMatch(/^(--- a|\+\+\+ b)\//)
      }
      compared += 1
    }
    expect(compared).toBeGreaterThan(25)
  },
)

async function small() {
  const gitlab = await gitlabHere()
  const project = gitlab.project()
  const file = (n: number) => ({
    path: `f${n}`,
    additions: 1,
    deletions: 0,
    diff: '@@ -0,0 +1 @@\n+x\n',
    status: 'added' as const,
  })
  for (let i = 0; i < 12; i++) project.commit({ at: 1e12 + i * 1000, files: [file(i)] })
  return { gitlab, project }
}

const isStats = ({ route, query }: GitLabRequest): boolean =>
  route === 'commits' && query.get('with_stats') === 'true'

test('a page whose statistics the server cannot make is read without them, and soon they are not asked for', async () => {
  const { gitlab, project } = await small()
  gitlab.fault((request) => (isStats(request) ? { status: 502 } : null))
  const read = commitsBySha(await readAll(openedAt(gitlab, project, { tier: 'numstat', pageSize: 5 })))
  expect(read.size).toBe(12)
  for (const commit of read.values())
    expect(commit).toMatchObject({ tier: 'none', degraded: 'stats:server_error', additions: null })
})

test.each<[string, Fault, string]>([
  ['is not found', { status: 404 }, 'not_found'],
  ['fails', { status: 500 }, 'server_error'],
  ['is too large', { hugeBytes: 9_000_000 }, 'too_large'],
  ['never ends', { hang: true }, 'timeout'],
  ['is no JSON', { html: true }, 'server_error'],
  ['repeats its pages', { samePage: true }, 'server_error'],
])('one commit whose diff %s keeps its sums', async (_, fault, reason) => {
  const { gitlab, project } = await small()
  const sick = [...project.history.commits.keys()][5] as string
  gitlab.fault(({ route, of }) => (route === 'diff' && of === sick ? fault : null))
  const client = asking(gitlab.url, { limits: { ...LIMITS, timeoutMs: 300 } })
  const read = commitsBySha(await readAll(openedAt(gitlab, project, { tier: 'patch' }, client)))
  expect(read.get(sick)).toMatchObject({
    tier: 'numstat',
    degraded: `diff:${reason}`,
    paths: null,
    patch: { format: 'ministat', text: ' 1 insertions(+), 0 deletions(-)\n' },
  })
  const well = [...read.values()].filter(({ tier }) => tier === 'patch')
  expect(well).toHaveLength(11)
  expect(well[0]?.patch?.text).toMatch(/^--- .*\n\+\+\+ .*\n@@ -0,0 \+1 @@\n\+x\n$/)
})

test('when every diff fails, few are asked for', async () => {
  const gitlab = await gitlabHere()
  const project = gitlab.project()
  for (let i = 0; i < 200; i++) project.commit({ at: i * 1000 })
  gitlab.fault(({ route }) => (route === 'diff' ? { status: 503 } : null))
  const read = commitsBySha(await readAll(openedAt(gitlab, project, { tier: 'patch' })))
  expect([...read.values()].every(({ degraded }) => degraded === 'diff:server_error')).toBe(true)
  expect(gitlab.requests.filter(({ route }) => route === 'diff').length).toBeLessThan(40)
})

test.each([
  [429, 'rate_limited'],
  [401, 'auth'],
  [403, 'permission'],
] as const)('%i on a diff ends the read', async (status, kind) => {
  const { gitlab, project } = await small()
  gitlab.fault(({ route }) => (route === 'diff' ? { status } : null))
  await expect(failure(readAll(openedAt(gitlab, project, { tier: 'patch' })))).resolves.toMatchObject({
    kind,
  })
})

test('a diff shown in part, or too big to keep, becomes a diffstat; one of many files is read whole', async () => {
  const gitlab = await gitlabHere()
  const project = gitlab.project()
  const file = (path: string, diff = '@@ -0,0 +1 @@\n+x\n') => ({
    path,
    additions: 1,
    deletions: 0,
    diff,
    status: 'added' as const,
  })
  const wide = project.commit({ files: Array.from({ length: 250 }, (_, i) => file(`d/${i}`)) })
  const big = project.commit({ files: [file('big', `@@ -0,0 +1 @@\n+${'x'.repeat(1_100_000)}\n`)] })
  const part = project.commit({ files: [file('a'), file('collapsed')] })
  gitlab.fault(({ route, of }) =>
    route === 'diff' && of === part
      ? {
          json: [
            { new_path: 'a', old_path: 'a', diff: '@@ -0,0 +1 @@\n+x\n', new_file: true },
            { new_path: 'c', old_path: 'c', diff: '', collapsed: true, too_large: false },
          ],
        }
      : null,
  )
  const read = commitsBySha(await readAll(openedAt(gitlab, project, { tier: 'patch' })))
  expect(read.get(wide)).toMatchObject({ tier: 'patch', pathCount: 250, additions: 250, degraded: null })
  expect(read.get(wide)?.paths).toHaveLength(250)
  expect(read.get(big)).toMatchObject({
    tier: 'numstat',
    patch: { format: 'diffstat', text: ' big | +1 -0\n 1 files changed, 1 insertions(+), 0 deletions(-)\n' },
  })
  expect(read.get(big)?.degraded).toMatch(/^diff_size:11000\d\d$/)
  expect(read.get(part)).toMatchObject({
    tier: 'numstat',
    degraded: 'diff:collapsed',
    additions: 2,
    patch: { format: 'diffstat' },
  })
})
