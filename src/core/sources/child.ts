import { type ChildProcessByStdio, spawn } from 'node:child_process'
import type { Readable, Writable } from 'node:stream'
import { SyncError } from '../domain/errors.ts'

/** A program to run: with the whole of its environment, and a reader of what it says when it fails. */
export interface Program {
  file: string
  env: Record<string, string>
  signal: AbortSignal
  /** `doing` is ours and holds no secret; `stderr` is hostile. */
  failure(doing: string, stderr: string): SyncError
  /** For whoever has not got the program. */
  remedy: string
}

/** Milliseconds: of one silence, or of all the time we wait for it. What we do meanwhile is not its fault. */
export type Patience = { silence: number } | { whole: number }

/** A running program. Whoever starts one calls `stop` in a finally. */
export interface Child {
  write(text: string): void
  /** No more input. */
  end(): void
  /** The next bytes of stdout, or null at its end. Throws when aborted, or when patience is at an end. */
  chunk(): Promise<Buffer | null>
  /** Waits for the end; throws unless the program left with one of the codes given (0 when none are). */
  finish(codes?: readonly number[]): Promise<number>
  /** Ends the whole process group, if it still runs, and waits until it is gone. */
  stop(why?: SyncError): Promise<void>
  stderr(): string
}

const KILL_AFTER = 1000 // ms between SIGTERM and SIGKILL
const MAX_STDERR = 16_384

// A program that exits by itself must not leave groups behind: they are not in its own process group.
const groups = new Set<number>()
process.on('exit', () => {
  for (const pid of groups) signalGroup(pid, 'SIGKILL')
})

/** Starts a program in a process group of its own, without a terminal. `doing` is for messages: no secret in it. */
export function startChild(
  program: Program,
  doing: string,
  args: readonly string[],
  patience: Patience,
): Child {
  if (program.signal.aborted) throw cancelled(doing)
  const child: ChildProcessByStdio<Writable, Readable, Readable> = spawn(program.file, args, {
    cwd: '/',
    env: program.env,
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
      reason ??= missing(program, cause)
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
    program.signal.removeEventListener('abort', onAbort)
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
  program.signal.addEventListener('abort', onAbort, { once: true })

  const chunks = child.stdout[Symbol.asyncIterator]()
  const bound = 'whole' in patience ? patience.whole : patience.silence
  let left = bound
  const within = async <T>(wait: Promise<T>): Promise<T> => {
    const since = performance.now()
    const timer = setTimeout(() => kill(tooSlow(doing, bound)), Math.max(0, left))
    try {
      return await wait
    } finally {
      clearTimeout(timer)
      if ('whole' in patience) left -= performance.now() - since
    }
  }

  return {
    write: (text) => void child.stdin.write(text),
    end: () => void child.stdin.end(),
    chunk: async () => {
      const next = await within(chunks.next()).catch(() => ({ done: true, value: null }))
      if (reason !== null) {
        await ended
        throw reason
      }
      return next.done ? null : (next.value as Buffer)
    },
    finish: async (codes = [0]) => {
      child.stdin.end()
      const code = await within(ended)
      if (reason !== null) throw reason
      if (code !== null && codes.includes(code)) return code
      throw program.failure(doing, stderr)
    },
    stop: async (why = cancelled(doing)) => {
      kill(why)
      await ended
    },
    stderr: () => stderr,
  }
}

/** One whole call: its output, at most `maxBytes` of it, within `ms` altogether. */
export async function runChild(
  program: Program,
  doing: string,
  args: readonly string[],
  more: { ms: number; input?: string; maxBytes?: number; codes?: readonly number[] },
): Promise<{ out: Buffer; code: number; stderr: string }> {
  const { ms, input = '', maxBytes = 256 * 1024 * 1024, codes = [0] } = more
  const child = startChild(program, doing, args, { whole: ms })
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

function missing(program: Program, cause: Error): SyncError {
  return new SyncError('config', `the ${program.file} program cannot be started`, {
    cause,
    hint: program.remedy,
  })
}
