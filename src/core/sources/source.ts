import type { Commit, Ref, RefMove, Tier } from '../domain/facts.ts'
import type { JobType } from '../domain/repo.ts'

/** Ref name → commit: what a repository looked like at one instant. */
export type Heads = Record<string, string>

/** What one slice asks of a source. */
export type Ask =
  /** Everything reachable now that was not reachable from `known`. `refetchSince` re-reads older commits an operator asked for again. */
  | {
      window: 'new'
      known: Heads
      refetchSince: Date | 'beginning' | null
      /** Heads of reads since then that stored commits and moved no refs: a forced push may have left those behind too. */
      seen?: string[]
    }
  /** Commits committed in [since, until). */
  | { window: 'time'; since: Date; until: Date }

/** Where an interrupted run stood: what it had pinned, and the token of its last stored page. */
export interface Resume {
  pinned: Heads
  token: string
}

/** What an incremental read may move once its rows are stored. */
export interface Landing {
  refs: Ref[]
  moves: RefMove[]
  /** Commits that no ref reaches any more; `all` when there are no refs left. */
  unreachable: string[] | 'all'
}

/** One page: stored in one transaction, or not at all. */
export interface Page {
  commits: Commit[]
  /** Where the next page starts; goes to the ledger as after_token. */
  token: string
  /** The snapshot the whole read is held against; the same for every page. */
  pinned: Heads
  /** Set on the first page when the place to resume at was gone and the read began anew. */
  restarted?: boolean
  done: number
  total: number
  /** Only on the last page. Null when the slice moves no cursor (a time window). */
  landing?: Landing | null
}

/** What a read would bring, asked of the real upstream. `items` is null where only reading could tell. */
export interface Survey {
  items: number | null
  refs: { total: number; moved: number }
  note: string | null
}

/** What a source may use. Nothing else of the program is visible to it. */
export interface Access {
  /** Canonical locator, as stored in scm.repos.url. */
  locator: string
  tier: Tier
  /** Commits per page. */
  pageSize: number
  /** A folder of our own for things that can be made again (mirrors). */
  cacheDir: string
  credentials: { host: string; username: string; password: string } | null
  signal: AbortSignal
  /** Tells a person what is going on; never a secret. */
  say: (what: string) => void
}

export interface Source {
  kind: string
  jobTypes: readonly JobType[]
  /** The canonical locator of what a person typed after `<kind>:`. Throws `usage` when it cannot be one. */
  locate(typed: string): string
  /** Contacts the upstream, changes nothing anywhere. */
  survey(access: Access, asks: Ask[]): Promise<Survey[]>
  /** Opens the upstream once; `pages` may then be called for several slices. */
  open(access: Access): Promise<Reading>
}

export interface Reading {
  /** Oldest first, at least one page, the last with `landing` set. */
  pages(ask: Ask, resume: Resume | null): AsyncGenerator<Page>
}
