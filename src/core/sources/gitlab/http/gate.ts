import { type Said, spacingMs } from './wait.ts'

/** What came of a request, as far as the server's strength goes. */
export type Strain = 'fine' | 'strained' | 'unknown'

/**
 * The door to one instance, shared by all jobs of this process. It knows how many may go in side by side: two at
 * first, one more after every ten good answers, half as many when the server is overburdened. And it knows when
 * nobody may: while the server asked for silence, and between requests that a limit forces apart.
 */
export interface Gate {
  /** Waits for a place; rejects when aborted. Whoever enters leaves, once. */
  enter(signal: AbortSignal): Promise<(strain: Strain) => void>
  /** Takes the turn and answers 0, or answers the milliseconds until it may be free. */
  turn(endpoint: string, now: number): number
  /** Nobody asks until then; only of that endpoint, when one is named. */
  pause(until: number, endpoint?: string): void
  heard(said: Said, now: number): void
  readonly width: number
}

const GROW_AFTER = 10 // good answers

export function makeGate({ most = 8 }: { most?: number } = {}): Gate {
  let width = Math.min(2, most)
  let inside = 0
  let good = 0
  let halvings = 0
  const waiting: (() => void)[] = []

  const pauses = new Map<string, number>()
  let spacing = 0
  let spacingUntil = 0
  let last = 0

  const admit = (): void => {
    while (inside < width && waiting.length > 0) {
      inside += 1
      waiting.shift()?.()
    }
  }

  const adapt = (strain: Strain, halvingsAtEntry: number): void => {
    if (strain === 'fine') {
      good += 1
      if (good < GROW_AFTER) return
      width = Math.min(most, width + 1)
      good = 0
    }
    // Eight that fail together are one sign of strain, not three.
    if (strain === 'strained' && halvings === halvingsAtEntry) {
      width = Math.max(1, Math.floor(width / 2))
      halvings += 1
      good = 0
    }
  }

  return {
    async enter(signal) {
      await new Promise<void>((resolve, reject) => {
        const onAbort = (): void => {
          waiting.splice(waiting.indexOf(go), 1)
          reject(signal.reason)
        }
        const go = (): void => {
          signal.removeEventListener('abort', onAbort)
          resolve()
        }
        if (signal.aborted) return reject(signal.reason)
        signal.addEventListener('abort', onAbort, { once: true })
        waiting.push(go)
        admit()
      })
      const halvingsAtEntry = halvings
      return (strain) => {
        inside -= 1
        adapt(strain, halvingsAtEntry)
        admit()
      }
    },

    turn(endpoint, now) {
      for (const [name, until] of pauses) if (until <= now) pauses.delete(name)
      const next = Math.max(
        pauses.get(EVERY) ?? 0,
        pauses.get(endpoint) ?? 0,
        now < spacingUntil ? Math.min(last + spacing, spacingUntil) : 0,
      )
      if (next > now) return next - now
      last = now
      return 0
    },

    pause(until, endpoint = EVERY) {
      pauses.set(endpoint, Math.max(until, pauses.get(endpoint) ?? 0))
    },

    heard(said, now) {
      spacing = spacingMs(said)
      spacingUntil = now + (said.resetInMs ?? 0)
      if (spacing > 0) last = now
    },

    get width() {
      return width
    },
  }
}

const EVERY = '*'

/** What GitLab counts together: the path without the names and numbers in it. */
export function endpointOf(path: string): string {
  return path
    .split('/')
    .filter((part) => !/[\d%]/.test(part))
    .join('/')
}
