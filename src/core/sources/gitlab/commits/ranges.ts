import { hashOf } from '../../../domain/ledger.ts'
import type { Heads, HeadsAsk, TimeAsk } from '../../source.ts'
import { HEAD, refHeads } from './heads.ts'

/** Commits to list: those `to` leads to and a base does not. By sha, so that no push changes what it holds. */
export interface Range {
  to: string
  /** The first that upstream still has is left out; null leaves out nothing. */
  bases: (string | null)[]
  /** Of committer dates, in milliseconds since 1970, both included; null = all. */
  since: number | null
  until: number | null
}

/**
 * `git log --since`, which is behind the API, ends a line of history at its first older commit, so a clock that was
 * slow hides what lies behind it. A day covers every clock that was set to a wrong time zone.
 */
const SKEW_MS = 24 * 3_600_000

/**
 * What has to be listed so that every commit of the pinned heads is stored: a pure function of its arguments, so that
 * a resumed read finds the same ranges under the same numbers. What is known is stored with all that is behind it.
 * The default branch comes first and is the base of what is new: it holds nearly all of every other.
 */
export function rangesOf(ask: HeadsAsk | TimeAsk, pinned: Heads): Range[] {
  if (ask.window === 'time') return windowed(pinned, ask.since.getTime(), ask.until.getTime())
  if (ask.refetch === 'beginning') return fresh(pinned, {})
  const ranges = fresh(pinned, ask.known)
  if (ask.refetch !== null) ranges.push(...windowed(pinned, ask.refetch.getTime(), null))
  return ranges
}

/** Two lists of ranges with equal digests are equal. */
export function digestOf(ranges: Range[]): string {
  return hashOf(ranges.map(({ to, bases, since, until }) => [to, bases, since, until])).slice(0, 16)
}

function fresh(pinned: Heads, known: Heads): Range[] {
  const stored = new Set(Object.values(known))
  const ranges = new Map<string, Range>()
  for (const [name, to] of inOrder(pinned)) {
    const old = known[name]
    if (stored.has(to)) continue
    const range = ranges.get(to) ?? { to, bases: [baseOf(pinned, to)], since: null, until: null }
    if (old !== undefined && range.bases.length === 1) range.bases.unshift(old)
    ranges.set(to, range)
  }
  return [...ranges.values()]
}

function windowed(pinned: Heads, since: number, until: number | null): Range[] {
  const heads = new Set(inOrder(pinned).map(([, to]) => to))
  return [...heads].map((to) => ({
    to,
    bases: [baseOf(pinned, to)],
    since: Math.max(0, since - SKEW_MS),
    until,
  }))
}

/** Without a default branch the first will do: nearly all of every other is in it, too. */
function baseOf(pinned: Heads, to: string): string | null {
  const head = pinned[HEAD] ?? first(pinned)
  return head === undefined || head === to ? null : head
}

function first(pinned: Heads): string | undefined {
  const names = Object.keys(pinned)
  return names.length === 0 ? undefined : pinned[names.reduce((a, b) => (b < a ? b : a))]
}

/** By name, but the default branch first. */
function inOrder(pinned: Heads): [name: string, sha: string][] {
  const refs = Object.entries(refHeads(pinned)).sort(([a], [b]) => (a < b ? -1 : 1))
  const isMain = ([, sha]: [string, string]): boolean => sha === pinned[HEAD]
  return [...refs.filter(isMain), ...refs.filter((ref) => !isMain(ref))]
}
