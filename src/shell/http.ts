import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { SyncError } from '../core/domain/errors.ts'
import { EXPOSITION } from './text/metrics.ts'

export interface Address {
  host: string
  /** 0: any that is free. */
  port: number
}

export interface Answers {
  /** The loop still turns. */
  alive: () => boolean
  /** The database answers. */
  ready: () => Promise<boolean>
  metrics: () => Promise<string>
}

const MOST_CONNECTIONS = 64
const MOST_HEADER_BYTES = 8_192
/** For a request to arrive, from its first byte to its last: a scraper's comes in one packet. */
const REQUEST_MS = 5_000
/** A connection on which nothing moves, while an answer is made or read: Prometheus gives up after ten seconds too. */
const IDLE_MS = 10_000
const READY_MS = 2_000

/** Serves until closed. Holds no process back, answers one request per connection, and repeats nothing it was sent. */
export async function serve(at: Address, answers: Answers): Promise<{ address: string; close: () => void }> {
  const { createServer } = await import('node:http') // only whoever listens pays for it
  const metrics = shared(answers.metrics)
  const ready = shared(answers.ready)
  const server = createServer(
    {
      maxHeaderSize: MOST_HEADER_BYTES,
      headersTimeout: REQUEST_MS,
      requestTimeout: REQUEST_MS,
      connectionsCheckingInterval: 1_000,
    },
    (request, response) => {
      void answer(request, response)
    },
  )
  server.maxConnections = MOST_CONNECTIONS
  server.timeout = IDLE_MS
  const address = await bind(server, at)
  server.unref()

  return {
    address,
    close: () => {
      server.close()
      server.closeAllConnections()
    },
  }

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      response.setHeader('allow', 'GET, HEAD')
      return say(response, 405, 'only GET and HEAD\n')
    }
    switch (request.url?.split('?')[0]) {
      case '/healthz':
        return answers.alive() ? say(response, 200, 'ok\n') : say(response, 503, 'the loop stands still\n')
      case '/readyz': {
        const answered = await within(READY_MS, ready())
        return answered ? say(response, 200, 'ok\n') : say(response, 503, 'the database does not answer\n')
      }
      case '/metrics': {
        const text = await within(IDLE_MS, metrics())
        return text
          ? say(response, 200, `${text}\n`, EXPOSITION)
          : say(response, 503, 'the database does not answer\n')
      }
      default:
        return say(response, 404, 'there are /metrics, /healthz and /readyz\n')
    }
  }
}

function say(
  response: ServerResponse,
  status: number,
  text: string,
  type = 'text/plain; charset=utf-8',
): void {
  response.writeHead(status, {
    'content-type': type,
    'content-length': Buffer.byteLength(text),
    'cache-control': 'no-store',
    connection: 'close',
  })
  response.end(text)
}

/** Says where it listens, as a URL. Throws `usage` when it cannot. */
export async function bind(server: Server, at: Address): Promise<string> {
  await new Promise<void>((resolve, reject) => {
    // Also for later: a connection that could not be accepted is that connection's loss, not the program's.
    server.on('error', (error: NodeJS.ErrnoException) => reject(cannotListen(at, error)))
    server.listen(at.port, at.host, resolve)
  })
  const { address, family, port } = server.address() as AddressInfo
  return `http://${family === 'IPv6' ? `[${address}]` : address}:${port}`
}

function cannotListen(at: Address, error: NodeJS.ErrnoException): SyncError {
  const where = `${at.host}:${at.port}`
  const free = 'give --listen another port, or 0 for a free one'
  const why: Record<string, [message: string, hint: string]> = {
    EADDRINUSE: [`another process listens on ${where}`, free],
    EACCES: [
      `this user may not listen on ${where}`,
      'ports below 1024 are for root: give --listen a higher one',
    ],
  }
  const [message, hint] = why[error.code ?? ''] ?? [
    `cannot listen on ${where}: ${error.code ?? error.message}`,
    'give --listen an address of this machine, for example 127.0.0.1:9100',
  ]
  return new SyncError('usage', message, { hint, cause: error })
}

/** One reading at a time, however many ask for it: they all get the same. */
function shared<T>(read: () => Promise<T>): () => Promise<T> {
  let flight: Promise<T> | null = null
  return () => {
    flight ??= read().finally(() => {
      flight = null
    })
    return flight
  }
}

/** What came in time; null when nothing did, or it failed. */
function within<T>(ms: number, promise: Promise<T>): Promise<T | null> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => resolve(null), ms)
    promise.then(resolve, () => resolve(null)).finally(() => clearTimeout(timer))
  })
}
