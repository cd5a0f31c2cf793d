import { SyncError } from '../../domain/errors.ts'
import type { Commit } from '../../domain/facts.ts'
import { startGit } from './child.ts'
import { parseCommit } from './commit.ts'
import type { Repository } from './repository.ts'
import type { Order } from './walk.ts'

/** What is kept of one commit object; beyond it the message is cut and the commit says so. */
const MAX_COMMIT_BYTES = 8 * 1024 * 1024

export interface CommitReader {
  /** The next commits, fewer than `count` when they hold more than `maxBytes` or the order ends. */
  read(count: number, maxBytes: number): Promise<Commit[]>
  stop(): Promise<void>
}

/**
 * Reads commit objects through one `cat-file` for the whole order. Its answers are framed by size, which no byte in a
 * message can break; `git log -z` frames by NUL and loses what follows a NUL in a message. The requests run one block
 * ahead, so git inflates the next page while this one is parsed and stored; a full pipe stops it there.
 */
export function readCommits(repo: Repository, order: Order, start: number, block: number): CommitReader {
  const child = startGit(repo.git, 'reading commits', ['cat-file', '--batch-command', '--buffer'])
  let asked = start
  let taken = start
  let bytes: Buffer = Buffer.alloc(0)
  let at = 0

  const askAhead = (): void => {
    while (asked < order.length && asked < taken + 2 * block) {
      const end = Math.min(order.length, asked + block)
      let commands = ''
      for (; asked < end; asked++) commands += `contents ${order.sha(asked)}\n`
      child.write(`${commands}flush\n`)
    }
  }

  const more = async (): Promise<void> => {
    const chunk = await child.chunk()
    if (chunk === null) {
      await child.finish()
      throw new SyncError('upstream', 'reading commits: git ended too early')
    }
    bytes = at === bytes.length ? chunk : Buffer.concat([bytes.subarray(at), chunk])
    at = 0
  }

  /** Makes `size` bytes stand at `at`, gathering a big object's chunks before one copy. */
  const need = async (size: number): Promise<void> => {
    if (bytes.length - at >= size) return
    const parts = [bytes.subarray(at)]
    let have = bytes.length - at
    while (have < size) {
      bytes = Buffer.alloc(0)
      at = 0
      await more()
      parts.push(bytes)
      have += bytes.length
    }
    bytes = Buffer.concat(parts)
    at = 0
  }

  const skip = async (size: number): Promise<void> => {
    for (let left = size; ; ) {
      const step = Math.min(left, bytes.length - at)
      at += step
      left -= step
      if (left === 0) return
      await more()
    }
  }

  const next = async (sha: string): Promise<[Commit, number]> => {
    while (bytes.indexOf(10, at) < 0) await more()
    const newline = bytes.indexOf(10, at)
    const [id, type, digits] = bytes.toString('latin1', at, newline).split(' ')
    if (id !== sha || type !== 'commit')
      throw new SyncError('upstream', `commit ${sha} cannot be read`, {
        hint: 'run git fsck in the repository',
      })
    at = newline + 1
    const size = Number(digits)
    const kept = Math.min(size, MAX_COMMIT_BYTES)
    await need(kept)
    const commit = parseCommit(sha, bytes.subarray(at, at + kept))
    at += kept
    await skip(size - kept + 1)
    if (kept < size) {
      commit.degraded = `message_size:${size}`
      commit.sanitized.push('message')
    }
    return [commit, kept]
  }

  return {
    read: async (count, maxBytes) => {
      const commits: Commit[] = []
      askAhead()
      for (let sum = 0; commits.length < count && taken < order.length && sum < maxBytes; taken++) {
        const [commit, size] = await next(order.sha(taken))
        commits.push(commit)
        sum += size
      }
      askAhead()
      return commits
    },
    stop: () => child.stop(),
  }
}
