import type { Revision, Tier } from '../../domain/facts.ts'
import type { Access, Page, Reading } from '../source.ts'
import { chunkSize, history, type Repository } from './history.ts'
import { fillPatches } from './patches.ts'
import { type Range, rangesOf, readDates, revisionAsk } from './ranges.ts'
import { neverHeardOf, type Opened, refuseRewound } from './repository.ts'
import { revisionOf } from './revision.ts'

/** Bytes of messages, paths and patches after which a page ends early: two pages are in memory at a time. */
const PAGE_BYTES = 4 * 1024 * 1024

/**
 * Reads against one HEAD: the one it had when it was opened, or the one an interrupted read had pinned. The token of a
 * page is the last revision that was looked at for it, seen or not.
 */
export function readingOf(repo: Opened, access: Access): Reading {
  let dates: { head: number; of: Promise<Float64Array> } | null = null
  // A backfill asks for many windows of one history: its dates are read once.
  const datesUpTo = (head: number): Promise<Float64Array> => {
    if (dates?.head === head) return dates.of
    const made = { head, of: readDates(repo, head) }
    dates = made
    made.of.catch(() => {
      if (dates === made) dates = null
    })
    return made.of
  }

  return {
    newest: repo.youngest,
    pages: async function* (asked, resume) {
      const ask = revisionAsk(asked)
      const again = resume !== null && resume.pinned.uuid === repo.uuid ? resume : null
      const pinnedHead = again === null ? null : Number(again.pinned.head)
      refuseRewound(repo, ask, pinnedHead)
      const head = pinnedHead ?? repo.youngest
      const pinned = { head: String(head), uuid: repo.uuid }
      const ranges = await rangesOf(ask, head, () => datesUpTo(head))
      const isWanted = (revision: Revision): boolean =>
        ask.window !== 'time' ||
        (revision.at !== null && revision.at >= ask.since.getTime() && revision.at < ask.until.getTime())

      const total = ranges.reduce((sum, { from, to }) => sum + to - from + 1, 0)
      const after = again === null || again.token === '' ? 0 : Number(again.token)
      const left = ranges.map(({ from, to }) => ({ from: Math.max(from, after + 1), to })).filter(isRange)
      let done = total - left.reduce((sum, { from, to }) => sum + to - from + 1, 0)
      let token = String(after)
      let seen = 0
      let restarted = resume !== null && again === null
      access.say(`reading ${total - done} revisions`)

      const pageOf = (revisions: Revision[], isLast: boolean): Page => {
        const page: Page = { facts: { revisions }, token, pinned, done, total }
        if (restarted) page.restarted = true
        restarted = false
        if (isLast) page.landing = ask.window === 'revisions' ? { scanned: head } : null
        return page
      }

      for await (const block of blocks(repo, left, access)) {
        const wanted = { ...block, revisions: block.revisions.filter(isWanted) }
        for await (const { revisions, through, looked } of withPatches(repo, wanted, access.tier)) {
          done += looked
          token = String(through)
          seen += revisions.length
          const isLast = done === total
          const isFirstRead = ask.window === 'revisions' && ask.scanned === null && again === null
          if (isLast && seen === 0 && repo.isGone && isFirstRead) throw neverHeardOf(repo)
          yield pageOf(revisions, isLast)
        }
      }
      if (left.length === 0) yield pageOf([], true)
    },
  }
}

interface Block {
  revisions: Revision[]
  through: number
  looked: number
}

/** As many revisions as a page may hold, looked at or seen. */
async function* blocks(repo: Repository, ranges: Range[], access: Access): AsyncGenerator<Block> {
  // Diffs are read while the log waits; one that ends with the page leaves no connection idle meanwhile.
  const hasPatches = access.tier === 'numstat' || access.tier === 'patch'
  const size = chunkSize(hasPatches ? access.pageSize : undefined)
  for (const { from, to } of ranges) {
    let revisions: Revision[] = []
    let start = from
    let bytes = 0
    for await (const { entry, through } of history(repo, from, to, true, size)) {
      if (entry !== null) {
        revisions.push(revisionOf(entry))
        bytes += entry.bytes
      }
      const looked = through - start + 1
      // What ends a range goes with the step that says so.
      const isEnd = through === to && entry === null
      if (!isEnd && (through === to || (looked < access.pageSize && bytes < PAGE_BYTES))) continue
      yield { revisions, through, looked }
      revisions = []
      start = through + 1
      bytes = 0
    }
  }
}

/** Revisions whose diffs are in memory before their size is looked at: each may have a mebibyte. */
const DIFFS_AT_ONCE = 10

/** A block with its diffs; in several when they are too much for one page. */
async function* withPatches(repo: Repository, block: Block, tier: Tier): AsyncGenerator<Block> {
  if (tier !== 'numstat' && tier !== 'patch') {
    yield block
    return
  }
  const { revisions, through } = block
  let start = through - block.looked + 1
  let page: Revision[] = []
  let bytes = 0
  for (let at = 0; at < revisions.length; at += DIFFS_AT_ONCE) {
    const some = revisions.slice(at, at + DIFFS_AT_ONCE)
    await fillPatches(repo, some, tier)
    page.push(...some)
    bytes += some.reduce((sum, { patch }) => sum + (patch?.sizeBytes ?? 0), 0)
    const { rev } = some.at(-1) as Revision
    if (bytes < PAGE_BYTES || at + DIFFS_AT_ONCE >= revisions.length) continue
    yield { revisions: page, through: rev, looked: rev - start + 1 }
    page = []
    bytes = 0
    start = rev + 1
  }
  yield { revisions: page, through, looked: through - start + 1 }
}

function isRange({ from, to }: Range): boolean {
  return from <= to
}
