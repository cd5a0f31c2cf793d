import { SyncError } from '../../domain/errors.ts'
import type { Access } from '../source.ts'
import type { Svn } from './client.ts'
import type { Repository } from './history.ts'
import { type Info, readInfo, refuseRedirect, unlessUnseen } from './info.ts'
import { foldersAbove, pathBelow } from './locate.ts'
import type { RevisionAsk } from './ranges.ts'

export interface Opened extends Repository {
  /** The path is not there at HEAD. */
  isGone: boolean
}

/**
 * Looks once at what is there now. A path that is gone is looked for above: what happened to it is still to be read.
 * Throws `anomaly` when another repository stands at the address than the one that was read before.
 */
export async function openRepository(svn: Svn, access: Access): Promise<Opened> {
  access.say(`asking ${access.locator}`)
  const { isGone, ...info } = await infoOf(svn)
  const known = access.settings.uuid
  if (typeof known === 'string' && known !== info.uuid)
    throw new SyncError(
      'anomaly',
      `${access.locator} is another repository now: UUID ${info.uuid}, not ${known}`,
      {
        hint: `if it was replaced on purpose, delete its cursor row and register it again: engram-scm-sync repos add svn:${access.locator}`,
      },
    )
  access.learn({ uuid: info.uuid, root: info.root })
  const path = pathBelow(info.root, access.locator) ?? ''
  return { ...info, svn, path, isGone, say: access.say }
}

async function infoOf(svn: Svn): Promise<Info & { isGone: boolean }> {
  await refuseRedirect(svn)
  try {
    return { ...(await readInfo(svn, svn.url)), isGone: false }
  } catch (gone) {
    if (!(gone instanceof SyncError) || gone.kind !== 'not_found') throw gone
    for (const above of foldersAbove(svn.url)) {
      const info = await readInfo(svn, above).catch(unlessUnseen)
      if (info !== null) return { ...info, isGone: true }
    }
    throw gone
  }
}

/** Refuses to go on where the repository has fewer revisions than were read of it. */
export function refuseRewound(repo: Repository, ask: RevisionAsk, pinned: number | null): void {
  const had = Math.max(ask.window === 'revisions' ? (ask.scanned ?? 0) : 0, pinned ?? 0)
  if (repo.youngest >= had) return
  throw new SyncError('anomaly', `${repo.svn.url} ends at r${repo.youngest}, and was read up to r${had}`, {
    hint: 'it was perhaps restored from an older copy: if that is meant, delete its cursor row: the next sync then starts afresh',
  })
}

/** A path that no revision ever touched: somebody mistyped it. */
export function neverHeardOf(repo: Opened): SyncError {
  return new SyncError('not_found', `no revision up to r${repo.youngest} knows ${repo.svn.url}`, {
    hint: `the repository is ${repo.root}: check the path below it`,
  })
}
