import type { Facts, MergeRequest, Ref, RefMove, Tier } from '../domain/facts.ts'
import type { Json } from '../domain/ledger.ts'
import type { JobType } from '../domain/repo.ts'
import type { Usage } from '../domain/tally.ts'

/** Ref name → commit: what a repository looked like at one instant. */
export type Heads = Record<string, string>

/** What of older things to read again, because an operator asked. */
export type Refetch = Date | 'beginning' | null

/** Everything reachable now that was not reachable from `known`. */
export interface HeadsAsk {
  window: 'heads'
  known: Heads
  /** Heads of reads since then that stored commits and moved no refs: a forced push may have left those behind too. */
  seen?: string[]
  refetch: Refetch
}

/** Everything updated at `since` or later. */
export interface UpdatesAsk {
  window: 'updates'
  of: JobType
  /** Null = from the beginning. */
  since: Date | null
  /** The latest update seen by any read before; null = none. */
  position: Date | null
  /** Digests of what is stored of that time on, by iid: an equal one need not be read again. */
  known: ReadonlyMap<number, string>
}

/** Revisions after `scanned`. */
export interface RevisionsAsk {
  window: 'revisions'
  /** The last one that was looked at, whether or not it could be seen; null = none. */
  scanned: number | null
  /** Look again at this revision and all after it, because an operator asked. */
  again: number | null
}

/** Revisions from..to, both included. */
export interface RangeAsk {
  window: 'range'
  from: number
  to: number
}

/** Committed, or updated, in [since, until). */
export interface TimeAsk {
  window: 'time'
  of: JobType
  since: Date
  until: Date
}

/** What one slice asks of a source. */
export type Ask = HeadsAsk | UpdatesAsk | RevisionsAsk | TimeAsk | RangeAsk

/** Where an interrupted run stood: what it had pinned, and the token of its last stored page. */
export interface Resume {
  pinned: Heads
  token: string
}

export interface HeadsLanding {
  refs: Ref[]
  moves: RefMove[]
  /** Commits that no ref reaches any more; `all` when there are no refs left. */
  unreachable: string[] | 'all'
}

/** What an incremental read may move once its rows are stored. */
export interface Landing {
  heads?: HeadsLanding
  /** The latest update seen, by the upstream's clock: where the next read begins. Null when there is none. */
  position?: Date | null
  /** The last revision looked at. */
  scanned?: number | null
}

/** One page: stored in one transaction, or not at all. */
export interface Page {
  facts: Facts
  /** Where the next page starts; goes to the ledger as after_token. */
  token: string
  /** The snapshot the whole read is held against; the same for every page. */
  pinned: Heads
  /** Set on the first page when the place to resume at was gone and the read began anew. */
  restarted?: boolean
  done: number
  /** Null where upstream does not tell. */
  total: number | null
  /** Only on the last page. Null when the slice moves no cursor (a time window). */
  landing?: Landing | null
}

/** What a read would bring, asked of the real upstream. `items` is null where only reading could tell. */
export interface Survey {
  items: number | null
  /** Null where the read is not by refs. */
  refs: { total: number; moved: number } | null
  note: string | null
}

/** What a source may use. Nothing else of the program is visible to it. */
export interface Access {
  /** Canonical locator, as stored in scm.repos.url. */
  locator: string
  tenantId: string
  /** What was learnt of the repository before. */
  settings: { [key: string]: Json }
  /** Keeps what the upstream says of itself (its number, its name, its state); null forgets a key. */
  learn: (settings: { [key: string]: Json }) => void
  tier: Tier
  /** Records per page, at this moment. */
  readonly pageSize: number
  /** Whether an upstream may be asked for diffs, at this moment; what is left out says so in `degraded`. */
  readonly asksDetails: boolean
  /** A folder of our own for things that can be made again (mirrors). */
  cacheDir: string
  credentials: { host: string; username: string; password: string } | null
  /** The request budget that all processes share; null where none is kept. */
  budget: Budget | null
  signal: AbortSignal
  /** Tells a person what is going on; never a secret. */
  say: (what: string) => void
}

/** Requests, as granted by all processes together. */
export interface Budget {
  /** A turn now: 0. Otherwise milliseconds after which to ask again. */
  take(): Promise<number>
  /** The upstream asked for silence: nobody sends anything for so long. */
  pause(ms: number, reason: string): Promise<void>
  /** What the upstream said it still grants, and until when. */
  heard(window: { limit: number | null; remaining: number; resetInMs: number }): Promise<void>
}

/** How a job type knows what is new: by ref heads, by time of update, by revision number. */
export type CursorKind = 'heads' | 'updates' | 'revisions'

export interface Source {
  kind: string
  jobs: Partial<Record<JobType, CursorKind>>
  /** The canonical locator of what a person typed after `<kind>:`. Throws `usage` when it cannot be one. */
  locate(typed: string): string
  /** A bare number is an address too. */
  locatesNumbers?: boolean
  /** Contacts the upstream, changes nothing anywhere. */
  survey(access: Access, asks: Ask[]): Promise<Survey[]>
  /** Opens the upstream once; `pages` may then be called for several slices. */
  open(access: Access): Promise<Reading>
}

export function jobTypesOf(source: Source): JobType[] {
  return Object.keys(source.jobs) as JobType[]
}

export interface Audit {
  /** Every merge request there is. */
  all(): AsyncGenerator<MergeRequest[]>
  /** Those of these numbers that there are. */
  some(iids: readonly number[]): AsyncGenerator<MergeRequest[]>
}

export interface Reading {
  /** The last revision there was when this was opened; absent where there are none. */
  newest?: number
  /** Oldest first, at least one page, the last with `landing` set. */
  pages(ask: Ask, resume: Resume | null): AsyncGenerator<Page>
  /**
   * Where what is stored can be held against the upstream without reading it again; null when what there would be is
   * switched off. Asks what was only remembered of the upstream.
   */
  audit?(): Promise<Audit | null>
  /** Requests made so far; absent where they are not counted. */
  usage?(): Usage
}
