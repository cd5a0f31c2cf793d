import { cleanEpoch } from '../domain/clean.ts'

export interface Moment {
  /** Milliseconds since 1970; null for a date that cannot be one. */
  ms: number | null
  /** Minutes east of UTC. */
  offsetMinutes: number
}

const ISO = /^([+-]?\d{4,18})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(?:Z|([+-])(\d\d):?(\d\d))$/

/**
 * `2019-04-08T11:56:17.000+01:00` or `…Z`; null for anything else. A year may have any number of digits: Gitaly puts
 * second 2^63 - 62135596801 in place of a date git cannot parse, which Ruby prints as one of the year 292277024627.
 */
export function parseMoment(text: string): Moment | null {
  const [, year, month, day, hours, minutes, seconds, fraction = '', sign, hh = '0', mm = '0'] =
    ISO.exec(text) ?? []
  if (year === undefined) return null

  const east = Number(hh) * 60 + Number(mm)
  const offsetMinutes = sign === '-' && east > 0 ? -east : east
  const date = new Date(0) // not Date.UTC, which reads the year 70 as 1970
  date.setUTCFullYear(Number(year), Number(month) - 1, Number(day))
  // The 31st of June has become the 1st of July, and an impossible year no date at all.
  const isDay = date.getUTCMonth() === Number(month) - 1 && date.getUTCDate() === Number(day)
  if (!isDay || Number(hours) > 23 || Number(minutes) > 59 || Number(seconds) > 59)
    return { ms: null, offsetMinutes }

  const sinceMidnight = (Number(hours) * 60 + Number(minutes) - offsetMinutes) * 60 + Number(seconds)
  const ms = date.getTime() + sinceMidnight * 1000 + Number(fraction.padEnd(3, '0').slice(0, 3))
  const isStorable = cleanEpoch(Math.floor(ms / 1000)) !== null && !Number.isNaN(new Date(ms).getTime())
  return { ms: isStorable ? ms : null, offsetMinutes }
}
