import { createHash, randomBytes } from 'node:crypto'
import { mkdir, readdir, rename, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { SyncError } from '../../domain/errors.ts'
import type { Access, Heads } from '../source.ts'
import { type Git, runGit, startGit } from './child.ts'
import { oneLine } from './failure.ts'
import { withLock } from './lock.ts'
import { listRefs, parseRefLines } from './refs.ts'
import { openRepository, type Repository } from './repository.ts'

/**
 * A bare mirror of a remote repository: a cache, which can be deleted at any time and is made again when git calls it
 * broken. Without blobs as long as nobody asked for lines (82,449 commits of Subversion: 65 MB instead of 223). A
 * mirror without blobs cannot simply be filled up (`fetch --refetch` needs git 2.36 and downloads all the same): it is
 * made again. One that has them keeps getting them. Nothing is ever pruned from the object store, so a forced push
 * leaves the old commits readable.
 */
export interface Remote {
  refs: [name: string, id: string][]
}

const REFSPECS = ['+refs/heads/*:refs/heads/*', '+refs/tags/*:refs/tags/*']

export function mirrorDir(access: Pick<Access, 'cacheDir' | 'locator'>): string {
  const hash = createHash('sha256').update(access.locator).digest('hex').slice(0, 32)
  return join(access.cacheDir, `${hash}.git`)
}

/** Branches and tags upstream has now: one cheap question. Peeled ids of annotated tags come as `name^{}`. */
export async function listRemote(git: Git, locator: string): Promise<Remote> {
  const { out } = await runGit(
    git,
    `asking ${locator}`,
    ['ls-remote', '--', locator, 'refs/heads/*', 'refs/tags/*'],
    { maxBytes: 64 * 1024 * 1024 },
  )
  return { refs: parseRefLines(out, '\t') }
}

/** What the answer to `ls-remote` comes to as heads; a light tag of a tree cannot be told from one of a commit here. */
export function headsOfRemote(remote: Remote): Heads {
  const heads: Heads = {}
  for (const [name, id] of remote.refs) heads[name.replace(/\^\{\}$/, '')] = id
  return heads
}

/** The mirror as upstream is now. Null when upstream has no refs at all: then the mirror stays as it is. */
export async function upToDateMirror(git: Git, access: Access): Promise<Repository | null> {
  access.say(`asking ${access.locator}`)
  const remote = await listRemote(git, access.locator)
  if (remote.refs.length === 0) return null

  await mkdir(access.cacheDir, { recursive: true, mode: 0o700 })
  const dir = mirrorDir(access)
  const on = { signal: access.signal, waitMs: git.deadlines.fetch, say: access.say }
  return withLock(`${dir}.lock`, on, async () => {
    const all = access.tier === 'numstat' || access.tier === 'patch'
    try {
      const mirror = await openMirror(git, dir)
      if (mirror !== null && mirror.idBytes * 2 === (remote.refs[0]?.[1].length ?? 0)) {
        const blobless = await isBlobless(dir)
        if (!(all && blobless)) {
          if (await isSame(mirror, remote)) return mirror
          await removeDeadLocks(dir, access)
          await fetch(git, access, dir, blobless ? ['--filter=blob:none'] : [])
          return mirror
        }
      }
    } catch (error) {
      if (!isBroken(error)) throw error
      access.say('the mirror is broken: making it again')
    }
    return remake(git, access, dir, remote, all)
  })
}

/** The mirror as it stands, or null when there is none or half of one. */
export async function openMirror(git: Git, dir: string): Promise<Repository | null> {
  if ((await stat(dir).catch(() => null)) === null) return null
  try {
    return await openRepository({ ...git, gitDir: dir, reach: null })
  } catch (error) {
    if (isBroken(error)) return null
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
    await fetch(git, access, fresh, all ? [] : ['--filter=blob:none'])
    const old = `${fresh}.old`
    await rename(dir, old).catch(() => {})
    await rename(fresh, dir)
    await rm(old, { recursive: true, force: true })
  } finally {
    await rm(fresh, { recursive: true, force: true })
  }
  return openRepository({ ...git, gitDir: dir, reach: null })
}

async function fetch(git: Git, access: Access, dir: string, filter: string[]): Promise<void> {
  access.say(`fetching ${access.locator}`)
  const child = startGit(
    { ...git, gitDir: dir, deadlines: { ...git.deadlines, read: git.deadlines.fetch } },
    `fetching ${access.locator}`,
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
      access.locator,
      ...REFSPECS,
    ],
  )
  try {
    await child.finish()
  } finally {
    await child.stop()
  }
}

async function isSame(mirror: Repository, remote: Remote): Promise<boolean> {
  const has = new Map(await listRefs(mirror))
  const wanted = remote.refs.filter(([name]) => !name.endsWith('^{}'))
  return wanted.length === has.size && wanted.every(([name, id]) => has.get(name) === id)
}

/** Git leaves a `.promisor` file beside each pack it fetched with a filter. */
async function isBlobless(dir: string): Promise<boolean> {
  const packs = await readdir(join(dir, 'objects', 'pack')).catch(() => [])
  return packs.some((name) => name.endsWith('.promisor'))
}

/** Errors another copy would cure, as opposed to those of the way there. */
function isBroken(error: unknown): boolean {
  return (
    error instanceof SyncError &&
    (error.kind === 'upstream' || error.kind === 'not_found' || error.kind === 'unsupported') &&
    !/No space|quota/i.test(error.message)
  )
}

const LOCK_AGE = 10_000 // ms

/**
 * A killed git leaves `*.lock` files, and no later fetch gets past them. We hold the mirror's own lock here, so their
 * maker is dead or, at worst, an orphan of a killed worker that is about to die of its closed pipes; git holds such a
 * file for milliseconds. What is still there when it is 10 s old is removed. Half-received packs go after an hour.
 */
async function removeDeadLocks(dir: string, access: Access): Promise<void> {
  const locks = await filesUnder(dir, (path) => path.endsWith('.lock'))
  for (const path of locks) {
    const age = await ageOf(path)
    if (age === null) continue
    if (age < LOCK_AGE) {
      access.say('waiting for a lock that a killed fetch may have left')
      await pause(LOCK_AGE - age, undefined, { signal: access.signal }).catch(() => {
        throw new SyncError('cancelled', oneLine(`fetching ${access.locator}: cancelled`))
      })
    }
    await rm(path, { force: true })
  }
  for (const path of await filesUnder(join(dir, 'objects', 'pack'), (path) => /\/tmp_\w+$/.test(path)))
    if (((await ageOf(path)) ?? 0) > 3_600_000) await rm(path, { force: true })
}

async function filesUnder(dir: string, wanted: (path: string) => boolean): Promise<string[]> {
  const entries = await readdir(dir, { recursive: true, withFileTypes: true }).catch(() => [])
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .filter(wanted)
}

async function ageOf(path: string): Promise<number | null> {
  const found = await stat(path).catch(() => null)
  return found === null ? null : Date.now() - found.mtimeMs
}
