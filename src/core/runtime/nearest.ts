import { distance } from 'fastest-levenshtein'

/** The known name that was probably meant; null when none is near. */
export function nearest(name: string, known: readonly string[]): string | null {
  if (name.length > 100) return null
  const reach = Math.max(2, Math.floor(name.length / 3))
  let best: string | null = null
  let least = reach + 1
  for (const candidate of known) {
    const steps = distance(name, candidate)
    if (steps < least) {
      best = candidate
      least = steps
    }
  }
  return best
}
