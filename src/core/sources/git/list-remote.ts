import type { Heads } from '../source.ts'
import { type Git, runGit } from './child.ts'
import { parseRefLines, type Remote } from './refs.ts'

/** Branches and tags upstream has now: one cheap question. Peeled ids of annotated tags come as `name^{}`. */
export async function listRemote(git: Git, locator: string): Promise<Remote> {
  const { out } = await runGit(
    git,
    `asking ${locator}`,
    ['ls-remote', '--', locator, 'refs/heads/*', 'refs/tags/*'],
    { maxBytes: 64 * 1024 * 1024 },
  )
  // Git takes the patterns for the end of a name: refs/keep/refs/heads/x fits them too.
  return { refs: parseRefLines(out, '\t').filter(([name]) => /^refs\/(heads|tags)\//.test(name)) }
}

/** What the answer to `ls-remote` comes to as heads; a light tag of a tree cannot be told from one of a commit here. */
export function headsOfRemote(remote: Remote): Heads {
  const heads: Heads = {}
  for (const [name, id] of remote.refs) heads[name.replace(/\^\{\}$/, '')] = id
  return heads
}
