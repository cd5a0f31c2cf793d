import { createHash } from 'node:crypto'
import type { ServerResponse } from 'node:http'
import { createGzip } from 'node:zlib'
import type { Reply } from './paging.ts'

/** What goes wrong instead of, or with, the true answer. */
export type Fault =
  /** An error. A string is sent as text/plain, an object as JSON; without a body, what GitLab or its nginx says. */
  | { status: number; headers?: Record<string, string | null>; body?: string | object }
  /** The true answer with other headers; null leaves one out. */
  | { headers: Record<string, string | null> }
  /** The true answer, so many ms late. */
  | { delayMs: number }
  /** Nothing, for ever. */
  | { hang: true }
  /** The connection is reset: before a byte of the answer, or in the middle of its body. */
  | { reset: 'at once' | 'mid-body' }
  /** The first `cutAt` bytes of the true body, under a Content-Length of all of it, under chunked framing, or, unseen by HTTP, closed. */
  | { cutAt: number; framing?: 'length' | 'chunked' | 'close' }
  /** The true body, `bytes` (1) every `dripMs`. */
  | { dripMs: number; bytes?: number }
  /** A login page, status 200. */
  | { html: true }
  /** The true body under this type. */
  | { contentType: string }
  /** Status 200 and these bytes as JSON; '' is an empty body. */
  | { body: string | Buffer }
  /** Status 200 and this JSON. */
  | { json: unknown }
  /** A valid JSON array of so many bytes. */
  | { hugeBytes: number }
  /** The same, gzipped to a thousandth. */
  | { gzipBombBytes: number }
  /** Default status 302. */
  | { redirect: string; redirectStatus?: number }
  /** The first page of the list under every number, always with a next one. */
  | { samePage: true }
  /** Ever new rows, always with a next page. */
  | { endless: true }

/** Asks for the true answer: of the page asked for, or of another. */
export type TrueReply = (page?: number) => Reply

/** Turns the true answer into what is sent, where the fault is one of content. Null where it is one of the wire. */
export function spoiled(fault: Fault, page: number, truth: TrueReply): { reply: Reply; body: Buffer } | null {
  const reply = content(fault, page, truth)
  if (reply === null) return null
  const body = 'body' in fault && Buffer.isBuffer(fault.body) ? fault.body : Buffer.from(reply.body)
  return { reply, body }
}

function content(fault: Fault, page: number, truth: TrueReply): Reply | null {
  const fine = (body: string, headers: Record<string, string | null> = {}): Reply => ({
    status: 200,
    headers,
    body,
  })
  if ('status' in fault) return failure(fault)
  if ('html' in fault) return fine(LOGIN, { 'content-type': 'text/html; charset=utf-8' })
  if ('contentType' in fault) return withHeaders(truth(), { 'content-type': fault.contentType })
  if ('headers' in fault) return withHeaders(truth(), fault.headers)
  if ('json' in fault) return fine(JSON.stringify(fault.json))
  if ('body' in fault) return fine(String(fault.body))
  if ('redirect' in fault)
    return {
      status: fault.redirectStatus ?? 302,
      headers: { location: fault.redirect, 'content-type': 'text/html' },
      body: '',
    }
  if ('samePage' in fault) return withHeaders(truth(1), nextAfter(page))
  if ('endless' in fault)
    return withHeaders({ ...truth(1), body: invented(truth(1).body, page) }, nextAfter(page))
  return null
}

const LOGIN =
  '<!DOCTYPE html><html><head><title>Sign in · GitLab</title></head><body><form action="/users/sign_in"></form></body></html>'

function withHeaders(reply: Reply, headers: Record<string, string | null>): Reply {
  return { ...reply, headers: { ...reply.headers, ...headers } }
}

function nextAfter(page: number): Record<string, string | null> {
  const next = String(page + 1)
  const link = `<http://gitlab.invalid/api/v4/next?page=${next}>; rel="next"`
  return { 'x-page': String(page), 'x-next-page': next, link, 'x-total': null, 'x-total-pages': null }
}

/** The same rows under other ids. */
function invented(body: string, page: number): string {
  const rows: unknown = JSON.parse(body)
  if (!Array.isArray(rows) || page === 1) return body
  return JSON.stringify(
    rows.map((row: Record<string, unknown>) => ({
      ...row,
      ...(typeof row.id === 'number' ? { id: row.id + page * 1_000_000 } : {}),
      ...(typeof row.iid === 'number' ? { iid: row.iid + page * 1_000_000 } : {}),
      ...(typeof row.id === 'string'
        ? { id: createHash('sha1').update(`${row.id} ${page}`).digest('hex') }
        : {}),
    })),
  )
}

const PLAIN: Record<number, string> = {
  401: '{"message":"401 Unauthorized"}',
  403: '{"message":"403 Forbidden"}',
  404: '{"message":"404 Not Found"}',
}

function failure({
  status,
  headers = {},
  body,
}: {
  status: number
  headers?: Record<string, string | null>
  body?: string | object
}): Reply {
  if (typeof body === 'string') return { status, headers: { 'content-type': 'text/plain', ...headers }, body }
  if (body !== undefined) return { status, headers, body: JSON.stringify(body) }
  const said = PLAIN[status]
  if (said !== undefined) return { status, headers, body: said }
  if (status === 429)
    return { status, headers: { 'content-type': 'text/plain', ...headers }, body: 'Retry later\n' }
  const page = `<!DOCTYPE html><html><body><h1>${status}</h1><p>GitLab is not responding.</p></body></html>`
  return { status, headers: { 'content-type': 'text/html', ...headers }, body: page }
}

/** Sends the faults of the wire. */
export async function misbehave(fault: Fault, response: ServerResponse, truth: TrueReply): Promise<void> {
  if ('hang' in fault) return
  if ('reset' in fault) {
    if (fault.reset === 'mid-body') await part(response, truth().body, 0.5)
    response.socket?.resetAndDestroy()
    return
  }
  if ('cutAt' in fault) return cut(response, truth(), fault.cutAt, fault.framing ?? 'length')
  if ('dripMs' in fault) return drip(response, truth(), fault.dripMs, fault.bytes ?? 1)
  if ('hugeBytes' in fault) return flood(response, fault.hugeBytes, false)
  if ('gzipBombBytes' in fault) return flood(response, fault.gzipBombBytes, true)
  throw new Error(`no such fault: ${JSON.stringify(fault)}`)
}

function head(reply: Reply): Record<string, string> {
  const all = Object.entries({ 'content-type': 'application/json', ...reply.headers })
  return Object.fromEntries(all.filter((entry): entry is [string, string] => entry[1] !== null))
}

async function part(response: ServerResponse, body: string, share: number): Promise<void> {
  const bytes = Buffer.from(body)
  response.writeHead(200, { 'content-type': 'application/json', 'content-length': bytes.length })
  await new Promise<void>((sent) => {
    response.write(bytes.subarray(0, Math.ceil(bytes.length * share)), () => sent())
  })
}

function cut(
  response: ServerResponse,
  reply: Reply,
  at: number,
  framing: 'length' | 'chunked' | 'close',
): void {
  const bytes = Buffer.from(reply.body)
  const kept = bytes.subarray(0, at)
  const lines = Object.entries(head(reply)).map(([name, value]) => `${name}: ${value}\r\n`)
  if (framing === 'close') lines.push('connection: close\r\n')
  if (framing === 'length') lines.push(`content-length: ${bytes.length}\r\n`)
  if (framing === 'chunked') lines.push('transfer-encoding: chunked\r\n')
  response.socket?.write(`HTTP/1.1 ${reply.status} OK\r\n${lines.join('')}\r\n`)
  if (framing === 'chunked') response.socket?.write(`${bytes.length.toString(16)}\r\n`)
  response.socket?.end(kept)
}

async function drip(response: ServerResponse, reply: Reply, ms: number, count: number): Promise<void> {
  const bytes = Buffer.from(reply.body)
  response.writeHead(reply.status, { ...head(reply), 'content-length': bytes.length })
  for (let at = 0; at < bytes.length && !response.destroyed; at += count) {
    response.write(bytes.subarray(at, at + count))
    await new Promise((later) => setTimeout(later, ms))
  }
  response.end()
}

async function flood(response: ServerResponse, size: number, zipped: boolean): Promise<void> {
  response.writeHead(200, {
    'content-type': 'application/json',
    ...(zipped ? { 'content-encoding': 'gzip' } : {}),
  })
  const out = zipped ? createGzip() : response
  if (zipped) out.pipe(response as never)
  out.on('error', () => {})
  const closed = new Promise((gone) => response.once('close', gone))
  const blank = Buffer.alloc(65_536, 32)
  out.write('[')
  for (let left = size - 2; left > 0 && !response.destroyed; left -= blank.length) {
    if (out.write(left < blank.length ? blank.subarray(0, left) : blank)) continue
    await Promise.race([new Promise((drained) => out.once('drain', drained)), closed])
  }
  out.end(']')
}
