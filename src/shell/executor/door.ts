import { createHash, timingSafeEqual } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { type Address, bind } from '../http.ts'
import {
  type Answer,
  answer,
  BadBody,
  type Dialect,
  FAILED,
  jobIdIn,
  type LogAsk,
  logAskIn,
  OK,
  type TriggerBody,
  triggerIn,
} from './wire.ts'

/** The limit of XXL-Job's own executor. */
const MOST_BYTES = 5 * 1024 * 1024
const MOST_CONNECTIONS = 128
/** For a request to arrive whole. */
const REQUEST_MS = 10_000
const IDLE_MS = 30_000

export interface Calls {
  trigger: (body: TriggerBody, dialect: Dialect) => Promise<Answer>
  kill: (jobId: number) => Answer
  isBusy: (jobId: number) => boolean
  log: (ask: LogAsk) => unknown
}

export interface Guard {
  token: string | null
  appName: string
  protocol: 'auto' | Dialect
}

/**
 * Where the admins knock. Every answer is HTTP 200 with the protocol's own code, also a refusal, as an admin reads
 * nothing else; a connection is for one request, as a Java client repeats a POST by itself on one that was kept open.
 */
export async function openDoor(
  at: Address,
  guard: Guard,
  calls: Calls,
): Promise<{ address: string; close: () => void }> {
  const { createServer } = await import('node:http')
  const server = createServer(
    { headersTimeout: REQUEST_MS, requestTimeout: REQUEST_MS, connectionsCheckingInterval: 1_000 },
    (request, response) => {
      void answered(request, guard, calls).then((said) => say(response, said))
    },
  )
  server.maxConnections = MOST_CONNECTIONS
  server.timeout = IDLE_MS
  const address = await bind(server, at)
  return {
    address,
    close: () => {
      server.close()
      server.closeAllConnections()
    },
  }
}

async function answered(request: IncomingMessage, guard: Guard, calls: Calls): Promise<Answer> {
  try {
    const path = request.url ?? ''
    if (request.method !== 'POST') return answer(FAILED, 'invalid request, HttpMethod not support.')
    const refusal = refusalOf(request, path, guard)
    if (refusal !== null) return answer(FAILED, refusal)
    return await dispatch(path, await bodyOf(request), guard, calls)
  } catch (error) {
    if (error instanceof BadBody) return answer(FAILED, `invalid request, ${error.message}.`)
    return answer(FAILED, `request error: ${(error as Error).message}`)
  }
}

async function dispatch(path: string, body: string, guard: Guard, calls: Calls): Promise<Answer> {
  switch (path) {
    case '/beat':
      return answer(OK)
    case '/idleBeat':
      return calls.isBusy(jobIdIn(jsonIn(body)))
        ? answer(FAILED, 'job thread is running or has trigger queue.')
        : answer(OK)
    case '/run':
      return calls.trigger(triggerIn(jsonIn(body)), guard.protocol === '3.5' ? '3.5' : '3.4')
    case '/trigger':
      return calls.trigger(triggerIn(jsonIn(body)), guard.protocol === '3.4' ? '3.4' : '3.5')
    case '/kill':
      return calls.kill(jobIdIn(jsonIn(body)))
    case '/log':
      return answer(OK, null, calls.log(logAskIn(jsonIn(body))))
    default:
      return answer(FAILED, `invalid request, uri-mapping(${path.slice(0, 80)}) not found.`)
  }
}

/** Before the body is read: a stranger's five megabytes are not even taken in. */
function refusalOf({ headers }: IncomingMessage, path: string, guard: Guard): string | null {
  // Only a browser says where a page came from, and any page can make one post to this machine.
  if (headers.origin !== undefined) return 'invalid request, a browser is no admin.'
  const token = headers['xxl-job-access-token']
  const appName = headers['xxl-job-appname']
  if (guard.token !== null && !isSame(String(token ?? ''), guard.token)) return 'The access token is wrong.'
  const named = guard.token !== null && (guard.protocol === '3.5' || path === '/trigger')
  if (appName === undefined && named) return 'invalid request, accessToken or appname is empty.'
  if (appName !== undefined && appName !== guard.appName)
    return 'invalid request, accessToken or appname invalid.'
  return null
}

/** In the same time however much of it is right. */
function isSame(a: string, b: string): boolean {
  const [one, other] = [a, b].map((text) => createHash('sha256').update(text).digest()) as [Buffer, Buffer]
  return timingSafeEqual(one, other)
}

async function bodyOf(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length
    if (bytes > MOST_BYTES) throw new BadBody(`the body is longer than ${MOST_BYTES} bytes`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}

function jsonIn(body: string): unknown {
  try {
    return JSON.parse(body)
  } catch {
    throw new BadBody('the body is not JSON')
  }
}

function say(response: ServerResponse, said: Answer): void {
  const text = JSON.stringify(said)
  response.writeHead(200, {
    'content-type': 'application/json;charset=UTF-8',
    'content-length': Buffer.byteLength(text),
    connection: 'close',
  })
  response.end(text)
}
