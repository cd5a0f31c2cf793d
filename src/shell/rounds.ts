import { SyncError } from '../core/domain/errors.ts'
import { reportFailure } from './failure.ts'
import { LONGEST_TIMER_MS } from './stop.ts'

const MISTAKES = ['usage', 'config', 'not_found', 'unsupported']

export interface Rounds {
  intervalSeconds: number
  /** 0 = until stopped. */
  max: number
  json: boolean
}

/**
 * Work, report, rest, again. A failed round is reported and does not end the loop, unless it is the first and the
 * request itself was wrong. Stopped by a signal: 0; `max` rounds done: the worst of them.
 */
export async function inRounds<R extends { exit_code: 0 | 1 | 2 }>(
  rounds: Rounds,
  work: () => Promise<R>,
  show: (report: R & { iteration: number }) => void,
  signal: AbortSignal,
): Promise<0 | 1 | 2> {
  let worst: 0 | 1 | 2 = 0
  for (let iteration = 1; ; iteration++) {
    const code = await round(iteration)
    if (signal.aborted) return 0
    if (code > worst) worst = code
    if (iteration === rounds.max) return worst
    await rest(rounds.intervalSeconds * 1000, signal)
    if (signal.aborted) return 0
  }

  async function round(iteration: number): Promise<0 | 1 | 2> {
    try {
      const report = await work()
      show({ ...report, iteration })
      return report.exit_code
    } catch (error) {
      if (iteration === 1 && error instanceof SyncError && MISTAKES.includes(error.kind)) throw error
      reportFailure(error, { json: rounds.json, iteration })
      return 2
    }
  }
}

/** Until the time is over, 24.8 days at most, or the process is asked to stop. */
export function rest(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve()
    const timer = setTimeout(done, Math.min(ms, LONGEST_TIMER_MS))
    signal.addEventListener('abort', done, { once: true })
    function done() {
      clearTimeout(timer)
      signal.removeEventListener('abort', done)
      resolve()
    }
  })
}
