import { spawn } from 'node:child_process'
import {
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { createServer } from 'node:net'
import { hostname } from 'node:os'
import { delimiter, join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { gitSource } from '../../../../src/core/sources/git/git.ts'
import { mirrorDir } from '../../../../src/core/sources/git/mirror.ts'
import type { Access, Heads } from '../../../../src/core/sources/source.ts'
import { serveGit } from '../../../helpers/git-http.ts'
import {
  accessTo,
  commitsOf,
  EVERYTHING,
  importHistory,
  newSeed,
  readPages,
  repoAt,
  shasOf,
  source,
  sourceWith,
  type TestRepo,
  tempFolder,
} from '../../../helpers/git-repo.ts'

const SECRET = 's3cr3t/+p@ss'

function bareIn(root: string, name = 'x.git', ...initArgs: string[]): TestRepo {
  mkdirSync(join(root, name))
  return repoAt(join(root, name), ['--bare', ...initArgs])
}

function again(access: Access, more: Partial<Access> = {}): Access {
  return { ...access, ...more }
}

function known(pages: { pinned: Heads }[]): Heads {
  return pages[0]?.pinned ?? {}
}

test('a remote is mirrored without blobs, asked cheaply, and fetched only when something moved', async () => {
  const root = tempFolder()
  const repo = bareIn(root)
  importHistory(repo, newSeed(), 80)
  repo.git('tag', '-a', '-m', 'm', 'v1', 'main')
  repo.git('tag', '-a', '-m', 'm', 'key', repo.feed('key', 'hash-object', '-w', '--stdin'))
  repo.git('update-ref', 'refs/merge-requests/1/head', repo.git('commit-tree', '-m', 'mr', 'main^{tree}'))
  const server = await serveGit(root)
  const said: string[] = []
  const access = accessTo(`${server.origin}/x.git`, { tier: 'paths', say: (what) => said.push(what) })

  const survey = await source.survey(access, [EVERYTHING])
  expect(survey).toEqual([
    { items: null, refs: { total: 6, moved: 6 }, note: expect.stringContaining('not fetched') },
  ])
  expect(readdirSync(access.cacheDir)).toEqual([])

  const first = await readPages(access)
  const branchesAndTags = repo.all('--branches', '--tags')
  expect(shasOf(first).sort()).toEqual(branchesAndTags)
  expect(
    first.flatMap((page) => commitsOf(page)).every(({ tier, degraded }) => tier === 'paths' && !degraded),
  ).toBe(true)
  expect(said).toContain(`fetching ${access.locator}`)
  expect(readdirSync(access.cacheDir)).toEqual([mirrorDir(access).slice(access.cacheDir.length + 1)])
  const mirror = repoAt(mirrorDir(access), null)
  const blobs = mirror.git('cat-file', '--batch-check=%(objecttype)', '--batch-all-objects').match(/blob/g)
  expect(blobs).toHaveLength(1) // the one that has a tag of its own
  expect(
    await source.survey(access, [EVERYTHING, { window: 'heads', known: known(first), refetch: null }]),
  ).toEqual([
    { items: branchesAndTags.length, refs: { total: 5, moved: 5 }, note: null },
    { items: 0, refs: { total: 5, moved: 0 }, note: null },
  ])

  server.seen.length = 0
  const second = await readPages(access, { window: 'heads', known: known(first), refetch: null })
  expect(shasOf(second)).toEqual([])
  expect(server.seen.map(({ url }) => url)).toEqual([
    '/x.git/info/refs?service=git-upload-pack',
    '/x.git/git-upload-pack',
  ])

  const tip = repo.commit('new')
  const old = repo.git('rev-parse', 'dev')
  repo.git('update-ref', '-d', 'refs/heads/dev')
  repo.git('update-ref', 'refs/heads/x', repo.commit('rebased', { branch: 'x', parents: [] }))
  const third = await readPages(access, { window: 'heads', known: known(first), refetch: null })
  expect(shasOf(third).sort()).toEqual([tip, repo.git('rev-parse', 'x')].sort())
  const landing = third.at(-1)?.landing
  expect(landing?.heads?.moves.map(({ name, event }) => `${event} ${name}`).sort()).toEqual([
    'deleted refs/heads/dev',
    'forced refs/heads/x',
    'moved refs/heads/main',
  ])
  expect([...(landing?.heads?.unreachable ?? [])].sort()).toEqual(
    repo.all(old, known(first)['refs/heads/x'] as string, '--not', '--branches', '--tags'),
  )
})

test('a mirror without blobs is made again for lines, and keeps them', async () => {
  const root = tempFolder()
  const repo = bareIn(root)
  importHistory(repo, newSeed(), 30)
  const server = await serveGit(root)
  const access = accessTo(`${server.origin}/x.git`, { tier: 'none' })
  const bare = await readPages(access)
  const lines = await readPages(again(access, { tier: 'numstat' }))
  expect(shasOf(lines)).toEqual(shasOf(bare))
  for (const commit of lines.flatMap((page) => commitsOf(page)))
    expect([commit.tier, commit.degraded]).toEqual(['numstat', null])

  repo.feed(
    'commit refs/heads/main\ncommitter C <c@x> 1 +0000\ndata 0\nfrom refs/heads/main^0\nM 644 inline n\ndata 2\nn\n\n',
    'fast-import',
    '--quiet',
  )
  await readPages(access)
  const later = await readPages(again(access, { tier: 'numstat' }), {
    window: 'heads',
    known: known(lines),
    refetch: null,
  })
  expect(later.flatMap((page) => commitsOf(page)).map(({ tier, additions }) => [tier, additions])).toEqual([
    ['numstat', 1],
  ])
})

test('a broken, half-made or locked mirror does not stop the next sync', async () => {
  const root = tempFolder()
  const repo = bareIn(root)
  importHistory(repo, newSeed(), 30)
  const server = await serveGit(root)
  const said: string[] = []
  const access = accessTo(`${server.origin}/x.git`, { say: (what) => said.push(what) })
  const dir = mirrorDir(access)
  const ago = new Date(Date.now() - 20_000)

  mkdirSync(dir)
  await readPages(access)
  const damage: [string, () => void][] = [
    ['no HEAD', () => rmSync(join(dir, 'HEAD'))],
    ['no packs', () => rmSync(join(dir, 'objects/pack'), { recursive: true })],
    ['a lost object behind the heads', () => explode(dir, repo)],
    [
      'a cut pack',
      () => {
        const pack = readdirSync(join(dir, 'objects/pack')).find((name) => name.endsWith('.pack')) as string
        rmSync(join(dir, 'objects/pack', pack))
        writeFileSync(join(dir, 'objects/pack', pack), 'PACK')
      },
    ],
    ['an empty ref', () => truncateSync(writeLoose(dir, repo))],
    [
      'locks of a killed git',
      () => {
        repo.commit('more')
        for (const lock of [
          'packed-refs.lock',
          'refs/heads/main.lock',
          'HEAD.lock',
          'config.lock',
          'shallow.lock',
        ]) {
          mkdirSync(join(dir, 'refs/heads'), { recursive: true })
          writeFileSync(join(dir, lock), '')
          utimesSync(join(dir, lock), ago, ago)
        }
      },
    ],
    ['our own lock, its holder dead', () => writeFileSync(`${dir}.lock`, `${hostname()} 999999999 x`)],
    [
      'our own lock, silent for long',
      () => {
        writeFileSync(`${dir}.lock`, 'elsewhere 1 x')
        utimesSync(`${dir}.lock`, new Date(0), new Date(0))
      },
    ],
  ]
  for (const [what, harm] of damage) {
    harm()
    said.length = 0
    const pages = await readPages(access)
    expect([what, shasOf(pages).sort()]).toEqual([what, repo.all()])
    expect(readdirSync(access.cacheDir)).toHaveLength(1)
    if (what.includes('lock')) expect([what, ...said]).not.toContain('the mirror is broken: making it again')
  }
})

test('four workers that open one remote at once all read it', async () => {
  const root = tempFolder()
  const repo = bareIn(root)
  importHistory(repo, newSeed(), 30)
  const access = accessTo(`${(await serveGit(root)).origin}/x.git`)
  const reads = await Promise.all(
    [1, 2, 3, 4].map((i) => readPages(again(access, { tier: i === 4 ? 'numstat' : 'none' }))),
  )
  for (const pages of reads) expect(shasOf(pages).sort()).toEqual(repo.all())
})

test('an empty remote is one empty page, one that lost its refs an anomaly that costs the mirror nothing', async () => {
  const root = tempFolder()
  const repo = bareIn(root)
  const access = accessTo(`${(await serveGit(root)).origin}/x.git`)
  expect(await readPages(access)).toMatchObject([
    { facts: {}, done: 0, total: 0, landing: { heads: { refs: [] } } },
  ])
  repo.commit('x')
  const first = await readPages(access)
  repo.git('update-ref', '-d', 'refs/heads/main')
  const ask = { window: 'heads', known: known(first), refetch: null } as const
  await expect(readPages(access, ask)).rejects.toMatchObject({ kind: 'anomaly' })
  await expect(source.survey(access, [ask])).rejects.toMatchObject({ kind: 'anomaly' })
  expect(repoAt(mirrorDir(access), null).all()).toHaveLength(1)
})

test('a remote in sha256 gets a mirror in sha256', async () => {
  const root = tempFolder()
  const repo = bareIn(root, 'x.git', '--object-format=sha256')
  repo.commit('x')
  expect(shasOf(await readPages(accessTo(`${(await serveGit(root)).origin}/x.git`)))).toEqual(repo.all())
})

test('credentials go to their own host in a header, and nowhere else', async () => {
  const root = tempFolder()
  const repo = bareIn(root)
  importHistory(repo, newSeed(), 20)
  const wanted = `Basic ${Buffer.from(`bot:${SECRET}`).toString('base64')}`
  const elsewhere = await serveGit(root)
  const server = await serveGit(root, (request, response) => {
    if (request.url?.startsWith('/moved')) {
      response.writeHead(302, { location: `${elsewhere.origin}${request.url.slice(6)}` }).end()
      return true
    }
    if (request.headers.authorization === wanted) return false
    response.writeHead(401, { 'www-authenticate': 'Basic realm="x"' }).end('no')
    return true
  })
  const credentials = { host: server.host, username: 'bot', password: SECRET }
  const access = accessTo(`${server.origin}/x.git`, { credentials })

  const lines: string[] = []
  let watching = true
  const watch = (async () => {
    while (watching) {
      for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name)))
        try {
          const line = readFileSync(`/proc/${pid}/cmdline`, 'latin1')
          if (line.includes(server.host)) lines.push(line)
        } catch {
          // gone meanwhile
        }
      await pause(1)
    }
  })()
  expect(shasOf(await readPages(access)).sort()).toEqual(repo.all())
  const wrong = { ...credentials, password: `${SECRET}x` }
  const failures: unknown[] = []
  for (const [typed, with_] of [
    [`${server.origin}/x.git`, null],
    [`${server.origin}/x.git`, wrong],
    [`${server.origin}/x.git`, { ...credentials, host: elsewhere.host }],
    [`${server.origin}/x.git`, { ...credentials, host: '127.0.0.1' }],
  ] as const) {
    const error = await readPages(accessTo(typed, { credentials: with_ })).catch((error: unknown) => error)
    expect(error).toMatchObject({ kind: 'auth', hint: expect.stringContaining('SCM_GIT_PASSWORD') })
    failures.push(error)
  }

  const moved = await readPages(accessTo(`${server.origin}/moved/x.git`, { credentials })).catch(
    (error: unknown) => error,
  )
  expect(moved).toMatchObject({ kind: 'not_found', hint: expect.stringContaining('final address') })
  expect(elsewhere.seen).toEqual([])
  await readPages(accessTo(`${elsewhere.origin}/x.git`, { credentials }))
  expect(elsewhere.seen.map(({ authorization }) => authorization).filter(Boolean)).toEqual([])
  watching = false
  await watch

  const leaks = [SECRET, encodeURIComponent(SECRET), wanted.slice(6), `bot:`]
  expect(lines.length).toBeGreaterThan(3)
  const places = [
    ...lines,
    ...failures.map((error) => JSON.stringify([error, String(error)])),
    readFileSync(join(mirrorDir(access), 'config'), 'utf8'),
  ]
  for (const place of places) for (const leak of leaks) expect(place).not.toContain(leak)
})

test('what a server answers has its kind, in one line', async () => {
  const root = tempFolder()
  const server = await serveGit(root, (request, response) => {
    const status = /^\/(\d+)\//.exec(request.url ?? '')?.[1]
    if (status === undefined) return true // never answers
    response.writeHead(Number(status)).end('fatal: \x1b[31mboo\n')
    return true
  })
  const kinds = {
    403: 'auth',
    404: 'not_found',
    410: 'not_found',
    429: 'rate_limited',
    500: 'upstream',
    503: 'upstream',
    200: 'not_found',
    301: 'not_found',
  }
  for (const [status, kind] of Object.entries(kinds)) {
    const error = await readPages(accessTo(`${server.origin}/${status}/x`)).catch((error: unknown) => error)
    expect([status, error]).toMatchObject([status, { name: 'SyncError', kind }])
    expect((error as Error).message).not.toMatch(/\p{Cc}/u)
  }
  await expect(
    readPages(accessTo(`${server.origin}/hang/x`), EVERYTHING, null, sourceWith({ ask: 500 })),
  ).rejects.toMatchObject({ kind: 'timeout' })
  await expect(readPages(accessTo('http://127.0.0.1:1/x'))).rejects.toMatchObject({ kind: 'network' })
  await expect(readPages(accessTo('http://no-such-host.invalid/x'))).rejects.toMatchObject({
    kind: 'network',
  })
  await expect(readPages(accessTo(`${server.origin.replace('http', 'https')}/x`))).rejects.toMatchObject({
    kind: 'network',
  })
  await expect(readPages(accessTo('git://127.0.0.1:1/x'))).rejects.toMatchObject({ kind: 'network' })
})

test('git:// is read from a daemon, and what it does not export is not found', async () => {
  const root = tempFolder()
  const repo = bareIn(root)
  importHistory(repo, newSeed(), 20)
  const port = await freePort()
  const daemon = spawn(
    'git',
    [
      'daemon',
      '--reuseaddr',
      '--listen=127.0.0.1',
      `--port=${port}`,
      '--export-all',
      `--base-path=${root}`,
      root,
    ],
    {
      env: {
        PATH: process.env.PATH,
        GIT_CONFIG_COUNT: '1',
        GIT_CONFIG_KEY_0: 'safe.directory',
        GIT_CONFIG_VALUE_0: '*',
      },
      stdio: 'ignore',
      detached: true,
    },
  )
  try {
    const access = accessTo(`git://127.0.0.1:${port}/x.git`)
    let pages = await readPages(access).catch(() => null)
    for (let i = 0; pages === null && i < 50; i++) {
      await pause(50)
      pages = await readPages(access).catch(() => null)
    }
    expect(shasOf(pages ?? []).sort()).toEqual(repo.all())
    await expect(readPages(accessTo(`git://127.0.0.1:${port}/none`))).rejects.toMatchObject({
      kind: 'not_found',
    })
  } finally {
    process.kill(-(daemon.pid as number), 'SIGKILL')
  }
})

test('ssh is asked in batch mode with the path as one word', async () => {
  const root = tempFolder()
  const repo = bareIn(root, "it's odd.git")
  repo.commit('x')
  const folder = tempFolder()
  writeFileSync(
    join(folder, 'ssh'),
    `#!/bin/sh\nprintf '%s\\n' "$@" "HOME=$HOME" > ${folder}/args\nfor last; do :; done\nexec sh -c "$last"\n`,
    { mode: 0o755 },
  )
  const by = gitSource({
    path: [folder, process.env.PATH].join(delimiter),
    home: '/home/worker',
  })
  const access = accessTo(`ssh://git@example.org:2222${root}/it's%20odd.git`)
  expect(shasOf(await readPages(access, EVERYTHING, null, by))).toEqual(repo.all())
  const args = readFileSync(join(folder, 'args'), 'utf8')
  expect(args).toContain('-oBatchMode=yes\n')
  expect(args).toContain('HOME=/home/worker')
  expect(args).toContain('-p\n2222\ngit@example.org\n')

  writeFileSync(
    join(folder, 'ssh'),
    '#!/bin/sh\necho "git@example.org: Permission denied (publickey)." >&2\nexit 255\n',
  )
  await expect(readPages(access, EVERYTHING, null, by)).rejects.toMatchObject({ kind: 'auth' })
  writeFileSync(
    join(folder, 'ssh'),
    '#!/bin/sh\necho "ssh: connect to host example.org port 22: Connection timed out" >&2\nexit 255\n',
  )
  await expect(readPages(access, EVERYTHING, null, by)).rejects.toMatchObject({ kind: 'network' })
})

async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as { port: number }
  await new Promise((resolve) => server.close(resolve))
  return port
}

/** A mirror of loose objects without the first commit: its heads look well. */
function explode(dir: string, repo: TestRepo): void {
  const packs = join(dir, 'objects/pack')
  const packed = readdirSync(packs)
    .filter((name) => name.endsWith('.pack'))
    .map((name) => readFileSync(join(packs, name)))
  rmSync(packs, { recursive: true })
  mkdirSync(packs)
  for (const pack of packed) repoAt(dir, null).feed(pack, 'unpack-objects', '-q')
  const first = repo.git('rev-list', '--max-parents=0', 'main').split('\n')[0] as string
  rmSync(join(dir, 'objects', first.slice(0, 2), first.slice(2)))
}

/** A loose ref in the mirror, whatever form fetch left it in. */
function writeLoose(dir: string, repo: TestRepo): string {
  mkdirSync(join(dir, 'refs/heads'), { recursive: true })
  writeFileSync(join(dir, 'refs/heads/main'), `${repo.git('rev-parse', 'main')}\n`)
  return join(dir, 'refs/heads/main')
}
