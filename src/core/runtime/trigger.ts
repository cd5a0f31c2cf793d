import { closeSync, fstatSync, openSync, readSync } from 'node:fs'
import { cleanText } from '../domain/clean.ts'
import { SyncError } from '../domain/errors.ts'
import { parseInstant } from '../domain/instant.ts'
import type { Json } from '../domain/ledger.ts'
import { maskUserinfo } from '../domain/repo.ts'
import { SCHEDULER_CODES, type Shard, TRIGGER_TYPES, type Trigger } from '../domain/trigger.ts'
import { nearest } from './nearest.ts'

/** The flags of a trigger, and the variables that stand in for one that is not given. */
export const TRIGGER_ENV = {
  'scheduler-code': 'ENGRAM_SCHEDULER_CODE',
  'scheduler-job-id': 'ENGRAM_SCHEDULER_JOB_ID',
  'scheduler-log-id': 'ENGRAM_SCHEDULER_LOG_ID',
  'trigger-type': 'ENGRAM_TRIGGER_TYPE',
  'triggered-at': 'ENGRAM_TRIGGERED_AT',
  'trigger-params': 'ENGRAM_TRIGGER_PARAMS',
  'correlation-id': 'ENGRAM_CORRELATION_ID',
  shard: 'ENGRAM_SHARD',
} as const

export type TriggerFlag = keyof typeof TRIGGER_ENV
export type TriggerFlags = Partial<Record<TriggerFlag, string | undefined>>

/** What is stored of every trigger stays small: a scheduler hands over a request, not data. */
const MOST_BYTES = 65_536
const MOST_DEPTH = 64
const MOST_SHARDS = 10_000
const FIRST_MS = Date.UTC(2000, 0)

interface Said {
  text: string
  /** As the operator wrote it: the flag or the variable. */
  name: string
}

/** Flags, then the environment; an empty variable says nothing. Throws `usage` for what cannot be meant. */
export function readTrigger(
  flags: TriggerFlags,
  env: NodeJS.ProcessEnv,
  o: { newId: () => string; redact: (text: string) => string },
): Trigger {
  const said = (flag: TriggerFlag): Said | null => {
    const text = flags[flag]
    if (text !== undefined) return { text, name: `--${flag}` }
    const variable = env[TRIGGER_ENV[flag]]
    return variable ? { text: variable, name: TRIGGER_ENV[flag] } : null
  }
  const jobId = idOf(said('scheduler-job-id'))
  const log = said('scheduler-log-id')
  if (log && jobId === null)
    throw new SyncError('usage', `${log.name} says nothing without the job it is of`, {
      hint: 'give --scheduler-job-id too',
    })
  const code = said('scheduler-code')
  const schedulerCode = code ? codeOf(code, SCHEDULER_CODES) : jobId === null ? 'INTERNAL' : 'XXL'
  const type = said('trigger-type')
  const params = said('trigger-params')
  const shard = said('shard')
  const at = said('triggered-at')
  return {
    schedulerCode,
    jobId,
    logId: idOf(log),
    triggerType: type ? codeOf(type, TRIGGER_TYPES) : schedulerCode === 'INTERNAL' ? null : 'SCHEDULE',
    triggeredAt: at && instantOf(at),
    params: params && paramsOf(params, o.redact),
    correlationId: idOf(said('correlation-id')) ?? o.newId(),
    shard: shard && shardOf(shard),
  }
}

function codeOf<const C extends string>({ text, name }: Said, codes: readonly C[]): C {
  const wanted = text.toUpperCase()
  const found = codes.find((code) => code === wanted)
  if (found) return found
  const near = nearest(wanted, codes)
  const guess = near === null ? '' : `did you mean ${near}? `
  throw new SyncError('usage', `${name} ${quoted(text)} is not known`, {
    hint: `${guess}it is one of ${codes.join(', ')}`,
  })
}

function idOf(said: Said | null): string | null {
  if (said === null || /^[\x21-\x7e]{1,64}$/.test(said.text)) return said?.text ?? null
  throw new SyncError('usage', `${said.name} ${quoted(said.text)} is not an identifier`, {
    hint: 'at most 64 printable characters without spaces',
  })
}

/** XXL-Job counts milliseconds; a person writes ISO 8601. */
function instantOf({ text, name }: Said): Date {
  if (!/^\d+$/.test(text)) return parseInstant(text, name)
  const at = new Date(Number(text))
  if (at.getTime() >= FIRST_MS) return at
  throw new SyncError('usage', `${name} ${quoted(text)} is not a time`, {
    hint: 'a number is of milliseconds since 1970; else write it as 2025-01-31T10:00:00Z',
  })
}

function paramsOf({ text, name }: Said, redact: (text: string) => string): Json {
  const json = text.startsWith('@') ? contentOf(text.slice(1), name) : text
  if (Buffer.byteLength(json) > MOST_BYTES)
    throw new SyncError('usage', `${name} is longer than ${MOST_BYTES} bytes`)
  try {
    return stored(JSON.parse(json), (text) => cleanText(maskUserinfo(redact(text))))
  } catch (cause) {
    if (cause instanceof SyncError) throw cause
    throw new SyncError('usage', `${name} is not JSON`, {
      hint: `for example '{"repo":"gitlab:123"}', or @FILE; a bare word needs its quotes: '"daily"'`,
      cause,
    })
  }

  /** As PostgreSQL can hold it, and without what is secret here. */
  function stored(value: Json, clean: (text: string) => string, depth = 0): Json {
    if (depth > MOST_DEPTH) throw new SyncError('usage', `${name} is nested more than ${MOST_DEPTH} deep`)
    if (typeof value === 'string') return clean(value)
    if (Array.isArray(value)) return value.map((item) => stored(item, clean, depth + 1))
    if (value === null || typeof value !== 'object') return value
    const entries = Object.entries(value)
    return Object.fromEntries(entries.map(([k, v]) => [clean(k), stored(v, clean, depth + 1)]))
  }
}

/** At most one byte more than may be: a wrong name may be of something huge, or endless. */
function contentOf(file: string, name: string): string {
  try {
    const open = openSync(file, 'r')
    try {
      const kind = fstatSync(open)
      if (!kind.isFile() && !kind.isFIFO()) throw new Error(`${file} is neither a file nor a pipe`)
      const bytes = Buffer.alloc(MOST_BYTES + 1)
      let length = 0
      for (let got = -1; got !== 0; length += got)
        got = readSync(open, bytes, length, bytes.length - length, null)
      return bytes.toString('utf8', 0, length)
    } finally {
      closeSync(open)
    }
  } catch (cause) {
    throw new SyncError('usage', `${name}: ${(cause as Error).message}`, { cause })
  }
}

function shardOf({ text, name }: Said): Shard {
  const [, index = '', total = ''] = /^(\d{1,5})\/(\d{1,5})$/.exec(text) ?? []
  const shard = { index: Number(index), total: Number(total) }
  if (total !== '' && shard.total <= MOST_SHARDS && shard.index < shard.total) return shard
  throw new SyncError('usage', `${name} ${quoted(text)} is not a shard`, {
    hint: `i/n with i from 0 to n - 1 and n at most ${MOST_SHARDS}, for example 0/3`,
  })
}

const quoted = (text: string) => JSON.stringify(text.length > 80 ? `${text.slice(0, 80)}…` : text)
