import { connect } from 'node:net'
import { join } from 'node:path'

/** What the server said to one statement. `sqlstate` is null when it was content. */
export interface Answer {
  version: string
  rows: number
  sqlstate: string | null
}

const PROTOCOL_3 = 196608
const SILENCE_MS = 10_000

/**
 * One statement as `engram` in the maintenance database: as much of the protocol as `trust` on our own socket needs.
 * Saves this room the 68 ms that importing pg takes, on a path where the caller may never connect.
 */
export function ask(server: { socketDir: string; port: number }, sql: string): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const answer: Answer = { version: '', rows: 0, sqlstate: null }
    const socket = connect(join(server.socketDir, `.s.PGSQL.${server.port}`))
    let received = Buffer.alloc(0)
    let asked = false

    socket.on('connect', () => {
      const body = Buffer.from('\0\0\0\0user\0engram\0database\0postgres\0\0')
      body.writeInt32BE(PROTOCOL_3)
      socket.write(Buffer.concat([int32(body.length + 4), body]))
    })
    socket.on('data', (chunk) => {
      received = Buffer.concat([received, chunk])
      while (received.length >= 5 && received.length > received.readInt32BE(1)) {
        const end = 1 + received.readInt32BE(1)
        take(String.fromCharCode(received[0]!), received.toString('utf8', 5, end))
        received = received.subarray(end)
      }
    })
    socket.on('error', (error) => (answer.sqlstate === null ? reject(error) : resolve(answer)))
    socket.setTimeout(SILENCE_MS, () => socket.destroy(failure('ETIMEDOUT', 'PostgreSQL does not answer')))
    socket.on('close', () => {
      // A refusal (starting up, too many clients) is followed by a plain close.
      if (answer.sqlstate !== null) resolve(answer)
      else reject(failure('ECONNRESET', 'PostgreSQL hung up'))
    })

    function take(type: string, body: string): void {
      if (type === 'S') answer.version = /^server_version\0([^\0]*)/.exec(body)?.[1] ?? answer.version
      if (type === 'D') answer.rows += 1
      if (type === 'E') answer.sqlstate = /(?:^|\0)C([^\0]*)/.exec(body)?.[1] ?? 'XX000'
      if (type === 'R' && body !== '\0\0\0\0')
        socket.destroy(failure('EPROTO', 'PostgreSQL asks for a password'))
      if (type !== 'Z') return
      if (asked) {
        socket.end(message('X', ''))
        resolve(answer)
      } else {
        asked = true
        socket.write(message('Q', sql))
      }
    }
  })
}

function message(type: string, text: string): Buffer {
  const body = text === '' ? Buffer.alloc(0) : Buffer.from(`${text}\0`)
  return Buffer.concat([Buffer.from(type), int32(body.length + 4), body])
}

function int32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeInt32BE(value)
  return bytes
}

function failure(code: string, text: string): Error {
  return Object.assign(new Error(text), { code })
}
