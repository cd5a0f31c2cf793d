import { connect } from 'node:net'
import type pg from 'pg'

/** What node-postgres keeps to itself. */
interface Session {
  host: string
  port: number
  processID: number
  secretKey: number
}

const CANCEL_REQUEST = 80877102
const PATIENCE_MS = 1_000

/**
 * Has the server stop what nobody waits for any more. It does not see that a client has gone until it writes to it:
 * behind a lock one abandoned statement after the other would wait, until no connection is left (7 after 19 s of a locked queue).
 * A limit of the server's own would be a start-up parameter or a setting, which poolers refuse or hand to others.
 */
export function cancelStatement(client: pg.PoolClient): void {
  const { host, port, processID, secretKey } = client as unknown as Session
  const request = Buffer.alloc(16)
  for (const [i, word] of [16, CANCEL_REQUEST, processID, secretKey].entries())
    request.writeInt32BE(word, i * 4)
  const socket = host.startsWith('/') ? connect(`${host}/.s.PGSQL.${port}`) : connect(port, host)
  socket.on('error', () => {}) // then it goes on until its answer meets nobody
  socket.setTimeout(PATIENCE_MS, () => socket.destroy())
  socket.end(request)
}
