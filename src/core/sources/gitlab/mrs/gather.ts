import type { Facts } from '../../../domain/facts.ts'
import type { Page } from '../../source.ts'
import { tokenOf, type Updates } from './updates.ts'

/**
 * Characters after which a page ends early: two pages are in memory at a time, each as facts, as JSON and as bytes on
 * their way. With twice as many, and twice ROOM, 16 reviews of Chinese notes of 100,000 take 143 instead of 129 MB.
 */
const PAGE_CHARS = 1024 * 1024

/** A fact of a merge request on its way to a page. */
export interface Entry {
  iid: number
  fact: Facts
  chars: number
  /** Listing from then on brings this one again, and all behind it. */
  resumeAt: number
}

/**
 * Pages of at most `most` entries; the last one lands. No page holds a merge request twice: whatever changed in between
 * would be written in no certain order.
 */
export async function* gather(
  entries: AsyncIterable<Entry>,
  updates: Updates,
  most: number,
  signal: AbortSignal,
): AsyncGenerator<Page> {
  let done = updates.before
  let resumeAt = updates.from
  let waiting: Entry[] = []
  let chars = 0

  const page = (): Page => {
    done += waiting.length
    resumeAt = waiting.at(-1)?.resumeAt ?? resumeAt
    const total = updates.total()
    const facts: Facts = {
      mrs: waiting.flatMap(({ fact }) => fact.mrs ?? []),
      reviews: waiting.flatMap(({ fact }) => fact.reviews ?? []),
    }
    waiting = []
    chars = 0
    return {
      facts,
      token: tokenOf(resumeAt, done),
      pinned: {},
      done,
      total: total === null ? null : Math.max(done, total),
    }
  }

  try {
    for await (const entry of entries) {
      signal.throwIfAborted()
      // Only now is it certain that the page is not the last.
      const isFull = waiting.length >= most || chars + entry.chars > PAGE_CHARS
      if (waiting.length > 0 && (isFull || waiting.some(({ iid }) => iid === entry.iid))) yield page()
      waiting.push(entry)
      chars += entry.chars
    }
  } catch (error) {
    // A server that grants less than a page at a time would have us begin again for ever.
    if (waiting.length > 0 && !signal.aborted) yield page()
    throw error
  }
  yield { ...page(), landing: updates.landing() }
}
