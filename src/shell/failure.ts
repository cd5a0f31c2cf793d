import { SyncError } from '../core/domain/errors.ts'
import { complain, printJson, visible } from './output.ts'

/** What is printed when there is no report: one line for a person, one object under --json. Always exit 2. */
export function reportFailure(error: unknown, o: { json: boolean; iteration?: number }): void {
  const known = asSyncError(error)
  const message = withoutSecrets(known.message)
  const hint = known.hint === undefined ? null : withoutSecrets(known.hint)
  if (!o.json || !printedJson(message, known.kind, hint, o.iteration)) complain(failureText(known))
  if (known.kind === 'bug') complain(withoutSecrets(String((error as Error)?.stack ?? error)))
}

/** For a person: the sentence, and what to do next. */
export function failureText({ message, hint }: SyncError): string {
  const said = (text: string) => oneLine(withoutSecrets(text))
  return `error: ${said(message)}${hint === undefined ? '' : `\n  → ${said(hint)}`}`
}

/** The same of whatever was thrown. */
export function saidOf(error: unknown): string {
  return failureText(asSyncError(error))
}

/** False when stdout itself is what is broken: then stderr is left. */
function printedJson(error: string, kind: string, hint: string | null, iteration?: number): boolean {
  const round = iteration === undefined ? {} : { iteration }
  try {
    printJson({ status: 'failed', error, kind, hint, ...round, exit_code: 2 })
    return true
  } catch {
    return false
  }
}

function asSyncError(error: unknown): SyncError {
  if (error instanceof SyncError) return error
  if (isUsage(error)) return new SyncError('usage', tidy(error.message), { hint: 'see --help' })
  if (isWriting(error)) return new SyncError('anomaly', `the output cannot be written: ${error.message}`)
  return new SyncError('bug', error instanceof Error ? error.message : String(error), { cause: error })
}

/** oclif's own complaints: unknown flag, missing flag, bad value, unknown command. */
function isUsage(error: unknown): error is Error {
  return error instanceof Error && 'oclif' in error
}

/** People paste tokens into addresses: of a URL neither what stands before the last @ nor its query is printed. */
function withoutSecrets(text: string): string {
  return text.replace(/:\/\/[^\s'"]*@/g, '://***@').replace(/(:\/\/[^\s'"?]*\?)[^\s'"]*/g, '$1***')
}

/** A full disk behind stdout, oclif's own help included. */
function isWriting(error: unknown): error is Error {
  return error instanceof Error && (error as NodeJS.ErrnoException).syscall === 'write'
}

function tidy(message: string): string {
  return message
    .replace(/\nSee more help with --help.*/s, '')
    .replace(/^The following errors? occurred:\s*/s, '')
    .replace(/^Parsing (--\S+)\s+/, '$1: ')
    .trim()
    .replace(/:\n/g, ': ')
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
