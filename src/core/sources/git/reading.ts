import { SyncError } from '../../domain/errors.ts'
import type { Commit } from '../../domain/facts.ts'
import type { Access, Ask, Heads, HeadsAsk, Page, Reading, Resume, TimeAsk } from '../source.ts'
import { readCommits } from './commits.ts'
import { readDetails } from './details.ts'
import { landingOf, vanished } from './moves.ts'
import { present } from './refs.ts'
import type { Repository } from './repository.ts'
import { between, freshOrSince, type Order, type Walk, walk } from './walk.ts'

/** Bytes of messages, paths or patches after which a page ends early: two pages are in memory at a time. */
const PAGE_BYTES = 4 * 1024 * 1024

export type CommitsAsk = HeadsAsk | TimeAsk

/** Commits are what this source has; nothing else can have been planned for it. */
export function commitsAsk(ask: Ask): CommitsAsk {
  if (ask.window === 'heads' || ask.window === 'time') return ask
  throw new SyncError('unsupported', `git has commits, and no ${ask.window}`)
}

/**
 * Reads from one snapshot. `heads` is what the repository was when it was opened; every walk starts there, or at the
 * heads an interrupted read had pinned.
 *
 * The token of a page is `<n>:<sha>`: how many commits of the order were read when it ended, and the last of them. The
 * order is a function of the pinned heads and of `known`, so a resumed read makes the list again, checks that its
 * n-th commit is that sha, and goes on behind it. When it is not (the mirror was made again and lacks commits that a
 * forced push left behind), or pinned commits are gone, the read starts over with fresh heads: rows are upserted, so
 * that costs time and loses nothing.
 */
export function readingOf(repo: Repository, heads: Heads, access: Access): Reading {
  let whole: { of: string; walk: Promise<Walk> } | null = null
  // A backfill asks for many windows of one snapshot: it is walked once.
  const wholeWalk = (pinned: Heads): Promise<Walk> => {
    const of = JSON.stringify(pinned)
    if (whole?.of === of) return whole.walk
    const made = { of, walk: walk(repo, Object.values(pinned), []) }
    whole = made
    // One that failed is no answer for the windows after it.
    made.walk.catch(() => {
      if (whole === made) whole = null
    })
    return made.walk
  }

  const orderOf = async (ask: CommitsAsk, pinned: Heads): Promise<Order> => {
    if (ask.window === 'time')
      return between(await wholeWalk(pinned), ask.since.getTime(), ask.until.getTime())
    if (ask.refetch === 'beginning') return wholeWalk(pinned)
    // Known heads that are gone exclude nothing: more is read again, never less.
    const fresh = await walk(repo, Object.values(pinned), await present(repo, Object.values(ask.known)))
    if (ask.refetch === null) return fresh
    return freshOrSince(await wholeWalk(pinned), fresh, ask.refetch.getTime())
  }

  const resumed = async (ask: CommitsAsk, resume: Resume): Promise<[Order, number] | null> => {
    const [, digits = '', sha = ''] = /^(\d+):([0-9a-f]*)$/.exec(resume.token) ?? []
    const start = Number(digits)
    const shas = [...new Set(Object.values(resume.pinned))]
    if (digits === '' || shas.length === 0 || (await present(repo, shas)).length < shas.length) return null
    const order = await orderOf(ask, resume.pinned)
    const verified = start === 0 ? sha === '' : start <= order.length && order.sha(start - 1) === sha
    return verified ? [order, start] : null
  }

  return {
    pages: async function* (asked, resume) {
      const ask = commitsAsk(asked)
      const again = resume === null ? null : await resumed(ask, resume)
      const pinned = again === null || resume === null ? heads : resume.pinned
      refuseVanished(ask, pinned, access.locator)
      let lost = resume !== null && again === null
      const [order, start] = again ?? [await orderOf(ask, pinned), 0]
      access.say(`reading ${order.length - start} commits`)

      for await (const { commits, done, token } of batches(repo, order, start, access)) {
        const page: Page = { facts: { commits }, token, pinned, done, total: order.length }
        if (lost) page.restarted = true
        lost = false
        if (done === order.length)
          page.landing =
            ask.window === 'heads'
              ? { heads: await landingOf(repo, ask, pinned, () => wholeWalk(pinned)) }
              : null
        yield page
      }
    },
  }
}

/** A remote repository without a single ref: there is nothing to make a mirror of. */
export function readingOfNothing(access: Access): Reading {
  return {
    pages: async function* (ask) {
      refuseVanished(ask, {}, access.locator)
      const landing = ask.window === 'heads' ? { heads: vanished(ask.known) } : null
      yield { facts: {}, token: '0:', pinned: {}, done: 0, total: 0, landing }
    },
  }
}

/**
 * A repository that had refs and has none is far more often an accident upstream than a wish to forget everything. An
 * operator who deleted the cursor has said that it is one.
 */
export function refuseVanished(ask: Ask, now: Heads, locator: string): void {
  if (ask.window !== 'heads' || ask.refetch === 'beginning' || Object.keys(now).length > 0) return
  const had = Object.keys(ask.known).length
  if (had === 0) return
  throw new SyncError('anomaly', `${locator} has no refs any more, it had ${had}`, {
    hint: 'if it was really emptied, delete its cursor row: the next sync then starts afresh',
  })
}

interface Batch {
  commits: Commit[]
  done: number
  token: string
}

/** Pages of the order from `start`, one made ahead while the one before it is stored. At least one, if empty. */
async function* batches(
  repo: Repository,
  order: Order,
  start: number,
  access: Access,
): AsyncGenerator<Batch> {
  if (start === order.length) {
    yield { commits: [], done: start, token: tokenOf(order, start) }
    return
  }

  const commits = readCommits(repo, order, start, access.pageSize)
  const details = readDetails(repo, access.tier)
  const waiting: Commit[] = []
  let done = start

  const read = async (): Promise<Batch> => {
    const more = await commits.read(access.pageSize - waiting.length, PAGE_BYTES)
    details.ask(more)
    waiting.push(...more)
    let count = waiting.length
    if (access.tier !== 'none') {
      count = 0
      for (let bytes = 0; count < waiting.length && bytes < PAGE_BYTES; count++)
        bytes += await details.fill(waiting[count] as Commit)
    }
    done += count
    return { commits: waiting.splice(0, count), done, token: tokenOf(order, done) }
  }

  let next: Promise<Batch> | null = read()
  try {
    while (next !== null) {
      const batch: Batch = await next
      next = batch.done < order.length ? read() : null
      next?.catch(() => {}) // it is thrown when its turn comes, or not at all when the consumer left
      yield batch
    }
  } finally {
    await Promise.allSettled([commits.stop(), details.stop()])
    await next?.catch(() => {})
  }
}

function tokenOf(order: Order, done: number): string {
  return `${done}:${done === 0 ? '' : order.sha(done - 1)}`
}
