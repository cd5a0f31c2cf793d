import { type FailureKind, SyncError } from '../../domain/errors.ts'
import { oneLine } from '../../domain/one-line.ts'
import { redact } from '../redact.ts'

/** First match wins, over all codes svn gave: E170013 (no session) says little where E170001 stands beside it. */
const SIGNS: [codes: RegExp, kind: FailureKind, meaning: string, hint?: string][] = [
  [
    /^(170001|170002|215\d{3}|175013|210007|120190|120191)$/,
    'auth',
    'the server does not let us in',
    'set [scm.svn] username and password_file (or SVN_USERNAME and SVN_PASSWORD) for this host',
  ],
  [/^22000\d$/, 'permission', 'the path may not be read', 'let the user of the worker read it'],
  [
    /^(230001|120170|120171|120172)$/,
    'network',
    'the certificate of the server is not trusted',
    'name its authority: SSL_CERT_FILE=/path/to/ca.pem, or set [scm.svn] trust_server_cert = true when only the authority is unknown',
  ],
  [
    /^(170011|175011|195019)$/,
    'not_found',
    'the repository has moved, and redirects are not followed',
    'register its new address',
  ],
  [/^(210005|180001|165000)$/, 'not_found', 'there is no repository at this address'],
  [/^(160013|160005|170000|175007|195012|200009)$/, 'not_found', 'there is no such path'],
  [/^(160006|195006)$/, 'upstream', 'there is no such revision any more'],
  [/^(170012|125012)$/, 'config', 'svn cannot start its tunnel', 'have ssh in PATH'],
  [/^000002$/, 'not_found', 'there is no repository at this address'], // as Apache says it
  [/^175\d{3}$/, 'upstream', 'the server failed, or is no Subversion server'],
  // Sockets and names: errno, Windows' own, getaddrinfo's; a connection cut by either protocol.
  [
    /^(000(032|1[01]\d)|730\d{3}|670\d{3}|120\d{3}|21000[23]|170013)$/,
    'network',
    'the server cannot be reached',
  ],
  [/^000013$/, 'permission', 'no permission to read', 'let the worker read the repository'],
]

const CODE = /^svn: (?:[^:\n]{1,40}: ?)?[EW](\d{6})\b:?/gm // the word for a warning is translated

/** Whether what svn said holds this code. */
export function says(stderr: string, code: string): boolean {
  return codesOf(stderr).includes(code)
}

/**
 * What svn said, as the one error of this program. Codes decide, whatever the language; the words are the server's and
 * are shown, cleaned, only where no code is known.
 */
export function failureOf(doing: string, stderr: string, secrets: readonly string[]): SyncError {
  const codes = codesOf(stderr)
  const shown = codes.length === 0 ? '' : ` (${codes.map((code) => `E${code}`).join(', ')})`
  for (const [sign, kind, meaning, hint] of SIGNS)
    if (codes.some((code) => sign.test(code)))
      return new SyncError(kind, oneLine(`${doing}: ${meaning}${shown}`), hint === undefined ? {} : { hint })

  const line = stderr.split(/[\r\n]+/).find((line) => /\S/.test(line)) ?? 'svn failed and did not say why'
  return new SyncError(
    'upstream',
    oneLine(`${doing}: ${redact(line.replace(CODE, '').trim(), secrets)}${shown}`),
  )
}

function codesOf(stderr: string): string[] {
  return [...new Set([...stderr.matchAll(CODE)].map(([, code = '']) => code))].slice(0, 8)
}
