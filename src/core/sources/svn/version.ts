import { SyncError } from '../../domain/errors.ts'
import { oneLine } from '../../domain/one-line.ts'
import { runChild } from '../child.ts'

const DEADLINE_MS = 5_000

/** The svn in PATH, and the schemes it was built for. Throws `config` when there is none. */
export async function svnVersion(
  { path }: { path: string },
  signal: AbortSignal,
): Promise<{ version: string; schemes: string[] }> {
  const program = {
    file: 'svn',
    env: { PATH: path, LC_ALL: 'C.UTF-8' },
    signal,
    failure: (doing: string, stderr: string) => new SyncError('config', oneLine(`${doing}: ${stderr}`)),
    remedy: 'install Subversion (apt install subversion) and have svn in PATH',
  }
  const asked = { ms: DEADLINE_MS, maxBytes: 65_536 }
  const { out } = await runChild(program, 'asking svn for its version', ['--version'], asked)
  const text = out.toString()
  return {
    version: /\d+\.\d+(\.\d+)?/.exec(text)?.[0] ?? 'of no known version',
    schemes: [...new Set([...text.matchAll(/handles '([a-z+]{1,20})' scheme/g)].map((m) => m[1] as string))],
  }
}
