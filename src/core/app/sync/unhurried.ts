import { setTimeout as rest } from 'node:timers/promises'
import { SyncError } from '../../domain/errors.ts'
import type { Met } from '../../domain/pace.ts'
import type { Usage } from '../../domain/tally.ts'
import type { Page } from '../../sources/source.ts'
import type { PaceKeeper } from '../paces.ts'

/** The pages of a reading, no faster than its upstream bears; the keeper learns from each how much that is. */
export async function* unhurried(
  pages: AsyncGenerator<Page>,
  { pace, usage, signal }: { pace: PaceKeeper; usage: () => Usage | null; signal: AbortSignal },
): AsyncGenerator<Page> {
  let [limited, unannounced, timeouts] = [0, 0, 0]
  const met = (page: Page | null, broken: number): Met => {
    const now = usage()
    const found = {
      limited: (now?.limited ?? 0) - limited,
      unannounced: (now?.unannounced ?? 0) - unannounced,
      timeouts: (now?.timeouts ?? 0) - timeouts,
      tooLarge: page === null ? 0 : tooLargeIn(page),
      broken,
      came: page !== null,
    }
    limited += found.limited
    unannounced += found.unannounced
    timeouts += found.timeouts
    return found
  }

  try {
    for await (const page of pages) {
      pace.met(met(page, 0))
      yield page
      if (page.landing === undefined && pace.restSeconds > 0)
        await rest(pace.restSeconds * 1000, undefined, { signal })
    }
  } catch (error) {
    const isBroken = error instanceof SyncError && (error.status ?? 0) >= 500
    pace.met(met(null, isBroken ? 1 : 0))
    throw error
  }
}

const tooLargeIn = ({ facts: { commits = [], revisions = [] } }: Page): number =>
  [...commits, ...revisions].filter(({ degraded }) => degraded?.includes('too_large')).length
