import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import { createServer, request, type ServerResponse } from 'node:http'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { createGzip } from 'node:zlib'
import { beforeAll, describe, expect, test } from 'vitest'
import { SyncError } from '../../../../src/core/domain/errors.ts'
import { newSeed, seeded } from '../../../helpers/git-repo.ts'
import {
  accessTo,
  dumpOf,
  EVERYTHING,
  load,
  makeRepository,
  onEnd,
  readPages,
  revisionsOf,
  revsOf,
  running,
  type SvnRepo,
  type SvnServer,
  sourceWith,
  svnFolder,
} from '../../../helpers/svn.ts'
import { hasApache, startHttpServer } from '../../../helpers/svn-http.ts'

const PASSWORD = 'http-canary-7f3a'
let server: SvnServer
let repo: SvnRepo
let cacheDir: string

beforeAll(async () => {
  if (!hasApache) return
  cacheDir = svnFolder()
  server = await startHttpServer({ users: { mara: PASSWORD } })
  repo = makeRepository(server, 'repo')
  load(
    repo,
    dumpOf(
      Array.from({ length: 40 }, (_, i) => ({ props: { 'svn:author': 'mara', 'svn:log': `change ${i}` } })),
    ),
  )
})

const credentialsFor = (url: string, password = PASSWORD) => ({
  host: new URL(url).host,
  username: 'mara',
  password,
})

function read(url: string, more: Parameters<typeof sourceWith>[0] = {}) {
  const access = accessTo(url, { cacheDir, credentials: credentialsFor(url) })
  return readPages(access, EVERYTHING, null, sourceWith({ deadline: 20_000, ...more }))
}

const failureOf = async (reading: Promise<unknown>): Promise<SyncError> => {
  const error = await reading.then(
    () => new Error('it did not fail'),
    (error) => error,
  )
  expect(error).toBeInstanceOf(SyncError)
  expect(error.message).toMatch(/^[^\p{Cc}]{1,300}$/u)
  expect(`${error.message} ${error.hint}`).not.toContain('canary')
  expect(readdirSync(cacheDir)).toEqual([])
  return error
}

interface Asked {
  method: string
  url: string
  authorization: string | undefined
}

/** A server of Node's; `answer` says whether it has answered, else the real one does. */
async function front(
  answer: (asked: Asked, response: ServerResponse, body: () => Promise<Buffer>) => boolean | Promise<boolean>,
  host = '127.0.0.1',
): Promise<{ url: string; asked: Asked[] }> {
  const asked: Asked[] = []
  const server = createServer(async (incoming, response) => {
    incoming.on('error', () => {})
    response.on('error', () => {})
    const { method = '', url = '', headers } = incoming
    const one = { method, url, authorization: headers.authorization }
    asked.push(one)
    const parts: Buffer[] = []
    for await (const part of incoming) parts.push(part as Buffer)
    const forwarded = () =>
      new Promise<{ status: number; headers: Record<string, unknown>; body: Buffer }>((done, failed) => {
        const to = new URL(url, repo.url)
        request(to, { method, headers: { ...headers, 'accept-encoding': 'identity' } }, async (far) => {
          const got: Buffer[] = []
          for await (const part of far) got.push(part as Buffer)
          done({ status: far.statusCode ?? 500, headers: far.headers, body: Buffer.concat(got) })
        })
          .on('error', failed)
          .end(Buffer.concat(parts))
      })
    try {
      if (await answer(one, response, async () => (await forwarded()).body)) return
      const { status, headers, body } = await forwarded()
      response.writeHead(status, headers as Record<string, string>).end(body)
    } catch {
      response.destroy()
    }
  })
  server.listen(0, host)
  await once(server, 'listening')
  onEnd(() => {
    server.closeAllConnections()
    server.close()
  })
  const { port } = server.address() as { port: number }
  return { url: `http://${host}:${port}/repo`, asked }
}

describe.runIf(hasApache)('a password over http', () => {
  test('lets in, and is asked for where there is none or a wrong one', async () => {
    expect(revsOf(await read(repo.url))).toHaveLength(40)
    const wrong = accessTo(repo.url, { cacheDir, credentials: credentialsFor(repo.url, 'canary-wrong') })
    expect(await failureOf(readPages(wrong))).toMatchObject({
      kind: 'auth',
      hint: expect.stringContaining('SVN_PASSWORD'),
    })
    expect(await failureOf(readPages(accessTo(repo.url, { cacheDir })))).toMatchObject({ kind: 'auth' })
    const other = accessTo(repo.url, { cacheDir, credentials: credentialsFor('http://elsewhere/') })
    expect(await failureOf(readPages(other))).toMatchObject({ kind: 'auth' })
  })

  test('is in no command line, no environment and no file', async () => {
    const { url } = await front(() => false)
    let isDone = false
    let samples = 0
    const leaks: string[] = []
    const sampler = (async () => {
      for (; !isDone; samples++) {
        leaks.push(...running(PASSWORD))
        for (const file of readdirSync(cacheDir, { recursive: true, encoding: 'utf8' }))
          if (textOf(join(cacheDir, file)).includes(PASSWORD)) leaks.push(file)
        await new Promise((next) => setTimeout(next, 1))
      }
    })()
    for (let i = 0; i < 5; i++) await read(url)
    isDone = true
    await sampler
    expect(samples).toBeGreaterThan(10)
    expect(leaks).toEqual([])
  })

  /** Nothing where it is a folder, or gone. */
  function textOf(file: string): string {
    try {
      return readFileSync(file, 'latin1')
    } catch {
      return ''
    }
  }
})

describe.runIf(hasApache)('B31 a redirect', () => {
  const HOSTS = ['localhost', '127.0.0.1'] // another host, and another port of the same one
  const STATUSES = [301, 302, 303, 307, 308]

  test.each(STATUSES.flatMap((status) => HOSTS.map((host) => ({ status, host }))))(
    'with $status to $host is refused, and nobody is asked there',
    async ({ status, host }) => {
      const second = await front((_asked, response) => isAsked(response), host)
      const first = await front((asked, response) => {
        response.writeHead(status, { location: new URL(asked.url, second.url).href }).end()
        return true
      })
      expect(await failureOf(read(first.url))).toMatchObject({
        kind: expect.stringMatching(/not_found|upstream/),
      })
      expect(second.asked).toEqual([])
      expect(first.asked.length).toBeGreaterThan(0)
    },
  )

  test('that comes in the middle leads to no other host, whichever request it answers', {
    timeout: 120_000,
  }, async () => {
    const second = await front((_asked, response) => isAsked(response), 'localhost')
    for (let good = 0; ; good++) {
      let left = good
      const first = await front((asked, response) => {
        if (left-- > 0) return false
        response.writeHead(301, { location: new URL(asked.url, second.url).href }).end()
        return true
      })
      const pages = await read(first.url).catch((error) => {
        expect(error).toBeInstanceOf(SyncError)
        return null
      })
      expect(second.asked).toEqual([])
      if (pages === null) continue
      expect(revsOf(pages)).toHaveLength(40)
      expect(good).toBeGreaterThan(8)
      break
    }
  })

  function isAsked(response: ServerResponse): boolean {
    response.writeHead(401, { 'www-authenticate': 'Basic realm="x"' }).end()
    return true
  }
})

describe.runIf(hasApache)('what a server answers instead', () => {
  test.each([
    [400, 'upstream'],
    [403, 'auth'],
    [404, 'not_found'],
    [405, 'upstream'],
    [500, 'upstream'],
    [502, 'upstream'],
    [503, 'upstream'],
    [200, 'upstream'],
  ])('%i is %s', async (status, kind) => {
    const { url } = await front((_asked, response) => {
      response.writeHead(status, { 'content-type': 'text/html' }).end('<html>\x1b]0;evil\x07 sorry</html>')
      return true
    })
    expect((await failureOf(read(url))).kind).toBe(kind)
  })

  test('no repository, and no path in one', async () => {
    const base = repo.url.replace(/repo$/, '')
    expect((await failureOf(read(`${base}nothing`))).kind).toBe('not_found')
    expect((await failureOf(read(`${repo.url}/trnk`))).kind).toBe('not_found')
  })

  test('503 to the diffs alone: the read fails, and a later one has them', async () => {
    let isBusy = true
    const files = makeRepository(server, 'files')
    const file = (path: string) => ({ path, kind: 'file', action: 'add', text: 'x\n', props: {} }) as const
    load(files, dumpOf(['a', 'b', 'c'].map((path) => ({ props: { 'svn:log': path }, nodes: [file(path)] }))))
    const { url } = await front(({ method, url }, response) => {
      if (!isBusy || method !== 'REPORT' || !url.endsWith('/!svn/me')) return false
      response.writeHead(503).end()
      return true
    })
    const patches = async () => {
      const address = url.replace(/repo$/, 'files')
      const access = accessTo(address, { cacheDir, tier: 'patch', credentials: credentialsFor(url) })
      return revisionsOf(await readPages(access)).map(({ tier, degraded }) => [tier, degraded])
    }
    expect(await failureOf(patches())).toMatchObject({ kind: 'upstream' })
    isBusy = false
    expect(await patches()).toEqual(Array.from({ length: 3 }, () => ['patch', null]))
  })

  test('B38 nothing at all, or a byte now and then: the deadline ends it, and nothing of svn remains', async () => {
    const drips: NodeJS.Timeout[] = []
    onEnd(() => drips.forEach(clearInterval))
    const silent = await front(() => true)
    const dripping = await front(async ({ method }, response) => {
      if (method !== 'REPORT') return false
      response.writeHead(200, { 'content-type': 'text/xml' })
      response.write('<?xml version="1.0"?><S:log-report xmlns:S="svn:">')
      drips.push(setInterval(() => response.write(' '), 20))
      return true
    })
    for (const { url } of [silent, dripping]) {
      expect((await failureOf(read(url, { deadline: 700 }))).kind).toBe('timeout')
      expect(running(url)).toEqual([])
    }
  })

  test('B41 a log that is cut short, as HTTP or only as XML, is never a shorter log', {
    timeout: 120_000,
  }, async () => {
    const random = seeded(newSeed())
    let cut = 0
    let isHonest = true
    let whole: Buffer = Buffer.alloc(0)
    const { url } = await front(async ({ method }, response, body) => {
      if (method !== 'REPORT') return false
      whole = await body()
      const part = whole.subarray(0, cut)
      if (isHonest) response.writeHead(200, { 'content-type': 'text/xml' }).end(part)
      else {
        response.writeHead(200, { 'content-type': 'text/xml', 'content-length': whole.length })
        response.write(part, () => response.destroy())
      }
      return true
    })
    cut = 1e9
    expect(revsOf(await read(url))).toHaveLength(40)
    const end = whole.lastIndexOf('</S:log-report>')
    for (let round = 0; round < 12; round++) {
      isHonest = round % 2 === 0
      cut = round < 2 ? end : Math.floor(random() * end)
      expect(['upstream', 'network'], `cut at ${cut}`).toContain((await failureOf(read(url))).kind)
    }
  })

  test('B42 entities that multiply', async () => {
    const laughs = Array.from({ length: 9 }, (_, i) => `<!ENTITY a${i + 1} "${`&a${i};`.repeat(10)}">`).join(
      '',
    )
    const { url } = await front(async ({ method }, response) => {
      if (method !== 'REPORT') return false
      response.writeHead(200, { 'content-type': 'text/xml' })
      response.end(
        `<?xml version="1.0"?><!DOCTYPE S:log-report [<!ENTITY a0 "ha">${laughs}]><S:log-report xmlns:S="svn:" xmlns:D="DAV:"><S:log-item><D:version-name>1</D:version-name><D:comment>&a9;</D:comment></S:log-item></S:log-report>`,
      )
      return true
    })
    expect((await failureOf(read(url))).kind).toBe('upstream')
  })

  test.each([
    { mebibytes: 64, degraded: /^message_size:671\d{5}$/ },
    { mebibytes: 512, degraded: null }, // svn would want 2 GiB for it
  ])(
    'B42 a small body that unpacks to $mebibytes MiB takes no memory, of ours or of svn',
    {
      timeout: 120_000,
    },
    async ({ mebibytes, degraded }) => {
      const zip = createGzip({ level: 1 })
      const bomb = buffer(zip)
      zip.write(
        '<?xml version="1.0"?><S:log-report xmlns:S="svn:" xmlns:D="DAV:"><S:log-item><D:version-name>1</D:version-name><D:comment>',
      )
      for (let i = 0; i < mebibytes; i++) zip.write(Buffer.alloc(1 << 20, 'x'))
      zip.end('</D:comment></S:log-item></S:log-report>')
      const packed = await bomb
      const { url } = await front(async ({ method }, response) => {
        if (method !== 'REPORT') return false
        response.writeHead(200, { 'content-type': 'text/xml', 'content-encoding': 'gzip' }).end(packed)
        return true
      })
      const before = process.memoryUsage.rss()
      if (degraded === null) expect((await failureOf(read(url))).kind).toBe('upstream')
      else {
        const [revision] = revisionsOf(await read(url))
        expect(revision).toMatchObject({
          rev: 1,
          degraded: expect.stringMatching(degraded),
          sanitized: ['message'],
        })
      }
      const more = (process.memoryUsage.rss() - before) >> 20
      process.stderr.write(`${packed.length} B of gzip, ${mebibytes} MiB in them: ${more} MiB more\n`)
      expect(more).toBeLessThan(150)
    },
  )
})

describe.runIf(hasApache)('a certificate', () => {
  test('of an unknown authority is refused; named, or waved through on purpose, it passes', async () => {
    const folder = svnFolder()
    const [cert, key] = [join(folder, 'cert.pem'), join(folder, 'key.pem')]
    execFileSync(
      'openssl',
      // biome-ignore format: one call
      ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-keyout', key, '-out', cert, '-days', '2', '-subj', '/CN=127.0.0.1',
        '-addext', 'subjectAltName=IP:127.0.0.1'],
      { stdio: 'ignore' },
    )
    const server = await startHttpServer({ users: { mara: PASSWORD }, tls: { cert, key } })
    const { url } = makeRepository(server, 'repo')
    expect(await failureOf(read(url))).toMatchObject({
      kind: 'network',
      message: expect.stringContaining('certificate'),
      hint: expect.stringContaining('SSL_CERT_FILE'),
    })
    expect(await read(url, { network: { SSL_CERT_FILE: cert } })).toHaveLength(1)
    expect(await read(url, { trustUnknownCa: true })).toHaveLength(1)
    // Another host's name is another matter.
    const elsewhere = url.replace('127.0.0.1', 'localhost')
    expect(await failureOf(read(elsewhere, { trustUnknownCa: true }))).toMatchObject({ kind: 'network' })
  })
})
