import type { DoctorCheck } from '../../contracts/doctor.ts'
import { SyncError } from '../../domain/errors.ts'

export type Finding = Omit<DoctorCheck, 'check'>

export function ok(found: string): Finding {
  return { status: 'ok', found, remedy: null }
}

export function warning(found: string, remedy: string): Finding {
  return { status: 'warning', found, remedy }
}

export function failed(found: string, remedy: string): Finding {
  return { status: 'failed', found, remedy }
}

/** What was thrown in place of an answer. */
export function failedWith(error: unknown, remedy = 'try again; if it stays so, this is a bug'): Finding {
  const hint = error instanceof SyncError ? error.hint : undefined
  return failed(error instanceof Error ? error.message : String(error), hint ?? remedy)
}

/** The gravest first. */
export function worstOf(findings: readonly Finding[]): Finding['status'] {
  const has = (status: Finding['status']) => findings.some((f) => f.status === status)
  return has('failed') ? 'failed' : has('warning') ? 'warning' : 'ok'
}
