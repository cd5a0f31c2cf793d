import { SyncError } from '../../domain/errors.ts'
import type { Child } from '../child.ts'
import { startGit } from './child.ts'
import type { Repository } from './repository.ts'
import { Scanner } from './scanner.ts'

/** Answers in the order asked. `next` throws for one commit and goes on with the one after it when called again. */
export interface PerCommit<T> {
  ask(shas: readonly string[]): void
  next(): Promise<T>
  /** Leaves out the answer that would be next. */
  pass(): Promise<void>
  stop(): Promise<void>
}

/** What every diff is read with: nothing here runs a program. That no setting sways it is the affair of bareObjects. */
export const SAFE_DIFF = [
  'diff-tree',
  '--stdin',
  '-r',
  '--root',
  '--no-renames',
  '--no-ext-diff',
  '--no-textconv',
  '--ignore-submodules=none',
  '--diff-algorithm=myers',
]

/**
 * A diff-tree that answers commit by commit. It echoes a line that is no id and flushes: that echo, sent after every
 * commit, is how a commit whose answer is whole is told from one git died in (a blob a partial clone does not have).
 * After such a death the process is started again for the commits that remain.
 */
export function perCommit<T>(
  repo: Repository,
  args: readonly string[],
  mark: string,
  parse: (sha: string, bytes: Scanner) => Promise<T>,
): PerCommit<T> {
  let queue: string[] = []
  let head = 0
  let running: { child: Child; bytes: Scanner } | null = null
  const send = (child: Child, shas: readonly string[]): void =>
    child.write(shas.map((sha) => `${sha}\n${mark}\n`).join(''))

  let stopped = false
  const end = async (): Promise<void> => {
    const was = running
    running = null
    await was?.child.stop()
  }

  return {
    ask: (shas) => {
      queue = queue.slice(head).concat(shas)
      head = 0
      if (running !== null) send(running.child, shas)
    },
    next: async () => {
      // A page being read ahead must not start what its consumer, who left, has just stopped.
      if (stopped) throw new SyncError('cancelled', 'reading changes: cancelled')
      if (running === null) {
        const child = startGit(repo.git, 'reading changes', args)
        running = { child, bytes: new Scanner(child) }
        send(child, queue.slice(head))
      }
      const sha = queue[head++]
      if (sha === undefined) throw new Error('a diff was read that nobody asked for')
      try {
        return await parse(sha, running.bytes)
      } catch (error) {
        await end()
        throw error
      }
    },
    pass: async () => {
      await end()
      head++
    },
    stop: () => {
      stopped = true
      return end()
    },
  }
}
