import { request as ask, type IncomingMessage, type ServerResponse } from 'node:http'
import { connect, createServer, type Socket } from 'node:net'
import { serveGit } from '../../../helpers/git-http.ts'

/** What stands before a server: counts, and breaks off or falls silent when it is told to. */
export interface Front {
  origin: string
  host: string
  requests(): number
  busy(): number
  fail(after: number): void
  hang(): void
  heal(): void
}

/** Over HTTP: /api to a GitLab, all else to git, which wants the password where one is set. */
export async function openFront(
  root: string,
  { api, password }: { api?: string; password?: string } = {},
): Promise<Front> {
  const state = { count: 0, left: Number.POSITIVE_INFINITY, isSilent: false }
  const open = new Set<ServerResponse>()
  const before = (request: IncomingMessage, response: ServerResponse): boolean => {
    state.count += 1
    open.add(response)
    response.on('close', () => open.delete(response))
    if (state.left-- <= 0) {
      request.socket.destroy()
      return true
    }
    if (state.isSilent) return true
    const { url = '', headers } = request
    if (url.startsWith('/api/') && api !== undefined) {
      const forwarded = ask(`${api}${url}`, { headers }, (answer) => {
        response.writeHead(answer.statusCode ?? 500, answer.headers)
        answer.pipe(response)
      })
      forwarded.on('error', () => response.destroy())
      response.on('close', () => forwarded.destroy())
      forwarded.end()
      return true
    }
    const given = Buffer.from((headers.authorization ?? '').replace(/^Basic /, ''), 'base64').toString()
    if (password === undefined || given.slice(given.indexOf(':') + 1) === password) return false
    response.writeHead(401, { 'www-authenticate': 'Basic realm="git"' })
    response.end()
    return true
  }
  const { origin, host } = await serveGit(root, before)
  return { origin, host, busy: () => open.size, ...steered(state) }
}

/** Over TCP to a server on loopback. A request is a connection. */
export async function openPipe(url: string): Promise<Front & { stop: () => void }> {
  const state = { count: 0, left: Number.POSITIVE_INFINITY, isSilent: false }
  const open = new Set<Socket>()
  const { protocol, port } = new URL(url)
  const server = createServer((near) => {
    state.count += 1
    near.on('error', () => {})
    if (state.left-- <= 0) {
      near.destroy()
      return
    }
    open.add(near)
    near.on('close', () => open.delete(near))
    if (state.isSilent) {
      near.resume()
      return
    }
    const far = connect(Number(port), '127.0.0.1')
    far.on('error', () => near.destroy())
    far.on('close', () => near.destroy())
    near.on('close', () => far.destroy())
    far.on('data', (bytes) => {
      if (!state.isSilent) near.write(bytes)
    })
    near.pipe(far)
  })
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening))
  const host = `127.0.0.1:${(server.address() as { port: number }).port}`
  return {
    origin: `${protocol}//${host}`,
    host,
    busy: () => open.size,
    ...steered(state),
    stop: () => {
      for (const socket of open) socket.destroy()
      server.close()
    },
  }
}

function steered(state: {
  count: number
  left: number
  isSilent: boolean
}): Pick<Front, 'requests' | 'fail' | 'hang' | 'heal'> {
  return {
    requests: () => state.count,
    fail: (after) => {
      state.left = after
    },
    hang: () => {
      state.isSilent = true
    },
    heal: () => {
      state.left = Number.POSITIVE_INFINITY
      state.isSilent = false
    },
  }
}
