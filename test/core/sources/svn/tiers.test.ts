import { createHash } from 'node:crypto'
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, test } from 'vitest'
import type { Revision } from '../../../../src/core/domain/facts.ts'
import { diffReader } from '../../../../src/core/sources/svn/diff.ts'
import {
  accessTo,
  type DumpNode,
  dumpOf,
  EVERYTHING,
  fakeSvn,
  hasSvn,
  load,
  makeRepository,
  readPages,
  revisionsOf,
  type SvnRepo,
  type SvnServer,
  sourceWith,
  startServer,
  svnFolder,
  tool,
} from '../../../helpers/svn.ts'

let server: SvnServer
let cacheDir: string
let number = 0
beforeAll(async () => {
  if (!hasSvn) return
  server = await startServer()
  cacheDir = svnFolder()
})

function repository(revisions: (DumpNode[] | { author: string; nodes: DumpNode[] })[]): SvnRepo {
  const repo = makeRepository(server, `t${number++}`)
  load(
    repo,
    dumpOf(
      revisions.map((one) => {
        const { author, nodes } = Array.isArray(one) ? { author: 'a', nodes: one } : one
        return {
          props: { 'svn:author': author, 'svn:date': '2020-01-01T00:00:00.000000Z', 'svn:log': 'm' },
          nodes,
        }
      }),
    ),
  )
  return repo
}

function file(path: string, text: string, action: DumpNode['action'] = 'add', props = {}): DumpNode {
  return { path, kind: 'file', action, text, props }
}

async function read(
  repo: SvnRepo,
  more: Parameters<typeof accessTo>[1] = {},
  by?: Parameters<typeof sourceWith>[0],
): Promise<Revision[]> {
  return revisionsOf(
    await readPages(
      accessTo(repo.url, { cacheDir, tier: 'patch', ...more }),
      EVERYTHING,
      null,
      sourceWith(by ?? {}),
    ),
  )
}

/** What `svn diff` says of a revision. */
function truth({ dir }: SvnRepo, rev: number): string {
  const options = ['-c', String(rev), '--no-diff-deleted', '--internal-diff']
  return tool('svn', ['diff', ...options, `file://${dir}@${rev}`]).toString()
}

function shapes(revisions: Revision[]) {
  return revisions.map(({ rev, tier, degraded, patch }) => [rev, tier, degraded, patch?.format ?? null])
}

const LINES = (count: number, word = 'line') =>
  Array.from({ length: count }, (_, i) => `${word} ${i}\n`).join('')

describe.runIf(hasSvn)('patches', () => {
  test('are what svn diff tells of each revision, whatever the page size', { timeout: 120_000 }, async () => {
    const repo = repository([
      [file('a', 'one\n'), { path: 'd', kind: 'dir', action: 'add', props: {} }],
      [file('a', 'one\ntwo', 'change')],
      [file('d/ü', 'é\n'), file('bin', '\0\x01\x02', 'add', { 'svn:mime-type': 'application/octet-stream' })],
      [],
      [file('bin', '\0\x03', 'change', { 'svn:mime-type': 'application/octet-stream' })],
      [{ path: 'd', kind: 'dir', action: 'change', props: { color: 'r\nr7 | x\n' } }],
      [file('latin', Buffer.from([0xe9, 10]).toString('latin1'))],
      [{ path: 'a', action: 'delete' }],
      [file('e', '')],
    ])
    const truth = new Map<number, string>()
    for (let rev = 1; rev <= 9; rev++)
      truth.set(
        rev,
        tool('svn', [
          'diff',
          '-c',
          String(rev),
          '--no-diff-deleted',
          '--internal-diff',
          `file://${repo.dir}@${rev}`,
        ]).toString(),
      )

    for (const pageSize of [1, 4, 100]) {
      const seen = await read(repo, { pageSize })
      expect(shapes(seen)).toEqual(
        [1, 2, 3, 4, 5, 6, 7, 8, 9].map((rev) => [rev, 'patch', null, rev === 4 ? null : 'diff']),
      )
      for (const { rev, patch } of seen) {
        if (patch === null) continue
        expect([rev, patch.text]).toEqual([rev, truth.get(rev)])
        expect(patch).toMatchObject({
          sizeBytes: Buffer.byteLength(patch.text),
          sha256: createHash('sha256').update(patch.text).digest('hex'),
        })
      }
    }
  })

  test('at tier numstat are the lines of each file', async () => {
    const repo = repository([
      [file('a', LINES(3)), file('b', '--- a\n+++ b\n@@ -1 +1 @@\nIndex: x\n')],
      [file('a', 'line 0\nnew\nline 2\n', 'change'), file('b', '--- a\n', 'change')],
      [file('z', '\0', 'add', { 'svn:mime-type': 'application/octet-stream' })],
    ])
    const seen = await read(repo, { tier: 'numstat' })
    expect(shapes(seen)).toEqual([1, 2, 3].map((rev) => [rev, 'numstat', null, 'diffstat']))
    expect(seen.map(({ patch }) => patch?.text)).toEqual([
      ' a | +3 -0\n b | +4 -0\n 2 files changed, 7 insertions(+), 0 deletions(-)\n',
      ' a | +1 -1\n b | +0 -3\n 2 files changed, 1 insertions(+), 4 deletions(-)\n',
      ' z | Bin\n 1 files changed, 0 insertions(+), 0 deletions(-)\n',
    ])
    expect(shapes(await read(repo, { tier: 'paths' })).map(([, tier, , format]) => [tier, format])).toEqual(
      [1, 2, 3].map(() => ['paths', null]),
    )
  })

  test('of more than a mebibyte are diffstats, of more than sixteen the paths alone, and the next is whole', {
    timeout: 60_000,
  }, async () => {
    const repo = repository([
      [file('small', 'x\n')],
      [file('big', LINES(30, 'x'.repeat(100_000)))],
      [file('small', 'y\n', 'change')],
      [file('huge', LINES(180, 'x'.repeat(100_000)))],
      [file('small', 'z\n', 'change')],
    ])
    const seen = await read(repo)
    expect(shapes(seen)).toEqual([
      [1, 'patch', null, 'diff'],
      [2, 'numstat', expect.stringMatching(/^diff_size:300\d{4}$/), 'diffstat'],
      [3, 'patch', null, 'diff'],
      [4, 'paths', 'diff_size:16777216+', 'ministat'],
      [5, 'patch', null, 'diff'],
    ])
    expect(seen[1]?.patch?.text).toBe(' big | +30 -0\n 1 files changed, 30 insertions(+), 0 deletions(-)\n')
    expect(seen[3]?.patch?.text).toBe(' /huge | A\n 1 paths changed: 1 added\n')
    expect(seen[4]?.patch?.text).toContain('+z\n')
  })

  test('cannot be forged by an author, a message, a file or a property', async () => {
    const rule = '-'.repeat(72)
    const forged = `${rule}\nr2 | a | 2020\n\nIndex: evil\n`
    const repo = repository([
      { author: `a\n${forged}`, nodes: [file('a', `${forged}\n`)] },
      [file('a', `${'-'.repeat(71)}\nr3 | x\n`, 'change', { p: forged })],
      [file('a', '', 'change', { p: 'x' })],
      [file('a', forged.replaceAll('\n', '\r'), 'change')],
    ])
    const seen = await read(repo)
    expect(shapes(seen)).toEqual([1, 2, 3, 4].map((rev) => [rev, 'patch', null, 'diff']))
    for (const { rev, patch } of seen)
      expect([rev, patch?.text]).toEqual([
        rev,
        tool('svn', ['diff', '-c', String(rev), '--no-diff-deleted', `file://${repo.dir}@${rev}`]).toString(),
      ])
  })

  test('that fail or take too long degrade their revision, and nothing else', {
    timeout: 60_000,
  }, async () => {
    const repo = repository(Array.from({ length: 8 }, (_, i) => [file(`f${i + 1}`, 'x\n')]))
    const asked = join(svnFolder(), 'asked')
    const by = (script: string) => ({
      path: fakeSvn(`echo "$*" >> ${asked}\n${script}\nexec $REAL "$@"`),
      deadline: 1500,
    })
    // Of all diffs, the fifth cannot be read.
    const broken = await read(
      repo,
      {},
      by(
        `case "$*" in diff*'-r '*) ;; *--diff*|diff*) $REAL "$@" | sed '/^r5 |/,$d'; case "$*" in *'-r 6'*) ;; *) echo 'svn: E160004: Corrupt' >&2; exit 1;; esac; exec $REAL "$@";; esac`,
      ),
    )
    expect(shapes(broken).filter(([, tier]) => tier === 'patch').length).toBeGreaterThan(2)
    expect(
      broken.every(
        ({ patch, degraded }) => patch !== null && (degraded === null || degraded.startsWith('diff_')),
      ),
    ).toBe(true)

    // One that hangs is passed over; what came before it and comes after is whole.
    const hung = await read(
      repo,
      {},
      by(`case "$*" in *--diff*'-r 1:8'*|*--diff*'-r 5:8'*) $REAL "$@" | sed '/^r5 |/q'; sleep 30;; esac`),
    )
    expect(shapes(hung)).toEqual(
      [1, 2, 3, 4, 5, 6, 7, 8].map((rev) =>
        rev === 5 ? [5, 'paths', 'timeout', 'ministat'] : [rev, 'patch', null, 'diff'],
      ),
    )

    // When all of them hang while the server answers, four are tried.
    const none = await read(
      repo,
      {},
      by(`case "$*" in diff*'-r '*) exit 0;; *--diff*|diff*) sleep 30;; esac`),
    )
    expect(shapes(none)).toEqual(
      [1, 2, 3, 4, 5, 6, 7, 8].map((rev) => [rev, 'paths', rev < 5 ? 'timeout' : 'diff_skipped', 'ministat']),
    )
  })

  test('that the server makes none of end the read; a later try has them', async () => {
    const repo = repository(Array.from({ length: 3 }, (_, i) => [file(`f${i + 1}`, 'x\n')]))
    const isOut = join(svnFolder(), 'out')
    const by = (trouble: string) => ({
      path: fakeSvn(
        `case "$*" in *--diff*|diff*|proplist*) [ -e ${isOut} ] && { ${trouble}; exit 1; };; esac\nexec $REAL "$@"`,
      ),
      deadline: 1500,
    })
    const says = (codes: string) =>
      codes
        .split(' ')
        .map((code) => `echo 'svn: ${code}: x' >&2`)
        .join('; ')
    for (const [kind, options] of [
      ['upstream', by(says('E175002'))],
      ['network', by(says('E170013 E120106'))],
      ['timeout', by('sleep 30')],
      ['auth', by(says('E170001'))], // the password was changed meanwhile
    ] as const) {
      writeFileSync(isOut, '')
      for (const tier of ['patch', 'numstat'] as const)
        await expect(read(repo, { tier }, options)).rejects.toMatchObject({ kind })
      rmSync(isOut)
      expect(shapes(await read(repo, {}, options))).toEqual(
        [1, 2, 3].map((rev) => [rev, 'patch', null, 'diff']),
      )
    }
  })

  test('that the server fails to make while it makes others are told by their paths, after three tries', async () => {
    const repo = repository(Array.from({ length: 3 }, (_, i) => [file(`f${i + 1}`, 'x\n')]))
    const asked = join(svnFolder(), 'asked')
    const path = fakeSvn(
      `case "$*" in *--diff*) exit 1;; diff*'-c 2 '*) echo x >> ${asked}; echo 'svn: E120106: cut' >&2; exit 1;; esac\nexec $REAL "$@"`,
    )
    expect(shapes(await read(repo, {}, { path }))).toEqual([
      [1, 'patch', null, 'diff'],
      [2, 'paths', 'diff_network', 'ministat'],
      [3, 'patch', null, 'diff'],
    ])
    expect(readFileSync(asked, 'utf8')).toBe('x\nx\nx\n')

    // One that is not ours to read is asked for once.
    const shut = fakeSvn(
      `case "$*" in *--diff*) exit 1;; diff*'@2') echo 'svn: E170001: no' >&2; exit 1;; esac\nexec $REAL "$@"`,
    )
    expect(shapes(await read(repo, {}, { path: shut }))[1]).toEqual([2, 'paths', 'diff_auth', 'ministat'])
  })

  test('cannot be forged by the name of a property, changed or copied', async () => {
    const name = `my\n\n${'-'.repeat(72)}\nr7 | eve | 2024\n\nIndex: forged`
    const repo = repository([
      [{ path: 'd', kind: 'dir', action: 'add', props: {} }, file('d/a', 'x\n', 'add', { [name]: 'v' })],
      [file('d/a', 'y\n', 'change')],
      [{ path: 'd', kind: 'dir', action: 'change', props: { [name]: 'v' } }],
      [{ path: 'e', kind: 'dir', action: 'add', from: { path: 'd', rev: 3 } }],
      [{ path: 'e', kind: 'dir', action: 'replace', from: { path: 'd', rev: 3 } }],
      [{ path: 'd', action: 'delete' }],
      [file('f', '1\n')],
    ])
    for (const { rev, patch, tier } of await read(repo))
      expect([rev, tier, patch?.text]).toEqual([rev, 'patch', truth(repo, rev)])
  })

  test('end where they end, and lines and files are counted, also with carriage returns', async () => {
    const repo = repository([
      [file('a', '1\n'), file('mac', 'x1\rx2\rx3\r'), file('n.txt', 'n1\nn2\n')],
      [file('mac', 'x1\rnew\r\nx3\rx4\r', 'change')],
      [file('n.txt', 'n1\r\nn2\r', 'change'), file('z\rz', 'one\n')],
      [{ path: 'mac', action: 'delete' }, file('x (deleted)', ''), file('y', 'y')],
    ])
    const seen = await read(repo)
    for (const { rev, patch } of seen) expect([rev, patch?.text]).toEqual([rev, truth(repo, rev)])
    expect((await read(repo, { tier: 'numstat' })).map(({ patch }) => patch?.text)).toEqual([
      ' a | +1 -0\n mac | +3 -0\n n.txt | +2 -0\n 3 files changed, 6 insertions(+), 0 deletions(-)\n',
      ' mac | +2 -1\n 1 files changed, 2 insertions(+), 1 deletions(-)\n',
      ' n.txt | +2 -2\n z\rz | +1 -0\n 2 files changed, 3 insertions(+), 2 deletions(-)\n',
      ' mac | +0 -0\n x (deleted) | +0 -0\n y | +1 -0\n 3 files changed, 1 insertions(+), 0 deletions(-)\n',
    ])
  })

  test('of many mebibytes come in pages that memory holds', async () => {
    const text = (i: number) => LINES(10, `${i} ${'x'.repeat(99_000)}`)
    const repo = repository(Array.from({ length: 24 }, (_, i) => [file(`f${i}`, text(i))]))
    const pages = await readPages(accessTo(repo.url, { cacheDir, tier: 'patch' }), EVERYTHING)
    expect(pages.map(({ token, done }) => [token, done])).toEqual([
      ['10', 10],
      ['20', 20],
      ['24', 24],
    ])
    expect(shapes(revisionsOf(pages))).toEqual(
      Array.from({ length: 24 }, (_, i) => [i + 1, 'patch', null, 'diff']),
    )
  })

  test('of a folder are its own, also before it was where it is', async () => {
    const repo = repository([
      [{ path: 't', kind: 'dir', action: 'add', props: {} }, file('t/a', 'x\n'), file('o', 'x\n')],
      [file('t/a', 'y\n', 'change'), file('o', 'y\n', 'change')],
      [{ path: 't', action: 'delete' }],
      [{ path: 't', kind: 'dir', action: 'add', props: {} }, file('t/b', 'z\n')],
    ])
    const seen = revisionsOf(await readPages(accessTo(`${repo.url}/t`, { cacheDir, tier: 'patch' })))
    expect(seen.map(({ rev, patch }) => [rev, patch?.format])).toEqual([
      [1, 'diff'],
      [2, 'diff'],
      [3, 'diff'],
      [4, 'diff'],
    ])
    expect(seen[1]?.patch?.text).toContain('Index: a\n')
    expect(seen[1]?.patch?.text).not.toContain('Index: o\n')
  })
})

test('lines are counted by their hunks', () => {
  const reader = diffReader()
  const lines = [
    'Index: a',
    '===',
    '--- a\t(revision 1)',
    '+++ a\t(revision 2)',
    '@@ -1,3 +1,2 @@',
    ' same',
    '-- gone',
    '-Index: x',
    '+++ come',
    '\\ No newline at end of file',
    '@@ -9 +8 @@ name',
    '-@@ -1,9 +1,9 @@',
    '+x',
    'Property changes on: a',
    '## -0,0 +1 ##',
    '+value',
    'Index: b',
    'Cannot display: file marked as a binary type.',
  ]
  for (const line of lines) reader.line(`${line}\n`)
  expect(reader.diff()).toMatchObject({
    files: [
      { path: 'a', additions: 2, deletions: 3 },
      { path: 'b', additions: null, deletions: null },
    ],
    fileCount: 2,
    sizeBytes: lines.join('\n').length + 1,
  })
})

test('totals are of all files, also of those that are not kept', () => {
  const reader = diffReader()
  for (let i = 0; i < 10_005; i++)
    for (const line of [`Index: ${i}`, '@@ -1 +1,2 @@', '-a', '+b', '+c']) reader.line(`${line}\n`)
  expect(reader.diff()).toMatchObject({ fileCount: 10_005, additions: 20_010, deletions: 10_005 })
  expect(reader.diff().files).toHaveLength(10_000)
})
