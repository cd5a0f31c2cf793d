import { SyncError } from '../../../domain/errors.ts'

/** Too much for the server, or for us, where less might do; not a refusal of everything. */
export function isWeakness(error: unknown): boolean {
  if (!(error instanceof SyncError) || error.limit !== undefined) return false
  return error.kind === 'timeout' || (error.kind === 'upstream' && (error.status ?? 500) >= 500)
}

/** One word for `degraded`. */
export function reasonOf(error: unknown): string {
  if (!(error instanceof SyncError)) return 'server_error'
  if (error.kind === 'timeout' || error.kind === 'not_found') return error.kind
  return error.limit === 'bytes' ? 'too_large' : 'server_error'
}
