import { SyncError } from '../../../domain/errors.ts'
import type { ReviewKind } from '../../../domain/facts.ts'

const IN_A_ROW = 3

/** What one reading has learnt of the kinds an instance does not give. The next reading asks again. */
export interface Refusals {
  /** Why it is no use to ask; null when it may be of use. */
  given(kind: ReviewKind): string | null
  answered(kind: ReviewKind): void
  /**
   * Why this kind of one merge request could not be read. Throws what is no matter of one merge request: a failure of
   * another sort, or the third of notes or of the server in a row.
   */
  refused(kind: ReviewKind, error: unknown): string
}

export function makeRefusals(): Refusals {
  const inARow = new Map<ReviewKind, number>()
  const given = new Map<ReviewKind, string>()
  return {
    given: (kind) => given.get(kind) ?? null,
    answered: (kind) => void inARow.delete(kind),
    refused: (kind, error) => {
      const why = reasonOf(error)
      if (why === null) throw error
      const times = (inARow.get(kind) ?? 0) + 1
      inARow.set(kind, times)
      if (times >= IN_A_ROW) {
        // Notes are what a review is, and a server that is down does not give them either.
        if (kind === 'note') throw error
        given.set(kind, why)
      }
      return why
    },
  }
}

/** The server failed, at this one request at least. */
export function isTrouble(error: unknown): boolean {
  if (!(error instanceof SyncError)) return false
  return error.kind === 'timeout' || (error.kind === 'upstream' && (error.status ?? 0) >= 500)
}

function reasonOf(error: unknown): string | null {
  if (!(error instanceof SyncError)) return null
  if (isTrouble(error)) return `${error.status ?? 'timeout'}`
  return error.kind === 'permission' || error.kind === 'not_found' ? `${error.status ?? error.kind}` : null
}
