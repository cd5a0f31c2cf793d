import { SyncError } from '../../domain/errors.ts'
import { oneLine } from '../../domain/one-line.ts'
import type { Access } from '../source.ts'
import { startGit } from './child.ts'
import { listRemote } from './list-remote.ts'
import { listRefs, type Remote } from './refs.ts'
import { type Repository, shallow } from './repository.ts'

const REFSPECS = ['+refs/heads/*:refs/heads/*', '+refs/tags/*:refs/tags/*']

/**
 * Makes the mirror's refs those of the remote, which showed `remote` just before. Git leaves out a ref with a warning at
 * most and still succeeds; here that is an error. Throws `unsupported` when history is cut off: then objects of it may
 * have come, which the next fetch would take for whole, so the mirror is to be thrown away.
 */
export async function fetchInto(
  mirror: Repository,
  access: Access,
  remote: Remote,
  filter: readonly string[],
): Promise<void> {
  const { git } = mirror
  const { locator } = access
  const before = new Map(await listRefs(mirror))
  access.say(`fetching ${locator}`)
  const child = startGit(
    { ...git, deadlines: { ...git.deadlines, read: git.deadlines.fetch } },
    `fetching ${locator}`,
    [
      'fetch',
      '--quiet',
      '--prune',
      '--no-tags',
      '--no-write-fetch-head',
      '--no-auto-maintenance',
      '--no-recurse-submodules',
      '--refmap=',
      ...filter,
      '--',
      locator,
      ...REFSPECS,
    ],
  )
  try {
    await child.finish()
  } finally {
    await child.stop()
  }
  if (/^warning: rejected .* shallow roots/m.test(child.stderr()))
    throw shallow(locator, 'make it whole where it is served from: git fetch --unshallow')

  const after = new Map(await listRefs(mirror))
  const leftOut = ({ refs }: Remote): string | undefined =>
    wanted(refs).find(([name, id]) => after.get(name) !== id && after.get(name) === before.get(name))?.[0]
  if (leftOut(remote) === undefined) return
  // It may have been moved or deleted since it was shown.
  const name = leftOut(await listRemote(git, locator))
  if (name !== undefined)
    throw new SyncError('upstream', oneLine(`fetching ${locator}: ${name} is shown and was not given`))
}

/** Without the peeled ids. */
export function wanted(refs: Remote['refs']): Remote['refs'] {
  return refs.filter(([name]) => !name.endsWith('^{}'))
}
