import { inspect } from 'node:util'
import { decodeText } from '../../../domain/clean.ts'
import { count, httpDate } from './wait.ts'

export interface Shapes {
  array: unknown[]
  object: Record<string, unknown>
}
export type Shape = keyof Shapes

/** One answer. Of its headers only what says how to go on: addresses in them are never followed. */
export interface Answer<S extends Shape = Shape> {
  status: 200
  json: Shapes[S]
  /** The server says there is a further page. */
  next: boolean
  total: number | null
  /** The server's present. */
  date: Date | null
}

/**
 * The body, decompressed, and whether that is all of it: reading ends with the chunk that goes beyond `maxBytes`.
 * 292 kB of gzip hold 300 MB.
 */
export async function readBody(
  response: Response,
  maxBytes: number,
): Promise<{ chunks: Uint8Array[]; whole: boolean }> {
  const chunks: Uint8Array[] = []
  let size = 0
  // Leaving the loop cancels the stream, so the socket is free.
  for await (const chunk of response.body ?? []) {
    chunks.push(chunk)
    size += chunk.length
    if (size > maxBytes) return { chunks, whole: false }
  }
  return { chunks, whole: true }
}

/** What a 200 answers, or the sentence that says why it is none. A body may be cut without a sign: then it is no JSON. */
export function answerOf<S extends Shape>(headers: Headers, body: Uint8Array, shape: S): Answer<S> | string {
  const type = headers.get('content-type') ?? ''
  if (!isJson(type)) return `protocol: the answer is ${type || 'of no type'}, not JSON`
  if (body.length === 0) return 'protocol: the answer is empty'

  const json = parsed(decodeText(body).text)
  if (json === undefined) return 'protocol: the answer is broken JSON'
  if (shapeOf(json) !== shape) return `protocol: the answer is not an ${shape}`

  return {
    status: 200,
    json: json as Shapes[S],
    next:
      (headers.get('x-next-page') ?? '').trim() !== '' || /\brel="?next\b/.test(headers.get('link') ?? ''),
    total: count(headers.get('x-total')),
    date: httpDate(headers.get('date')),
  }
}

/** The server's own words in an error, whatever form they have; '' when it has none for us. */
export function wordsOf(headers: Headers, body: Uint8Array): string {
  const type = headers.get('content-type') ?? ''
  const { text } = decodeText(body)
  if (/^text\/plain\b/i.test(type)) return text.trim()
  const json = isJson(type) ? parsed(text) : undefined
  if (shapeOf(json) !== 'object') return ''

  const { message, error, error_description: description } = json as Shapes['object']
  return [message, error, description]
    .filter((part) => part !== undefined && part !== null)
    .map(word)
    .join(': ')
}

/** JSON.stringify would overflow the stack on a few thousand brackets. */
function word(part: unknown): string {
  return typeof part === 'string' ? part : inspect(part, { depth: 3, compact: true, breakLength: Infinity })
}

function isJson(type: string): boolean {
  return /^application\/([\w.-]+\+)?json\b/i.test(type)
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function shapeOf(json: unknown): Shape | null {
  if (Array.isArray(json)) return 'array'
  return typeof json === 'object' && json !== null ? 'object' : null
}
