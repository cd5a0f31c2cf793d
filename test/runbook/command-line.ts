import { type ChildProcess, spawn } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { repoAt, type TestRepo } from '../helpers/git-repo.ts'
import { runHere } from '../helpers/one-process.ts'

const ROOT = new URL('../..', import.meta.url).pathname
export const BINARIES = ['sync', 'scheduler', 'worker', 'reaper', 'status'].map((n) => `engram-scm-${n}`)

export interface Shell {
  folder: string
  repo: TestRepo
  env: Record<string, string>
  /** Runs one line. `stopAfterFirstLine`: SIGTERM once a line came out, for what never ends by itself. */
  run(line: string, o?: { stopAfterFirstLine?: boolean; env?: Record<string, string> }): Promise<Ended>
  /** Starts one program and lets it go on, as a service manager would. */
  start(line: string, env?: Record<string, string>): Running
  close(): Promise<void>
}

export interface Running {
  pid: number
  signal(name: NodeJS.Signals): void
  /** Lines of JSON on stdout so far. */
  reports(): Record<string, unknown>[]
  /** What comes on stderr from now on. */
  heard(by: (text: string) => void): void
  /** SIGTERM, and how it ended. */
  stop(): Promise<Ended>
  ended: Promise<Ended>
}

export interface Ended {
  code: number | null
  stdout: string
  stderr: string
}

/** Whether a binary has its command in this build. */
export function isBuilt(binary: string): boolean {
  const name = binary.replace('engram-scm-', '')
  return name === 'sync' || existsSync(join(ROOT, `dist/commands/${name}.js`))
}

/** A folder with the binaries on PATH, a git repository of four commits, and nothing of the caller's environment. */
export function openShell(more: Record<string, string> = {}): Shell {
  if (!existsSync(join(ROOT, 'dist/shell/main.js'))) throw new Error('not built: node build.mjs')
  const folder = realpathSync(mkdtempSync(join(tmpdir(), 'engram-ops-')))
  chmodSync(folder, 0o755)
  const bin = join(folder, 'bin')
  mkdirSync(bin)
  for (const name of BINARIES) {
    writeFileSync(join(bin, name), `#!/bin/sh\nexec "${process.execPath}" "${ROOT}bin/${name}.js" "$@"\n`)
    chmodSync(join(bin, name), 0o755)
  }
  mkdirSync(join(folder, 'project.git'))
  const repo = repoAt(join(folder, 'project.git'), ['--bare'])
  const now = Math.floor(Date.now() / 1000)
  for (const age of [86_400 * 40, 86_400 * 3, 7200, 60])
    repo.commit(`${age} seconds old`, { date: now - age })

  const children = new Set<ChildProcess>()
  const born = (child: ChildProcess) => {
    children.add(child)
    child.on('close', () => children.delete(child))
  }
  const env: Record<string, string> = {
    PATH: `${bin}:${process.env.PATH ?? '/usr/bin:/bin'}`,
    HOME: folder,
    ENGRAM_SCM_DATA_DIR: join(folder, 'data'),
    ENGRAM_SCM_LOG_LEVEL: 'error',
    ...more,
  }
  return {
    folder,
    repo,
    env,
    run: (line, o = {}) => {
      const words = o.stopAfterFirstLine ? null : plainWords(line)
      return words
        ? runWords(words, folder, { ...env, ...o.env })
        : runLine(line, folder, { ...env, ...o.env }, o.stopAfterFirstLine ?? false, born)
    },
    start: (line, given = {}) => startLine(line, folder, { ...env, ...given }, born),
    close: async () => {
      for (const child of children) child.kill('SIGKILL')
      if (existsSync(join(folder, 'data/pg17')))
        await runLine('engram-scm-sync db down', folder, env, false, born)
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

/** `exec` makes the program itself the child, so that it is the one a signal reaches. */
function startLine(
  line: string,
  cwd: string,
  env: Record<string, string>,
  born: (child: ChildProcess) => void,
): Running {
  const child = spawn('bash', ['-c', `exec ${line}`], { cwd, env, stdio: ['ignore', 'pipe', 'pipe'] })
  born(child)
  const seen: Ended = { code: null, stdout: '', stderr: '' }
  child.stdout.on('data', (part) => {
    seen.stdout += part
  })
  child.stderr.on('data', (part) => {
    seen.stderr += part
  })
  const ended = new Promise<Ended>((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code) => resolve({ ...seen, code }))
  })
  return {
    pid: child.pid as number,
    signal: (name) => child.kill(name),
    reports: () =>
      seen.stdout
        .split('\n')
        .slice(0, -1)
        .map((text) => JSON.parse(text)),
    heard: (by) => child.stderr.on('data', (part) => by(String(part))),
    stop: () => {
      child.kill('SIGTERM')
      return ended
    },
    ended,
  }
}

/** The words of a line that leaves nothing to the shell but to part them, and names one of our binaries; else null. */
function plainWords(line: string): string[] | null {
  const words = line.trim().match(/'[^']*'|"[^"$`\\]*"|[^\s'"]+/g) ?? []
  const plain = words.every((word) => /^(['"]).*\1$|^[\w:/.,=@+-]+$/.test(word))
  if (!plain || words.join(' ') !== line.trim().replace(/ +/g, ' ')) return null
  return BINARIES.includes(words[0] as string)
    ? words.map((word) => word.replace(/^(['"])(.*)\1$/, '$2'))
    : null
}

/** Without a shell and in one process for all: most lines are such. */
async function runWords(
  [program, ...args]: string[],
  cwd: string,
  env: Record<string, string>,
): Promise<Ended> {
  const bin = program?.replace('engram-scm-', '') as 'sync'
  const own = { POSTGRES_DSN: undefined, OCLIF_COLUMNS: undefined, ...env }
  const { code, out, err } = await runHere(args, { bin, cwd, env: own })
  return { code, stdout: out, stderr: err }
}

function runLine(
  line: string,
  cwd: string,
  env: Record<string, string>,
  stopEarly: boolean,
  born: (child: ChildProcess) => void,
): Promise<Ended> {
  // `exec` makes the command itself the child, so that it is the one a signal reaches.
  const text = stopEarly ? `exec ${line}` : line
  return new Promise((resolve, reject) => {
    const child = spawn('bash', ['-o', 'pipefail', '-c', text], {
      cwd,
      env,
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    born(child)
    const ended: Ended = { code: null, stdout: '', stderr: '' }
    child.stdout.on('data', (part) => {
      ended.stdout += part
      if (stopEarly && ended.stdout.includes('\n')) child.kill('SIGTERM')
    })
    child.stderr.on('data', (part) => {
      ended.stderr += part
    })
    child.on('error', reject)
    child.on('close', (code) => resolve({ ...ended, code }))
  })
}
