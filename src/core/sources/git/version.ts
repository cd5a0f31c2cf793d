import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { type Git, runGit } from './child.ts'
import type { Surroundings } from './environment.ts'

const DEADLINE_MS = 5_000

/** The git in PATH; whole when it can read over https. Throws `config` when there is none. */
export async function gitVersion(
  surroundings: Surroundings,
  signal: AbortSignal,
): Promise<{ version: string; isWhole: boolean }> {
  const deadlines = { ask: DEADLINE_MS, fetch: DEADLINE_MS, read: DEADLINE_MS }
  const git: Git = { surroundings, deadlines, gitDir: null, reach: null, signal, secrets: [] }
  const said = await Promise.all([
    runGit(git, 'asking git for its version', ['--version'], { maxBytes: 4096 }),
    runGit(git, 'asking git where its parts are', ['--exec-path'], { maxBytes: 4096 }),
  ])
  const [version, folder] = said.map(({ out }) => out.toString().trim()) as [string, string]
  return {
    version: /\d+(\.\d+)+/.exec(version)?.[0] ?? 'of no known version',
    isWhole: existsSync(join(folder, 'git-remote-https')),
  }
}
