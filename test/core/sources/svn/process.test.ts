import { execFile } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { promisify } from 'node:util'
import { buildSync } from 'esbuild'
import { describe, expect, onTestFinished, test } from 'vitest'
import { SyncError } from '../../../../src/core/domain/errors.ts'
import type { Ask } from '../../../../src/core/sources/source.ts'
import {
  accessTo,
  EVERYTHING,
  fakeSvn,
  hasSvn,
  makeRepository,
  readPages,
  revsOf,
  running,
  sourceWith,
  startServer,
  svnFolder,
} from '../../../helpers/svn.ts'

const INFO = (youngest: number) =>
  `<?xml version="1.0"?><info><entry kind="dir" path="r" revision="${youngest}"><url>svn://h/r</url><repository><root>svn://h/r</root><uuid>u-1</uuid></repository></entry></info>`
const LOG = '<?xml version="1.0"?><log><logentry revision="1"><author>a</author><msg>m</msg></logentry></log>'

/** A fake that answers `svn info`, and `svn log` as told. */
function fake(log: string, info = `echo '${INFO(1)}'`): string {
  return fakeSvn(`case $1 in info) ${info};; *) ${log};; esac`)
}

async function failureOf(path: string, ask: Ask = EVERYTHING, more: Parameters<typeof accessTo>[1] = {}) {
  try {
    await readPages(accessTo('svn://h/r', more), ask, null, sourceWith({ path, deadline: 20_000 }))
  } catch (error) {
    expect(error).toBeInstanceOf(SyncError)
    return error as SyncError
  }
  throw new Error('it did not fail')
}

describe.runIf(hasSvn)('B38 a silent server', () => {
  const rounds = Number(process.env.ENGRAM_SILENT_ROUNDS ?? 5)

  test(`is left after the deadline, ${rounds} times, and nothing of svn remains`, async () => {
    const sockets: Socket[] = []
    const server = createServer((socket) => sockets.push(socket))
    await new Promise<void>((ready) => server.listen(0, '127.0.0.1', ready))
    onTestFinished(() => {
      for (const socket of sockets) socket.destroy()
      server.close()
    })
    const { port } = server.address() as { port: number }
    const cacheDir = svnFolder()
    for (let i = 0; i < rounds; i++) {
      const url = `svn://127.0.0.1:${port}/silent${i}`
      await expect(
        readPages(accessTo(url, { cacheDir }), EVERYTHING, null, sourceWith({ deadline: 300 })),
      ).rejects.toMatchObject({
        kind: 'timeout',
      })
      expect(running(url)).toEqual([])
    }
    expect(sockets.length).toBe(rounds)
    expect(readdirSync(cacheDir)).toEqual([])
  })

  test('a hang in the middle of a log ends the whole group, also what ignores SIGTERM', async () => {
    const naps = `7${Math.floor(Math.random() * 1e8)}`
    const path = fake(
      `printf '%s' '${LOG.slice(0, 60)}'; (trap '' TERM; sleep ${naps}; sleep ${naps}) & trap '' TERM; sleep ${naps}; sleep ${naps}`,
    )
    await expect(
      readPages(
        accessTo('svn://h/r'),
        { window: 'range', from: 1, to: 1 },
        null,
        sourceWith({ path, deadline: 300 }),
      ),
    ).rejects.toMatchObject({ kind: 'timeout' })
    expect(running(naps)).toEqual([])
  }, 30_000)

  test('a server that trickles does not hold us beyond the deadline either', async () => {
    const path = fake(`while :; do printf ' '; sleep 0.05; done`)
    await expect(
      readPages(
        accessTo('svn://h/r'),
        { window: 'range', from: 1, to: 1 },
        null,
        sourceWith({ path, deadline: 500 }),
      ),
    ).rejects.toMatchObject({ kind: 'timeout' })
  }, 30_000)

  test('an abort ends it at once, and a consumer that leaves early leaves nothing', async () => {
    const naps = `6${Math.floor(Math.random() * 1e8)}`
    const stop = new AbortController()
    const hung = readPages(
      accessTo('svn://h/r', { signal: stop.signal }),
      EVERYTHING,
      null,
      sourceWith({ path: fake(`sleep ${naps}`) }),
    )
    setTimeout(() => stop.abort(), 200)
    await expect(hung).rejects.toMatchObject({ kind: 'cancelled' })
    expect(running(naps)).toEqual([])

    const cacheDir = svnFolder()
    const many = Array.from({ length: 50 }, (_, i) => `<logentry revision="${i + 1}"></logentry>`).join('')
    const by = sourceWith({ path: fake(`printf '%s' '<log>${many}'; sleep ${naps}`, `echo '${INFO(90)}'`) })
    const reading = await by.open(accessTo('svn://h/r', { cacheDir, pageSize: 10 }))
    for await (const page of reading.pages(EVERYTHING, null)) {
      expect(page.facts.revisions).toHaveLength(10)
      break
    }
    expect(running(naps)).toEqual([])
    expect(readdirSync(cacheDir)).toEqual([])
  })

  test('a slow log is asked for in smaller pieces before it is given up', async () => {
    const asked = join(svnFolder(), 'asked')
    const path = fake(`echo "$@" >> ${asked}; sleep 60`, `echo '${INFO(900)}'`)
    await expect(
      readPages(accessTo('svn://h/r'), EVERYTHING, null, sourceWith({ path, deadline: 200 })),
    ).rejects.toMatchObject({ kind: 'timeout' })
    expect(readFileSync(asked, 'utf8').match(/-r \S+/g)).toEqual(['-r 1:500', '-r 1:125', '-r 1:100'])
  })
})

describe.runIf(hasSvn)('B39 nothing is ever asked of anybody', () => {
  test('a server that wants a password gets none, and no prompt is shown, also with a terminal', {
    timeout: 60_000,
  }, async () => {
    const server = await startServer()
    const repo = makeRepository(server, 'closed')
    writeFileSync(
      join(repo.dir, 'conf/svnserve.conf'),
      '[general]\nanon-access = none\nauth-access = read\npassword-db = passwd\n',
    )
    writeFileSync(join(repo.dir, 'conf/passwd'), '[users]\nalice = s3cret-canary\n')
    const error = await readPages(accessTo(repo.url)).catch((error) => error)
    expect(error).toMatchObject({ kind: 'auth', hint: expect.stringContaining('SVN_USERNAME') })

    // The same from a process that has a terminal: script(1) gives it one, and shows what was written to it.
    const bundle = bundled(`
      import { svnSource } from './src/core/sources/svn/svn.ts'
      const source = svnSource({ path: process.env.PATH, deadline: 10000 })
      source.open({ locator: source.locate(process.argv[2]), settings: {}, learn() {}, say() {}, tier: 'paths', pageSize: 9,
        cacheDir: process.argv[3], credentials: null, signal: new AbortController().signal })
        .then(() => console.log('opened'), (error) => console.log('kind ' + error.kind))`)
    const { stdout } = await promisify(execFile)('script', [
      '-qec',
      `node ${bundle} ${repo.url} ${svnFolder()}`,
      '/dev/null',
    ])
    expect(stdout.trim()).toBe('kind auth')
  })

  test('the password goes through stdin alone: into no command line, no file, no error', {
    timeout: 60_000,
  }, async () => {
    const server = await startServer()
    const repo = makeRepository(server, 'guarded')
    const password = `c4nary-${Math.random().toString(36).slice(2)} '"$&/\\`
    writeFileSync(
      join(repo.dir, 'conf/svnserve.conf'),
      '[general]\nanon-access = none\nauth-access = write\npassword-db = passwd\n',
    )
    writeFileSync(join(repo.dir, 'conf/passwd'), `[users]\nalice = ${password}\n`)
    repo.svn('mkdir', '-q', '-m', 'one', '^/trunk')
    const host = server.url.replace('svn://', '')
    const cacheDir = svnFolder()
    const told = join(svnFolder(), 'argv')

    let isDone = false
    let samples = 0
    const leaks: string[] = []
    const sampler = (async () => {
      for (; !isDone; samples++) {
        leaks.push(...running(password.slice(0, 12)))
        await pause(1)
      }
    })()
    const seen = fakeSvn(`for a; do printf '%s\\n' "$a" >> ${told}; done; env >> ${told}; exec $REAL "$@"`)
    const by = sourceWith({ path: seen })
    for (let i = 0; i < 5; i++) {
      const pages = await readPages(
        accessTo(repo.url, { cacheDir, credentials: { host, username: 'alice', password } }),
        EVERYTHING,
        null,
        by,
      )
      expect(revsOf(pages)).toEqual([1])
    }
    const wrong = { host, username: 'alice', password: `${password}x` }
    const error = await readPages(
      accessTo(repo.url, { cacheDir, credentials: wrong }),
      EVERYTHING,
      null,
      by,
    ).catch((error) => error)
    isDone = true
    await sampler
    expect(error).toMatchObject({ kind: 'auth' })
    expect(samples).toBeGreaterThan(20)
    expect(leaks).toEqual([])
    expect(`${error.message} ${error.hint}`).not.toContain('c4nary')
    const argv = readFileSync(told, 'utf8')
    expect(argv).toContain('--password-from-stdin')
    expect(argv).not.toContain('c4nary')
    expect(argv).not.toMatch(/^(HOME|SVN_SSH|SSH_AUTH_SOCK)=/m)
    expect(readdirSync(cacheDir)).toEqual([])

    // Not to any other server.
    const other = { host: 'elsewhere.example', username: 'alice', password }
    await expect(readPages(accessTo(repo.url, { cacheDir, credentials: other }))).rejects.toMatchObject({
      kind: 'auth',
    })
  })
})

describe('B40 what svn says in any language', () => {
  test.each<[stderr: string, kind: string]>([
    ['svn: E170001: Authentication error from server: Password incorrect', 'auth'],
    ['svn: E170001: Anmeldung gescheitert', 'auth'],
    ['svn: E170013: Unable to connect to a repository at URL\nsvn: E170001: 认证失败', 'auth'],
    ['svn: E215004: No more credentials or we tried too many times.', 'auth'],
    ['svn: E175013: Access to /r forbidden', 'auth'],
    ['svn: E220001: Item is not readable', 'permission'],
    ['svn: E230001: Server SSL certificate verification failed: issuer is not trusted', 'network'],
    ["svn: E170013: x\nsvn: E000111: Can't connect to host '127.0.0.1': Connection refused", 'network'],
    ['svn: E170013: x\nsvn: E670002: Der Name ist unbekannt', 'network'],
    ['svn: E170013: x\nsvn: E730061: 无法连接', 'network'],
    ['svn: E120106: The server sent a truncated HTTP response body', 'network'],
    ['svn: E170013: x\nsvn: E210005: No repository found', 'not_found'],
    ["svn: E160013: File not found: revision 5, path '/x'", 'not_found'],
    ['svn: E160013: Datei nicht gefunden', 'not_found'],
    ['svn: avertissement : W170000: URL inexistante\n\nsvn: E200009: …', 'not_found'],
    ['svn: 警告：W170000：…\nsvn: E200009: 无法显示', 'not_found'],
    ['svn: E160006: No such revision 9', 'upstream'],
    ['svn: E175002: Unexpected HTTP status 502', 'upstream'],
    ['svn: E160004: Corrupt node-id', 'upstream'],
    ['Segmentation fault', 'upstream'],
    ['', 'upstream'],
    // Words decide nothing, and what stands inside a line is no code.
    ['svn: E160004: authentication failed, access denied, E170001 forbidden', 'upstream'],
  ])('%j is %s', async (stderr, kind) => {
    const file = join(svnFolder(), 'stderr')
    writeFileSync(file, stderr)
    const error = await failureOf(
      fake(`printf '<?xml version="1.0"?>\\n<log>\\n'; cat ${file} >&2; exit 1`),
      { window: 'range', from: 1, to: 1 },
    )
    expect(error.kind).toBe(kind)
    expect(error.message).toMatch(/^[^\p{Cc}]{1,300}$/u)
  })

  test('its words are cleaned and cut, and hold no secret', async () => {
    const script = `printf 'svn: E999999: \\033]0;evil\\007 c4nary-secret http://u:p4ss@h/ %0100000d\\n' 0 >&2; exit 1`
    const credentials = { host: 'h', username: 'u', password: 'c4nary-secret' }
    const { message } = await failureOf(fake(script), { window: 'range', from: 1, to: 1 }, { credentials })
    expect(message).toMatch(/^[^\p{Cc}]{1,300}$/u)
    expect(message).not.toMatch(/c4nary|p4ss/)
  })

  test('an svn that is not there is one clear sentence', async () => {
    const error = await failureOf(svnFolder())
    expect(error).toMatchObject({ kind: 'config', hint: expect.stringContaining('apt install subversion') })
  })
})

describe('B41 exit codes and noise', () => {
  const ask: Ask = { window: 'range', from: 1, to: 1 }

  test.each<[what: string, script: string, kind: string]>([
    ['a whole log and exit 1', `echo '${LOG}'; exit 1`, 'upstream'],
    ['a whole log and a signal', `echo '${LOG}'; kill -9 $$`, 'upstream'],
    ['no log and exit 0', 'exit 0', 'upstream'],
    ['half a log and exit 0', `printf '%s' '${LOG.slice(0, 70)}'`, 'upstream'],
    ['a log without its end and exit 0', `printf '%s' '${LOG.replace('</log>', '')}'`, 'upstream'],
    [
      'half a log and a reason',
      `printf '%s' '${LOG.slice(0, 70)}'; echo 'svn: E170001: no' >&2; exit 1`,
      'auth',
    ],
    ['a revision nobody asked for', `echo '${LOG.replace('"1"', '"2"')}'`, 'upstream'],
    ['a revision twice', `echo '${LOG.replace(/<logentry.*<\/logentry>/, '$&$&')}'`, 'upstream'],
    ['noise before the log', `echo 'Welcome!'; echo '${LOG}'`, 'upstream'],
  ])('%s', async (_what, script, kind) => {
    expect((await failureOf(fake(script), ask)).kind).toBe(kind)
  })

  test('noise on stderr beside a good log is no failure, and no memory', async () => {
    const path = fake(`head -c 3000000 /dev/urandom >&2; echo 'svn: E170001: lies' >&2; echo '${LOG}'`)
    expect(revsOf(await readPages(accessTo('svn://h/r'), ask, null, sourceWith({ path })))).toEqual([1])
  })

  test.each<[what: string, info: string]>([
    ['nothing', ''],
    ['another repository', INFO(1).replaceAll('svn://h/r', 'svn://evil/r')],
    ['a root that is not above it', INFO(1).replace('<root>svn://h/r', '<root>svn://h/other')],
    ['an address that is none', INFO(1).replaceAll('svn://h/r', 'javascript:x')],
    ['no UUID', INFO(1).replace('u-1', '')],
    ['a UUID of control characters', INFO(1).replace('u-1', '&#10;x')],
    ['no revision', INFO(1).replace('revision="1"', '')],
    ['a mebibyte', `${INFO(1).slice(0, -7)}<x>$(head -c 2000000 /dev/zero | tr '\\0' x)</x></info>`],
  ])('info that tells %s', async (_what, info) => {
    const error = await failureOf(fake(`echo '${LOG}'`, `echo "${info.replaceAll('"', '\\"')}"`))
    expect(['upstream', 'not_found']).toContain(error.kind)
  })
})

describe('B42 what is too much', () => {
  test('a million paths in one revision, read below 150 MB', { timeout: 120_000 }, async () => {
    const awk = `BEGIN { print "<log><logentry revision=\\"1\\"><paths>"; for (i = 0; i < 1000000; i++) print "<path action=\\"A\\" kind=\\"file\\" text-mods=\\"true\\" prop-mods=\\"false\\" copyfrom-path=\\"/trunk/d/f" i "\\" copyfrom-rev=\\"7\\">/branches/b/a-longer-path-" i "</path>"; print "</paths><msg>m</msg></logentry></log>" }`
    const bundle = bundled(`
      import { svnSource } from './src/core/sources/svn/svn.ts'
      const source = svnSource({ path: process.argv[2] })
      const reading = await source.open({ locator: 'svn://h/r', settings: {}, learn() {}, say() {}, tier: 'paths', pageSize: 9,
        cacheDir: process.argv[3], credentials: null, signal: new AbortController().signal })
      for await (const { facts: { revisions: [one] } } of reading.pages({ window: 'revisions', scanned: null, again: null }, null))
        console.log(JSON.stringify({ count: one.pathCount, kept: one.paths.length, degraded: one.degraded, rss: process.resourceUsage().maxRSS }))`)
    const { stdout } = await promisify(execFile)('node', [bundle, fake(`awk '${awk}'`), svnFolder()])
    const { rss, ...told } = JSON.parse(stdout)
    process.stderr.write(`a million paths: ${Math.round(rss / 1024)} MiB at most\n`)
    expect(told).toEqual({ count: 1_000_000, kept: 10_000, degraded: 'paths_count:1000000' })
    expect(rss / 1024).toBeLessThan(150)
  })

  test('a diff of 900,000 lines is its lines, one of 300 MB its paths, and the next is whole, below 150 MB', {
    timeout: 120_000,
  }, async () => {
    const entry = (rev: number) =>
      `<logentry revision="${rev}"><paths><path action="A" kind="file" prop-mods="false">/f${rev}</path></paths><msg>m</msg></logentry>`
    const file = (rev: number, lines: number, width: number) =>
      `printf '%s\\n' '${'-'.repeat(72)}' 'r${rev} | a | 2020' '' 'Index: f${rev}' === '@@ -0,0 +1,${lines} @@'
       awk 'BEGIN { x = sprintf("%${width}d", 7); for (i = 0; i < ${lines}; i++) print "+" x }'`
    const generator = `case "$*" in
      *--diff*'-r 3:3'*) ${file(3, 5, 10)};;
      *--diff*) ${file(1, 900_000, 10)}; ${file(2, 900_000, 330)}; ${file(3, 5, 10)};;
      *) echo '<log>${[1, 2, 3].map(entry).join('')}</log>';;
      esac`
    const bundle = bundled(`
      import { readFileSync } from 'node:fs'
      import { svnSource } from './src/core/sources/svn/svn.ts'
      const source = svnSource({ path: process.argv[2] })
      const reading = await source.open({ locator: 'svn://h/r', settings: {}, learn() {}, say() {}, tier: 'patch', pageSize: 9,
        cacheDir: process.argv[3], credentials: null, signal: new AbortController().signal })
      const told = []
      for await (const { facts } of reading.pages({ window: 'revisions', scanned: null, again: null }, null))
        for (const { rev, tier, degraded, patch } of facts.revisions)
          told.push([rev, tier, degraded, patch.format, patch.format === 'diffstat' ? patch.text : patch.sizeBytes])
      console.log(JSON.stringify({ told, rss: process.resourceUsage().maxRSS }))`)
    const path = fakeSvn(`if [ $1 = info ]; then echo '${INFO(3)}'; else ${generator}; fi`)
    const { stdout } = await promisify(execFile)('node', [bundle, path, svnFolder()])
    const { told, rss } = JSON.parse(stdout)
    process.stderr.write(`a diff of 300 MB: ${Math.round(rss / 1024)} MiB at most\n`)
    expect(told).toEqual([
      [
        1,
        'numstat',
        expect.stringMatching(/^diff_size:10\d{6}$/),
        'diffstat',
        expect.stringContaining(' f1 | +900000 -0\n'),
      ],
      [2, 'paths', 'diff_size:16777216+', 'ministat', expect.any(Number)],
      [3, 'patch', null, 'diff', expect.any(Number)],
    ])
    expect(rss / 1024).toBeLessThan(150)
  })

  test('a page ends early when it is big, whatever its number of revisions', async () => {
    const entries = Array.from(
      { length: 30 },
      (_, i) => `<logentry revision="${i + 1}"><msg>${'x'.repeat(1_000_000)}</msg></logentry>`,
    )
    const file = join(svnFolder(), 'log')
    writeFileSync(file, `<log>${entries.join('')}</log>`)
    const by = sourceWith({ path: fake(`cat ${file}`, `echo '${INFO(30)}'`) })
    const pages = await readPages(accessTo('svn://h/r'), EVERYTHING, null, by)
    expect(pages.map(({ token }) => token)).toEqual(['5', '10', '15', '20', '25', '30'])
    expect(revsOf(pages)).toEqual(Array.from({ length: 30 }, (_, i) => i + 1))
  })
})

/** TypeScript of the project as one file for a process of its own. */
function bundled(contents: string): string {
  const file = join(svnFolder(), 'child.mjs')
  const resolveDir = new URL('../../../..', import.meta.url).pathname
  buildSync({
    stdin: { contents, resolveDir, loader: 'ts' },
    bundle: true,
    platform: 'node',
    format: 'esm',
    outfile: file,
    logLevel: 'error',
  })
  expect(existsSync(file)).toBe(true)
  return file
}
