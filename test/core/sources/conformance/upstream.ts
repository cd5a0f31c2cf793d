import type { JobType, SourceKind } from '../../../../src/core/domain/repo.ts'
import type { Access, Source } from '../../../../src/core/sources/source.ts'
import type { Row } from './rows.ts'

/** What must be stored of one thing, and when it was made or updated: milliseconds since 1970. */
export type Truth = Pick<Row, 'text' | 'rest'> & { at: number }

/** Text a database cannot hold, or a terminal should not see, as it must be stored. */
export interface Hostile {
  key: string
  text: string
  /** The field that was cleaned; null where nothing had to be. */
  cleaned: string | null
}

/** An address that will not be read, and what must not be in the failure. */
export interface Refused {
  source: Source
  access: Access
  secret?: string
}

/** One real upstream with one repository, and the people who work on it. */
export interface Upstream {
  kind: SourceKind
  job: JobType
  source: Source
  /** What a person types for it, without the kind. */
  typed: string
  /** What the program has to be configured with. */
  settings: Record<string, unknown>
  access(more?: Partial<Access>): Access
  /** New things, a minute apart. */
  add(count: number): void
  /** Something old is no longer what it was. */
  change(): void
  /** Whether the next read shows that, or only one that was asked to read again. */
  changesShow: 'at once' | 'when read again'
  /** Something is taken away, and the next read tells. */
  vanish?(): void
  hostile(): Hostile[]
  truth(): Map<string, Truth>
  /** Requests or connections made to it so far; null where it is a folder. */
  requests(): number | null
  /** Connections or answers under way. */
  busy(): number
  /** After so many more requests nothing but broken connections; a folder is gone at once. */
  fail(after: number): void
  /** Takes requests and never answers. */
  hang?(): void
  heal(): void
  /** In the command line of every process that reads it. */
  marker: string
  unknown(): Refused
  wrong?(): Refused
  stop(): Promise<void>
}

export type MakeUpstream = () => Promise<Upstream>
