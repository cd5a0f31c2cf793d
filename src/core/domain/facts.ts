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
