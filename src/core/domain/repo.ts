import { SyncError } from './errors.ts'
import type { Json } from './ledger.ts'

export const SOURCE_KINDS = ['git', 'gitlab', 'svn'] as const
export type SourceKind = (typeof SOURCE_KINDS)[number]

export const JOB_TYPES = ['commits', 'mrs', 'reviews'] as const
export type JobType = (typeof JOB_TYPES)[number]

/** One synced thing, as registered. */
export interface Repo {
  repoId: number
  kind: SourceKind
  /** Canonical, without credentials. */
  locator: string
  projectKey: string | null
  instanceKey: string
  tenantId: string
  enabled: boolean
  /** What its source learnt of it: never typed by a person. */
  settings: { [key: string]: Json }
}

/** What an operator typed: `git:/srv/project.git`, `svn:https://host/repo`, `gitlab:123`. */
export interface RepoRef {
  kind: SourceKind
  id: string
}

export function parseRepoRef(typed: string): RepoRef {
  const colon = typed.indexOf(':')
  const kind = typed.slice(0, Math.max(colon, 0)).trim().toLowerCase()
  const id = typed.slice(colon + 1).trim()
  if (!isSourceKind(kind) || id === '') {
    throw new SyncError(
      'usage',
      `repository ${JSON.stringify(typed.replace(/\S*@/, '***@'))} is not of the form <kind>:<id>`,
      {
        hint: `kinds are ${SOURCE_KINDS.join(', ')}; for example gitlab:group/project, git:/srv/project.git, git:https://host/project.git`,
      },
    )
  }
  return { kind, id }
}

/** provenance_code of the ledger: every repository is a source with its own limits and credentials. */
export function provenanceOf(repo: Repo): string {
  return `${repo.kind}:${repo.repoId}`
}

/** The kind again. */
export function kindIn(provenance: string): SourceKind {
  return provenance.slice(0, provenance.indexOf(':')) as SourceKind
}

/** The repository as a person would type it. */
export function spell(repo: Pick<Repo, 'kind' | 'locator'>): string {
  return `${repo.kind}:${repo.locator}`
}

/** Nothing that stands before an @ in a URL may be printed. */
export function maskUserinfo(text: string): string {
  return text.replace(/:\/\/[^\s'"]*@/g, '://***@')
}

function isSourceKind(text: string): text is SourceKind {
  return (SOURCE_KINDS as readonly string[]).includes(text)
}
