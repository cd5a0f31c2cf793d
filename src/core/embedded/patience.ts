import { setTimeout as sleep } from 'node:timers/promises'
import { SyncError } from '../domain/errors.ts'

/** Sleeps between two looks, and throws once `seconds` are over or the caller gave up. */
export type Pause = (ms: number) => Promise<void>

export function patience(
  seconds: number,
  signal: AbortSignal | undefined,
  tooLate: () => Promise<SyncError>,
): Pause {
  const end = performance.now() + seconds * 1000
  return async (ms) => {
    if (performance.now() > end) throw await tooLate()
    await sleep(ms, undefined, signal && { signal }).catch((cause: unknown) => {
      throw new SyncError('cancelled', 'stopped while waiting for PostgreSQL', { cause })
    })
  }
}
