import { createHash, randomBytes } from 'node:crypto'
import { mkdir, readdir, rename, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { SyncError } from '../../domain/errors.ts'
import type { Access } from '../source.ts'
import { type Git, runGit } from './child.ts'
import { removeDeadLocks } from './dead-locks.ts'
import { fetchInto, wanted } from './fetch.ts'
import { withLock } from './lock.ts'
import { listRefs, type Remote, readHeads } from './refs.ts'
import { openRepository, type Repository } from './repository.ts'

export function mirrorDir(access: Pick<Access, 'cacheDir' | 'locator'>): string {
  const hash = createHash('sha256').update(access.locator).digest('hex').slice(0, 32)
  return join(access.cacheDir, `${hash}.git`)
}

/**
 * A bare mirror of a remote repository: a cache, which can be deleted at any time and is made again when git calls it
 * broken. Without blobs as long as nobody asked for lines (82,449 commits of Subversion: 65 MB instead of 223). A
 * mirror without blobs cannot simply be filled up (`fetch --refetch` needs git 2.36 and downloads all the same): it is
 * made again. One that has them keeps getting them. Nothing is ever pruned from the object store, so a forced push
 * leaves the old commits readable.
 */
export async function upToDateMirror(git: Git, access: Access, remote: Remote): Promise<Repository> {
  await mkdir(access.cacheDir, { recursive: true, mode: 0o700 })
  const dir = mirrorDir(access)
  const on = { signal: access.signal, waitMs: git.deadlines.fetch, say: access.say }
  return withLock(`${dir}.lock`, on, async () => {
    const all = access.tier === 'numstat' || access.tier === 'patch'
    const mirror = await openMirror(git, dir)
    if (mirror === null || !(await canServe(mirror, dir, remote, all)))
      return remake(git, access, dir, remote, all)
    if (await isSame(mirror, remote)) return mirror

    await removeDeadLocks(dir, access)
    try {
      const filter = (await isBlobless(dir)) ? ['--filter=blob:none'] : []
      await fetchInto({ ...mirror, git: { ...git, gitDir: dir } }, access, remote, filter)
    } catch (error) {
      if (error instanceof SyncError && error.kind === 'unsupported') await discardMirror(dir)
      if (!saysBroken(error)) throw error
      access.say('the mirror is broken: making it again')
      return remake(git, access, dir, remote, all)
    }
    return mirror
  })
}

/** The mirror as it stands, or null when there is none or half of one. */
export async function openMirror(git: Git, dir: string): Promise<Repository | null> {
  if ((await stat(dir).catch(() => null)) === null) return null
  try {
    return await openRepository({ ...git, gitDir: dir, reach: null })
  } catch (error) {
    if (isOfTheMirror(error)) return null
    throw error
  }
}

/** Whether what stands there can be fetched into: of the upstream's kind, with blobs if they are wanted, its heads readable. */
async function canServe(mirror: Repository, dir: string, remote: Remote, all: boolean): Promise<boolean> {
  if (mirror.idBytes * 2 !== remote.refs[0]?.[1].length) return false
  if (all && (await isBlobless(dir))) return false
  try {
    await readHeads(mirror)
    return true
  } catch (error) {
    if (isOfTheMirror(error)) return false
    throw error
  }
}

/** Beside the old one, which readers may hold open, and in its place by two renames. */
async function remake(
  git: Git,
  access: Access,
  dir: string,
  remote: Remote,
  all: boolean,
): Promise<Repository> {
  const fresh = `${dir}.${randomBytes(6).toString('hex')}`
  const format = remote.refs[0]?.[1].length === 64 ? 'sha256' : 'sha1'
  try {
    await runGit({ ...git, gitDir: null, reach: null }, 'making a mirror', [
      'init',
      '--quiet',
      '--bare',
      '--template=',
      `--object-format=${format}`,
      fresh,
    ])
    const mirror = await openRepository({ ...git, gitDir: fresh })
    await fetchInto(mirror, access, remote, all ? [] : ['--filter=blob:none'])
    const old = `${fresh}.old`
    await rename(dir, old).catch(() => {})
    await rename(fresh, dir)
    await rm(old, { recursive: true, force: true })
  } finally {
    await rm(fresh, { recursive: true, force: true })
  }
  return openRepository({ ...git, gitDir: dir, reach: null })
}

async function isSame(mirror: Repository, remote: Remote): Promise<boolean> {
  const has = new Map(await listRefs(mirror))
  const shown = wanted(remote.refs)
  return shown.length === has.size && shown.every(([name, id]) => has.get(name) === id)
}

/** Git leaves a `.promisor` file beside each pack it fetched with a filter. */
async function isBlobless(dir: string): Promise<boolean> {
  const packs = await readdir(join(dir, 'objects', 'pack')).catch(() => [])
  return packs.some((name) => name.endsWith('.promisor'))
}

/** No server was asked: what failed is the copy. */
export function isOfTheMirror(error: unknown): boolean {
  return error instanceof SyncError && ['upstream', 'not_found', 'unsupported'].includes(error.kind)
}

/** A failed fetch may be the server's fault, and making the mirror again for a passing 500 would be dear. */
function saysBroken(error: unknown): boolean {
  return (
    error instanceof SyncError &&
    error.kind === 'upstream' &&
    /corrupt|bad object|packfile|loose object|object file|inflate|unable to read|missing|cannot lock|unable to create|did not send all/i.test(
      error.message,
    ) &&
    !/no space|quota/i.test(error.message)
  )
}

/** Out of the way, for the next to make it again. */
export async function discardMirror(dir: string): Promise<void> {
  const aside = `${dir}.${randomBytes(6).toString('hex')}`
  await rename(dir, aside).catch(() => {})
  await rm(aside, { recursive: true, force: true })
}
