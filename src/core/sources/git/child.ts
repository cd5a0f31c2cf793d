import { type ChildProcessByStdio, spawn } from 'node:child_process'
import type { Readable, Writable } from 'node:stream'
import { SyncError } from '../../domain/errors.ts'
import { environmentOf, type Reach, type Surroundings } from './environment.ts'
import { failureOf } from './failure.ts'

/** Milliseconds. `ask` and `fetch` bound a whole call; `read` bounds one silence of a process that streams. */
export interface Deadlines {
  ask: number
  fetch: number
  read: number
}

/** A git to call: whose surroundings, in which repository, reaching what, for whom. */
export interface Git {
  surroundings: Surroundings
  deadlines: Deadlines
  gitDir: string | null
  reach: Reach | null
  signal: AbortSignal
  secrets: readonly string[]
}

/** A running git. Whoever starts one calls `stop` in a finally. */
export interface Child {
  write(text: string): void
  /** No more input. */
  end(): void
  /** The next bytes of stdout, or null at its end. Throws when aborted, or silent for longer than `read`. */
  chunk(): Promise<Buffer | null>
  /** Waits for the end; throws unless git left with one of the codes given (0 when none are). */
  finish(codes?: readonly number[]): Promise<number>
  /** Ends the whole process group, if it still runs, and waits until it is gone. */
  stop(why?: SyncError): Promise<void>
  stderr(): string
}

const KILL_AFTER = 2000 // ms between SIGTERM and SIGKILL
const MAX_STDERR = 16_384

// A program that exits by itself must not leave groups behind: they are not in its own process group.
const groups = new Set<number>()
process.on('exit', () => {
  for (const pid of groups) signalGroup(pid, 'SIGKILL')
})

/** Starts git in a process group of its own. `doing` is for messages: no secret in it. */
export function startGit(git: Git, doing: string, args: readonly string[]): Child {
  if (git.signal.aborted) throw cancelled(doing)
  const child: ChildProcessByStdio<Writable, Readable, Readable> = spawn('git', args, {
    cwd: '/',
    env: environmentOf(git.surroundings, git.gitDir, git.reach),
    detached: true,
    stdio: ['pipe', 'pipe', 'pipe'],
  })
  const { pid } = child
  if (pid !== undefined) groups.add(pid)

  let reason: SyncError | null = null
  let closed = false
  let stderr = ''
  child.stdin.on('error', () => {}) // EPIPE: the exit code tells more
  child.stdout.on('error', () => {})
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    // The beginning holds the cause, the end the last word; progress in between may be endless.
    stderr += text
    if (stderr.length > MAX_STDERR) stderr = stderr.slice(0, MAX_STDERR / 2) + stderr.slice(-MAX_STDERR / 2)
  })

  const ended = new Promise<number | null>((resolve) => {
    child.on('error', (cause) => {
      reason ??= noGit(cause)
      resolve(null)
    })
    child.on('close', resolve)
  }).finally(() => {
    closed = true
    if (pid !== undefined) {
      // Of a group that was told to go, also the members that hold none of our pipes.
      if (reason !== null) signalGroup(pid, 'SIGKILL')
      groups.delete(pid)
    }
    git.signal.removeEventListener('abort', onAbort)
  })

  // 'close' comes only when every member of the group that holds our pipes is gone, helpers included.
  const kill = (why: SyncError): void => {
    if (reason !== null || closed || pid === undefined) return
    reason = why
    signalGroup(pid, 'SIGTERM')
    const timer = setTimeout(() => signalGroup(pid, 'SIGKILL'), KILL_AFTER)
    void ended.then(() => clearTimeout(timer))
    child.stdout.destroy() // unread output would hold 'close' back
  }
  const onAbort = (): void => kill(cancelled(doing))
  git.signal.addEventListener('abort', onAbort, { once: true })

  const chunks = child.stdout[Symbol.asyncIterator]()
  const within = async <T>(ms: number, wait: Promise<T>): Promise<T> => {
    const timer = setTimeout(() => kill(tooSlow(doing, ms)), ms)
    try {
      return await wait
    } finally {
      clearTimeout(timer)
    }
  }

  return {
    write: (text) => void child.stdin.write(text),
    end: () => void child.stdin.end(),
    chunk: async () => {
      const next = await within(git.deadlines.read, chunks.next()).catch(() => ({ done: true, value: null }))
      if (reason !== null) {
        await ended
        throw reason
      }
      return next.done ? null : (next.value as Buffer)
    },
    finish: async (codes = [0]) => {
      child.stdin.end()
      const code = await within(git.deadlines.read, ended)
      if (reason !== null) throw reason
      if (code !== null && codes.includes(code)) return code
      throw failureOf(doing, stderr, git.secrets)
    },
    stop: async (why = cancelled(doing)) => {
      kill(why)
      await ended
    },
    stderr: () => stderr,
  }
}

/** One whole call: its output, at most `maxBytes` of it, within `ms` altogether. */
export async function runGit(
  git: Git,
  doing: string,
  args: readonly string[],
  more: { input?: string; ms?: number; maxBytes?: number; codes?: readonly number[] } = {},
): Promise<{ out: Buffer; code: number; stderr: string }> {
  const { input = '', ms = git.deadlines.ask, maxBytes = 256 * 1024 * 1024, codes = [0] } = more
  const child = startGit({ ...git, deadlines: { ...git.deadlines, read: ms } }, doing, args)
  const timer = setTimeout(() => void child.stop(tooSlow(doing, ms)), ms)
  try {
    child.write(input)
    child.end()
    const parts: Buffer[] = []
    let bytes = 0
    for (let chunk = await child.chunk(); chunk !== null; chunk = await child.chunk()) {
      bytes += chunk.length
      if (bytes > maxBytes) throw new SyncError('upstream', `${doing}: more than ${maxBytes} bytes of answer`)
      parts.push(chunk)
    }
    const code = await child.finish(codes)
    return { out: Buffer.concat(parts), code, stderr: child.stderr() }
  } finally {
    clearTimeout(timer)
    await child.stop()
  }
}

function signalGroup(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-pid, signal)
  } catch {
    // already gone
  }
}

function cancelled(doing: string): SyncError {
  return new SyncError('cancelled', `${doing}: cancelled`)
}

function tooSlow(doing: string, ms: number): SyncError {
  return new SyncError('timeout', `${doing}: no end after ${Math.round(ms / 100) / 10} s`)
}

function noGit(cause: Error): SyncError {
  return new SyncError('config', 'the git program cannot be started', {
    cause,
    hint: 'install git >= 2.37 and have it in PATH',
  })
}
