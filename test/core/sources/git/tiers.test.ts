import { createHash } from 'node:crypto'
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import type { Commit, Tier } from '../../../../src/core/domain/facts.ts'
import {
  accessTo,
  commitsOf,
  EVERYTHING,
  importHistory,
  makeRepo,
  newSeed,
  readPages,
  shasOf,
  type TestRepo,
} from '../../../helpers/git-repo.ts'

async function commitsAt(repo: TestRepo, tier: Tier, pageSize = 1000): Promise<Commit[]> {
  const pages = await readPages(accessTo(repo.dir, { tier, pageSize }))
  return pages.flatMap((page) => commitsOf(page))
}

/** A fast-import stream with one commit a call. */
function importer() {
  const parts: Buffer[] = []
  return {
    commit(...changes: (string | Buffer)[]) {
      parts.push(Buffer.from('commit refs/heads/main\ncommitter C <c@x> 1700000000 +0000\ndata 1\nx\n'))
      for (const change of changes) parts.push(Buffer.from(change), Buffer.from('\n'))
    },
    into: (repo: TestRepo) => repo.feed(Buffer.concat(parts), 'fast-import', '--quiet'),
  }
}

function file(path: string | Buffer, content: string | Buffer, mode = '100644'): Buffer {
  const bytes = Buffer.from(content)
  return Buffer.concat([
    Buffer.from(`M ${mode} inline `),
    Buffer.from(path),
    Buffer.from(`\ndata ${bytes.length}\n`),
    bytes,
  ])
}

test('each tier holds what git itself shows, whatever the page size', async () => {
  const repo = makeRepo()
  importHistory(repo, newSeed(), 120)
  for (const pageSize of [1, 13, 1000]) {
    const [none, paths, numstat, patch] = (await Promise.all(
      (['none', 'paths', 'numstat', 'patch'] as const).map((tier) => commitsAt(repo, tier, pageSize)),
    )) as [Commit[], Commit[], Commit[], Commit[]]
    for (const [i, commit] of none.entries()) {
      expect(commit).toMatchObject({ tier: 'none', paths: null, additions: null, patch: null })
      const { message, parents } = commit
      for (const richer of [paths[i], numstat[i], patch[i]])
        expect(richer).toMatchObject({ sha: commit.sha, message, parents })
      expect([paths[i]?.tier, numstat[i]?.tier, patch[i]?.tier]).toEqual(['paths', 'numstat', 'patch'])
      if (parents.length > 1)
        expect(patch[i]).toMatchObject({ paths: null, pathCount: null, additions: null, patch: null })
    }
    if (pageSize > 1) continue
    for (const commit of patch.filter(({ parents }) => parents.length < 2)) {
      const show = (...args: string[]) =>
        repo.git('diff-tree', '--root', '-r', '--no-commit-id', '--no-renames', ...args, commit.sha)
      const lines = show('--numstat')
        .split('\n')
        .filter(Boolean)
        .map((line) => line.split('\t'))
      expect(
        commit.paths?.map(({ path, additions, deletions }) => [`${additions}`, `${deletions}`, path]),
      ).toEqual(lines)
      expect(commit.patch?.text.trimEnd()).toBe(show('-p', '--full-index'))
      expect(commit.patch).toMatchObject({
        format: 'diff',
        sizeBytes: Buffer.byteLength(commit.patch?.text ?? ''),
        sha256: createHash('sha256')
          .update(commit.patch?.text ?? '')
          .digest('hex'),
      })
    }
  }
})

test('paths of any bytes and changes of every kind are told apart', async () => {
  const repo = makeRepo()
  const stream = importer()
  const odd = ['new\\nline', 'quo\\"te', 'ta\\tb', ' lead', '=', ':100644 100644', 'dir/é']
  stream.commit(
    ...odd.map((path) => file(`"${path}"`, 'a\n')),
    file(Buffer.from('"\xff\xfe"', 'latin1'), 'a\n'),
  )
  stream.commit(
    file('bin', Buffer.from([0, 1, 2])),
    file('mode', 'x\n'),
    file('kind', 'target'),
    file('e', ''),
  )
  stream.commit(
    file('mode', 'x\n', '100755'),
    file('kind', 'target', '120000'),
    `M 160000 ${'1'.repeat(40)} sub`,
    'D bin',
  )
  stream.commit()
  stream.into(repo)
  const [first, second, third, empty] = (await commitsAt(repo, 'patch')) as [Commit, Commit, Commit, Commit]

  expect(first.paths?.map(({ path }) => path).sort()).toEqual(
    ['new\nline', 'quo"te', 'ta\tb', ' lead', '=', ':100644 100644', 'dir/é', '\uFFFD\uFFFD'].sort(),
  )
  expect(first).toMatchObject({ pathCount: 8, additions: 8, deletions: 0, sanitized: ['paths'] })
  expect(second.paths).toEqual([
    { path: 'bin', action: 'A', additions: null, deletions: null },
    { path: 'e', action: 'A', additions: 0, deletions: 0 },
    { path: 'kind', action: 'A', additions: 1, deletions: 0 },
    { path: 'mode', action: 'A', additions: 1, deletions: 0 },
  ])
  expect(third.paths?.map(({ path, action }) => `${action} ${path}`)).toEqual([
    'D bin',
    'T kind',
    'M mode',
    'A sub',
  ])
  expect(third.paths?.[2]).toMatchObject({ additions: 0, deletions: 0 })
  expect(empty).toMatchObject({
    tier: 'patch',
    paths: [],
    pathCount: 0,
    additions: 0,
    patch: { text: '', sizeBytes: 0 },
  })
})

test('text that looks like our framing does not break it, and bytes that are no text are replaced', async () => {
  const repo = makeRepo()
  const stream = importer()
  stream.commit(file('a', `=\n=\n${'0'.repeat(40)}\n:100644\n`))
  stream.commit(file('b', Buffer.from('gr\xfcn\n', 'latin1')))
  stream.commit(file('c', 'end'))
  stream.into(repo)
  const commits = await commitsAt(repo, 'patch')
  expect(commits.map(({ patch }) => patch?.text.split('\n').length)).toEqual([11, 8, 9])
  expect(commits[0]?.patch?.text).toContain('\n+=\n+=\n')
  expect(commits[1]).toMatchObject({ sanitized: ['patch'] })
  expect(commits[1]?.patch?.text).toContain('+gr\uFFFDn')
})

test('a diff of more than a mebibyte is kept as its diffstat', async () => {
  const repo = makeRepo()
  const stream = importer()
  stream.commit(file('small', 'x\n'))
  stream.commit(file('big', 'some line of text\n'.repeat(100_000)), file('bin', Buffer.from([0])))
  stream.commit(file('small', 'y\n'))
  stream.into(repo)
  const [before, big, after] = (await commitsAt(repo, 'patch')) as [Commit, Commit, Commit]
  expect(big).toMatchObject({
    tier: 'numstat',
    degraded: expect.stringMatching(/^diff_size:19\d{5}$/),
    additions: 100_000,
    patch: {
      format: 'diffstat',
      text: ' big | +100000 -0\n bin | Bin\n 2 files changed, 100000 insertions(+), 0 deletions(-)\n',
    },
  })
  for (const commit of [before, after]) expect(commit).toMatchObject({ tier: 'patch', degraded: null })
})

test('of more than ten thousand paths the number is true and the list is cut', async () => {
  const repo = makeRepo()
  const stream = importer()
  stream.commit(...Array.from({ length: 10_050 }, (_, i) => file(`a/long/folder/name/${i}`, 'x\n')))
  stream.commit(file('after', 'x\n'))
  stream.into(repo)
  const [many, after] = (await commitsAt(repo, 'numstat')) as [Commit, Commit]
  expect(many.paths).toHaveLength(10_000)
  expect(many).toMatchObject({ pathCount: 10_050, additions: 10_050, tier: 'numstat' })
  expect(many.paths?.at(-1)?.additions).toBe(1)
  expect(after.paths).toHaveLength(1)
})

test('of paths that no work tree can hold the number is true and the text is cut', async () => {
  const repo = makeRepo()
  const blob = repo.feed('x\n', 'hash-object', '-w', '--stdin')
  const commitOf = (...names: (string | Buffer)[]) => {
    const entries = names.map((name) =>
      Buffer.concat([Buffer.from(`100644 blob ${blob}\t`), Buffer.from(name), Buffer.from([0])]),
    )
    const tree = repo.feed(Buffer.concat(entries), 'mktree', '-z')
    const parent = repo.all('--branches').length === 0 ? [] : ['-p', 'main']
    repo.git('update-ref', 'refs/heads/main', repo.git('commit-tree', '-m', 'x', ...parent, tree))
  }
  const cut = (name: string | Buffer, kept: string) =>
    `${kept}…~${createHash('sha256').update(name).digest('hex').slice(0, 8)}`

  const huge = Array.from({ length: 20 }, (_, i) => `${i + 10}${'h'.repeat(900_000)}`)
  const long = Array.from({ length: 1100 }, (_, i) => `${i + 1000}${'l'.repeat(4092)}`)
  // one at the limit, two with a character across the cut, one that grows beyond the limit when it is cleaned
  const edge: [name: string | Buffer, kept: string][] = [
    ['e'.repeat(4096), ''],
    ['f'.repeat(4097), 'f'.repeat(4084)],
    [`gg${'€'.repeat(2000)}`, `gg${'€'.repeat(1360)}`],
    [`g${'é'.repeat(2048)}`, `g${'é'.repeat(2041)}`],
    [Buffer.from(`h${'\xff'.repeat(3000)}`, 'latin1'), `h${'\uFFFD'.repeat(1361)}`],
  ]
  commitOf(...huge)
  commitOf(...edge.map(([name]) => name))
  commitOf('a')
  commitOf(...long)
  commitOf(...long, 'a')

  for (const pageSize of [1, 1000])
    for (const tier of ['paths', 'numstat', 'patch'] as const) {
      const commits = await commitsAt(repo, tier, pageSize)
      const [first, second, third, fourth, last] = commits as [Commit, Commit, Commit, Commit, Commit]
      const lines = tier === 'paths' ? {} : { additions: 1, deletions: 0 }
      expect(first.paths).toEqual(
        huge.map((name) => ({ path: cut(name, name.slice(0, 4084)), action: 'A', ...lines })),
      )
      expect(first).toMatchObject({ pathCount: 20, sanitized: ['paths'] })
      expect(second.paths?.filter(({ action }) => action === 'A').map(({ path }) => path)).toEqual(
        edge.map(([name, kept]) => (kept === '' ? name : cut(name, kept))),
      )
      expect(third).toMatchObject({ pathCount: 6, degraded: null, sanitized: ['paths'] })

      expect(fourth).toMatchObject({ pathCount: 1101, sanitized: [] })
      expect(fourth.paths).toEqual(long.slice(0, 1024).map((path) => ({ path, action: 'A', ...lines })))
      if (tier !== 'paths') expect(fourth).toMatchObject({ additions: 1100, deletions: 1 })
      expect(fourth.degraded).toMatch(
        tier === 'patch' ? /^paths_size:4505601,diff_size:\d+$/ : /^paths_size:4505601$/,
      )
      if (tier === 'patch') expect(fourth).toMatchObject({ tier: 'numstat', patch: { format: 'ministat' } })
      expect(last).toMatchObject({ tier, pathCount: 1, degraded: null })
    }
})

test('where blobs or trees are missing each commit is read as far as it goes, and the read goes on', async () => {
  const repo = makeRepo()
  const stream = importer()
  for (let i = 0; i < 12; i++) stream.commit(file(`f${i % 3}`, `content ${i}\n`))
  stream.into(repo)
  const loose = (id: string) => join(repo.dir, '.git/objects', id.slice(0, 2), id.slice(2))
  const shas = repo.git('rev-list', '--reverse', 'main').split('\n')
  const blobOf = (i: number) => repo.git('rev-parse', `${shas[i]}:f${i % 3}`)
  rmSync(loose(blobOf(4)))
  let commits = await commitsAt(repo, 'patch')
  const degraded = () =>
    commits
      .map(({ tier, degraded }, i) => (degraded === null ? '' : `${i} ${tier} ${degraded}`))
      .filter(Boolean)
  // blob 4 is new in commit 4 and old in commit 7
  expect(degraded()).toEqual(['4 paths missing_objects', '7 paths missing_objects'])
  expect(commits[5]).toMatchObject({ tier: 'patch', additions: 1, deletions: 1 })
  expect(commits[4]).toMatchObject({ pathCount: 1, additions: null, patch: null })

  for (const i of [0, 1, 2, 3, 5, 6, 7, 8, 9, 10, 11]) rmSync(loose(blobOf(i)))
  for (const pageSize of [1, 1000]) {
    const pages = await readPages(accessTo(repo.dir, { tier: 'numstat', pageSize }), EVERYTHING)
    commits = pages.flatMap((page) => commitsOf(page))
    expect(shasOf(pages)).toEqual(shas)
    expect(degraded()).toHaveLength(12)
    expect(commits.every(({ tier, pathCount }) => tier === 'paths' && pathCount === 1)).toBe(true)
  }

  rmSync(loose(repo.git('rev-parse', `${shas[5]}^{tree}`)))
  commits = await commitsAt(repo, 'paths')
  expect(degraded()).toEqual(['5 none missing_objects', '6 none missing_objects'])
})
