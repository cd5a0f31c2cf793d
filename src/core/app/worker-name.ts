import { createHash } from 'node:crypto'
import { readFileSync, readlinkSync } from 'node:fs'
import { hostname } from 'node:os'

/**
 * `<host>-<pid>-<8 hex>`: for people the first 16 characters of the host name; for the machine a hash of all that makes
 * a process id mean something: the whole host name, the boot, the pid namespace. Two containers, or two hosts whose
 * names begin alike, never share it.
 */
export function workerName(pid: number = process.pid): string {
  return `${hostname().slice(0, 16)}-${pid}-${HERE}`
}

/** The process id in a worker's name, if it is one of this very machine and namespace. */
export function pidHere(worker: string): number | null {
  const [, pid, where] = /-(\d+)-([0-9a-f]{8})$/.exec(worker) ?? []
  return pid !== undefined && where === HERE ? Number(pid) : null
}

const HERE = createHash('sha256')
  .update(
    [
      hostname(),
      told(() => readFileSync('/proc/sys/kernel/random/boot_id', 'utf8')),
      told(() => readlinkSync('/proc/self/ns/pid')),
    ].join('\n'),
  )
  .digest('hex')
  .slice(0, 8)

/** '' where there is no /proc. */
function told(ask: () => string): string {
  try {
    return ask()
  } catch {
    return ''
  }
}
