import { type FailureKind, SyncError } from '../../domain/errors.ts'
import { oneLine } from '../../domain/one-line.ts'
import { redact } from '../redact.ts'

/** First match wins; text is git's, ssh's, curl's and the server's, all in English because of LC_ALL. */
const SIGNS: [RegExp, FailureKind, string | undefined][] = [
  [/dubious ownership/i, 'permission', 'run as the owner of the repository'],
  [
    /Host key verification failed/i,
    'auth',
    'add the host key to known_hosts of the user that runs the worker',
  ],
  [
    /Authentication failed|could not read (Username|Password)|returned error: 40[137]|HTTP Basic: Access denied|Permission denied \(/i,
    'auth',
    'set [scm.git] username and password_file (or SCM_GIT_USERNAME and SCM_GIT_PASSWORD) for this host; for ssh give the worker a key',
  ],
  [
    /returned error: 30\d|redirect/i,
    'not_found',
    'the server sends us elsewhere and redirects are not followed: register the final address (GitLab: ending in .git)',
  ],
  [/returned error: 429/i, 'rate_limited', undefined],
  [
    /repository .*not found|returned error: (404|410)|Repository not found|could not be found|not exported|does not appear to be a git repo|not a git repository|is this a git repository/i,
    'not_found',
    undefined,
  ],
  [/No space left on device|Disk quota exceeded/i, 'upstream', 'make room in the cache folder'],
  [
    /unknown repository extension|Expected git repo version|unknown object format|hash algorithm/i,
    'unsupported',
    'a newer git may read it',
  ],
  [/shallow/i, 'unsupported', 'make the upstream complete: git fetch --unshallow'],
  [
    /Could not resolve|Couldn't resolve|Name or service|unable to look up|Connection (refused|reset|timed out|closed)|Failed to connect|unable to connect|timed out|Network is unreachable|No route to host|certificate|SSL|TLS|hung up|early EOF|RPC failed|Operation too slow|Empty reply|unexpected disconnect/i,
    'network',
    undefined,
  ],
  [/Permission denied|Operation not permitted/i, 'permission', 'let the worker read the repository'],
  [
    /bad object|corrupt|unable to read|could not read|missing (blob|tree|commit|object)|inflate|bogus commit|unable to parse|bad tree|Could not read|unable to find|invalid/i,
    'upstream',
    'run git fsck in the repository',
  ],
]

/** What git said, as the one error of this program. `doing` is ours and holds no secret; `stderr` is hostile. */
export function failureOf(doing: string, stderr: string, secrets: readonly string[]): SyncError {
  const lines = stderr.split(/[\r\n]+/).filter((line) => /\S/.test(line) && !/^(warning|hint):/i.test(line))
  for (const [sign, kind, hint] of SIGNS) {
    const line = lines.find((line) => sign.test(line))
    if (line !== undefined) return failure(kind, doing, whole(lines, line), secrets, hint)
  }
  const line = lines.find((line) => /^(fatal|error|remote|ERROR):/.test(line)) ?? lines[0] ?? 'git failed'
  return failure('upstream', doing, whole(lines, line), secrets, undefined)
}

/** Git breaks some sentences after a colon: `unable to connect to host:` and the reason on the next line. */
function whole(lines: string[], line: string): string {
  const next = lines[lines.indexOf(line) + 1]
  return line.trimEnd().endsWith(':') && next !== undefined ? `${line.trimEnd()} ${next.trim()}` : line
}

function failure(
  kind: FailureKind,
  doing: string,
  line: string,
  secrets: readonly string[],
  hint: string | undefined,
): SyncError {
  const said = line.replace(/^(fatal|error|remote|ERROR): */, '')
  const text = oneLine(`${doing}: ${redact(said, secrets)}`)
  return new SyncError(kind, text, hint === undefined ? {} : { hint })
}
