/**
 * XXL-Job's executor protocol as the sources of 2.2, 3.4 and 3.5 (June 2026) have it. All is POST and JSON; an answer
 * is HTTP 200 with {code, msg} and what it carries, under the name of 2.x (`content`) and the later one (`data`).
 * Callbacks: up to 3.4 an array, which 2.2 reads by `executeResult` and 2.3 by `handleCode`; from 3.5 on `callbackList`.
 */
export type Dialect = '3.4' | '3.5'

export const OK = 200
export const FAILED = 500
export const TIMED_OUT = 502

export interface Answer {
  code: number
  msg: string | null
  data: unknown
  content: unknown
}

export function answer(code: number, msg: string | null = null, data: unknown = null): Answer {
  return { code, msg, data, content: data }
}

export interface TriggerBody {
  jobId: number
  logId: number
  /** Milliseconds; with the log's number it names the trigger. */
  logDateTime: number
  handler: string
  params: string
  blockStrategy: 'SERIAL_EXECUTION' | 'DISCARD_LATER' | 'COVER_EARLY'
  /** 0: none. */
  timeoutSeconds: number
  shard: { index: number; total: number }
}

export interface LogAsk {
  logId: number
  logDateTime: number
  fromLine: number
}

/** What is told of a trigger that has ended. */
export interface Ending {
  logId: number
  logDateTime: number
  code: number
  msg: string
}

/** Says what is wrong with a body, in a form an admin may show. */
export class BadBody extends Error {}

const LONGEST_PARAMS = 65_536
const MOST_SHARDS = 10_000
/** XXL-Job's own cut is 50,000 characters, its admin's 15,000; a sentence is read, a page is not. */
const LONGEST_MSG = 2_000

export function triggerIn(json: unknown): TriggerBody {
  const body = objectIn(json)
  const glue = textIn(body, 'glueType', 'BEAN')
  if (glue !== 'BEAN')
    throw new BadBody(`glueType [${glue.slice(0, 40)}] is not supported: this executor runs no scripts`)
  const params = textIn(body, 'executorParams', '')
  if (params.length > LONGEST_PARAMS)
    throw new BadBody(`executorParams is longer than ${LONGEST_PARAMS} characters`)
  const shard = {
    index: wholeIn(body, 'broadcastIndex', { least: 0, most: MOST_SHARDS - 1, missing: 0 }),
    total: wholeIn(body, 'broadcastTotal', { least: 0, most: MOST_SHARDS, missing: 1 }) || 1,
  }
  if (shard.index >= shard.total) throw new BadBody('broadcastIndex is not below broadcastTotal')
  return {
    jobId: jobIdIn(body),
    logId: wholeIn(body, 'logId', { least: 1 }),
    logDateTime: wholeIn(body, 'logDateTime', { least: 0, most: LAST_MS }),
    handler: textIn(body, 'executorHandler', ''),
    params,
    blockStrategy: strategyOf(textIn(body, 'executorBlockStrategy', '')),
    timeoutSeconds: wholeIn(body, 'executorTimeout', { least: -1, most: LONGEST_TIMEOUT, missing: 0 }),
    shard,
  }
}

export function jobIdIn(json: unknown): number {
  return wholeIn(objectIn(json), 'jobId', { least: 1 })
}

/** 3.5 spells the time in full. */
export function logAskIn(json: unknown): LogAsk {
  const body = objectIn(json)
  const time = body.logDateTime === undefined ? 'logDateTim' : 'logDateTime'
  return {
    logId: wholeIn(body, 'logId', { least: 1 }),
    logDateTime: wholeIn(body, time, { least: 0, most: LAST_MS }),
    fromLine: Math.max(1, wholeIn(body, 'fromLineNum', { least: -1, missing: 1 })),
  }
}

export function callbackBody(dialect: Dialect, endings: readonly Ending[]): unknown {
  if (dialect === '3.5')
    return {
      callbackList: endings.map(({ logId, logDateTime, code, msg }) => ({
        logId,
        logDateTime,
        handleCode: code,
        handleMsg: shortened(msg),
      })),
    }
  return endings.map(({ logId, logDateTime, code, msg }) => ({
    logId,
    logDateTim: logDateTime,
    handleCode: code,
    handleMsg: shortened(msg),
    executeResult: { code, msg: shortened(msg) },
  }))
}

/** The admins show it as HTML, those of 2.x as it comes: an upstream's text must not become a tag there. */
export function untagged(text: string): string {
  return text.replaceAll('<', '‹').replaceAll('>', '›')
}

function shortened(text: string): string {
  const plain = untagged(text)
  return plain.length > LONGEST_MSG ? `${plain.slice(0, LONGEST_MSG)}…` : plain
}

/** The last millisecond a Date can hold in the year 9999. */
const LAST_MS = 253_402_300_799_999
const LONGEST_TIMEOUT = 2_147_483

/** Like XXL-Job: whatever is none of them is serial. */
function strategyOf(text: string): TriggerBody['blockStrategy'] {
  return text === 'DISCARD_LATER' || text === 'COVER_EARLY' ? text : 'SERIAL_EXECUTION'
}

function objectIn(json: unknown): Record<string, unknown> {
  if (typeof json === 'object' && json !== null && !Array.isArray(json))
    return json as Record<string, unknown>
  throw new BadBody('the body is not a JSON object')
}

function textIn(body: Record<string, unknown>, name: string, missing: string): string {
  const value = body[name] ?? missing
  if (typeof value === 'string') return value
  throw new BadBody(`${name} is not a text`)
}

function wholeIn(
  body: Record<string, unknown>,
  name: string,
  o: { least: number; most?: number; missing?: number },
): number {
  const value = body[name] ?? o.missing
  if (Number.isSafeInteger(value)) {
    const whole = value as number
    if (whole >= o.least && whole <= (o.most ?? Number.MAX_SAFE_INTEGER)) return whole
  }
  throw new BadBody(`${name} is not a whole number that can be meant`)
}
