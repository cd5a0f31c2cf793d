import { parse } from '@lukeed/ms'
import { SyncError } from '../core/domain/errors.ts'

const LONGEST_SECONDS = 10 * 365 * 86_400

/** `90s`, `10m`, `1h`, `7d`; a number alone is seconds. More than none, at most ten years. */
export function secondsIn(text: string, flag: string): number {
  const seconds = /^\d+$/.test(text) ? Number(text) : (parse(text) ?? Number.NaN) / 1000
  if (!(seconds > 0 && seconds <= LONGEST_SECONDS))
    throw new SyncError('usage', `--${flag} ${JSON.stringify(text)} is not a duration`, {
      hint: 'for example 90s, 10m, 1h or 7d; at most ten years',
    })
  return seconds
}
