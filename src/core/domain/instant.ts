import { SyncError } from './errors.ts'

const ISO =
  /^(\d{4})-(\d{2})-(\d{2})(?:[T ](\d{2}):(\d{2})(?::(\d{2})(?:[.,](\d{1,9}))?)?)?\s*(Z|[+-]\d{2}(?::?\d{2})?)?$/i

/** PostgreSQL has no year 0; ISO 8601 and JavaScript do. */
export const FIRST_MS = Date.parse('0001-01-01T00:00:00Z')

/** ISO 8601, or as PostgreSQL prints it: a date alone, a naive time (UTC), `Z`, an offset, fractions. Null: it is none. */
export function instantIn(text: string): Date | null {
  const match = ISO.exec(text.trim())
  const date = match && new Date(normalised(match))
  return match && date && date.getTime() >= FIRST_MS && sameDay(match) ? date : null
}

/** The same of what stands behind `name`; throws `usage` for what is none. */
export function parseInstant(text: string, name: string): Date {
  const date = instantIn(text)
  if (date) return date
  throw new SyncError('usage', `${name} ${JSON.stringify(text)} is not a time`, {
    hint: 'write it as 2025-01-31, 2025-01-31T10:00:00Z or 2025-01-31T10:00:00+08:00',
  })
}

function normalised(m: RegExpExecArray): string {
  const [, y, mo, d, h = '00', mi = '00', s = '00', fraction = '', zone = 'Z'] = m
  const [hours, minutes] = [zone.slice(0, 3), zone.slice(3).replace(':', '') || '00']
  const offset = zone.toUpperCase() === 'Z' ? 'Z' : `${hours}:${minutes}`
  return `${y}-${mo}-${d}T${h}:${mi}:${s}.${fraction.slice(0, 3).padEnd(3, '0')}${offset}`
}

/** `new Date('2025-02-30…')` is the 2nd of March; a person meant something else. */
function sameDay(m: RegExpExecArray): boolean {
  return new Date(`${m[1]}-${m[2]}-${m[3]}T00:00:00Z`).getUTCDate() === Number(m[3])
}
