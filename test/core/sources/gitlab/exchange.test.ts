import { execFileSync, spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { brotliCompressSync, gzipSync } from 'node:zlib'
import { build } from 'esbuild'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { failedException } from '../../../../src/core/sources/gitlab/http/failure.ts'
import { makeGate } from '../../../../src/core/sources/gitlab/http/gate.ts'
import { asking, CANARY, failure, LIMITS } from './asking.ts'
import { http, type RawServer, rawServer } from './raw-server.ts'

const once = { ...LIMITS, maxAttempts: 1 }
const PAGE = '[{"id":1,"t":"ä€🙂"},[],{}]'

const always = (bytes: Buffer | string) =>
  rawServer((_, socket) => {
    socket.write(bytes)
  })

describe('B28 one deadline for all of an answer', () => {
  const endless: [what: string, drip: (nth: number) => string | Buffer][] = [
    ['a byte of body every 50 ms', (n) => (n === 0 ? http(200, '', { 'content-length': '999999' }) : ' ')],
    [
      'a byte of the head every 50 ms',
      (n) => 'HTTP/1.1 200 OK\r\nx-slow: and-slower-and-slower'.charAt(n) || 'w',
    ],
    ['a header line every 50 ms', (n) => (n === 0 ? 'HTTP/1.1 200 OK\r\n' : `x-${n}: y\r\n`)],
    ['silence', () => ''],
    ['half an answer, then silence', (n) => (n === 0 ? http(200, '[1,', { 'content-length': '99' }) : '')],
    ['a slow refusal', (n) => (n === 0 ? http(404, '', { 'content-length': '999999' }) : ' ')],
  ]
  test.each(endless)('%s', async (_what, drip) => {
    await using server = await rawServer((_, socket) => {
      let nth = 0
      const timer = setInterval(() => socket.write(drip(nth++)), 50)
      socket.on('close', () => clearInterval(timer))
    })
    const gate = makeGate()
    const client = asking(server.url, { gate, limits: { ...LIMITS, maxAttempts: 2, timeoutMs: 300 } })
    const error = await failure(client.get('x'))
    expect(error).toMatchObject({ kind: 'timeout', status: undefined })
    expect(error.message).toContain('no end of the answer after 0.3 s')
    expect(client.usage()).toMatchObject({ requests: 2, timeouts: 2, retries: 1, limited: 0 })
    expect(gate.width).toBe(1)
    await expect.poll(() => server.busy()).toBe(0)
  })
})

describe('B29 a body that is cut', () => {
  const closed = { 'content-length': null, connection: 'close' }
  const cuts: [how: string, whole: Buffer, idle: number][] = [
    ['with a length', http(200, PAGE), 0],
    ['without a length', http(200, PAGE, closed), 0],
    [
      'in chunks',
      http(200, '5\r\n[1,2,\r\n2\r\n3]\r\n0\r\n\r\n', {
        'content-length': null,
        'transfer-encoding': 'chunked',
      }),
      0,
    ],
    ['in gzip', http(200, gzipSync(PAGE), { 'content-encoding': 'gzip' }), 0],
    ['in brotli', http(200, brotliCompressSync(PAGE), { 'content-encoding': 'br' }), 0],
    // Its last bytes are gzip's sum and size, and the sign that there is no more: they hold nothing of the page.
    ['in gzip without a length', http(200, gzipSync(PAGE), { 'content-encoding': 'gzip', ...closed }), 12],
  ]
  test.each(cuts)('%s: at every byte an error, never fewer rows', async (_how, whole, idle) => {
    let at = 0
    await using server = await rawServer((_, socket) => socket.end(whole.subarray(0, at)))
    const kinds: string[] = []
    for (at = 0; at < whole.length - idle; at++) {
      const error = await failure(asking(server.url, { limits: once }).get('x'))
      kinds.push(error.kind)
    }
    // Before the end of the head nobody answered; behind it, somebody answered badly.
    const head = whole.indexOf('\r\n\r\n') + 4
    expect(kinds).toEqual(kinds.map((_, i) => (i < head ? 'network' : 'upstream')))
    for (; at <= whole.length; at++) {
      const rows = await asking(server.url, { limits: once })
        .get('x')
        .then(
          ({ json }) => json.length,
          () => 'error',
        )
      expect(rows).toBeOneOf(at < whole.length ? ['error', 3] : [3])
    }
  })

  test('is asked for again', async () => {
    await using server = await rawServer((_, socket, nth) =>
      nth === 1 ? socket.end(http(200, PAGE).subarray(0, -3)) : socket.write(http(200, PAGE)),
    )
    const client = asking(server.url)
    expect((await client.get('x')).json).toHaveLength(3)
    expect(client.usage()).toMatchObject({ requests: 2, retries: 1, timeouts: 0 })
  })
})

describe('B30 what is no answer is an error, not an empty page', () => {
  test.each<[what: string, answer: Buffer, says: string]>([
    [
      'a login page',
      http(200, '<html>Sign in</html>', { 'content-type': 'text/html; charset=utf-8' }),
      'is text/html; charset=utf-8, not JSON',
    ],
    ['JSON called text', http(200, '[]', { 'content-type': 'text/plain' }), 'is text/plain, not JSON'],
    ['JSON called nothing', http(200, '[]', { 'content-type': null }), 'is of no type, not JSON'],
    ['JSON called jsonp', http(200, '[]', { 'content-type': 'application/jsonp' }), 'not JSON'],
    ['nothing', http(200, ''), 'is empty'],
    ['blanks', http(200, '  \n'), 'is broken JSON'],
    ['an object', http(200, '{"message":"ok"}'), 'is not an array'],
    ['null', http(200, 'null'), 'is not an array'],
    ['a number', http(200, '1e308'), 'is not an array'],
    ['a string', http(200, '"[]"'), 'is not an array'],
    ['two answers', http(200, '[][]'), 'is broken JSON'],
    ['rubbish called gzip', http(200, '[]', { 'content-encoding': 'gzip' }), 'cut or broken'],
    ['no HTTP', Buffer.from('SSH-2.0-OpenSSH_9.2\r\n\r\n'), 'cut or broken'],
    ['a head of 20 kB', http(200, '[]', { 'x-long': 'x'.repeat(20_000) }), 'cut or broken'],
    [
      'the token in a broken head',
      Buffer.from(`HTTP/1.1 200 OK\r\nbroken ${CANARY}\r\n\r\n`),
      'cut or broken',
    ],
    ['two lengths', http(200, '[]', { 'Content-Length': '2', 'content-Length': '3' }), 'cut or broken'],
  ])('%s', async (_what, answer, says) => {
    await using server = await rawServer((_, socket) => socket.write(answer))
    const client = asking(server.url)
    const error = await failure(client.get('x'))
    expect(error).toMatchObject({ kind: 'upstream', status: undefined, limit: undefined })
    expect(error.message).toContain('protocol: ')
    expect(error.message).toContain(says)
    expect(client.usage()).toMatchObject({ requests: 3, retries: 2, timeouts: 0 })
  })

  test('an array where an object was asked for', async () => {
    await using server = await always(http(200, '[]'))
    const error = await failure(asking(server.url).get('x', {}, { expect: 'object' }))
    expect(error.message).toContain('is not an object')
  })

  test('JSON under another name of its own, and bytes that are no UTF-8, are read', async () => {
    await using server = await always(
      http(200, Buffer.from('["\xff\xfe", "\\ud800", "\\u0000"]', 'latin1'), {
        'content-type': 'application/vnd.gitlab+json; charset=utf-8',
      }),
    )
    expect((await asking(server.url).get('x')).json).toEqual(['\ufffd\ufffd', '\ud800', '\0'])
  })
})

describe('B31 redirects', () => {
  let home: RawServer
  let elsewhere: RawServer
  let location = ''
  let status = 302
  beforeAll(async () => {
    home = await rawServer(({ target }, socket) => {
      if (target.includes('/there')) socket.write(http(200, '["there"]'))
      else socket.write(http(status, '{"message":"moved"}', location === '' ? {} : { location }))
    })
    elsewhere = await always(http(200, '["stolen"]'))
  })
  afterAll(async () => {
    await home[Symbol.asyncDispose]()
    await elsewhere[Symbol.asyncDispose]()
  })

  const ALL = [300, 301, 302, 303, 304, 305, 306, 307, 308, 399]
  const FOLLOWED = [301, 302, 303, 307, 308]
  const forms: [form: string, location: () => string, leads: 'on' | 'away' | 'round'][] = [
    ['absolute, same origin', () => `${home.url}/api/v4/there?a=1`, 'on'],
    ['absolute path', () => '/api/v4/there', 'on'],
    ['relative', () => 'there', 'on'],
    ['protocol-relative, same origin', () => `//127.0.0.1:${home.port}/api/v4/there`, 'on'],
    ['through dots', () => '/x/../api/v4/y/../there', 'on'],
    ['to itself', () => '', 'away'],
    ['round and round', () => '/api/v4/x', 'round'],
    ['out of the API', () => '/users/sign_in', 'away'],
    ['out of the API through dots', () => '/api/v4/../../there', 'away'],
    ['out of the API through encoded dots', () => '/api/v4/%2e%2e/%2E./there', 'away'],
    ['another port', () => `${elsewhere.url}/api/v4/there`, 'away'],
    ['another name of the same', () => `http://localhost:${home.port}/api/v4/there`, 'away'],
    ['protocol-relative, another port', () => `//127.0.0.1:${elsewhere.port}/api/v4/there`, 'away'],
    ['backslashes', () => `\\\\127.0.0.1:${elsewhere.port}\\api\\v4\\there`, 'away'],
    [
      'userinfo that looks like home',
      () => `http://127.0.0.1:${home.port}@127.0.0.1:${elsewhere.port}/api/v4/there`,
      'away',
    ],
    [
      'userinfo at home',
      () => `http://user:${encodeURIComponent(CANARY)}@127.0.0.1:${home.port}/api/v4/there`,
      'away',
    ],
    ['the token as an address', () => `${elsewhere.url}/${encodeURIComponent(CANARY)}`, 'away'],
    ['no address', () => 'http://[', 'away'],
    ['another scheme', () => 'file:///etc/passwd', 'away'],
    ['data', () => 'data:application/json,[]', 'away'],
  ]
  test.each(forms)('%s', async (_form, to, leads) => {
    for (status of ALL) {
      location = to()
      home.asked.length = 0
      const client = asking(home.url)
      const follows = FOLLOWED.includes(status)
      if (leads === 'on' && follows) {
        expect(await client.get('x')).toMatchObject({ json: ['there'] })
        expect(home.asked[1]?.head).toContain(`private-token: ${CANARY}`)
        expect(client.usage()).toMatchObject({ requests: 2, retries: 0 })
      } else {
        expect(await failure(client.get('x'))).toMatchObject({ kind: 'upstream', status })
        expect(client.usage()).toMatchObject({ requests: leads === 'round' && follows ? 2 : 1 })
      }
    }
    expect(elsewhere.opened()).toBe(0)
    expect(elsewhere.asked).toEqual([])
  })

  test.each(['/users/sign_in', '/api/v4/there'])(
    'to %s, with a body that never ends: nobody waits for it',
    async (to) => {
      await using server = await rawServer(({ target }, socket) =>
        socket.write(
          target === '/api/v4/there'
            ? http(200, '[]')
            : http(302, 'x'.repeat(200_000), { location: to, 'content-length': '9999999' }),
        ),
      )
      const asked = asking(server.url).get('x')
      if (to === '/api/v4/there') expect((await asked).json).toEqual([])
      else expect(await failure(asked)).toMatchObject({ kind: 'upstream' })
      await expect.poll(() => server.busy()).toBe(to === '/api/v4/there' ? 1 : 0)
    },
  )

  test('to https: the address in the configuration is wrong, and the hint gives the right one', async () => {
    status = 301
    location = 'https://127.0.0.1/api/v4/x'
    expect(await failure(asking(home.url).get('x'))).toMatchObject({
      kind: 'config',
      hint: 'set its url to https://127.0.0.1',
    })
  })
})

describe('B35 a body without measure', () => {
  test('is read to the cap and no further; the caller is told which bound it was', async () => {
    const limits = { ...LIMITS, maxBytes: 100 }
    for (const size of [99, 100, 101]) {
      const page = `[${'1'.repeat(size - 2)}]`
      for (const answer of [http(200, page), http(200, gzipSync(page), { 'content-encoding': 'gzip' })]) {
        await using server = await always(answer)
        const client = asking(server.url, { limits })
        if (size <= 100) expect((await client.get('x')).json).toHaveLength(1)
        else expect(await failure(client.get('x'))).toMatchObject({ kind: 'upstream', limit: 'bytes' })
        expect(client.usage().requests).toBe(1)
      }
    }
  })

  test('that never ends', async () => {
    const noise = Buffer.alloc(65_536, ' ')
    await using server = await rawServer((_, socket) => {
      socket.write(http(200, '', { 'content-length': null, connection: 'close' }))
      const pour = () => {
        while (!socket.destroyed && socket.write(noise));
      }
      socket.on('drain', pour)
      pour()
    })
    const error = await failure(asking(server.url).get('x'))
    expect(error).toMatchObject({ limit: 'bytes' })
    expect(error.message).toContain('larger than 2097152 bytes')
    // Who has asked for a single row cannot ask for less.
    const single = await failure(asking(server.url).get('x', { per_page: 1 }))
    expect(single.message).toContain('larger than 8388608 bytes')
    await expect.poll(() => server.busy()).toBe(0)
  })

  test('announced larger than may be, nothing of it is read', async () => {
    await using server = await always(http(200, '', { 'content-length': '2097153' }))
    expect(await failure(asking(server.url).get('x'))).toMatchObject({ kind: 'upstream', limit: 'bytes' })
    await expect.poll(() => server.busy()).toBe(0)
  })

  test('a refusal that never ends is cut after its first words', async () => {
    await using server = await rawServer((_, socket) => {
      socket.write(
        http(404, `No such thing. ${'x'.repeat(200_000)}`, {
          'content-type': 'text/plain',
          'content-length': '9999999',
        }),
      )
    })
    expect((await failure(asking(server.url).get('x'))).message).toContain('404 No such thing. xxx')
    await expect.poll(() => server.busy()).toBe(0)
  })

  test('292 kB of gzip that hold 300 MB cost less than 60 MB of memory', async () => {
    const bomb = Buffer.concat(Array.from({ length: 300 }, () => gzipSync(Buffer.alloc(1024 * 1024, ' '))))
    expect(bomb.length).toBeLessThan(400_000)
    await using server = await rawServer(({ target }, socket) =>
      socket.write(
        target.endsWith('/bomb')
          ? http(200, bomb, { 'content-encoding': 'gzip' })
          : http(200, `[${' '.repeat(2e6)}]`),
      ),
    )
    const folder = mkdtempSync(join(tmpdir(), 'engram-bomb-'))
    try {
      const script = join(folder, 'ask.mjs')
      await build({
        stdin: {
          contents: `
            import { makeClient } from './src/core/sources/gitlab/http/client.ts'
            import { makeGate } from './src/core/sources/gitlab/http/gate.ts'
            const token = async () => null
            const instance = { url: process.argv[2], token, renewToken: token }
            const limits = { timeoutMs: 30000, maxAttempts: 1, backoffBaseMs: 0, backoffMaxMs: 0 }
            const { signal } = new AbortController()
            const client = makeClient({ instance, limits, gate: makeGate(), budget: null, signal })
            await client.get('fine')
            const before = process.resourceUsage().maxRSS
            const bounds = []
            for (let i = 0; i < 20; i++) await client.get('bomb').catch((error) => bounds.push(error.limit))
            console.log(JSON.stringify({ bounds, grownKiB: process.resourceUsage().maxRSS - before }))`,
          resolveDir: process.cwd(),
          loader: 'ts',
        },
        bundle: true,
        platform: 'node',
        format: 'esm',
        outfile: script,
      })
      const child = spawn(process.execPath, [script, server.url], { stdio: ['ignore', 'pipe', 'inherit'] })
      let out = ''
      for await (const text of child.stdout) out += text
      const { bounds, grownKiB } = JSON.parse(out)
      expect(bounds).toEqual(Array(20).fill('bytes'))
      expect(grownKiB).toBeLessThan(60 * 1024)
    } finally {
      rmSync(folder, { recursive: true })
    }
  })
})

describe('B37 no way there', () => {
  test('no such name', async () => {
    const client = asking('https://x.invalid')
    expect(await failure(client.get('projects/5'))).toMatchObject({ kind: 'network' })
    expect(client.usage()).toMatchObject({ requests: 3, retries: 2, timeouts: 0 })
  })

  test('a port where nobody listens', async () => {
    const gone = await always('')
    await gone[Symbol.asyncDispose]()
    for (const url of [gone.url, `http://localhost:${gone.port}`]) {
      const error = await failure(asking(url).get('projects/5'))
      expect(error).toMatchObject({ kind: 'network' })
      expect(error.message).toContain('ECONNREFUSED')
    }
  })

  test.each<[code: string, kind: string]>([
    ['UND_ERR_CONNECT_TIMEOUT', 'timeout'],
    ['UND_ERR_HEADERS_TIMEOUT', 'timeout'],
    ['ETIMEDOUT', 'timeout'],
    ['EAI_AGAIN', 'network'],
    ['EHOSTUNREACH', 'network'],
    ['CERT_HAS_EXPIRED', 'network'],
    ['HPE_INVALID_CONSTANT', 'upstream'],
  ])('%s is %s, wherever in the chain it stands', (code, kind) => {
    const root = Object.assign(new Error('why'), { code })
    for (const thrown of [root, new TypeError('fetch failed', { cause: root }), new AggregateError([root])])
      expect(failedException(thrown, false)).toMatchObject({
        kind,
        again: true,
        why: expect.stringContaining(code),
      })
  })

  test('a port that Node refuses', async () => {
    const client = asking('http://127.0.0.1:6000')
    expect(await failure(client.get('x'))).toMatchObject({
      kind: 'config',
      hint: expect.stringContaining('port'),
    })
    expect(client.usage().requests).toBe(1)
  })

  test.each([
    ['before a byte', ''],
    ['in the middle of the head', 'HTTP/1.1 200 OK\r\ncontent-ty'],
  ])('reset %s', async (_when, bytes) => {
    await using server = await rawServer((_, socket) => {
      socket.write(bytes)
      setTimeout(() => socket.resetAndDestroy(), 20)
    })
    const client = asking(server.url)
    expect(await failure(client.get('x'))).toMatchObject({ kind: 'network' })
    expect(client.usage()).toMatchObject({ requests: 3, timeouts: 0 })
  })

  test('reset in the middle of the body', async () => {
    await using server = await rawServer((_, socket) => {
      socket.write(http(200, '[1,', { 'content-length': '99' }))
      setTimeout(() => socket.resetAndDestroy(), 20)
    })
    expect((await failure(asking(server.url).get('x'))).message).toContain('protocol: ')
  })

  test('no TLS where it should be: never without it', async () => {
    const asked: unknown[] = []
    const plain = createServer((request, response) => {
      asked.push(request.url)
      response.end('[]')
    })
    await new Promise<void>((listening) => plain.listen(0, '127.0.0.1', listening))
    const { port } = plain.address() as { port: number }
    const error = await failure(asking(`https://127.0.0.1:${port}`).get('x'))
    plain.close()
    expect(error).toMatchObject({ kind: 'network', hint: expect.stringContaining('TLS') })
    expect(asked).toEqual([])
  })

  test('a certificate that nobody vouches for: the hint says how to, and no byte is sent', async ({
    skip,
  }) => {
    const folder = mkdtempSync(join(tmpdir(), 'engram-tls-'))
    try {
      const [key, cert] = [join(folder, 'key.pem'), join(folder, 'cert.pem')]
      const ask = ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '1', '-subj', '/CN=127.0.0.1']
      try {
        execFileSync('openssl', [...ask, '-keyout', key, '-out', cert], { stdio: 'ignore' })
      } catch {
        skip('openssl cannot be run here')
      }
      await using server = await rawServer((_, socket) => socket.write(http(200, '[]')), {
        key: readFileSync(key),
        cert: readFileSync(cert),
      })
      const error = await failure(asking(server.url).get('x'))
      expect(error).toMatchObject({ kind: 'network', hint: expect.stringContaining('NODE_EXTRA_CA_CERTS') })
      expect(error.message).toContain('DEPTH_ZERO_SELF_SIGNED_CERT')
      expect(server.asked).toEqual([])
    } finally {
      rmSync(folder, { recursive: true })
    }
  })
})
