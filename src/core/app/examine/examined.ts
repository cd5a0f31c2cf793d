import type pg from 'pg'
import type { Config } from '../../contracts/config.ts'
import type { Registered } from '../../db/report/examine.ts'
import type { SourceKind } from '../../domain/repo.ts'

export type { Registered }

/** Everything an examination may look at; runtime gathers it, and the checks only read. */
export interface Examined {
  configuration: {
    file: string | null
    problems: readonly { text: string; hint?: string | undefined }[]
    warnings: readonly string[]
  }
  /** Null while the configuration is wrong: nothing is known then of where to look. */
  config: Config | null
  /** Null: none can be asked, and `noDatabase` says why. */
  db: pg.Pool | null
  noDatabase: { found: string; remedy: string; isFailure: boolean } | null
  /** The server is the program's own: its folder. */
  embeddedDir: string | null
  dataDir: string | null
  programs: {
    git: () => Promise<{ version: string; isWhole: boolean }>
    svn: () => Promise<{ version: string; schemes: string[] }>
  }
  accounts: readonly Account[]
  /** What is registered; null where nobody can say. */
  registered: Promise<Registered | null>
  now: () => Date
  signal: AbortSignal
}

/** One GitLab instance as one token sees it. */
export interface Account {
  /** Whose token it is: `gitlab.example.com`, or `gitlab.example.com for tenant acme`. */
  name: string
  host: string
  url: string
  hasToken: boolean
  introduce: () => Promise<Introduced>
}

/** What GitLab says of itself and of the token; null where it does not. */
export interface Introduced {
  version: string | null
  scopes: readonly string[] | null
  expiresAt: string | null
  isActive: boolean | null
  /** The server's present, and ours when it was asked and when it had answered. */
  date: Date | null
  asked: { from: Date; until: Date }
  rate: { limit: number | null; remaining: number } | null
}

export function hasKind(known: Registered | null, kind: SourceKind): boolean | null {
  return known === null ? null : known.some((repo) => repo.kind === kind)
}
