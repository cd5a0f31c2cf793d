import { LOOKBACK_MS } from '../../../domain/cursor.ts'
import { SyncError } from '../../../domain/errors.ts'
import type { MergeRequest } from '../../../domain/facts.ts'
import type { Landing, Resume, Survey, TimeAsk, UpdatesAsk } from '../../source.ts'
import type { Opened } from '../opened.ts'
import { mergeRequestOf } from '../records/mr.ts'
import { allOf, goesOn, isTooLarge, largerThan, PER_PAGE, type Sheet, smallerThan } from '../shifting.ts'
import { inOrder, list } from './list.ts'

/** A merge request of the list, and from when to list to see it and all behind it again. */
export interface Listed {
  mr: MergeRequest
  resumeAt: number
}

/** The list of merge requests by time of update, as one reading goes through it. */
export interface Updates {
  /** Those that are not known, each version of one once. */
  rows(): AsyncGenerator<Listed>
  /** Records stored before by the run that is resumed. */
  readonly before: number
  /** Where it begins: milliseconds since 1970. */
  readonly from: number
  /** Upstream's count, less what was known; null where it does not tell. */
  total(): number | null
  /** Once all rows were taken. */
  landing(): Landing | null
}

/** A page that was asked for, and of what was updated from when on. */
interface Asked {
  from: number | null
  sheet: Promise<Sheet<MergeRequest>>
}

/** Half of the pages of 20 million merge requests: the largest project known, GitLab itself, has 0.2 million. */
const MOST_PAGES = 100_000

/**
 * Keyset paging, which GitLab does not have for merge requests, made of what it has: always page 1, of what was updated
 * at the last instant seen or later. What is touched meanwhile moves to the end and comes again; nothing moves over the
 * boundary of two pages. Of one instant that fills a page, the pages behind it are read, there and back.
 */
export function updatesOf(
  opened: Pick<Opened, 'client' | 'project'>,
  ask: UpdatesAsk | TimeAsk,
  resume: Resume | null,
): Updates {
  const known = ask.window === 'updates' ? ask.known : new Map<number, string>()
  const until = ask.window === 'time' ? ask.until.getTime() : Number.POSITIVE_INFINITY
  const [since, before] = (resume && parseToken(resume.token)) ?? [ask.since?.getTime() ?? null, 0]

  const left = new AbortController() // ends a request for rows that nobody takes any more
  const listed = new Map<number, Pick<MergeRequest, 'digest' | 'updatedAt'>>()
  let leftOut = 0
  let firstTotal: number | null = null
  let newest: number | null = null
  let settled: number | null = null // the server's time when it first showed what was not yet settled
  let began: number | null = null // the server's time of the first answer, and of the last
  let present: number | null = null

  const page = async (from: number | null, n: number, size: number): Promise<Sheet<MergeRequest>> => {
    const answer = await list(opened, ask, from, n, size, left.signal)
    const items = inOrder(opened, answer, from)
    present = (answer.date ?? new Date()).getTime()
    began ??= present
    const last = items.at(-1)?.updatedAt
    if (last !== undefined) newest = latest(newest, last)
    if (last !== undefined && last > present - LOOKBACK_MS) settled ??= present
    return { items, rows: answer.json.length, next: answer.next, total: answer.total }
  }

  /**
   * Where a reading begins that is to see all that was updated until then: before the last one seen, whatever the time
   * may be, and where that is still to come, before the present.
   */
  const resumeAt = (instant: number): number =>
    Math.min(instant, settled ?? Number.POSITIVE_INFINITY) - LOOKBACK_MS

  /** What was touched after it began is for the next reading: where that is faster than we are, this one would not end. */
  const isLater = (instant: number): boolean =>
    began !== null && present !== null && instant > began + LOOKBACK_MS && instant <= present + LOOKBACK_MS

  const isNew = (mr: MergeRequest): boolean => {
    if (mr.updatedAt >= until || listed.get(mr.iid)?.digest === mr.digest) return false
    listed.set(mr.iid, { digest: mr.digest, updatedAt: mr.updatedAt })
    if (known.get(mr.iid) !== mr.digest) return true
    leftOut += 1
    return false
  }

  let size = PER_PAGE
  let pages = 0

  /** Page 1 of what was updated from then on, of as many rows as an answer may hold. */
  async function first(from: number | null): Promise<Sheet<MergeRequest>> {
    for (;;) {
      pages += 1
      if (pages > MOST_PAGES) throw new SyncError('upstream', 'the list of merge requests has no end')
      try {
        return await page(from, 1, size)
      } catch (error) {
        const smaller = isTooLarge(error) ? smallerThan(size) : null
        if (smaller === null) throw error
        size = smaller
      }
    }
  }

  const askFrom = (from: number | null): Asked | null => {
    if (from !== null && isLater(from)) return null
    size = largerThan(size)
    const sheet = first(from)
    sheet.catch(() => {}) // thrown when its turn comes, or not at all when the consumer has left
    return { from, sheet }
  }

  async function* rows(): AsyncGenerator<Listed> {
    let asked = askFrom(since)
    try {
      while (asked !== null) {
        const { from } = asked
        const sheet = await asked.sheet
        firstTotal ??= sheet.total
        for (const [iid, { updatedAt }] of listed) if (from !== null && updatedAt < from) listed.delete(iid)

        const news = sheet.items.filter(isNew)
        const isLast = !goesOn(sheet, 1, size, news.length > 0)
        const last = sheet.items.at(-1)?.updatedAt ?? null
        const isFull = last === null || last === from
        // The next page is on its way while this one is worked on.
        asked = isLast || isFull ? null : askFrom(last)
        for (const mr of news) yield { mr, resumeAt: resumeAt(mr.updatedAt) }
        if (isFull && !isLast) {
          const beyond = yield* rowsBehind(from, sheet)
          if (beyond !== null) asked = askFrom(beyond)
        }
      }
    } finally {
      left.abort()
      await asked?.sheet.catch(() => {})
    }
  }

  /** The pages behind one that is all of one instant; answers the instant that follows, null when there is none. */
  async function* rowsBehind(
    from: number | null,
    first: Sheet<MergeRequest>,
  ): AsyncGenerator<Listed, number | null> {
    let beyond: number | null = null
    const behind = allOf({
      name: 'the list of merge requests',
      sheet: (n, perPage) => page(from, n, perPage),
      key: (mr) => `${mr.iid} ${mr.digest}`,
      size,
      first,
      isEnough: (items) => {
        const end = items.at(-1)?.updatedAt ?? null
        if (end !== null && (from === null || end > from)) beyond = end
        return beyond !== null
      },
    })
    for await (const items of behind)
      for (const mr of items.filter(isNew)) yield { mr, resumeAt: resumeAt(from ?? mr.updatedAt) }
    return beyond
  }

  return {
    rows,
    before,
    from: since ?? 0,
    // Upstream counts what was updated at the very end of a window too.
    total: () =>
      firstTotal === null || ask.window === 'time' ? null : Math.max(0, before + firstTotal - leftOut),
    landing: () => {
      if (ask.window === 'time') return null
      if (newest === null) return { position: ask.position }
      return { position: new Date(resumeAt(newest)) }
    },
  }
}

/** What a reading would bring, as far as one request can tell. */
export async function surveyUpdates(opened: Opened, ask: UpdatesAsk | TimeAsk): Promise<Survey> {
  if (opened.project.mergeRequestsOff)
    return { items: 0, refs: null, note: 'merge requests are switched off' }
  const answer = await list(opened, ask, ask.since?.getTime() ?? null, 1, PER_PAGE)
  const mrs = answer.json.map(mergeRequestOf)
  const wanted = mrs.filter((mr) =>
    ask.window === 'time' ? mr.updatedAt < ask.until.getTime() : ask.known.get(mr.iid) !== mr.digest,
  )
  if (!answer.next) return { items: wanted.length, refs: null, note: null }
  // Of a window upstream counts what was updated at its very end too.
  const countable = answer.total !== null && ask.window === 'updates'
  const items = countable ? (answer.total as number) - mrs.length + wanted.length : null
  return { items, refs: null, note: null }
}

/** The token of a page: the instant to list from, and the records stored until then. */
export function tokenOf(instant: number, records: number): string {
  return `${new Date(instant).toISOString()}#${records}`
}

function parseToken(token: string): [instant: number, records: number] | null {
  const [, instant = '', records = ''] = /^(.+)#(\d+)$/.exec(token) ?? []
  const ms = Date.parse(instant)
  return Number.isNaN(ms) ? null : [ms, Number(records)]
}

function latest(a: number | null, b: number | null): number | null {
  return a === null || b === null ? (a ?? b) : Math.max(a, b)
}
