import { cleanText } from '../../../domain/clean.ts'
import { SyncError } from '../../../domain/errors.ts'
import type { Json } from '../../../domain/ledger.ts'
import { type Moment, parseMoment } from '../../moment.ts'

/** Characters of a line of text: a name, a path, an address. GitLab's own limit of a title is 255. */
const MOST_CHARS = 4096

/** For text that is kept whatever its length: the answer it came in is bounded already. */
export const WHOLE = Number.POSITIVE_INFINITY

/** Entries of a list of labels or people. GitLab allows 200 assignees. */
const MOST_ENTRIES = 1000

/** What a PostgreSQL integer holds. */
export const MAX_COUNT = 2_147_483_647

/**
 * One JSON object of an answer, read field by field. What is absent or null is null; what has the wrong type, cannot be
 * stored or is too long becomes null or is cut, and the field is named in `sanitized`. Only `must`, `id` and the
 * constructor throw: `upstream`, for a record that cannot be told from others. No text of the upstream's is in the
 * message, so it is always one clean line.
 */
export class Fields {
  /** What the record is called in errors. */
  record: string
  readonly sanitized: string[]
  private readonly object: object
  private readonly path: string

  constructor(value: unknown, record: string, within: { sanitized: string[]; path: string } | null = null) {
    if (!isObject(value)) throw new SyncError('upstream', `${record}: not an object`)
    this.object = value
    this.record = record
    this.sanitized = within?.sanitized ?? []
    this.path = within?.path ?? ''
  }

  /** Cleaned for PostgreSQL. */
  text(key: string, most: number = MOST_CHARS): string | null {
    const value = this.typed(key, 'string')
    return value === null ? null : this.clean(key, value, most)
  }

  /** As it came, for a name whose cleaning is told by rules of its own. */
  raw(key: string): string | null {
    return this.typed(key, 'string')
  }

  /** Not negative. */
  integer(key: string, most: number = Number.MAX_SAFE_INTEGER): number | null {
    const value = this.typed(key, 'number')
    if (value === null) return null
    if (!Number.isSafeInteger(value) || value < 0 || value > most) return this.odd(key)
    return Math.abs(value) // JSON has a -0
  }

  boolean(key: string): boolean | null {
    return this.typed(key, 'boolean')
  }

  moment(key: string): Moment | null {
    const value = this.typed(key, 'string')
    if (value === null) return null
    const moment = parseMoment(value)
    if (moment === null || moment.ms === null) this.odd(key)
    return moment
  }

  /** Milliseconds since 1970. */
  instant(key: string): number | null {
    return this.moment(key)?.ms ?? null
  }

  /** The same as text that every reader of JSON knows. */
  time(key: string): string | null {
    const ms = this.instant(key)
    return ms === null ? null : new Date(ms).toISOString()
  }

  sha(key: string): string | null {
    const value = this.typed(key, 'string')
    return value === null || isSha(value) ? value : this.odd(key)
  }

  shas(key: string): string[] {
    const values = this.list(key)
    const shas = values.filter((value) => typeof value === 'string' && isSha(value))
    if (shas.length < values.length) this.odd(key)
    return shas as string[]
  }

  texts(key: string): string[] {
    const values = this.list(key)
    const texts = values.filter((value) => typeof value === 'string')
    if (texts.length < values.length) this.odd(key)
    return texts.map((text) => this.clean(key, text, MOST_CHARS))
  }

  within(key: string): Fields | null {
    const value = this.own(key)
    if (value === null) return null
    return isObject(value) ? new Fields(value, this.record, this.nested(key)) : this.odd(key)
  }

  /** The objects of a list. */
  each(key: string): Fields[] {
    const values = this.list(key)
    const objects = values.filter(isObject)
    if (objects.length < values.length) this.odd(key)
    return objects.map((object) => new Fields(object, this.record, this.nested(key)))
  }

  /** Every entry of a list that has to be there; what the entries are is for the caller to say. */
  all(key: string): unknown[] {
    const value = this.own(key)
    return this.must(key, Array.isArray(value) ? value : null)
  }

  id(key: string): number {
    const value = this.integer(key)
    return this.must(key, value === 0 ? null : value)
  }

  must<T>(key: string, value: T | null): T {
    if (value !== null) return value
    const why = this.own(key) === null ? 'is missing' : 'is not usable'
    throw new SyncError('upstream', `${this.record}: ${this.path}${key} ${why}`)
  }

  private own(key: string): unknown {
    const value: unknown = Object.hasOwn(this.object, key) ? this.object[key as keyof object] : null
    return value === undefined ? null : value
  }

  private typed(key: string, type: 'string'): string | null
  private typed(key: string, type: 'number'): number | null
  private typed(key: string, type: 'boolean'): boolean | null
  private typed(key: string, type: string): unknown {
    const value = this.own(key)
    return value === null || typeof value === type ? value : this.odd(key)
  }

  private list(key: string): unknown[] {
    const value = this.own(key)
    if (value === null) return []
    if (!Array.isArray(value)) {
      this.odd(key)
      return []
    }
    if (value.length > MOST_ENTRIES) this.odd(key)
    return value.slice(0, MOST_ENTRIES)
  }

  private clean(key: string, raw: string, most: number): string {
    const text = cleanText(raw.length > most ? raw.slice(0, most) : raw)
    if (text !== raw) this.odd(key)
    return text
  }

  private nested(key: string): { sanitized: string[]; path: string } {
    return { sanitized: this.sanitized, path: `${this.path}${key}.` }
  }

  private odd(key: string): null {
    const name = `${this.path}${key}`
    if (!this.sanitized.includes(name)) this.sanitized.push(name)
    return null
  }
}

/** Without what is null: what is not stored need not be read. */
export function present(fields: { [key: string]: Json }): { [key: string]: Json } {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== null))
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** SHA-1 or SHA-256, as git prints them. */
function isSha(text: string): boolean {
  return /^(?:[0-9a-f]{40}|[0-9a-f]{64})$/.test(text)
}
