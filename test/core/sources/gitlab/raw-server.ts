import { createServer, type Socket } from 'node:net'
import { createServer as createTlsServer, type TlsOptions } from 'node:tls'

export interface Asked {
  /** As on the wire: path and query. */
  target: string
  /** The whole head. */
  head: string
}

export interface RawServer {
  url: string
  port: number
  asked: Asked[]
  /** Connections open now on which something was asked: undici opens another, idle, for one that it gave up. */
  busy(): number
  /** Connections that were ever opened. */
  opened(): number
  [Symbol.asyncDispose](): Promise<void>
}

/** A server that says, byte by byte, what the test wants: real HTTP servers refuse to be this bad. */
export async function rawServer(
  answer: (asked: Asked, socket: Socket, nth: number) => void,
  tls?: TlsOptions,
): Promise<RawServer> {
  const asked: Asked[] = []
  const sockets = new Map<Socket, number>()
  let opened = 0
  const serve = (socket: Socket): void => {
    opened += 1
    sockets.set(socket, 0)
    socket.on('close', () => sockets.delete(socket)).on('error', () => {})
    let pending = ''
    socket.on('data', (bytes) => {
      pending += bytes.toString('latin1')
      for (let end = pending.indexOf('\r\n\r\n'); end >= 0; end = pending.indexOf('\r\n\r\n')) {
        const head = pending.slice(0, end)
        pending = pending.slice(end + 4)
        asked.push({ head, target: head.split(' ')[1] ?? '' })
        sockets.set(socket, (sockets.get(socket) ?? 0) + 1)
        answer(asked.at(-1)!, socket, asked.length)
      }
    })
  }
  const server = tls ? createTlsServer(tls, serve) : createServer(serve)
  if (tls) server.on('tlsClientError', () => {})
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening))
  const { port } = server.address() as { port: number }
  return {
    url: `${tls ? 'https' : 'http'}://127.0.0.1:${port}`,
    port,
    asked,
    busy: () => [...sockets.values()].filter((requests) => requests > 0).length,
    opened: () => opened,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets.keys()) socket.destroy()
      await new Promise((closed) => server.close(closed))
    },
  }
}

/** One whole answer. A header given as null is left out. */
export function http(
  status: number,
  body: string | Buffer = '',
  headers: Record<string, string | null> = {},
): Buffer {
  const all = {
    'content-type': 'application/json',
    'content-length': `${Buffer.byteLength(body)}`,
    ...headers,
  }
  const lines = Object.entries(all).flatMap(([name, value]) => (value === null ? [] : [`${name}: ${value}`]))
  const head = [`HTTP/1.1 ${status} Whatever`, ...lines, '', ''].join('\r\n')
  return Buffer.concat([Buffer.from(head, 'latin1'), Buffer.from(body)])
}
