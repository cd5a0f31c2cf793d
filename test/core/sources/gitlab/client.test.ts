import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { SyncError } from '../../../../src/core/domain/errors.ts'
import { systemClock } from '../../../../src/core/sources/gitlab/http/clock.ts'
import { makeGate } from '../../../../src/core/sources/gitlab/http/gate.ts'
import type { Budget } from '../../../../src/core/sources/source.ts'
import { asking, CANARY, failure, fastClock, LIMITS, NOON } from './asking.ts'
import { http, rawServer } from './raw-server.ts'

const DATE = new Date(NOON).toUTCString()

/** Answers in this order, the last for ever. */
const saying = (...answers: Buffer[]) =>
  rawServer((_, socket, nth) => socket.write(answers[Math.min(nth, answers.length) - 1] ?? ''))

const OK = http(200, '[1]', { date: DATE })

/** Remembers what it was told, and answers what it is given. */
function budgetOf(...waits: number[]) {
  const told: unknown[] = []
  const budget: Budget = {
    take: async () => waits.shift() ?? 0,
    pause: async (ms, reason) => void told.push(['pause', ms, reason]),
    heard: async (window) => void told.push(['heard', window]),
  }
  return { budget, told }
}

test('a page, and what its headers say of the next', async () => {
  await using server = await saying(
    http(200, '[{"id":1}]', { date: DATE, 'x-next-page': '2', 'x-total': '7' }),
    http(200, '[]', {
      date: 'x',
      'x-next-page': '',
      'x-total': '-1',
      link: '<http://evil.test/>; rel="first"',
    }),
    http(200, '{"id":2}', { link: '<http://evil.test/a>; rel="prev", <http://evil.test/b>; rel="next"' }),
  )
  const client = asking(`${server.url}/`)
  const query = { per_page: 100, simple: true, search: 'a&b', left: undefined }
  expect(await client.get('projects/a%2Fb/issues', query)).toEqual({
    status: 200,
    json: [{ id: 1 }],
    next: true,
    total: 7,
    date: new Date(NOON),
  })
  expect(await client.get('x')).toMatchObject({ json: [], next: false, total: null, date: null })
  expect(await client.get('x', {}, { expect: 'object' })).toMatchObject({ json: { id: 2 }, next: true })
  expect(server.asked[0]?.target).toBe('/api/v4/projects/a%2Fb/issues?per_page=100&simple=true&search=a%26b')
  expect(server.asked[0]?.head).toContain(`private-token: ${CANARY}`)
  for (let i = 0; i < 47; i++) await client.get('x', {}, { expect: 'object' })
  expect(server.opened()).toBeLessThanOrEqual(2) // undici takes a second one when the first is not yet idle again
  expect(client.usage()).toEqual({
    requests: 50,
    limited: 0,
    unannounced: 0,
    timeouts: 0,
    retries: 0,
    waitedMs: 0,
  })
})

test('an instance below a path; a path that leaves the API is a bug; no token, no header', async () => {
  await using server = await saying(OK)
  const instance = { url: `${server.url}/git/lab/`, token: async () => null, renewToken: async () => null }
  const client = asking('', { instance })
  await client.get('version')
  expect(server.asked[0]?.target).toBe('/git/lab/api/v4/version')
  expect(server.asked[0]?.head).not.toContain('private-token')
  for (const path of ['../../admin', 'a/../../x', '%2e%2e/x', '..\\x'])
    expect(await failure(client.get(path))).toMatchObject({ kind: 'bug' })
  expect(server.asked).toHaveLength(1)
})

test.each(['two words', 'line\nbreak', '', 'naïve'])('%j is no token, and is not quoted', async (bad) => {
  await using server = await saying(OK)
  const instance = { url: server.url, token: async () => bad, renewToken: async () => bad }
  const error = await failure(asking('', { instance }).get('x'))
  expect(error).toMatchObject({ kind: 'config' })
  expect(error.message).toBe(`the token for 127.0.0.1:${server.port} is no single printable word`)
  expect(server.asked).toHaveLength(0)
})

describe('B27 what a refusal is', () => {
  const json = (message: unknown) => JSON.stringify({ message })
  test.each<[status: number, body: string, type: string, is: object, message: string, requests: number]>([
    [401, json('401 Unauthorized'), 'application/json', { kind: 'auth', status: 401 }, '401 Unauthorized', 2],
    [
      401,
      '{"error":"invalid_token","error_description":"Token was revoked."}',
      'application/json',
      { kind: 'auth' },
      '401 invalid_token: Token was revoked.',
      2,
    ],
    [402, '', 'text/html', { kind: 'permission', status: 402 }, '402', 1],
    [403, json('403 Forbidden'), 'application/json', { kind: 'permission', status: 403 }, '403 Forbidden', 1],
    [
      403,
      '{"error":"insufficient_scope"}',
      'application/json',
      { kind: 'permission' },
      '403 insufficient_scope',
      1,
    ],
    [403, 'Retry later\n', 'text/plain', { kind: 'rate_limited', status: 403 }, '403 Retry later', 3],
    [
      403,
      json('API rate limit exceeded'),
      'application/json',
      { kind: 'rate_limited' },
      '403 API rate limit exceeded',
      3,
    ],
    [
      404,
      json('404 Project Not Found'),
      'application/json',
      { kind: 'not_found', status: 404 },
      '404 Project Not Found',
      1,
    ],
    [410, '', 'application/json', { kind: 'not_found', status: 410 }, '410', 1],
    [451, '', 'application/json', { kind: 'permission', status: 451 }, '451', 1],
    [
      400,
      json({ base: ['is bad'] }),
      'application/json',
      { kind: 'upstream', status: 400, limit: undefined },
      "400 { base: [ 'is bad' ] }",
      1,
    ],
    [
      405,
      '{"error":"Offset pagination has a maximum allowed offset of 50000 for requests"}',
      'application/json',
      { kind: 'upstream', status: 405, limit: 'offset' },
      '405 Offset pagination has a maximum allowed offset of 50000 for requests',
      1,
    ],
    [
      405,
      json('405 Method Not Allowed'),
      'application/json',
      { kind: 'upstream', limit: undefined },
      '405 Method Not Allowed',
      1,
    ],
    [408, '', 'application/json', { kind: 'timeout', status: 408 }, '408', 3],
    [418, '<html>', 'text/html', { kind: 'upstream', status: 418 }, '418', 1],
    [
      429,
      'Retry later\n',
      'text/plain',
      { kind: 'rate_limited', status: 429, retryAfterSeconds: undefined },
      '429 Retry later',
      3,
    ],
    [
      500,
      json('500 Internal Server Error'),
      'application/json',
      { kind: 'upstream', status: 500 },
      '500 Internal Server Error',
      3,
    ],
    [502, '<html><h1>GitLab is not responding', 'text/html', { kind: 'upstream', status: 502 }, '502', 3],
    [201, '[]', 'application/json', { kind: 'upstream', status: 201 }, '201', 3],
    [204, '', 'application/json', { kind: 'upstream', status: 204 }, '204', 3],
    [
      500,
      `{"message":${'['.repeat(7000)}${']'.repeat(7000)}}`,
      'application/json',
      { kind: 'upstream', status: 500 },
      '500 [ [ [ [ [Array] ] ] ] ]',
      3,
    ],
    [
      500,
      '{"message":"\\u001b[31mred\\u202e\\u0000\\n\\u2028"}',
      'application/json',
      { kind: 'upstream' },
      '500 \\x1b[31mred\\u{202e}\\x00',
      3,
    ],
    [500, json('x'.repeat(9000)), 'application/json', { kind: 'upstream' }, `500 ${'x'.repeat(9)}`, 3],
  ])('%i: %#', async (status, body, type, is, message, requests) => {
    await using server = await saying(http(status, body, { 'content-type': type }))
    const client = asking(server.url)
    const error = await failure(client.get('projects/5/issues'))
    expect(error).toMatchObject(is)
    expect(error.message.slice(0, 600)).toContain(`projects/5/issues at 127.0.0.1:${server.port}: ${message}`)
    expect(client.usage().requests).toBe(requests)
  })

  test('a token is read again once, and no attempt is spent on it', async () => {
    const tokens: (string | undefined)[] = []
    await using server = await rawServer(({ head }, socket) => {
      const token = /private-token: (.*)/.exec(head)?.[1]?.trim()
      tokens.push(token)
      socket.write(token === 'fresh-one' ? OK : http(401, '{"message":"401 Unauthorized"}'))
    })
    const renewed: string[] = []
    const instance = (fresh: string) => ({
      url: server.url,
      token: async () => 'stale-one',
      renewToken: async () => {
        renewed.push(fresh)
        return fresh
      },
    })
    const limits = { ...LIMITS, maxAttempts: 1 }
    const client = asking('', { instance: instance('fresh-one'), limits })
    expect(await client.get('x')).toMatchObject({ json: [1] })
    expect(client.usage()).toMatchObject({ requests: 2, retries: 1, waitedMs: 0 })

    expect(await failure(asking('', { instance: instance('stale-two') }).get('x'))).toMatchObject({
      kind: 'auth',
    })
    expect(tokens).toEqual(['stale-one', 'fresh-one', 'stale-one', 'stale-two'])
    expect(renewed).toEqual(['fresh-one', 'stale-two'])

    await using shaky = await saying(http(401), http(500), OK)
    expect(await asking(shaky.url, { limits: { ...LIMITS, maxAttempts: 2 } }).get('x')).toMatchObject({
      json: [1],
    })
  })

  test('a server that says the token back, in any form, says it to nobody else', async () => {
    const forms = [CANARY, encodeURIComponent(CANARY), btoa(CANARY)]
    const padding = 'x'.repeat(200) // the cut at 300 characters falls into the token
    for (const status of [200, 400, 401, 403, 404, 429, 500]) {
      for (const form of forms) {
        await using server = await saying(
          http(status, JSON.stringify({ message: `${padding}${form}`, error: form }), {
            'content-type': 'application/json',
          }),
        )
        const error = await failure(asking(server.url).get('x'))
        if (status !== 200) expect(error.message).not.toContain(form.slice(0, 12))
        await using plain = await saying(
          http(status, `${form} is bad`, { 'content-type': `text/plain; ${form}` }),
        )
        await failure(asking(plain.url).get('x'))
      }
    }
  })
})

describe('B25 limits', () => {
  const limited = (headers: Record<string, string>) =>
    http(429, 'Retry later\n', { 'content-type': 'text/plain', date: DATE, ...headers })

  test('is told a time, waits, goes on, and tells the others', async () => {
    await using server = await saying(
      limited({
        'retry-after': '7',
        'ratelimit-remaining': '0',
        'ratelimit-reset': `${NOON / 1000 + 7}`,
        'ratelimit-limit': '60',
      }),
      OK,
    )
    const clock = fastClock()
    const { budget, told } = budgetOf()
    const gate = makeGate()
    const client = asking(server.url, { clock, budget, gate })
    expect(await client.get('x')).toMatchObject({ json: [1] })
    expect(clock.slept).toEqual([7500])
    expect(client.usage()).toEqual({
      requests: 2,
      limited: 1,
      unannounced: 0,
      timeouts: 0,
      retries: 1,
      waitedMs: 7500,
    })
    expect(told).toEqual([
      ['heard', { limit: 60, remaining: 0, resetInMs: 7000 }],
      ['pause', 7000, 'answered 429'],
    ])
    expect(gate.width).toBe(1)
  })

  test('is told a long time: ends at once, and so does every other job of the process', async () => {
    await using server = await saying(limited({ 'retry-after': '100000' }))
    const gate = makeGate()
    const { budget, told } = budgetOf()
    const error = await failure(asking(server.url, { gate, budget }).get('x'))
    expect(error).toMatchObject({ kind: 'rate_limited', retryAfterSeconds: 900, status: 429 })
    expect(told).toEqual([['pause', 900_000, expect.any(String)]])

    const other = asking(server.url, { gate })
    expect(await failure(other.get('y'))).toMatchObject({
      kind: 'rate_limited',
      retryAfterSeconds: 900,
      status: undefined,
    })
    expect(other.usage()).toEqual({
      requests: 0,
      limited: 0,
      unannounced: 0,
      timeouts: 0,
      retries: 0,
      waitedMs: 0,
    })
    expect(server.asked).toHaveLength(1)
  })

  test.each([
    [
      'healthy headers',
      limited({
        'retry-after': '600',
        'ratelimit-remaining': '59',
        'ratelimit-limit': '60',
        'ratelimit-reset': '9',
      }),
    ],
    [
      'its own words',
      http(429, '{"message":{"error":"This endpoint has been requested too many times."}}', {
        'retry-after': '600',
      }),
    ],
  ])('the limit of one endpoint (%s) leaves the others alone', async (_how, refusal) => {
    await using server = await rawServer(({ target }, socket) =>
      socket.write(target.includes('merge_requests') ? refusal : OK),
    )
    const gate = makeGate()
    const { budget, told } = budgetOf()
    const client = asking(server.url, { gate, budget })
    expect(await failure(client.get('projects/5/merge_requests'))).toMatchObject({
      kind: 'rate_limited',
      retryAfterSeconds: 600,
    })
    expect(await failure(client.get('projects/6/merge_requests'))).toMatchObject({ status: undefined })
    expect(await client.get('projects/5/issues')).toMatchObject({ json: [1] })
    expect(told.filter((t) => String(t).startsWith('pause'))).toEqual([])
    expect(gate.width).toBe(2)
    expect(client.usage()).toMatchObject({ requests: 2, limited: 1 })
  })

  test('few requests left: they are spread until the reset', async () => {
    await using server = await saying(
      http(200, '[]', {
        date: DATE,
        'ratelimit-limit': '60',
        'ratelimit-remaining': '5',
        'ratelimit-reset': `${NOON / 1000 + 12}`,
      }),
    )
    const clock = fastClock()
    const client = asking(server.url, { clock })
    for (let i = 0; i < 3; i++) await client.get('x')
    expect(clock.slept).toEqual([2000, 2000])
    expect(client.usage()).toMatchObject({ requests: 3, limited: 0, timeouts: 0, waitedMs: 4000 })
  })

  test('the shared budget is asked before each attempt, and waiting for it is no timeout', async () => {
    await using server = await saying(http(500), OK)
    const { budget } = budgetOf(300, 200, 0, 100, 0)
    const clock = fastClock()
    const client = asking(server.url, { budget, clock })
    await client.get('x')
    expect(clock.slept).toEqual([300, 200, 500, 100])
    expect(client.usage()).toEqual({
      requests: 2,
      limited: 0,
      unannounced: 0,
      timeouts: 0,
      retries: 1,
      waitedMs: 1100,
    })
  })

  test('no turn within the longest wait: given up without a request', async () => {
    await using server = await saying(OK)
    const { budget } = budgetOf(...Array.from({ length: 99 }, () => 400))
    const client = asking(server.url, { budget, limits: { ...LIMITS, maxWaitMs: 1000 } })
    expect(await failure(client.get('x'))).toMatchObject({ kind: 'rate_limited', retryAfterSeconds: 1 })
    expect(client.usage()).toEqual({
      requests: 0,
      limited: 0,
      unannounced: 0,
      timeouts: 0,
      retries: 0,
      waitedMs: 800,
    })
  })
})

test.each([
  [500, 1],
  [503, 1],
  [429, 1],
  [404, 2],
  [403, 2],
])('B26 after a %i, %i at a time', async (status, width) => {
  await using server = await saying(http(status, ''))
  const gate = makeGate()
  await failure(asking(server.url, { gate }).get('x'))
  expect(gate.width).toBe(width)
})

test('B26 any sequence of failures: never more attempts, never longer waits than allowed', async () => {
  let script: number[] = []
  await using server = await rawServer((_, socket) => {
    const status = script.shift()
    if (status === 0) socket.destroy()
    else socket.write(status === undefined ? OK : http(status, '{"message":"no"}'))
  })
  let worked = 0
  const seed = Date.now() & 0x7fffffff
  const one = fc.asyncProperty(
    fc.array(fc.constantFrom(500, 502, 503, 504, 599, 0), { maxLength: 7 }),
    fc.integer({ min: 1, max: 6 }),
    fc.array(fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }), { minLength: 8, maxLength: 8 }),
    async (statuses, maxAttempts, chances) => {
      const limits = { ...LIMITS, maxAttempts, backoffMaxMs: 5000 }
      const clock = fastClock(() => chances[clock.slept.length] ?? 0)
      script = [...statuses]
      const client = asking(server.url, { clock, limits })
      const result = await client.get('x').catch((error: unknown) => error)
      const attempts = Math.min(maxAttempts, statuses.length + 1)
      expect(client.usage()).toMatchObject({ requests: attempts, retries: attempts - 1, timeouts: 0 })
      expect(clock.slept).toEqual(clock.slept.map((_, i) => chances[i]! * Math.min(5000, 1000 * 2 ** i)))
      expect(clock.slept).toHaveLength(attempts - 1)
      if (attempts > statuses.length) expect(result).toMatchObject({ json: [1] })
      else {
        const last = statuses[attempts - 1]
        expect(result).toBeInstanceOf(SyncError)
        expect(result).toMatchObject(last === 0 ? { kind: 'network' } : { kind: 'upstream', status: last })
      }
      worked += 1
    },
  )
  await fc.assert(one, { numRuns: 1000, seed }) // a failure prints the seed
  expect(worked).toBeGreaterThanOrEqual(1000)
})

describe('stopping', () => {
  test.each([
    ['while it waits for the server', [Buffer.alloc(0)], {}],
    ['in the middle of a body', [http(200, '[1', { 'content-length': '99' })], {}],
    ['while it waits for another attempt', [http(429, '', { 'retry-after': '50' })], {}],
    ['while it waits for its turn', [OK], { budget: budgetOf(50_000).budget }],
  ])('%s, at once', async (_when, answers, more) => {
    await using server = await saying(...answers)
    const stop = new AbortController()
    const limits = { ...LIMITS, timeoutMs: 3600_000 }
    const client = asking(server.url, { ...more, limits, signal: stop.signal, clock: systemClock })
    const asked = failure(client.get('x'))
    setTimeout(() => stop.abort(), 50)
    expect(await asked).toMatchObject({ kind: 'cancelled' })
    expect(client.usage().timeouts).toBe(0)
    expect(await failure(client.get('x'))).toMatchObject({ kind: 'cancelled' })
    expect(server.asked.length).toBeLessThanOrEqual(1)
  })

  test('for a reason of ours: that reason', async () => {
    await using server = await saying(Buffer.alloc(0))
    const stop = new AbortController()
    const lost = new SyncError('lease_lost', 'somebody else has it')
    const asked = failure(asking(server.url, { signal: stop.signal }).get('x'))
    setTimeout(() => stop.abort(lost), 20)
    expect(await asked).toBe(lost)
  })
})

test('forty at once: no more than the gate lets in, every one answered, nobody warned of listeners', async () => {
  let under = 0
  let most = 0
  await using server = await rawServer((_, socket) => {
    most = Math.max(most, ++under)
    setTimeout(() => {
      under -= 1
      socket.write(OK)
    }, 2)
  })
  const warnings: string[] = []
  const warned = (warning: Error) => warnings.push(warning.message)
  process.on('warning', warned)
  const client = asking(server.url)
  const answers = await Promise.all(Array.from({ length: 40 }, () => client.get('x')))
  await new Promise(setImmediate)
  process.off('warning', warned)
  expect(answers).toHaveLength(40)
  expect(most).toBeLessThanOrEqual(5) // two, and one more per ten answers
  expect(warnings).toEqual([])
})
