import type { Commit } from '../../../domain/facts.ts'
import { refuseVanished } from '../../git/reading.ts'
import type { Heads, HeadsAsk, Landing, Page, Resume, Survey, TimeAsk } from '../../source.ts'
import type { Opened } from '../opened.ts'
import { detailsOf } from './diffs.ts'
import { isGone } from './gone.ts'
import { type Listing, readHeads, refHeads } from './heads.ts'
import { landingOf } from './landing.ts'
import { rangePages } from './range-pages.ts'
import { digestOf, type Range, rangesOf } from './ranges.ts'
import { walkedFor } from './walked.ts'

/** Bytes of messages, paths or patches after which a page ends early: two pages are in memory at a time. */
const PAGE_BYTES = 2 * 1024 * 1024

/** Diffs that are read at once, each up to a megabyte. */
const DIFFS_AT_ONCE = 8

/** How far a read is: the range under way, how many of its commits are behind us, the last of them, and how many in all. */
interface Place {
  no: number
  n: number
  last: string
  done: number
}

const START: Place = { no: 0, n: 0, last: '', done: 0 }

/**
 * Commits of a project, range by range (ranges.ts), newest first within each; the heads are those of the moment it is
 * called, or those an interrupted read had pinned. Where these are gone, the read starts over with fresh heads: rows are
 * upserted, so that costs time and loses nothing. 100 commits cost one request.
 *
 * The token of a page is `<range>:<n>:<sha>:<done>:<digest>`: the range under way, how many of its commits were read, the
 * last of them, how many were stored in all, and what tells that the ranges are still the same.
 */
export async function* commitPages(
  opened: Opened,
  ask: HeadsAsk | TimeAsk,
  resume: Resume | null,
): AsyncGenerator<Page> {
  const { project, access } = opened
  if (project.state === 'repository_off') {
    const landing: Landing | null = ask.window === 'heads' ? {} : null
    yield { facts: {}, token: '0:0::0:', pinned: {}, done: 0, total: 0, landing }
    return
  }

  if (resume !== null) {
    const place = placeOf(resume, rangesOf(ask, resume.pinned))
    let begun = false
    try {
      if (place !== null) {
        for await (const page of pagesFrom(opened, ask, { heads: resume.pinned, committedAt: null }, place)) {
          begun = true
          yield page
        }
        return
      }
    } catch (error) {
      if (begun || !isGone(error)) throw error
    }
  }

  const listing = await headsNow(opened)
  refuseVanished(ask, refHeads(listing.heads), access.locator)
  let lost = resume !== null
  for await (const page of pagesFrom(opened, ask, listing, START)) {
    if (lost) page.restarted = true
    lost = false
    yield page
  }
}

/**
 * What a read would bring: the refs are listed, the commits not, since their lists have no totals. `items` is null
 * unless nothing has moved.
 */
export async function surveyCommits(opened: Opened, ask: HeadsAsk | TimeAsk): Promise<Survey> {
  const { project, access } = opened
  if (project.state === 'repository_off')
    return { items: 0, refs: { total: 0, moved: 0 }, note: 'the repository is switched off' }
  const heads = refHeads((await headsNow(opened)).heads)
  refuseVanished(ask, heads, access.locator)

  const known = ask.window === 'heads' ? ask.known : {}
  const names = new Set([...Object.keys(heads), ...Object.keys(known)])
  const moved = ask.window === 'heads' ? [...names].filter((name) => heads[name] !== known[name]).length : 0
  const isNothing = ask.window === 'heads' && ask.refetch === null && moved === 0
  const items = isNothing || Object.keys(heads).length === 0 ? 0 : null
  const note = items === null ? 'GitLab does not tell how many commits it would list' : null
  return { items, refs: { total: names.size, moved }, note }
}

async function headsNow(opened: Opened): Promise<Listing> {
  // Its lists may be 404 then.
  return opened.project.state === 'empty' ? { heads: {}, committedAt: new Map() } : readHeads(opened)
}

async function* pagesFrom(
  opened: Opened,
  ask: HeadsAsk | TimeAsk,
  { heads: pinned, committedAt }: { heads: Heads; committedAt: Map<string, number> | null },
  start: Place,
): AsyncGenerator<Page> {
  const { access } = opened
  const ranges = rangesOf(ask, pinned)
  const digest = digestOf(ranges)
  const alive = committedAt === null ? new Set<string>() : new Set(Object.values(pinned))
  const stats = access.tier === 'numstat' || access.tier === 'patch'
  const fillIn = detailsOf(opened)
  const { known, seen = [] } = ask.window === 'heads' ? ask : { known: {} }
  const fresh = walkedFor(known, seen, pinned)
  // A list that leaves out old commits does not show what is behind the heads in it.
  const recent = walkedFor({}, [], pinned)

  let commits: Commit[] = []
  let shas = new Set<string>()
  let bytes = 0
  let place = start
  let { done } = start
  let filled = 0
  const fill = async (): Promise<void> => {
    const some = commits.slice(filled)
    filled = commits.length
    await fillIn(some)
    for (const { patch, paths } of some) bytes += (patch?.sizeBytes ?? 0) + 100 * (paths?.length ?? 0)
  }
  const pageOf = async (): Promise<Page> => {
    const token = `${place.no}:${place.n}:${place.last}:${done}:${digest}`
    await fill()
    const page = { facts: { commits }, token, pinned, done, total: null }
    commits = []
    filled = 0
    shas = new Set()
    bytes = 0
    return page
  }

  for (let no = start.no; no < ranges.length; no++) {
    const range = ranges[no] as Range
    const from = no === start.no ? start : { ...START, no }
    const walked = isWhole(range) ? fresh : recent
    if (from.n === 0 && (walked.met(range.to) || isBefore(range, committedAt?.get(range.to)))) continue

    let base: string | null = null
    for await (const stretch of rangePages(opened, range, from, { stats, alive })) {
      walked.note(range.to, stretch.commits)
      base = stretch.base
      let n = stretch.end - stretch.commits.length
      for (const commit of stretch.commits) {
        if (commits.length >= access.pageSize || bytes >= PAGE_BYTES) yield await pageOf()
        n += 1
        place = { no, n, last: commit.sha, done }
        // One page is one statement, which cannot write a row twice.
        if (shas.has(commit.sha) || !isWithin(ask, commit)) continue
        shas.add(commit.sha)
        commits.push(commit)
        bytes += commit.message.length
        if (commits.length - filled === DIFFS_AT_ONCE) await fill()
        done += 1
      }
    }
    // What upstream no longer has is not behind anything it has.
    for (const old of range.bases.slice(0, range.bases.indexOf(base))) walked.ended(range.to, old)
    if (isWhole(range) && from.n === 0) walked.ended(range.to, base)
  }

  const page = await pageOf()
  const landing = ask.window === 'heads' ? { heads: await landingOf(opened, ask, pinned, fresh) } : null
  yield { ...page, landing }
}

function placeOf({ token, pinned }: Resume, ranges: Range[]): Place | null {
  const [, no, n, last = '', done, digest] =
    /^(\d{1,9}):(\d{1,9}):([0-9a-f]*):(\d{1,9}):([0-9a-f]+)$/.exec(token) ?? []
  if (Object.keys(pinned).length === 0 || digest !== digestOf(ranges)) return null
  return { no: Number(no), n: Number(n), last, done: Number(done) }
}

function isWhole({ since, until }: Range): boolean {
  return since === null && until === null
}

function isBefore({ since }: Range, committedAt: number | undefined): boolean {
  return since !== null && committedAt !== undefined && committedAt < since
}

/** GitLab's bounds are whole seconds and both included. */
function isWithin(ask: HeadsAsk | TimeAsk, { committer }: Commit): boolean {
  if (ask.window === 'heads') return true
  if (committer.epochSeconds === null) return false
  const at = committer.epochSeconds * 1000
  return at >= ask.since.getTime() && at < ask.until.getTime()
}
