import { execFileSync } from 'node:child_process'
import { expect, test } from 'vitest'
import type { Commit } from '../../../../src/core/domain/facts.ts'
import { parseCommit } from '../../../../src/core/sources/git/commit.ts'
import { accessTo, commitsOf, makeRepo, readPages, shasOf } from '../../../helpers/git-repo.ts'

const TREE = '4b825dc642cb6eb9a060e54bf8d69288fbee4904'
const WHO = 'A <a@x> 1700000000 +0000'

function bytesOf(o: {
  author?: Buffer | string
  committer?: Buffer | string
  headers?: string
  message?: Buffer | string
}) {
  return Buffer.concat([
    Buffer.from(`tree ${TREE}\nauthor `),
    Buffer.from(o.author ?? WHO),
    Buffer.from('\ncommitter '),
    Buffer.from(o.committer ?? WHO),
    Buffer.from(`\n${o.headers ?? ''}\n`),
    Buffer.from(o.message ?? 'm\n'),
  ])
}

function parse(o: Parameters<typeof bytesOf>[0]): Commit {
  return parseCommit('0'.repeat(40), bytesOf(o))
}

test('an author line is read whatever was left out, swapped or overdone', () => {
  const table: [line: string, name: string, email: string, seconds: number | null, minutes: number][] = [
    ['A U Thor <a@x> 1700000000 +0200', 'A U Thor', 'a@x', 1_700_000_000, 120],
    [' <a@x> 1 +0000', '', 'a@x', 1, 0],
    ['A <> 1 +0000', 'A', '', 1, 0],
    ['<> 1 +0000', '', '', 1, 0],
    ['', '', '', null, 0],
    ['A', 'A', '', null, 0],
    ['A 1700000000 +0000', 'A', '', 1_700_000_000, 0],
    ['A <a@x>', 'A', 'a@x', null, 0],
    ['A <a@x> +0100', 'A', 'a@x', null, 0],
    ['A <a@x> 1700000000', 'A', 'a@x', 1_700_000_000, 0],
    ['a@x <A U Thor> 1 +0000', 'a@x', 'A U Thor', 1, 0],
    ['A <a <b@x> c> 1 +0000', 'A', 'a <b@x> c', 1, 0],
    ['A <a@x 1 +0000', 'A', 'a@x', 1, 0],
    ['A a@x> 1 +0000', 'A a@x>', '', 1, 0],
    ['A <a@x> 0 +0000', 'A', 'a@x', 0, 0],
    ['A <a@x> -1 +0000', 'A', 'a@x', -1, 0],
    ['A <a@x> 4294967295 +0000', 'A', 'a@x', 4_294_967_295, 0], // 2106
    ['A <a@x> 9223372036854775808 +0000', 'A', 'a@x', null, 0],
    ['A <a@x> 8640000000001 +0000', 'A', 'a@x', null, 0],
    ['A <a@x> 1e9 +0000', 'A', 'a@x', null, 0],
    ['A <a@x> yesterday +0000', 'A', 'a@x', null, 0],
    ['A <a@x> 1 +1345', 'A', 'a@x', 1, 825],
    ['A <a@x> 1 -0330', 'A', 'a@x', 1, -210],
    ['A <a@x> 1 +051800', 'A', 'a@x', 1, 318],
    ['A <a@x> 1 -0000', 'A', 'a@x', 1, 0],
    ['A <a@x> 1 UTC', 'A', 'a@x', 1, 0],
    [`A <${'<'.repeat(100_000)}> 1 +0000`, 'A', '<'.repeat(100_000), 1, 0],
  ]
  for (const [line, name, email, epochSeconds, offsetMinutes] of table) {
    const started = performance.now()
    const { author, sanitized } = parse({ author: line })
    expect(author).toEqual({ name, email, epochSeconds, offsetMinutes })
    expect(Object.is(author.offsetMinutes, -0)).toBe(false)
    expect(sanitized).toEqual(epochSeconds === null ? ['author.date'] : [])
    expect(performance.now() - started).toBeLessThan(1000)
  }
})

test('text is decoded by the encoding header, and what had to be replaced is named', () => {
  const latin = Buffer.from('gr\xfcn', 'latin1')
  expect(parse({ message: latin, headers: 'encoding ISO-8859-1\n' })).toMatchObject({
    message: 'grün',
    sanitized: [],
  })
  const gbk = Buffer.from([0xc4, 0xe3, 0xba, 0xc3])
  const both = parse({
    message: gbk,
    author: Buffer.concat([gbk, Buffer.from(' <a@x> 1 +0000')]),
    headers: 'encoding gbk\n',
  })
  expect(both).toMatchObject({ message: '你好', author: { name: '你好' }, sanitized: [] })
  const jis = Buffer.from('\x1b$B$3$s\x1b(B', 'latin1')
  expect(parse({ message: jis, headers: 'encoding ISO-2022-JP\n' }).message).toBe('こん')
  expect(parse({ message: latin })).toMatchObject({ message: 'gr\uFFFDn', sanitized: ['message'] })
  expect(parse({ message: latin, headers: 'encoding nonsense\n' }).sanitized).toEqual(['message'])
  expect(parse({ message: 'a\0b', author: 'N\0 <e\0> 1 +0000' })).toMatchObject({
    message: 'a\uFFFDb',
    author: { name: 'N\uFFFD', email: 'e\uFFFD' },
    sanitized: ['author.name', 'author.email', 'message'],
  })
  expect(parse({ message: 'a\r\nb\x1b[31m\u202Ec\u2028' })).toMatchObject({
    message: 'a\r\nb\x1b[31m\u202Ec\u2028',
    sanitized: [],
  })
})

test('headers of many lines are not mistaken for others', () => {
  const headers =
    'gpgsig -----BEGIN\n author X <x@x> 1 +0000\n \n -----END\nencoding UTF-8\nmergetag object 1\n parent 2\n'
  const commit = parse({ headers, message: '\nparent x\nauthor y' })
  expect(commit).toMatchObject({
    parents: [],
    author: { name: 'A' },
    message: '\nparent x\nauthor y',
    sanitized: [],
  })
})

test('hostile commits come through git whole, in order and none dropped', async () => {
  const repo = makeRepo()
  const messages: (Buffer | string)[] = [
    'a\0b after the NUL\n',
    Buffer.from([0xff, 0xfe, 0x00, 0x0a]),
    '',
    'no newline at the end',
    '\n\n\n',
    `${'x'.repeat(199_999)}\n`,
    'tree 0000\nparent 1111\n\ncommit 12\n',
    '0123456789012345678901234567890123456789 commit 999999\n',
    'control \x01\x1c\x1d\x1e\x1f \x7f bidi \u202E \u2066\n',
    ...[0, 4_294_967_295, 2 ** 40].map(String),
  ]
  let parent = ''
  const shas = messages.map((message, i) => {
    const who =
      i === 9
        ? 'A <a@x> 0 +1345'
        : i === 10
          ? 'A <a@x> 4294967295 -0330'
          : i === 11
            ? `A <a@x> ${2n ** 63n} +051800`
            : WHO
    const raw = bytesOf({ message, author: who, committer: who }).toString('latin1')
    parent = repo.rawCommit(
      Buffer.from(raw.replace('\n', parent === '' ? '\n' : `\nparent ${parent}\n`), 'latin1'),
    )
    return parent
  })
  repo.git('update-ref', 'refs/heads/main', parent)

  for (const pageSize of [1, 5, 1000]) {
    const pages = await readPages(accessTo(repo.dir, { pageSize }))
    expect(shasOf(pages)).toEqual(shas)
    const commits = pages.flatMap((page) => commitsOf(page))
    expect(commits[0]).toMatchObject({ message: 'a\uFFFDb after the NUL\n', sanitized: ['message'] })
    expect(commits[2]?.message).toBe('')
    expect(commits[5]?.message).toHaveLength(200_000)
    expect(commits[9]?.author).toMatchObject({ epochSeconds: 0, offsetMinutes: 825 })
    expect(commits[10]?.committer).toMatchObject({ epochSeconds: 4_294_967_295, offsetMinutes: -210 })
    expect(commits[11]?.committer).toMatchObject({ epochSeconds: null, offsetMinutes: 318 })
    expect(commits[11]?.sanitized).toEqual(['author.date', 'committer.date'])
    for (const [i, commit] of commits.entries()) expect(commit.parents).toEqual(i === 0 ? [] : [shas[i - 1]])
  }
})

test('a commit of 9 MiB is cut, says so, and breaks nothing behind it; big pages end early', async () => {
  const repo = makeRepo()
  const huge = repo.rawCommit(bytesOf({ message: 'x'.repeat(9 * 1024 * 1024) }))
  const big = Array.from({ length: 5 }, (_, i) =>
    repo.rawCommit(bytesOf({ message: `${i}`.repeat(3 * 1024 * 1024), headers: '' })),
  )
  for (const [i, sha] of [huge, ...big].entries()) repo.git('update-ref', `refs/heads/b${i}`, sha)
  const pages = await readPages(accessTo(repo.dir, { pageSize: 1000 }))
  expect(shasOf(pages).sort()).toEqual(repo.all())
  expect(pages.length).toBeGreaterThan(2)
  const cut = pages.flatMap((page) => commitsOf(page)).find((commit) => commit.sha === huge)
  expect(cut?.degraded).toMatch(/^message_size:9437\d+$/)
  expect(cut?.sanitized).toEqual(['message'])
})

test('a history in sha256 is read like any other', async () => {
  const repo = makeRepo('--object-format=sha256')
  for (let i = 0; i < 5; i++) repo.commit(`${i}`)
  const pages = await readPages(accessTo(repo.dir, { pageSize: 2, tier: 'numstat' }))
  expect(shasOf(pages)).toEqual(
    execFileSync('git', ['rev-list', '--reverse', 'main'], { cwd: repo.dir }).toString().trim().split('\n'),
  )
  expect(shasOf(pages)[0]).toHaveLength(64)
})
