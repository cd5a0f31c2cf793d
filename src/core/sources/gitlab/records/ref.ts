import { refName } from '../../git/refs.ts'
import { Fields } from './fields.ts'

export interface Branch {
  /** `refs/heads/…` */
  name: string
  sha: string
  /** Milliseconds since 1970, of its commit. */
  committedAt: number | null
  isDefault: boolean
}

export interface Tag {
  /** `refs/tags/…` */
  name: string
  /** The commit it leads to, through an annotated tag too. */
  sha: string
  committedAt: number | null
}

/** An entry of `repository/branches`. */
export function branchOf(value: unknown): Branch {
  const fields = new Fields(value, 'branch')
  const name = nameOf(fields, 'refs/heads/')
  const commit = fields.must('commit', fields.within('commit'))
  return {
    name,
    sha: commit.must('id', commit.sha('id')),
    committedAt: committedAtOf(commit),
    isDefault: fields.boolean('default') ?? false,
  }
}

/** An entry of `repository/tags`; null for a tag of a tree or a blob, which leads to no commit. */
export function tagOf(value: unknown): Tag | null {
  const fields = new Fields(value, 'tag')
  const name = nameOf(fields, 'refs/tags/')
  // `target` is the id of the tag itself when it is annotated.
  const commit = fields.within('commit')
  if (commit === null) return null
  return { name, sha: commit.must('id', commit.sha('id')), committedAt: committedAtOf(commit) }
}

function committedAtOf(commit: Fields): number | null {
  return commit.instant('committed_date') ?? commit.instant('created_at')
}

/** By the rules of the git source, so that one ref has one name however it was read. */
function nameOf(fields: Fields, prefix: string): string {
  const raw = fields.must('name', fields.raw('name') || null)
  // JSON may hold half a pair, which has no UTF-8. Behind a NUL, which no ref can hold, two such names stay two.
  const text = raw.replace(/\p{Surrogate}/gu, (half) => `\0${half.charCodeAt(0).toString(16)}`)
  return refName(Buffer.from(prefix + text))
}
