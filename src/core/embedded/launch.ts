import { type ChildProcess, spawn } from 'node:child_process'
import { constants, type FileHandle, open, readdir, readFile, rename, stat } from 'node:fs/promises'
import { folderFailure } from './failure.ts'
import { childOf, type Owner } from './owner.ts'
import type { Place } from './place.ts'

const MAX_LOG_BYTES = 16 * 1024 * 1024
const O_CLOEXEC = 0o2000000 // Linux; not among Node's constants

/** One attempt at starting the server. */
export interface Launch {
  pid: number
  /** True until the attempt ends. */
  running: () => boolean
  /** True when it ended in good order: somebody stopped it. */
  stopped: () => boolean
  /** What the log got since. */
  output: () => Promise<string>
}

/** Starts the server in a session of its own, held by nothing of ours: it outlives us however we end. */
export async function launch(
  place: Place,
  owner: Owner,
  postgres: string,
  socketDir: string,
): Promise<Launch> {
  const log = await openLog(place)
  try {
    const from = (await log.stat()).size
    const args = ['-D', place.data, ...privateSettings(socketDir).flatMap((setting) => ['-c', setting])]
    const child = spawn(postgres, args, {
      ...childOf(owner),
      detached: true,
      stdio: await stdioOver(log.fd),
    })
    child.unref()
    await spawned(child)
    const running = () => child.exitCode === null && child.signalCode === null
    const stopped = () => child.exitCode === 0
    return { pid: child.pid!, running, stopped, output: () => readLog(place, from) }
  } catch (error) {
    throw folderFailure(place.base, error)
  } finally {
    await log.close()
  }
}

/** On the command line, so that no edit of postgresql.conf can open the server to others. */
function privateSettings(socketDir: string): string[] {
  return [
    'listen_addresses=',
    'port=5432',
    `unix_socket_directories=${socketDir}`,
    'unix_socket_permissions=0700',
    'logging_collector=off',
    'log_destination=stderr',
  ]
}

/**
 * Node closes what it opened itself, not what it inherited above descriptor 15: under `flock 200>lock`, cron's idiom, the
 * server would hold the lock for ever. Such descriptors are covered with the log. macOS closes them by itself.
 */
async function stdioOver(log: number): Promise<('ignore' | number)[]> {
  const stdio: ('ignore' | number)[] = ['ignore', log, log]
  for (const name of await readdir('/proc/self/fdinfo').catch(() => [])) {
    const info = await readFile(`/proc/self/fdinfo/${name}`, 'utf8').catch(() => null)
    const flags = Number.parseInt(/^flags:\s*(\d+)/m.exec(info ?? '')?.[1] ?? '', 8)
    if (Number(name) > 2 && (flags & O_CLOEXEC) === 0) stdio[Number(name)] = log
  }
  return Array.from(stdio, (one) => one ?? 'ignore')
}

function spawned(child: ChildProcess): Promise<void> {
  return new Promise((resolve, reject) => {
    child.once('spawn', resolve)
    child.once('error', reject)
  })
}

async function openLog(place: Place): Promise<FileHandle> {
  try {
    const size = (await stat(place.log).catch(() => null))?.size ?? 0
    if (size > MAX_LOG_BYTES) await rename(place.log, `${place.log}.1`)
    const { O_APPEND, O_CREAT, O_NOFOLLOW, O_WRONLY } = constants
    return await open(place.log, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW, 0o600)
  } catch (error) {
    throw folderFailure(place.log, error)
  }
}

/** The log from `from` on, the last 64 KB of it. */
export async function readLog(place: Place, from: number): Promise<string> {
  const log = await open(place.log, 'r').catch(() => null)
  if (log === null) return ''
  try {
    const { size } = await log.stat()
    const start = Math.max(from, size - 64 * 1024)
    const { buffer, bytesRead } = await log.read(Buffer.alloc(Math.max(0, size - start)), 0, null, start)
    return buffer.toString('utf8', 0, bytesRead)
  } finally {
    await log.close()
  }
}
