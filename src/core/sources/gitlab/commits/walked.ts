import type { Commit } from '../../../domain/facts.ts'
import type { Heads } from '../../source.ts'

/** What the commits that went by tell of heads, old and new. It holds as much as there are refs, whatever the history. */
export interface Walked {
  /** These went by; `to` leads to them. */
  note(to: string, commits: readonly Commit[]): void
  /** All that `to` leads to and `base` does not has gone by. */
  ended(to: string, base: string | null): void
  /** It is reachable, and stored with all that is behind it once the read is over. */
  met(sha: string): boolean
  /** Whether `old` is an ancestor of `now`; null when what went by does not tell. */
  isForward(old: string, now: string): boolean | null
}

/**
 * A commit that `now` leads to and that has `old` for a parent proves that `old` is behind `now`. All such commits are
 * in `old..now`, so without one there, it is not: that costs no request, and is exact where clocks are wrong.
 */
export function walkedFor(known: Heads, seen: readonly string[], pinned: Heads): Walked {
  const watched = new Set([...Object.values(known), ...seen, ...Object.values(pinned)])
  const met = new Set<string>()
  const behind = new Set<string>()
  const whole = new Set<string>()
  return {
    note: (to, commits) => {
      for (const { sha, parents } of commits) {
        if (watched.has(sha)) met.add(sha)
        for (const parent of parents) {
          if (!watched.has(parent)) continue
          met.add(parent)
          behind.add(`${parent} ${to}`)
        }
      }
    },
    ended: (to, base) => {
      whole.add(`${base} ${to}`)
    },
    met: (sha) => met.has(sha),
    isForward: (old, now) => {
      const pair = `${old} ${now}`
      return behind.has(pair) ? true : whole.has(pair) ? false : null
    },
  }
}
