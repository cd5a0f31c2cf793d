import { cpSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, test } from 'vitest'
import { SyncError } from '../../../../src/core/domain/errors.ts'
import type { Revision } from '../../../../src/core/domain/facts.ts'
import type { Json } from '../../../../src/core/domain/ledger.ts'
import type { Ask, Page } from '../../../../src/core/sources/source.ts'
import { newSeed, seeded } from '../../../helpers/git-repo.ts'
import {
  accessTo,
  type DumpRevision,
  dumpOf,
  EVERYTHING,
  fakeSvn,
  hasSvn,
  load,
  makeRepository,
  readPages,
  revisionsOf,
  revsOf,
  type SvnRepo,
  type SvnServer,
  source,
  sourceWith,
  startServer,
  svnFolder,
  tool,
} from '../../../helpers/svn.ts'
import { hasApache, startHttpServer } from '../../../helpers/svn-http.ts'

let server: SvnServer
let overHttp: SvnServer
let cacheDir: string
let number = 0
beforeAll(async () => {
  if (!hasSvn) return
  server = await startServer()
  if (hasApache) overHttp = await startHttpServer({ authz: true })
  cacheDir = svnFolder()
})

const TRANSPORTS = [
  { by: 'svn', isHere: hasSvn, at: () => server, nothing: 'not_found' },
  // An authz file that is not there lets nobody in.
  { by: 'http', isHere: hasApache, at: () => overHttp, nothing: 'auth' },
].filter(({ isHere }) => isHere)

function repository(revisions: DumpRevision[], at = server): SvnRepo {
  const repo = makeRepository(at, `h${number++}`)
  writeFileSync(join(repo.dir, 'conf/authz'), '[/]\n* = r\n')
  if (revisions.length > 0) load(repo, dumpOf(revisions))
  return repo
}

/** A revision on the n-th of January 2020 with these changes: `+d dir`, `+f file`, `m file`, `- path`, `c from@rev to`. */
function revision(day: number, ...changes: string[]): DumpRevision {
  const nodes = changes.map((change): NonNullable<DumpRevision['nodes']>[number] => {
    const [letter, first = '', second = ''] = change.split(' ')
    const [from = '', rev] = first.split('@')
    if (letter === '+d') return { path: first, kind: 'dir', action: 'add', props: {} }
    if (letter === '+f') return { path: first, kind: 'file', action: 'add', text: `${day}\n`, props: {} }
    if (letter === 'm')
      return { path: first, kind: 'file', action: 'change', text: `${day} ${Math.random()}\n` }
    if (letter === 'c')
      return { path: second, kind: 'dir', action: 'add', from: { path: from, rev: Number(rev) } }
    return { path: first, action: 'delete' }
  })
  return { props: { 'svn:author': 'a', 'svn:date': dateOf(day), 'svn:log': `day ${day}` }, nodes }
}

function dateOf(day: number): string {
  return `${new Date(Date.UTC(2020, 0, day)).toISOString().slice(0, 19)}.000000Z`
}

function read(repo: SvnRepo, path = '', more: Parameters<typeof accessTo>[1] = {}, ask: Ask = EVERYTHING) {
  return readPages(accessTo(repo.url + path, { cacheDir, ...more }), ask)
}

describe.runIf(hasSvn)('a history', () => {
  test('comes in pages that say how far they looked, and go on behind any of them', async () => {
    const repo = repository([
      revision(1, '+d t'),
      ...Array.from({ length: 30 }, (_, i) => revision(i + 2, `+f t/f${i}`)),
    ])
    const random = seeded(newSeed())
    const whole = await read(repo)
    expect(whole).toHaveLength(1)
    expect(whole[0]).toMatchObject({
      token: '31',
      done: 31,
      total: 31,
      landing: { scanned: 31 },
      pinned: { head: '31' },
    })
    const reads: [pageSize: number, pages: Page[]][] = []
    for (const pageSize of [1, 2, 7, 30, 31, 32]) {
      const pages = await read(repo, '', { pageSize })
      expect(revisionsOf(pages)).toEqual(revisionsOf(whole))
      expect(pages.map(({ done, token }) => [done, token])).toEqual(
        pages.map((_, i) => Math.min(31, (i + 1) * pageSize)).map((end) => [end, String(end)]),
      )
      expect(pages.map(({ landing }) => landing)).toEqual(
        pages.map((_, i) => (i === pages.length - 1 ? { scanned: 31 } : undefined)),
      )

      reads.push([pageSize, pages])
    }
    tool('svn', ['mkdir', '-q', '-m', 'later', `file://${repo.dir}/later`])
    for (const [pageSize, pages] of reads) {
      const at = Math.floor(random() * pages.length)
      const { pinned, token } = pages[at] as Page
      const rest = await readPages(accessTo(repo.url, { cacheDir, pageSize }), EVERYTHING, { pinned, token })
      expect(revsOf(rest)).toEqual(revsOf(pages.slice(at + 1)))
      expect(rest.at(-1)).toMatchObject({ landing: { scanned: 31 }, done: 31, pinned: { head: '31' } })
    }
  })

  test('an ask begins and ends where it says', async () => {
    const repo = repository([
      revision(1, '+d t'),
      revision(2, '+f t/a'),
      revision(3, 'm t/a'),
      revision(4, 'm t/a'),
      revision(5, 'm t/a'),
    ])
    const asked = async (ask: Ask) => {
      const pages = await read(repo, '', { pageSize: 2 }, ask)
      return [revsOf(pages), pages.at(-1)?.landing]
    }
    const ask = { window: 'revisions' } as const
    expect(await asked({ ...ask, scanned: 3, again: null })).toEqual([[4, 5], { scanned: 5 }])
    expect(await asked({ ...ask, scanned: 5, again: null })).toEqual([[], { scanned: 5 }])
    expect(await asked({ ...ask, scanned: 5, again: 4 })).toEqual([[4, 5], { scanned: 5 }])
    expect(await asked({ ...ask, scanned: 3, again: 5 })).toEqual([[4, 5], { scanned: 5 }])
    expect(await asked({ ...ask, scanned: null, again: 0 })).toEqual([[1, 2, 3, 4, 5], { scanned: 5 }])
    expect(await asked({ window: 'range', from: 2, to: 4 })).toEqual([[2, 3, 4], null])
    expect(await asked({ window: 'range', from: 4, to: 99 })).toEqual([[4, 5], null])
    expect(await asked({ window: 'range', from: 6, to: 99 })).toEqual([[], null])
    expect(await asked({ window: 'range', from: 0, to: 1 })).toEqual([[1], null])
    await expect(asked({ window: 'heads', known: {}, refetch: null })).rejects.toMatchObject({
      kind: 'unsupported',
    })
  })

  test('an empty repository is one empty page', async () => {
    const [page, ...more] = await read(repository([]))
    expect(more).toEqual([])
    expect(page).toMatchObject({ facts: { revisions: [] }, landing: { scanned: 0 }, done: 0, total: 0 })
  })

  test('copies, moves, replacements and properties keep what they are', async () => {
    const repo = repository([revision(1, '+d trunk', '+d branches', '+f trunk/a', '+f trunk/b')])
    const wc = svnFolder()
    const at = (path: string) => join(wc, path)
    const commit = (message: string) => {
      repo.svn('commit', '-q', '-m', message, wc)
      repo.svn('update', '-q', wc)
    }
    repo.svn('checkout', '-q', '^', wc)
    repo.svn('move', '-q', at('trunk/a'), at('trunk/c'))
    commit('move')
    repo.svn('copy', '-q', at('trunk'), at('branches/b1'))
    commit('copy')
    repo.svn('delete', '-q', at('trunk/b'))
    repo.svn('copy', '-q', at('trunk/c'), at('trunk/b'))
    commit('replace')
    repo.svn('propset', '-q', 'color', 'red', at('trunk'))
    commit('property')
    const told = revisionsOf(await read(repo, '', {}, { window: 'range', from: 2, to: 9 })).map(
      ({ paths }) => paths,
    )
    const plain = { textChanged: false, propsChanged: false }
    expect(told).toEqual([
      [
        { path: '/trunk/a', action: 'D', kind: 'file', copyFrom: null, ...plain },
        { path: '/trunk/c', action: 'A', kind: 'file', copyFrom: { path: '/trunk/a', rev: 1 }, ...plain },
      ],
      [{ path: '/branches/b1', action: 'A', kind: 'dir', copyFrom: { path: '/trunk', rev: 2 }, ...plain }],
      [{ path: '/trunk/b', action: 'R', kind: 'file', copyFrom: { path: '/trunk/c', rev: 3 }, ...plain }],
      [{ path: '/trunk', action: 'M', kind: 'dir', copyFrom: null, textChanged: false, propsChanged: true }],
    ])
  })
})

describe.each(TRANSPORTS)('a repository seen through a folder, over $by', ({ at, nothing }) => {
  /** /p/t lives as a, is moved away and back, replaced by a copy, deleted, made again. */
  const CHANGES = [
    ['+d p', '+d o', '+f o/x'], // 1
    ['+d p/t', '+f p/t/a'], // 2
    ['m o/x'], // 3
    ['m p/t/a'], // 4
    ['c p@4 q'], // 5: not of it
    ['m q/t/a'], // 6: not of it
    ['- p'], // 7: with the folder above it
    ['m o/x'], // 8
    ['c q@6 p'], // 9: back, by a copy of the folder above
    ['m p/t/a'], // 10
    ['- p/t', 'c o@8 p/t'], // 11: replaced
    ['m p/t/x'], // 12
    ['m q/t/a'], // 13
    ['- p/t'], // 14
    ['m o/x'], // 15
  ]
  const OF_IT = [2, 4, 7, 9, 10, 11, 12, 14]

  test('brings what happened at its path, wherever the steps end', { timeout: 120_000 }, async () => {
    const repo = repository(
      CHANGES.map((changes, i) => revision(i + 1, ...changes)),
      at(),
    )
    const random = seeded(newSeed())
    for (let round = 0; round < 6; round++) {
      const seen: number[] = []
      for (let from = 1; from <= 15; ) {
        const to = round === 0 ? 15 : Math.min(15, from + Math.floor(random() * 6))
        seen.push(...revsOf(await read(repo, '/p/t', { pageSize: 3 }, { window: 'range', from, to })))
        from = to + 1
      }
      expect(seen).toEqual(OF_IT)
    }
    // All of a revision is told, also what it did elsewhere.
    const [first] = revisionsOf(await read(repo, '/p/t'))
    expect(first).toMatchObject({ rev: 2, pathCount: 2 })
  })

  test('advances over what does not concern it, and over its own end', async () => {
    const repo = repository(
      CHANGES.map((changes, i) => revision(i + 1, ...changes)),
      at(),
    )
    const pages = await read(repo, '/p/t', {}, { window: 'revisions', scanned: 14, again: null })
    expect(pages).toMatchObject([{ facts: { revisions: [] }, token: '15', landing: { scanned: 15 } }])
    expect(revsOf(await read(repo, '/o', {}, { window: 'revisions', scanned: 8, again: null }))).toEqual([15])
  })

  test('that nobody ever made is not found; one that is gone is read', async () => {
    const repo = repository(
      CHANGES.map((changes, i) => revision(i + 1, ...changes)),
      at(),
    )
    await expect(read(repo, '/o/trnk')).rejects.toMatchObject({
      kind: 'not_found',
      hint: expect.stringContaining(repo.url),
    })
    expect(revsOf(await read(repo, '/p/t'))).toEqual(OF_IT)
    await expect(read({ ...repo, url: `${at().url}/nothing` }, '/p')).rejects.toMatchObject({
      kind: nothing,
    })
  })

  test('B44 also when there is an @ in its name, a space or an umlaut', async () => {
    const names = ['b@2', 'c@', '@', 'a b', 'ü', '100%', 'x;y', '-r']
    const repo = repository(
      [
        revision(1),
        ...names.map((name, i) => ({
          ...revision(i + 2),
          nodes: [{ path: name, kind: 'dir' as const, action: 'add' as const, props: {} }],
        })),
      ],
      at(),
    )
    for (const [i, name] of names.entries()) {
      const pages = await read(repo, `/${encodeURIComponent(name)}`, { tier: 'patch' })
      expect([name, revsOf(pages), revisionsOf(pages)[0]?.paths[0]?.path]).toEqual([
        name,
        [i + 2],
        `/${name}`,
      ])
    }
  })
})

describe.each(TRANSPORTS)('B44 what is hidden, missing or changed later, over $by', ({ at }) => {
  test('authz hides revisions wholly and in part, and the read goes over them', async () => {
    const repo = repository(
      [
        revision(1, '+d open', '+d shut', '+f open/a', '+f shut/a'),
        revision(2, 'm open/a'),
        revision(3, 'm shut/a'),
        revision(4, 'm open/a', 'm shut/a'),
        revision(5, 'm open/a'),
        revision(6, 'm shut/a'),
      ],
      at(),
    )
    writeFileSync(join(repo.dir, 'conf/svnserve.conf'), '[general]\nanon-access = read\nauthz-db = authz\n')
    writeFileSync(join(repo.dir, 'conf/authz'), '[/]\n* = r\n[/shut]\n* =\n')
    const pages = await read(repo)
    expect(
      revisionsOf(pages).map(({ rev, visibility, author, message, paths }) => [
        rev,
        visibility,
        author,
        message,
        paths.map(({ path }) => path),
      ]),
    ).toEqual([
      [1, 'partial', 'a', null, ['/open', '/open/a']],
      [2, 'full', 'a', 'day 2', ['/open/a']],
      [3, 'none', null, null, []],
      [4, 'partial', 'a', null, ['/open/a']],
      [5, 'full', 'a', 'day 5', ['/open/a']],
      [6, 'none', null, null, []],
    ])
    expect(pages.at(-1)?.landing).toEqual({ scanned: 6 })

    // Where the root may not be read, a folder that may is still whole, but for what was there before it.
    writeFileSync(join(repo.dir, 'conf/authz'), '[/]\n* =\n[/open]\n* = r\n')
    await expect(read(repo)).rejects.toMatchObject({ kind: 'auth' })
    expect(revsOf(await read(repo, '/open'))).toEqual([1, 2, 4, 5])
  })

  test('a folder below a root that may not be read has the history svn log shows, or none that is called whole', async () => {
    const repo = repository(
      [
        revision(1, '+d proj', '+d other'),
        ...[2, 3, 4].map((day) => revision(day, `+f proj/f${day}`)),
        revision(5, 'c proj@4 proj2', '- proj'),
        ...[6, 7, 8].map((day) => revision(day, `+f proj2/f${day}`)),
        revision(9, 'c proj2@7 proj'),
        revision(10, '+f proj/f10'),
        revision(11, '+f other/f11'),
        revision(12, '+f proj/f12'),
      ],
      at(),
    )
    writeFileSync(join(repo.dir, 'conf/svnserve.conf'), '[general]\nanon-access = read\nauthz-db = authz\n')
    writeFileSync(join(repo.dir, 'conf/authz'), '[/]\n* =\n[/proj]\n* = r\n[/proj2]\n* = r\n')
    const shown = tool('svn', ['log', '-q', '-r', '1:HEAD', `${repo.url}/proj`]).toString()
    const revs = [...shown.matchAll(/^r(\d+) /gm)].map(([, rev]) => Number(rev))
    expect(revs).toEqual([1, 2, 3, 4, 5, 6, 7, 9, 10, 12])
    expect(revsOf(await read(repo, '/proj'))).toEqual(revs)
    for (let scanned = 0; scanned < 12; scanned++)
      for (let to = scanned + 1; to <= 12; to++)
        expect(revsOf(await read(repo, '/proj', {}, { window: 'range', from: scanned + 1, to }))).toEqual(
          revs.filter((rev) => rev > scanned && rev <= to),
        )

    // What stood at a path that is gone cannot be asked for.
    tool('svn', ['rm', '-q', '-m', 'gone', `file://${repo.dir}/proj`])
    await expect(read(repo, '/proj')).rejects.toBeInstanceOf(SyncError)
  })

  test('authors, dates and messages are missing, empty or garbage, each by itself', async () => {
    const props: [DumpRevision['props'], Partial<Revision>][] = [
      [
        { 'svn:date': dateOf(1), 'svn:log': 'm' },
        { author: null, at: Date.UTC(2020, 0, 1), message: 'm' },
      ],
      [
        { 'svn:author': '', 'svn:date': dateOf(1), 'svn:log': '' },
        { author: '', message: '', visibility: 'full' },
      ],
      [
        { 'svn:author': 'a', 'svn:log': 'm' },
        { at: null, dateRaw: null, visibility: 'full' },
      ],
      [
        { 'svn:author': 'a', 'svn:date': dateOf(1) },
        { message: null, visibility: 'full' },
      ],
      [{}, { author: null, at: null, message: null, visibility: 'none' }],
      [
        { 'svn:date': 'garbage', 'svn:log': 'm' },
        { at: null, dateRaw: 'garbage', sanitized: ['date'] },
      ],
      [
        { 'svn:date': '2020-02-31T00:00:00.000000Z', 'svn:log': 'm' },
        { at: null, dateRaw: '2020-02-31T00:00:00.000000Z' },
      ],
      [
        { 'svn:date': '1969-12-31T23:59:59.500000Z', 'svn:log': 'm' },
        { at: -500, dateRaw: null },
      ],
      [
        { 'svn:author': Buffer.from('j\xf6rg', 'latin1'), 'svn:log': 'm' },
        { author: 'j\ufffdrg', sanitized: ['author'] },
      ],
      [
        { 'svn:author': 'jörg', 'svn:log': 'é\n文\t😀\ufffd' },
        { author: 'jörg', message: 'é\n文\t😀\ufffd', sanitized: [] },
      ],
      [
        { 'svn:author': 'a', 'svn:log': '\x1b[31m\x01' },
        { message: '?\\027[31m?\\001', sanitized: ['message'] },
      ],
      [
        { 'svn:author': '</author><x>&amp;', 'svn:log': '</msg></logentry></log> ]]> <!DOCTYPE &lt;' },
        { author: '</author><x>&amp;', message: '</msg></logentry></log> ]]> <!DOCTYPE &lt;' },
      ],
    ]
    const repo = repository(
      props.map(([props]) => ({ props })),
      at(),
    )
    const seen = revisionsOf(await read(repo))
    expect(seen).toHaveLength(props.length)
    for (const [i, [, told]] of props.entries()) expect(seen[i]).toMatchObject(told)
  })

  test('a garbage date on the newest revision stops nothing', async () => {
    const garbage = { 'svn:date': 'yesterday' }
    const repo = repository(
      [
        revision(1, '+d t'),
        { ...revision(2, '+f t/a'), props: garbage },
        { ...revision(3, 'm t/a'), props: garbage },
      ],
      at(),
    )
    for (const path of ['', '/t', '/t/a'])
      expect((await read(repo, path)).at(-1)?.landing).toEqual({ scanned: 3 })
  })

  test('50 random control bytes and broken texts spoil no neighbour', async () => {
    const random = seeded(newSeed())
    const messages = Array.from({ length: 50 }, () =>
      Buffer.from(Array.from({ length: 20 }, () => 1 + Math.floor(random() * 255))),
    )
    const repo = repository(
      messages.flatMap((message, i) => [
        { props: { 'svn:date': dateOf(1), 'svn:log': message } },
        revision(i + 1),
      ]),
      at(),
    )
    const seen = revisionsOf(await read(repo))
    expect(seen).toHaveLength(100)
    for (const [i, { message, sanitized }] of seen.entries()) {
      if (i % 2 === 1) expect([message, sanitized]).toEqual([`day ${(i + 1) / 2}`, []])
      else expect(message?.length).toBeGreaterThan(0)
    }
  })

  test('a property edited later is seen by reading again', async () => {
    const repo = repository([revision(1, '+d t'), revision(2, '+f t/a'), revision(3, 'm t/a')], at())
    repo.revprop(2, 'svn:log', 'better')
    const [again] = revisionsOf(await read(repo, '', {}, { window: 'revisions', scanned: 3, again: 2 }))
    expect(again).toMatchObject({ rev: 2, message: 'better' })
  })
})

describe.runIf(hasSvn)('a window of time', () => {
  const window = (since: number, until: number): Ask => ({
    window: 'time',
    of: 'commits',
    since: new Date(Date.UTC(2020, 0, since)),
    until: new Date(Date.UTC(2020, 0, until)),
  })

  test('holds the revisions whose own date is in it, in whatever order they come', async () => {
    const days = [5, 1, 9, 2, 2, 30, 3, 400, -20_000, 4, 5, 6]
    const revisions = days.map((day, i) => revision(day, i === 0 ? '+d t' : `+f t/f${i}`))
    Object.assign(revisions[10]?.props ?? {}, { 'svn:date': 'garbage' })
    const repo = repository(revisions)
    for (const path of ['', '/t']) {
      const reading = await source.open(accessTo(repo.url + path, { cacheDir, pageSize: 2 }))
      for (let since = 1; since <= 9; since++) {
        const pages: Page[] = []
        for await (const page of reading.pages(window(since, since + 2), null)) pages.push(page)
        const expected = days.flatMap((day, i) =>
          day >= since && day < since + 2 && i !== 10 ? [i + 1] : [],
        )
        expect([path, since, revsOf(pages)]).toEqual([path, since, expected])
        expect(pages.at(-1)?.landing).toBe(null)
      }
    }
    expect(await source.survey(accessTo(repo.url, { cacheDir }), [window(1, 3), window(3, 3000)])).toEqual([
      { items: 3, refs: null, note: null },
      { items: 8 - 1, refs: null, note: null },
    ])
  })

  test('is resumed behind its last page', async () => {
    const repo = repository([
      revision(1, '+d t'),
      ...Array.from({ length: 200 }, (_, i) => revision(i % 9 === 0 ? 5 : 20, `+f t/f${i}`)),
    ])
    const pages = await read(repo, '', { pageSize: 40 }, window(4, 6))
    expect(pages.length).toBeGreaterThan(3)
    for (const [i, { pinned, token }] of pages.entries()) {
      const rest = await readPages(accessTo(repo.url, { cacheDir, pageSize: 40 }), window(4, 6), {
        pinned,
        token,
      })
      expect(revsOf(rest)).toEqual(revsOf(pages.slice(i + 1)))
      expect(rest.at(-1)).toMatchObject({ landing: null, done: pages.at(-1)?.done })
    }
  })
})

describe.runIf(hasSvn)('another repository at the address', () => {
  test('is an anomaly by its UUID, and by what it has lost', async () => {
    const repo = repository([revision(1, '+d t'), revision(2, '+f t/a')])
    const learnt: { [key: string]: Json } = {}
    await read(repo, '', { learn: (settings) => Object.assign(learnt, settings) })
    expect(learnt).toEqual({ uuid: tool('svnlook', ['uuid', repo.dir]).toString().trim(), root: repo.url })
    expect(revsOf(await read(repo, '', { settings: learnt }))).toEqual([1, 2])

    await expect(
      read(repo, '', { settings: learnt }, { window: 'revisions', scanned: 3, again: null }),
    ).rejects.toMatchObject({
      kind: 'anomaly',
      message: expect.stringContaining('ends at r2, and was read up to r3'),
    })
    const pinned = { head: '9', uuid: String(learnt.uuid) }
    await expect(
      readPages(accessTo(repo.url, { cacheDir }), EVERYTHING, { pinned, token: '8' }),
    ).rejects.toMatchObject({ kind: 'anomaly' })

    const relearnt: unknown[] = []
    tool('svnadmin', ['setuuid', repo.dir])
    for (const call of [source.open, source.survey] as ((access: unknown, asks: Ask[]) => Promise<unknown>)[])
      await expect(
        call(accessTo(repo.url, { cacheDir, settings: learnt, learn: (news) => relearnt.push(news) }), [
          EVERYTHING,
        ]),
      ).rejects.toMatchObject({
        kind: 'anomaly',
        hint: expect.stringContaining('cursor'),
      })
    expect(relearnt).toEqual([])
    // A read that was interrupted in the other one begins anew.
    const [first] = await readPages(accessTo(repo.url, { cacheDir }), EVERYTHING, {
      pinned: { head: '2', uuid: 'x' },
      token: '1',
    })
    expect(first).toMatchObject({ restarted: true, done: 2 })
  })

  test('a repository that shrinks between two calls is told by svn, and is no silence', async () => {
    const repo = repository([revision(1, '+d t'), revision(2, '+f t/a')])
    const older = svnFolder()
    rmSync(older, { recursive: true })
    cpSync(repo.dir, older, { recursive: true })
    load(repo, dumpOf([revision(3, 'm t/a')], 3))
    const path = fakeSvn(
      `if [ $1 = log ]; then rm -rf ${repo.dir} && cp -r ${older} ${repo.dir}; fi; exec $REAL "$@"`,
    )
    await expect(
      readPages(accessTo(repo.url, { cacheDir }), EVERYTHING, null, sourceWith({ path })),
    ).rejects.toMatchObject({ kind: 'upstream' })
  })

  test('a survey counts what a read would look at, and says what it cannot know', async () => {
    const repo = repository([revision(1, '+d t', '+d o'), revision(2, '+f t/a'), revision(3, '+f o/a')])
    const asks: Ask[] = [
      EVERYTHING,
      { window: 'revisions', scanned: 2, again: null },
      { window: 'revisions', scanned: 3, again: null },
      { window: 'range', from: 2, to: 99 },
    ]
    expect((await source.survey(accessTo(repo.url, { cacheDir }), asks)).map(({ items }) => items)).toEqual([
      3, 1, 0, 2,
    ])
    const seen = await source.survey(accessTo(`${repo.url}/t`, { cacheDir }), asks)
    expect(seen.map(({ items, note }) => [items, note?.slice(0, 22) ?? null])).toEqual([
      [null, '3 revisions to look at'],
      [null, '1 revisions to look at'],
      [0, null],
      [null, '2 revisions to look at'],
    ])
  })
})
