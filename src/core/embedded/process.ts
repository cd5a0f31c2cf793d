import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { readdir, readFile, stat } from 'node:fs/promises'
import { basename } from 'node:path'

const HAS_PROC = existsSync('/proc/self/status')

/**
 * Whether `pid` is a live PostgreSQL of the data folder. kill(pid, 0) cannot tell: a zombie still answers it (about 2 s
 * where PID 1 reaps late), and so does whoever was given the number since. Where it cannot be known, the answer is yes.
 */
export async function isPostgresOf(data: string, pid: number, hasProc = HAS_PROC): Promise<boolean> {
  if (!hasProc) return isPostgresByPs(pid)
  const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '')
  if (field(status, 'Name') !== 'postgres' || /^[ZX]/.test(field(status, 'State'))) return false

  const folder = await stat(data).catch(() => null)
  if (folder !== null && Number(field(status, 'Uid').split('\t')[0]) !== folder.uid) return false
  // PostgreSQL works in its data folder. Inodes, because a path may be spelled in several ways.
  const works = await stat(`/proc/${pid}/cwd`).catch(() => null)
  return works === null || folder === null || (works.ino === folder.ino && works.dev === folder.dev)
}

function isPostgresByPs(pid: number): Promise<boolean> {
  return new Promise((resolve) => {
    execFile(
      'ps',
      ['-o', 'stat=,comm=', '-p', String(pid)],
      { env: { PATH: '/usr/bin:/bin' } },
      (_error, out) => {
        const [, state, command] = /^\s*(\S+)\s+(.*\S)/.exec(out) ?? []
        resolve(state !== undefined && !state.startsWith('Z') && basename(command ?? '') === 'postgres')
      },
    )
  })
}

/**
 * Sessions whose postmaster was killed: they keep the shared memory, and no new server may start beside them. An idle one
 * ends by itself at once, one in the middle of a long statement does not. Empty where there is no /proc.
 */
export async function orphansOf(data: string): Promise<number[]> {
  const orphans: number[] = []
  const pids = (await readdir('/proc').catch(() => [])).filter((name) => /^\d+$/.test(name)).map(Number)
  for (const pid of pids) {
    // Only children write their title as "postgres: …"; a postmaster that somebody just started shows its command line.
    const title = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')
    if (!title.startsWith('postgres: ') || !(await isPostgresOf(data, pid))) continue
    const parent = Number(field(await readFile(`/proc/${pid}/status`, 'utf8').catch(() => ''), 'PPid'))
    if (!(await isPostgresOf(data, parent))) orphans.push(pid)
  }
  return orphans
}

function field(status: string, name: string): string {
  return new RegExp(`^${name}:\\t(.*)$`, 'm').exec(status)?.[1] ?? ''
}
