import { type ChildProcessByStdio, spawn } from 'node:child_process'
import { chmodSync, existsSync, mkdtempSync, readFileSync, realpathSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { afterAll } from 'vitest'

/** The built program, spawned as a shell or a timer would, in an environment of its own. */
export const ROOT = new URL('../..', import.meta.url).pathname
if (!existsSync(join(ROOT, 'dist/shell/main.js')) || !existsSync(join(ROOT, 'oclif.manifest.json')))
  throw new Error('dist/ is not built: run `npm run build` first (`npm test` does)')

interface FlagShown {
  name: string
  type: 'boolean' | 'option'
  char?: string
  required?: boolean
  options?: string[]
  exclusive?: string[]
  dependsOn?: string[]
  summary?: string
}

export interface CommandShown {
  id: string
  summary?: string
  description?: string
  examples?: string[]
  args: Record<string, { name: string; required?: boolean }>
  flags: Record<string, FlagShown>
}

const manifest = JSON.parse(readFileSync(join(ROOT, 'oclif.manifest.json'), 'utf8'))
export const COMMANDS: CommandShown[] = Object.values(manifest.commands as Record<string, CommandShown>).sort(
  (a, b) => (a.id < b.id ? -1 : 1),
)
export const BINARIES = ['sync', 'status', 'scheduler', 'worker', 'reaper'] as const
export const wordsOf = (command: CommandShown) => command.id.split(':')

const folders: string[] = []
afterAll(() => {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true, maxRetries: 5 })
})

/** Every account may pass: the embedded server is no root. */
export function tempFolder(): string {
  const folder = realpathSync(mkdtempSync(join(tmpdir(), 'cli-')))
  chmodSync(folder, 0o755)
  folders.push(folder)
  return folder
}

const HOME = tempFolder()
export const NOWHERE = 'postgresql://nobody@127.0.0.1:1/none'

export interface Ran {
  code: number | null
  signal: NodeJS.Signals | null
  out: string
  err: string
  /** stdout, line by line, as JSON. Throws when it is not. */
  json: () => Record<string, unknown>[]
}

export interface Options {
  bin?: (typeof BINARIES)[number]
  env?: Record<string, string | undefined>
  cwd?: string
  uid?: number
  /** A file descriptor for stdout instead of the pipe that is read here. */
  stdout?: number
  /** Sees the process while it runs. */
  watch?: (child: ReturnType<typeof start>) => void
}

/** What the children see: nothing of ours but the path. Without a DSN in `env` no server is reached, and none is started. */
export function environment(env: Options['env'] = {}): NodeJS.ProcessEnv {
  const whole: NodeJS.ProcessEnv = {
    PATH: process.env.PATH,
    HOME,
    ENGRAM_SCM_DATA_DIR: join(HOME, 'data'),
    POSTGRES_DSN: NOWHERE,
    OCLIF_COLUMNS: '100',
    ...env,
  }
  for (const [name, value] of Object.entries(whole)) if (value === undefined) delete whole[name]
  return whole
}

export function start(args: readonly string[], o: Options = {}) {
  return spawn(process.execPath, [join(ROOT, `bin/engram-scm-${o.bin ?? 'sync'}.js`), ...args], {
    cwd: o.cwd ?? HOME,
    env: environment(o.env),
    stdio: ['ignore', o.stdout ?? 'pipe', 'pipe'],
    ...(o.uid === undefined ? {} : { uid: o.uid, gid: o.uid }),
  }) as ChildProcessByStdio<null, Readable | null, Readable>
}

let running = 0
const waiting: (() => void)[] = []

/** At most two at a time, however many are asked for: there may be two cores. */
export async function run(args: readonly string[], o: Options = {}): Promise<Ran> {
  if (running >= 2) await new Promise<void>((resolve) => waiting.push(resolve))
  running += 1
  try {
    const child = start(args, o)
    o.watch?.(child)
    return await ended(child)
  } finally {
    running -= 1
    waiting.shift()?.()
  }
}

const PATIENCE_MS = 20_000

export function ended(child: ReturnType<typeof start>): Promise<Ran> {
  let out = ''
  let err = ''
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    out += text
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    err += text
  })
  const timer = setTimeout(() => child.kill('SIGKILL'), PATIENCE_MS)
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code, signal) => {
      clearTimeout(timer)
      const json = () => linesOf(out).map((line) => JSON.parse(line) as Record<string, unknown>)
      resolve({ code, signal, out, err, json })
    })
  })
}

export function linesOf(text: string): string[] {
  return text.split('\n').filter((line) => line !== '')
}

/** What a terminal must never be sent: C0 but newline, DEL, C1, bidirectional overrides, a carriage return. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: these are what it is about
export const HARMFUL = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/
