import { createHash } from 'node:crypto'
import { chmodSync, existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { headsOfRemote } from '../../../../src/core/sources/git/list-remote.ts'
import { parseRefLines } from '../../../../src/core/sources/git/refs.ts'
import {
  accessTo,
  EVERYTHING,
  makeRepo,
  readPages,
  repoAt,
  shasOf,
  source,
  sourceWith,
  tempFolder,
} from '../../../helpers/git-repo.ts'

test('annotated tags are peeled, however deep; tags of trees and blobs lead nowhere', async () => {
  const repo = makeRepo()
  const sha = repo.commit('x')
  const hidden = repo.git('commit-tree', '-m', 'only under a tag', repo.git('mktree'))
  repo.git('tag', '-a', '-m', 'm', 'one', hidden)
  repo.git('tag', '-a', '-m', 'm', 'two', 'one')
  repo.git('tag', 'tree', `${sha}^{tree}`)
  repo.git('tag', '-a', '-m', 'm', 'blob', repo.feed('b', 'hash-object', '-w', '--stdin'))
  const pages = await readPages(accessTo(repo.dir))
  expect(shasOf(pages).sort()).toEqual([sha, hidden].sort())
  expect(pages[0]?.landing?.heads?.refs).toEqual([
    { name: 'refs/heads/main', kind: 'branch', sha },
    { name: 'refs/tags/one', kind: 'tag', sha: hidden },
    { name: 'refs/tags/two', kind: 'tag', sha: hidden },
  ])
})

test('all that rev-list --all counts is read: remotes, stash, notes, detached HEADs of every work tree', async () => {
  const repo = makeRepo()
  const base = repo.commit('base')
  repo.git('update-ref', 'refs/remotes/origin/x', repo.git('commit-tree', '-m', 'remote', `${base}^{tree}`))
  repo.git('update-ref', 'refs/stash', repo.git('commit-tree', '-m', 'stash', `${base}^{tree}`))
  repo.git('notes', 'add', '-m', 'note', base)
  const linked = join(tempFolder(), 'linked')
  repo.git('worktree', 'add', '-q', '--detach', linked, base)
  const inside = repoAt(linked, null)
  inside.git('commit', '-q', '--allow-empty', '-m', 'on the HEAD of a linked work tree')
  repo.git('checkout', '-q', '--detach')
  repo.git('commit', '-q', '--allow-empty', '-m', 'on a detached HEAD')

  for (const dir of [repo.dir, linked, join(repo.dir, '.git')]) {
    const pages = await readPages(accessTo(dir))
    expect([dir, shasOf(pages).sort()]).toEqual([dir, repoAt(dir, null).all()])
    expect(pages[0]?.landing?.heads?.refs.filter((ref) => ref.kind === 'other')).toHaveLength(5)
  }
})

test('a push between the listing of the refs and the look at HEAD makes no ref of its own', async () => {
  const repo = makeRepo()
  const base = repo.commit('base')
  const bin = tempFolder()
  const real = repo.git('--exec-path')
  const pushed = join(bin, 'pushed')
  // Right after the refs were listed, the branch moves on.
  writeFileSync(
    join(bin, 'git'),
    `#!/bin/sh
case "$1" in for-each-ref)
  '${real}/git' "$@"; code=$?
  '${real}/git' -C '${repo.dir}' update-ref refs/heads/main \
    "$('${real}/git' -C '${repo.dir}' -c user.name=c -c user.email=c commit-tree -m pushed -p ${base} ${base}^{tree})"
  echo done > '${pushed}'; exit $code;;
esac
exec '${real}/git' "$@"
`,
  )
  chmodSync(join(bin, 'git'), 0o755)
  const pages = await readPages(
    accessTo(repo.dir),
    EVERYTHING,
    null,
    sourceWith({}, `${bin}:${process.env.PATH}`),
  )
  expect(existsSync(pushed)).toBe(true)
  expect(repo.git('rev-parse', 'main')).not.toBe(base)
  expect(pages[0]?.landing?.heads?.refs).toEqual([{ name: 'refs/heads/main', kind: 'branch', sha: base }])
})

test('names of refs that are no UTF-8 stay apart', async () => {
  const repo = makeRepo()
  const sha = repo.commit('x')
  writeFileSync(
    join(repo.dir, '.git/packed-refs'),
    Buffer.from(`${sha} refs/heads/a\xff\n${sha} refs/heads/a\xfe\n${sha} refs/heads/\xc3\xa9\n`, 'latin1'),
  )
  const names = Object.keys((await readPages(accessTo(repo.dir)))[0]?.pinned ?? {})
  expect(names).toHaveLength(4)
  expect(names).toContain('refs/heads/é')
  expect(names.filter((name) => /^refs\/heads\/a\uFFFD~[0-9a-f]{8}$/.test(name))).toHaveLength(2)
})

test('names of refs too long for an index are cut the same way wherever they are read', async () => {
  const repo = makeRepo()
  const sha = repo.commit('x')
  repo.git('tag', '-a', '-m', 'm', 'short')
  const tag = repo.git('rev-parse', 'refs/tags/short')
  const long = (start: string, part: string, times: number, end = '') =>
    `${start}${Array(times).fill(part.repeat(40)).join('/')}${end}`
  const names = [
    long('refs/heads/', 'a', 60, '1'),
    long('refs/heads/', 'a', 60, '2'),
    long('refs/heads/', 'é', 40),
    `refs/heads/${'b'.repeat(989)}`,
    `refs/heads/${'b'.repeat(990)}`,
  ]
  const tagged = long('refs/tags/', 'v', 70)
  const packed = names.map((name) => `${sha} ${name}\n`).join('')
  writeFileSync(join(repo.dir, '.git/packed-refs'), `${packed}${tag} ${tagged}\n`)
  const wanted = [...names, tagged].map((name) => {
    const bytes = Buffer.from(name)
    if (bytes.length <= 1000) return name
    const kept = bytes
      .subarray(0, 991)
      .toString()
      .replace(/\uFFFD$/, '')
    return `${kept}~${createHash('sha256').update(bytes).digest('hex').slice(0, 8)}`
  })
  expect(new Set(wanted).size).toBe(6)

  const [page] = await readPages(accessTo(repo.dir))
  const heads = Object.fromEntries(
    ['refs/heads/main', 'refs/tags/short', ...wanted].map((name) => [name, sha]),
  )
  expect(page?.pinned).toEqual(heads)
  expect(page?.landing?.heads?.refs.map(({ name }) => name).sort()).toEqual(Object.keys(heads).sort())
  expect(page?.landing?.heads?.refs.every(({ name }) => Buffer.byteLength(name) <= 1000)).toBe(true)
  expect(page?.landing?.heads?.refs.find(({ name }) => name === wanted[5])?.kind).toBe('tag')
  const ask = { window: 'heads' as const, known: heads, refetch: null }
  expect((await readPages(accessTo(repo.dir), ask))[0]).toMatchObject({
    facts: { commits: [] },
    landing: { heads: { moves: [] } },
  })
  expect(await source.survey(accessTo(repo.dir), [ask])).toEqual([
    { items: 0, refs: { total: 8, moved: 0 }, note: null },
  ])

  // a server tells both ids of a tag
  const remote = { refs: parseRefLines(Buffer.from(`${tag}\t${tagged}\n${sha}\t${tagged}^{}\n`), '\t') }
  expect(headsOfRemote(remote)).toEqual({ [wanted[5] as string]: sha })
})

test('bare repositories, files named .git and alternates are read in place', async () => {
  const repo = makeRepo()
  repo.commit('one')
  repo.commit('two')
  const folder = tempFolder()
  repo.git('clone', '-q', '--bare', repo.dir, join(folder, 'bare.git'))
  repo.git('clone', '-q', '--shared', repo.dir, join(folder, 'shared'))
  repo.git('clone', '-q', '--separate-git-dir', join(folder, 'elsewhere'), repo.dir, join(folder, 'work'))
  for (const name of ['bare.git', 'shared', 'work', 'elsewhere'])
    expect(shasOf(await readPages(accessTo(join(folder, name), { tier: 'numstat' }))).sort()).toEqual(
      repo.all(),
    )
})

test('what cannot be read is said in one line, with the right kind', async () => {
  const repo = makeRepo()
  const sha = repo.commit('one')
  repo.commit('two')
  const folder = tempFolder()
  repo.git('clone', '-q', '--depth=1', `file://${repo.dir}`, join(folder, 'shallow'))
  await expect(readPages(accessTo(join(folder, 'shallow')))).rejects.toMatchObject({
    kind: 'unsupported',
    hint: expect.stringContaining('fetch --unshallow'),
  })
  await expect(readPages(accessTo(folder))).rejects.toMatchObject({ kind: 'not_found' })
  writeFileSync(join(repo.dir, 'file'), '')
  await expect(readPages(accessTo(join(repo.dir, 'file')))).rejects.toMatchObject({ kind: 'not_found' })
  await expect(readPages(accessTo(join(repo.dir, '.git/refs')))).rejects.toMatchObject({
    kind: 'not_found',
    hint: expect.stringContaining(repo.dir),
  })
  await expect(readPages({ ...accessTo(folder), locator: '/no/such' })).rejects.toMatchObject({
    kind: 'not_found',
  })
  await expect(
    readPages(accessTo(repo.dir), EVERYTHING, null, sourceWith({}, '/nonexistent')),
  ).rejects.toMatchObject({
    kind: 'config',
    hint: expect.stringContaining('2.37'),
  })
  if (process.getuid?.() !== 0) {
    chmodSync(join(repo.dir, '.git'), 0)
    await expect(readPages(accessTo(repo.dir))).rejects.toMatchObject({ kind: 'permission' })
    chmodSync(join(repo.dir, '.git'), 0o755)
  }

  const loose = (id: string) => join(repo.dir, '.git/objects', id.slice(0, 2), id.slice(2))
  repo.git('update-ref', 'refs/heads/other', sha)
  chmodSync(loose(sha), 0o644)
  writeFileSync(loose(sha), 'not zlib')
  await expect(readPages(accessTo(repo.dir))).rejects.toMatchObject({ kind: 'upstream' })
  writeFileSync(join(repo.dir, '.git/refs/heads/broken'), '')
  await expect(readPages(accessTo(repo.dir))).rejects.toMatchObject({
    kind: 'upstream',
    message: expect.stringContaining('broken'),
  })
})

test('a survey counts without reading and leaves no trace', async () => {
  const repo = makeRepo()
  const one = repo.commit('one', { date: 1000 })
  repo.commit('two', { date: 2000 })
  const access = accessTo(repo.dir)
  const known = { 'refs/heads/main': one }
  expect(
    await source.survey(access, [
      EVERYTHING,
      { window: 'heads', known, refetch: null },
      { window: 'heads', known, refetch: new Date(500_000) },
      { window: 'time', of: 'commits', since: new Date(0), until: new Date(2_000_000) },
    ]),
  ).toEqual([
    { items: 2, refs: { total: 1, moved: 1 }, note: null },
    { items: 1, refs: { total: 1, moved: 1 }, note: null },
    { items: 2, refs: { total: 1, moved: 1 }, note: null },
    { items: 1, refs: { total: 1, moved: 0 }, note: null },
  ])
})

test('a repository emptied on purpose is forgotten ref by ref once its cursor was deleted, and not before', async () => {
  const repo = makeRepo()
  const sha = repo.commit('x')
  repo.git('update-ref', '-d', 'refs/heads/main')
  const known = { 'refs/heads/main': sha }

  await expect(
    readPages(accessTo(repo.dir), { window: 'heads', known, refetch: null }),
  ).rejects.toMatchObject({ kind: 'anomaly' })
  const [page] = await readPages(accessTo(repo.dir), { window: 'heads', known, refetch: 'beginning' })
  expect(page?.landing?.heads).toEqual({
    refs: [],
    moves: [{ name: 'refs/heads/main', event: 'deleted', oldSha: sha, newSha: null }],
    unreachable: 'all',
  })
})
