import { type ChildProcess, spawn } from 'node:child_process'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const ROOT = new URL('../..', import.meta.url).pathname

export interface Program {
  child: ChildProcess
  pid: number
  /** Exit code, null after a signal. */
  over: Promise<number | null>
  out: () => string
  err: () => string
}

/** The built program on a database, as a timer would start it; nothing of our environment but the path. */
export function startProgram(
  dsn: string,
  args: string[],
  env: Record<string, string> = {},
  bin = 'sync',
): Program {
  const child = spawn(process.execPath, [join(ROOT, `bin/engram-scm-${bin}.js`), ...args, '--json'], {
    cwd: '/',
    env: {
      PATH: process.env.PATH,
      HOME: tmpdir(),
      ENGRAM_SCM_DATA_DIR: join(tmpdir(), 'chaos-data'),
      POSTGRES_DSN: dsn,
      ...env,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let out = ''
  let err = ''
  child.stdout?.on('data', (part) => {
    out += part
  })
  child.stderr?.on('data', (part) => {
    err += part
  })
  const over = new Promise<number | null>((resolve) => child.once('close', resolve))
  return { child, pid: child.pid as number, over, out: () => out, err: () => err }
}
