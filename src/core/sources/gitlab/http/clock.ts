import { setTimeout as pass } from 'node:timers/promises'

/** Time and chance, so that a test needs neither to wait nor to hope. */
export interface Clock {
  /** Milliseconds since 1970, never going back. */
  now(): number
  /** Ends early, and rejects, when the signal says so. */
  sleep(ms: number, signal: AbortSignal): Promise<void>
  /** In [0, 1). */
  chance(): number
}

export const systemClock: Clock = {
  now: () => performance.timeOrigin + performance.now(),
  sleep: (ms, signal) => pass(ms, undefined, { signal }),
  chance: Math.random,
}
