import { once } from 'node:events'
import { createServer, type IncomingHttpHeaders } from 'node:http'
import { type AddressInfo, createServer as createTcpServer, type Socket } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'

/** Which XXL-Job: 2.2 reads `executeResult`, 3.4 `handleCode`, 3.5 has /trigger, `callbackList` and an app name. */
export type Release = '2.2' | '3.4' | '3.5'

export interface End {
  code: number
  msg: string
}

export interface TriggerWish {
  jobId?: number
  logId?: number
  handler?: string
  params?: string
  strategy?: string
  timeout?: number
  shard?: [index: number, total: number]
  at?: number
}

export interface Answered {
  code: number
  msg: string | null
  data: unknown
}

export interface XxlAdmin {
  /** What an executor is told to talk to. */
  url: string
  /** Addresses of executors, as they registered. */
  registered: Set<string>
  /** Of each trigger the end that counts, and how often it was told again. */
  ends: Map<number, End & { repeats: number }>
  /** Bodies that a real admin of this release would not have understood, and calls it would have refused. */
  refused: string[]
  /** How the next calls are met: a socket that is cut before or after the call counts, no answer at all, or a
   * refusal, of everything or of what is known already. */
  mood: 'well' | 'deaf' | 'forgets-to-answer' | 'silent' | 'refuses' | 'scolds-repeats'
  /** Every call, in order. */
  calls: { path: string; headers: IncomingHttpHeaders; body: unknown }[]
  trigger: (wish?: TriggerWish) => Promise<Answered & { logId: number; at: number }>
  ask: (path: string, body: unknown, headers?: Record<string, string>) => Promise<Answered>
  /** The end of a trigger, when it comes. */
  end: (logId: number) => Promise<End & { repeats: number }>
  executor: () => Promise<string>
  close: () => Promise<void>
}

const PATIENCE_MS = 20_000

/** An admin of one release: its paths, bodies and refusals as its source has them, its decisions as the test says. */
export async function openAdmin(
  o: { release?: Release; token?: string; appName?: string } = {},
): Promise<XxlAdmin> {
  const { release = '3.4', token, appName = 'engram-scm' } = o
  const sockets = new Set<Socket>()
  let lastLogId = 1_000 + Math.floor(Math.random() * 1_000_000)

  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk as Buffer)
    if (admin.mood === 'deaf') return void request.socket.destroy()
    const path = request.url ?? ''
    const body = parsed(Buffer.concat(chunks).toString('utf8'))
    admin.calls.push({ path, headers: request.headers, body })
    if (admin.mood === 'silent') return
    const said =
      admin.mood === 'refuses' ? fail('the admin is being upgraded') : meet(path, request.headers, body)
    if (admin.mood === 'forgets-to-answer') return void request.socket.destroy()
    response.writeHead(200, { 'content-type': 'application/json' })
    response.end(JSON.stringify(said))
  })
  server.on('connection', (socket) => {
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')

  const admin: XxlAdmin = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/xxl-job-admin`,
    registered: new Set(),
    ends: new Map(),
    refused: [],
    mood: 'well',
    calls: [],
    trigger: async (wish = {}) => {
      const logId = wish.logId ?? ++lastLogId
      const at = wish.at ?? Date.now()
      const [index, total] = wish.shard ?? [0, 1]
      const body = {
        jobId: wish.jobId ?? 7,
        executorHandler: wish.handler ?? 'incremental',
        executorParams: wish.params ?? '',
        executorBlockStrategy: wish.strategy ?? 'SERIAL_EXECUTION',
        executorTimeout: wish.timeout ?? 0,
        logId,
        logDateTime: at,
        glueType: 'BEAN',
        glueSource: '',
        glueUpdatetime: 1_700_000_000_000,
        broadcastIndex: index,
        broadcastTotal: total,
      }
      return { ...(await admin.ask(release === '3.5' ? '/trigger' : '/run', body)), logId, at }
    },
    ask: async (path, body, headers = {}) => {
      const response = await fetch(new URL(path, await admin.executor()), {
        method: 'POST',
        body: typeof body === 'string' ? body : JSON.stringify(body),
        headers: {
          'content-type': 'application/json;charset=UTF-8',
          ...(token ? { 'XXL-JOB-ACCESS-TOKEN': token } : {}),
          ...(release === '3.5' ? { 'XXL-JOB-APPNAME': appName } : {}),
          ...headers,
        },
      })
      if (response.status !== 200) throw new Error(`HTTP ${response.status}`)
      const { code, msg, data, content } = (await response.json()) as Answered & { content: unknown }
      return { code, msg, data: release === '2.2' ? content : data }
    },
    end: (logId) => until(`an end of ${logId}`, () => admin.ends.get(logId)),
    executor: () => until('an executor', () => [...admin.registered][0]),
    close: async () => {
      server.close()
      for (const socket of sockets) socket.destroy()
    },
  }
  return admin

  function meet(path: string, headers: IncomingHttpHeaders, body: unknown) {
    const said = headers['xxl-job-access-token']
    if (release === '3.5' && (!said || headers['xxl-job-appname'] !== appName || said !== token))
      return fail('invalid request, accessToken or appname invalid.')
    if (token && said !== token) return fail('The access token is wrong.')
    switch (path) {
      case '/xxl-job-admin/api/registry':
      case '/xxl-job-admin/api/registryRemove': {
        const { registryGroup, registryKey, registryValue } = body as Record<string, string>
        if (registryGroup !== 'EXECUTOR' || registryKey !== appName || !registryValue)
          return fail('Illegal Argument.')
        if (path.endsWith('Remove')) admin.registered.delete(registryValue)
        else admin.registered.add(registryValue)
        return { code: 200, msg: null }
      }
      case '/xxl-job-admin/api/callback': {
        const list = release === '3.5' ? (body as { callbackList?: unknown }).callbackList : body
        if (!Array.isArray(list)) return fail('openapi invoke error: not the list that is expected')
        const refusals = list.map(tell).filter((refusal) => refusal !== null)
        return refusals[0] === undefined ? { code: 200, msg: null } : fail(refusals[0])
      }
      default:
        return fail(`invalid request, uri-mapping(${path}) not found.`)
    }
  }

  /** null: taken, or known already. */
  function tell(item: Record<string, unknown>): string | null {
    const nested = (item.executeResult ?? {}) as Record<string, unknown>
    const { handleCode: code, handleMsg: msg } =
      release === '2.2' ? { handleCode: nested.code, handleMsg: nested.msg } : item
    const time = release === '3.5' ? item.logDateTime : item.logDateTim
    if (![item.logId, time, code].every(Number.isSafeInteger) || typeof msg !== 'string')
      return 'openapi invoke error: an item without its fields'
    const logId = item.logId as number
    const before = admin.ends.get(logId)
    // The first counts; the releases read here drop the others without a word.
    if (before === undefined) admin.ends.set(logId, { code: code as number, msg, repeats: 0 })
    else before.repeats += 1
    return before && admin.mood === 'scolds-repeats' ? 'log repeate callback.' : null
  }

  function fail(msg: string) {
    admin.refused.push(msg)
    return { code: 500, msg }
  }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}

export async function until<T>(
  what: string,
  found: () => T | undefined | false | Promise<T | undefined | false>,
): Promise<T> {
  for (const end = performance.now() + PATIENCE_MS; performance.now() < end; await pause(5)) {
    const is = await found()
    if (is !== undefined && is !== false) return is
  }
  throw new Error(`never came: ${what}`)
}

/** A port that was free a moment ago, for what has to come back under the same. */
export async function freePort(): Promise<number> {
  const server = createTcpServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}
