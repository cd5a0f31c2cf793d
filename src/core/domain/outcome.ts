export type Outcome = 'success' | 'partial' | 'failed' | 'skipped' | 'cancelled'

/** The one place where an outcome becomes an exit code: 0 all good, 1 partial, 2 anything else. */
export function exitCodeOf(outcome: Outcome): 0 | 1 | 2 {
  switch (outcome) {
    case 'success':
      return 0
    case 'partial':
      return 1
    case 'failed':
    case 'skipped':
    case 'cancelled':
      return 2
  }
}

/** What many chunks come to. No chunk at all is `skipped`. */
export function sumOf(outcomes: Outcome[]): Outcome {
  if (outcomes.length === 0) return 'skipped'
  if (outcomes.every((o) => o === 'success')) return 'success'
  if (outcomes.includes('cancelled')) return 'cancelled'
  return outcomes.some((o) => o === 'success' || o === 'partial') ? 'partial' : 'failed'
}
