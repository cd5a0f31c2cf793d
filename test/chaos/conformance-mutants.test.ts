import { spawn } from 'node:child_process'
import { afterAll, expect, test } from 'vitest'
import { SyncError } from '../../src/core/domain/errors.ts'
import type { Facts } from '../../src/core/domain/facts.ts'
import type { Access, Ask, Page, Reading, Resume, Source } from '../../src/core/sources/source.ts'
import type { MakeUpstream, Refused } from '../core/sources/conformance/upstream.ts'
import { UPSTREAMS } from '../core/sources/conformance/upstreams.ts'
import { checked, RULES, STORED } from '../core/sources/conformance.ts'
import { chance, sample, size } from './size.ts'

/** Each source is broken in one way at a time; the rules that are named have to see it. SEED brings a choice back. */
const CASES = size('BROKEN_SOURCES', 20, 1000)

const [FROM_THE_START, NEVER] = [new Date(0), new AbortController().signal]
const EVERY = { ...RULES, ...STORED }

type Pages = (real: Reading['pages'], ask: Ask, resume: Resume | null, access: Access) => AsyncGenerator<Page>

interface Mutant {
  name: string
  seenBy: keyof typeof RULES
  /** And with real tables by this one. */
  seenIn?: keyof typeof STORED
  pages?: Pages
  open?: (real: Source['open'], access: Access) => Promise<Reading>
  survey?: Source['survey'] extends (...args: infer A) => infer R
    ? (real: Source['survey'], ...args: A) => R
    : never
  /** Which sources have nothing that could be broken so. */
  not?: RegExp
}

/** Every page through `change`; null drops it. */
const each = (change: (page: Page, n: number) => Page | null): Pages =>
  async function* (real, ask, resume) {
    let n = 0
    for await (const page of real(ask, resume)) {
      const changed = change(page, n++)
      if (changed !== null) yield changed
    }
  }

const ALL = 'the first read brings everything, each once, and is at least one page'
const SIZE = 'the same comes in pages of 1, 2, 7 and 1000, and no page holds more'
const NEWS = 'the next read brings only what is new, and a quiet one nothing'
const CHANGES = 'what changed or was taken away upstream is stored as it is, and nothing is removed'
const RESUMED = 'resumed behind any page, a read brings exactly the rest'
const WINDOW = 'a window of time is read from its beginning to just before its end, and lands nothing'
const FAILS = 'an upstream that fails in the middle is a failure, never a success with less'

const children: { kill: () => unknown }[] = []
afterAll(() => {
  for (const child of children) child.kill()
})

const MUTANTS: Mutant[] = [
  {
    name: 'drops its second page',
    seenBy: ALL,
    seenIn: 'everything, then what is new, changed and gone; nothing is removed',
    pages: each((page, n) => (n === 1 ? null : page)),
  },
  {
    name: 'loses the last of a page',
    seenBy: ALL,
    seenIn: 'everything, then what is new, changed and gone; nothing is removed',
    pages: each((page) => ({ ...page, facts: without(page.facts) })),
  },
  {
    name: 'repeats a token',
    seenBy: ALL,
    pages: each((page) => ({ ...page, token: '1970-01-01T00:00:00.000Z#1' })),
  },
  { name: 'lands with its first page', seenBy: ALL, pages: each((page) => ({ landing: {}, ...page })) },
  {
    name: 'ends with its first page',
    seenBy: ALL,
    pages: async function* (real, ask, resume) {
      for await (const page of real(ask, resume)) return yield { landing: {}, ...page }
    },
  },
  { name: 'does not land', seenBy: ALL, pages: each(({ landing: _, ...page }) => page) },
  {
    name: 'ends without a page where there is nothing',
    seenBy: ALL,
    pages: each((page) => (isEmpty(page) ? null : page)),
  },
  {
    name: 'pins something else on each page',
    seenBy: ALL,
    pages: each((page, n) => ({ ...page, pinned: { ...page.pinned, n: String(n) } })),
  },
  { name: 'counts backwards', seenBy: ALL, pages: each((page, n) => ({ ...page, done: 100 - n })) },
  {
    name: 'tells a total that is not so',
    seenBy: 'where a total is told, a read ends at it, and a read of a window too',
    pages: each((page) => ({ ...page, total: 1000 })),
  },
  {
    name: 'makes its pages too large',
    seenBy: SIZE,
    open: (real, access) => real({ ...access, pageSize: access.pageSize + 1 }),
  },
  {
    name: 'ignores where the last read ended',
    seenBy: NEWS,
    seenIn: 'a quiet sync leaves one run, and no batch, no event, no cursor that moved',
    pages: (real, ask, resume) => real(fromTheStart(ask), resume),
  },
  {
    name: 'ignores the beginning of a window',
    seenBy: WINDOW,
    seenIn: 'a backfill brings its window and moves no cursor',
    pages: (real, ask, resume) =>
      real(ask.window === 'time' ? { ...ask, since: FROM_THE_START } : ask, resume),
  },
  {
    name: 'takes the end of a window with it',
    seenBy: WINDOW,
    seenIn: 'a backfill brings its window and moves no cursor',
    pages: (real, ask, resume) =>
      real(ask.window === 'time' ? { ...ask, until: new Date(ask.until.getTime() + 1000) } : ask, resume),
  },
  {
    name: 'moves a cursor with a window',
    seenBy: WINDOW,
    pages: each((page) => (page.landing === null ? { ...page, landing: {} } : page)),
  },
  { name: 'forgets where to resume', seenBy: RESUMED, pages: (real, ask) => real(ask, null) },
  {
    name: 'resumes a page too late',
    seenBy: RESUMED,
    pages: (real, ask, resume) =>
      each((page, n) => (resume !== null && n === 0 && page.landing === undefined ? null : page))(
        real,
        ask,
        resume,
        null as never,
      ),
  },
  {
    name: 'does not read again what it is asked to',
    seenBy: 'what is asked for again comes again, as it was',
    seenIn: 'what is read again, all or from a date, changes no row',
    pages: (real, ask, resume) => real(onlyNew(ask), resume),
    not: /merge requests|reviews/, // there the question itself has nothing of it left
  },
  {
    name: 'does not see what was taken away',
    seenBy: CHANGES,
    seenIn: 'everything, then what is new, changed and gone; nothing is removed',
    pages: each((page) => ({
      ...page,
      facts: {
        ...page.facts,
        ...(page.facts.reviews && {
          reviews: page.facts.reviews.map((review) => ({
            ...review,
            whole: review.whole && { ...review.whole, kinds: [] },
          })),
        }),
      },
      ...(page.landing?.heads && {
        landing: { ...page.landing, heads: { ...page.landing.heads, unreachable: [] } },
      }),
    })),
    not: /merge requests|svn/,
  },
  {
    name: 'takes a failure for the end',
    seenBy: FAILS,
    seenIn: 'a sync that fails or is stopped loses nothing',
    pages: async function* (real, ask, resume) {
      let last: Page = { facts: {}, token: '-', pinned: {}, done: 0, total: null }
      try {
        for await (const page of real(ask, resume)) {
          last = page
          yield page
        }
      } catch {
        yield { ...last, facts: {}, token: `${last.token} `, landing: {} }
      }
    },
    open: async (real, access) => {
      try {
        return await real(access)
      } catch {
        return {
          pages: async function* () {
            yield { facts: {}, token: '-', pinned: {}, done: 0, total: null, landing: {} }
          },
        }
      }
    },
  },
  {
    name: 'fails as a bug',
    seenBy: FAILS,
    open: (real, access) =>
      real(access).catch(() => {
        throw new Error('undefined is not a function')
      }),
    pages: async function* (real, ask, resume) {
      try {
        yield* real(ask, resume)
      } catch {
        throw new Error('undefined is not a function')
      }
    },
  },
  {
    name: 'cannot be stopped',
    seenBy: 'the signal ends a reading before it opens and between two pages',
    open: (real, access) => real({ ...access, signal: NEVER }),
  },
  {
    name: 'leaves a process behind',
    seenBy: 'a consumer that leaves after the first page leaves nothing behind',
    open: (real, access) => {
      children.push(spawn('sleep', ['60'], { stdio: 'ignore' }))
      return real(access)
    },
  },
  {
    name: 'counts one too many in a survey',
    seenBy: 'a survey asks the upstream, leaves nothing behind, and counts what a read brings',
    seenIn: 'a dry run writes nothing, and says what the sync then stores',
    survey: async (real, access, asks) =>
      (await real(access, asks)).map((one) => ({ ...one, items: one.items === null ? null : one.items + 2 })),
  },
  {
    name: 'answers a survey without asking',
    seenBy: 'a survey asks the upstream, leaves nothing behind, and counts what a read brings',
    survey: async (_, __, asks) => asks.map(() => ({ items: null, refs: null, note: null })),
  },
  {
    name: 'says nothing of what it cleaned',
    seenIn: 'hostile text is there, and the row says where it was cleaned',
    seenBy: 'hostile text is stored, and the row says where it was cleaned',
    pages: each(stripped),
  },
  {
    name: 'tells a password',
    seenBy: 'an unknown repository and wrong credentials are refused in one line without a secret',
    open: (real, access) =>
      real(access).catch((error) => {
        throw new SyncError(
          'not_found',
          `no such repository: ${access.credentials?.password ?? 'two\nlines'}`,
          {
            cause: error,
          },
        )
      }),
  },
]

const cases = MUTANTS.flatMap((mutant) =>
  UPSTREAMS.filter(([source]) => !mutant.not?.test(source)).flatMap(([source, make]) =>
    [mutant.seenBy, ...(mutant.seenIn ? [mutant.seenIn] : [])].map(
      (rule) => [`${source}, that ${mutant.name}: ${rule}`, mutant, make, rule] as const,
    ),
  ),
)

test.each(sample(cases, CASES, chance('broken sources').random))('%s', async (_, mutant, make, rule) => {
  await expect(checked(EVERY[rule], broken(make, mutant))).rejects.toThrow()
})

function broken(make: MakeUpstream, { pages, open, survey }: Mutant): MakeUpstream {
  return async () => {
    const upstream = await make()
    const real = upstream.source
    const source: Source = {
      ...real,
      open: async (access) => {
        const reading = await (open ? open(real.open, access) : real.open(access))
        return pages
          ? { ...reading, pages: (ask, resume) => pages(reading.pages, ask, resume, access) }
          : reading
      },
      survey: survey ? (access, asks) => survey(real.survey, access, asks) : real.survey,
    }
    const { unknown, wrong } = upstream
    const bent = (refused: Refused): Refused => ({ ...refused, source })
    return {
      ...upstream,
      source,
      unknown: () => bent(unknown()),
      ...(wrong && { wrong: () => bent(wrong()) }),
    }
  }
}

function isEmpty({ facts }: Page): boolean {
  return Object.values(facts).every((list) => list.length === 0)
}

function without(facts: Facts): Facts {
  return Object.fromEntries(Object.entries(facts).map(([kind, list]) => [kind, list.slice(0, -1)]))
}

function fromTheStart(ask: Ask): Ask {
  if (ask.window === 'heads') return { ...ask, known: {} }
  if (ask.window === 'updates') return { ...ask, since: null, known: new Map() }
  return ask.window === 'revisions' ? { ...ask, scanned: null } : ask
}

function onlyNew(ask: Ask): Ask {
  if (ask.window === 'heads') return { ...ask, refetch: null }
  return ask.window === 'revisions' ? { ...ask, scanned: ask.scanned ?? 5, again: null } : ask
}

function stripped(page: Page): Page {
  const bare = structuredClone(page)
  const { commits = [], mrs = [], revisions = [], reviews = [] } = bare.facts
  for (const one of [...commits, ...mrs, ...revisions, ...reviews.flatMap(({ events }) => events)])
    one.sanitized = []
  return bare
}
