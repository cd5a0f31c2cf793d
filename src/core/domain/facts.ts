import type { Json } from './ledger.ts'

/** How much of a commit is read: each tier holds the one before it. */
export const TIERS = ['none', 'paths', 'numstat', 'patch'] as const
export type Tier = (typeof TIERS)[number]

/** One path a commit changed, against its first parent (a root commit: against nothing). */
export interface ChangedPath {
  /** One of more than 4 KiB is its beginning, `…~` and eight hex digits of its sha256. */
  path: string
  /** Git's letter: A added, M modified, D deleted, T type changed. Renames are a D and an A. */
  action: string
  /** Lines; null for a binary file, absent below tier numstat. */
  additions?: number | null
  deletions?: number | null
}

export interface Person {
  name: string
  email: string
  /** Seconds since 1970 as the repository has them; null when they cannot be a date. */
  epochSeconds: number | null
  /** Minutes east of UTC. */
  offsetMinutes: number
}

/** A diff kept with its commit. `sha256` and `sizeBytes` are of `text` as UTF-8. */
export interface Patch {
  format: 'diff' | 'diffstat' | 'ministat'
  text: string
  sha256: string
  sizeBytes: number
}

/** One commit as upstream has it, cleaned only where PostgreSQL could not hold it. */
export interface Commit {
  sha: string
  parents: string[]
  author: Person
  committer: Person
  message: string
  /** What was really read; below the tier asked for when `degraded` says why. */
  tier: Tier
  /** What was not read, or was cut for its size; more than one reason is joined by commas. */
  degraded: string | null
  /** Null below tier paths, and of a merge: its changes are those of the commits it joins. The list is cut at MAX_PATHS, and where its text would be more than MAX_PATHS_BYTES, which `degraded` says; `pathCount` is the true number. */
  paths: ChangedPath[] | null
  pathCount: number | null
  /** Null below tier numstat, and of a merge. */
  additions: number | null
  deletions: number | null
  patch: Patch | null
  /** Names of the fields that had to be cleaned (NUL, invalid UTF-8, a lone surrogate, an impossible date) or cut. */
  sanitized: string[]
}

export type RefKind = 'branch' | 'tag' | 'other'

/** A ref and the commit it leads to (an annotated tag is peeled). */
export interface Ref {
  name: string
  kind: RefKind
  sha: string
}

export interface RefMove {
  name: string
  event: 'created' | 'moved' | 'forced' | 'deleted'
  oldSha: string | null
  newSha: string | null
}

/** One merge request as its list shows it. Times are milliseconds since 1970. */
export interface MergeRequest {
  iid: number
  /** Its number in the whole instance. */
  sourceMrId: number | null
  status: 'open' | 'closed' | 'merged' | 'locked'
  title: string
  description: string | null
  author: string | null
  sourceBranch: string | null
  targetBranch: string | null
  headSha: string | null
  mergeCommitSha: string | null
  draft: boolean | null
  url: string | null
  /** Comments of people, as upstream counts them: what is stored is held against it. */
  userNotesCount: number | null
  createdAt: number
  updatedAt: number
  mergedAt: number | null
  closedAt: number | null
  /** What else is kept: people, labels, milestone, votes. Never an upstream object as it came. */
  meta: { [key: string]: Json }
  /** sha256 of all of the above: equal digests, nothing changed. */
  digest: string
  sanitized: string[]
}

/** Where an event comes from; what is missing from a whole reading of a kind has been deleted. */
export type ReviewKind = 'note' | 'state' | 'approval'

/** One thing said or done in a review. */
export interface ReviewEvent {
  /** `note:<id>`, `state:<id>` or `approval:<user id>`. */
  id: string
  kind: ReviewKind
  /** comment, code_comment, approve, unapprove, approval, merge, close, reopen, assign, …; `system` for a note nobody knows. */
  type: string
  reviewer: string | null
  /** Milliseconds since 1970; null where upstream does not say. */
  at: number | null
  body: string | null
  payload: { [key: string]: Json }
  sanitized: string[]
}

/** The events of one merge request. A long review comes in parts. */
export interface Review {
  iid: number
  events: ReviewEvent[]
  /** With the last part only. */
  whole: {
    /** Every event there is of the kinds that could be read: what else is stored of these is deleted. */
    ids: string[]
    kinds: ReviewKind[]
    /** Digest of the merge request it was read for. */
    of: string
    /** What could not be read, and why. */
    degraded: string | null
  } | null
}

/** One path an SVN revision changed. */
export interface RevisionPath {
  path: string
  /** A added, M modified, D deleted, R replaced. */
  action: string
  kind: 'file' | 'dir' | null
  copyFrom: { path: string; rev: number } | null
  textChanged: boolean | null
  propsChanged: boolean | null
}

/** One SVN revision as far as this reader may see it. */
export interface Revision {
  rev: number
  /** Absent upstream = null; an empty one is empty. */
  author: string | null
  /** Milliseconds since 1970; null where there is no date, or none that can be one. */
  at: number | null
  /** The date as upstream has it, where it is no date. */
  dateRaw: string | null
  message: string | null
  /** full, partial (paths hidden by authz) or none (the revision is hidden). */
  visibility: 'full' | 'partial' | 'none'
  /** Cut at MAX_PATHS, which `degraded` says; `pathCount` is the true number. */
  paths: RevisionPath[]
  pathCount: number
  tier: Tier
  degraded: string | null
  patch: Patch | null
  sanitized: string[]
}

/** One page's worth: usually of one kind. */
export interface Facts {
  commits?: Commit[]
  mrs?: MergeRequest[]
  reviews?: Review[]
  revisions?: Revision[]
}
