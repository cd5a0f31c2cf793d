import { appendFileSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import type { Commit } from '../../../../src/core/domain/facts.ts'
import {
  accessTo,
  commitsOf,
  makeRepo,
  readPages,
  type TestRepo,
  tempFolder,
} from '../../../helpers/git-repo.ts'

/** Two commits whose diff git can show in several ways: a moved block, a rename, a name beyond ASCII, trailing spaces. */
function written(...initArgs: string[]): TestRepo {
  const repo = makeRepo(...initArgs)
  const put = (name: string, text: string): void => writeFileSync(join(repo.dir, name), text)
  const block = (name: string): string => `def ${name}\n  work\n\n  more\nend\n\n`
  put('a.txt', block('one') + block('two') + block('three'))
  put('é.txt', 'x \ny\n\nz\n')
  put('old.txt', 'the same text\n'.repeat(20))
  repo.git('add', '.')
  repo.git('commit', '-q', '-m', 'first')
  put('a.txt', block('three') + block('one') + block('new') + block('two'))
  put('é.txt', 'x\ny\n\n\nz \n')
  repo.git('mv', 'old.txt', 'new.txt')
  repo.git('commit', '-q', '-a', '-m', 'second')
  return repo
}

async function patchesOf(repo: TestRepo, cacheDir = tempFolder()): Promise<Commit[]> {
  return (await readPages(accessTo(repo.dir, { tier: 'patch', cacheDir }))).flatMap(commitsOf)
}

const SETTINGS: [string, ...string[]][] = [
  ['core.bigFileThreshold', '1'],
  ['core.quotePath', 'false'],
  ['core.abbrev', '4'],
  ['core.whitespace', 'trailing-space'],
  ['core.precomposeUnicode', 'true'],
  ['color.ui', 'always'],
  ['color.diff', 'always'],
  ['diff.noprefix', 'true'],
  ['diff.mnemonicPrefix', 'true'],
  ['diff.srcPrefix', 'x/'],
  ['diff.context', '0'],
  ['diff.interHunkContext', '9'],
  ['diff.algorithm', 'patience'],
  ['diff.indentHeuristic', 'false'],
  ['diff.suppressBlankEmpty', 'true'],
  ['diff.wsErrorHighlight', 'all'],
  ['diff.colorMoved', 'zebra'],
  ['diff.renames', 'copies'],
  ['diff.relative', 'true'],
  ['diff.external', 'false'],
  ['diff.submodule', 'log'],
  ['diff.wordRegex', '.'],
  ['diff.orderFile', 'order'],
  ['diff.odd.binary', 'true'],
  ['diff.odd.textconv', 'wc'],
  ['diff.odd.xfuncname', 'work'],
  ['attr.tree', 'HEAD'],
]

test.each(['sha1', 'sha256'])('of no setting of the repository does a diff depend (%s)', async (format) => {
  const repo = written(`--object-format=${format}`)
  const plain = await patchesOf(repo)
  const [first, second] = plain as [Commit, Commit]
  expect(first).toMatchObject({ tier: 'patch', additions: 42, deletions: 0 })
  const shown = repo.git('diff-tree', '-r', '-p', '--full-index', '--no-renames', 'main~1', 'main')
  expect(second.patch?.text.trimEnd()).toBe(shown)

  for (const setting of SETTINGS) repo.git('config', ...setting)
  writeFileSync(join(repo.dir, 'order'), 'new.txt\n')
  expect(await patchesOf(repo)).toEqual(plain)
})

test('nor on attributes that the repository keeps to itself', async () => {
  const repo = written()
  const plain = await patchesOf(repo)
  const attributes = join(repo.dir, '.git/info/attributes')
  mkdirSync(join(repo.dir, '.git/info'), { recursive: true })
  for (const line of ['*.txt -diff\n', '*.txt diff=odd\n', 'a.txt binary\n']) {
    appendFileSync(attributes, line)
    repo.git('config', 'diff.odd.xfuncname', 'work')
    expect(await patchesOf(repo)).toEqual(plain)
  }
})

test('nor on those in its tree, which its own git heeds', async () => {
  const repo = written()
  writeFileSync(join(repo.dir, '.gitattributes'), '*.txt -diff\n')
  repo.git('add', '.gitattributes')
  repo.git('commit', '-q', '-m', 'third')
  writeFileSync(join(repo.dir, 'a.txt'), 'x\n')
  repo.git('commit', '-q', '-a', '-m', 'fourth')
  expect((await patchesOf(repo)).at(-1)).toMatchObject({ tier: 'patch', additions: 1, deletions: 24 })
})

test('what it borrows from another repository is found, and nothing is written into it', async () => {
  const lender = written()
  const folder = tempFolder()
  lender.git('clone', '-q', '--shared', lender.dir, join(folder, 'x'))
  lender.git('worktree', 'add', '-q', '--detach', join(folder, 'tree'))
  const cacheDir = tempFolder()
  const plain = await patchesOf(lender, cacheDir)
  const before = readdirSync(join(lender.dir, '.git'), { recursive: true }).sort()
  for (const name of ['x', 'tree'])
    expect(
      (await readPages(accessTo(join(folder, name), { tier: 'patch', cacheDir }))).flatMap(commitsOf),
    ).toEqual(plain)
  expect(readdirSync(join(lender.dir, '.git'), { recursive: true }).sort()).toEqual(before)
  expect(readdirSync(cacheDir)).toEqual(['empty-sha1.git'])
})
