import { SyncError } from '../core/domain/errors.ts'
import { complain, printJson, visible } from './output.ts'

/** What is printed when there is no report: one line for a person, one object under --json. Always exit 2. */
export function reportFailure(error: unknown, o: { json: boolean }): void {
  const known = asSyncError(error)
  if (o.json) {
    printJson({
      status: 'failed',
      error: known.message,
      kind: known.kind,
      hint: known.hint ?? null,
      exit_code: 2,
    })
    return
  }
  complain(`error: ${oneLine(known.message)}${known.hint ? `\n  → ${oneLine(known.hint)}` : ''}`)
  if (known.kind === 'bug') complain(String((error as Error)?.stack ?? error))
}

function asSyncError(error: unknown): SyncError {
  if (error instanceof SyncError) return error
  if (isUsage(error)) return new SyncError('usage', tidy(error.message), { hint: 'see --help' })
  return new SyncError('bug', error instanceof Error ? error.message : String(error), { cause: error })
}

/** oclif's own complaints: unknown flag, missing flag, bad value, unknown command. */
function isUsage(error: unknown): error is Error {
  return error instanceof Error && 'oclif' in error
}

function tidy(message: string): string {
  return message
    .replace(/\nSee more help with --help.*/s, '')
    .replace(/^The following errors? occurred:\s*/s, '')
    .trim()
    .split(/\n\s*/)
    .join('; ')
}

function oneLine(text: string): string {
  return visible(
    text
      .trim()
      .split(/\s*\n\s*/)
      .join(' '),
  )
}
