import { constants } from 'node:fs'
import { access, stat, statfs } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { Examined } from './examined.ts'
import { type Finding, failed, ok, warning } from './finding.ts'

const GIB = 1024 ** 3
/** Below it PostgreSQL may not get its next 16 MiB of log, and stops. */
const TOO_LITTLE = GIB / 4
/** A first mirror of a large repository takes that much. */
const LITTLE = 2 * GIB

/** Mirrors are kept there. */
export async function dataFolder({ dataDir }: Examined): Promise<Finding[]> {
  if (dataDir === null) return []
  const remedy = 'give the folder to the user that runs the syncs, or set ENGRAM_SCM_DATA_DIR'
  const there = await nearest(dataDir)
  if (!there.isFolder) return [failed(`${there.path} is no folder`, remedy)]
  const name = there.path === dataDir ? dataDir : `${dataDir} (not made yet, in ${there.path})`
  if (!(await isWritable(there.path))) return [failed(`${name} cannot be written by this user`, remedy)]
  return [judgedRoom(`${name} is writable`, await roomIn(there.path))]
}

/** Of the program's own server; an external one looks after its disk itself. */
export async function databaseFolder({ embeddedDir }: Examined): Promise<Finding[]> {
  if (embeddedDir === null) return []
  return [
    judgedRoom(
      `${embeddedDir} is for the embedded database`,
      await roomIn((await nearest(embeddedDir)).path),
    ),
  ]
}

export function judgedRoom(found: string, bytes: number): Finding {
  const says = `${found}, ${(bytes / GIB).toFixed(1)} GiB are free`
  const remedy = 'make room on that disk: when it is full, every sync stops'
  if (bytes < TOO_LITTLE) return failed(says, remedy)
  return bytes < LITTLE ? warning(says, remedy) : ok(says)
}

async function roomIn(folder: string): Promise<number> {
  const { bavail, bsize } = await statfs(folder)
  return bavail * bsize
}

/** The path, or what of it is there. */
async function nearest(path: string): Promise<{ path: string; isFolder: boolean }> {
  const there = await stat(path).catch(() => null)
  if (there === null && dirname(path) !== path) return nearest(dirname(path))
  return { path, isFolder: there?.isDirectory() ?? false }
}

function isWritable(folder: string): Promise<boolean> {
  return access(folder, constants.W_OK | constants.X_OK).then(
    () => true,
    () => false,
  )
}
