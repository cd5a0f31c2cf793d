import type { Facts, MergeRequest, Person, Revision } from '../../../../src/core/domain/facts.ts'
import type { JobType, SourceKind } from '../../../../src/core/domain/repo.ts'
import type { Truth } from './upstream.ts'

/** One stored thing of any source: its main text, everything else of it in one line, and what became of it. */
export interface Row {
  text: string
  rest: string
  sanitized: string[]
  /** Marked as unreachable or deleted upstream. */
  gone: boolean
}

export type Rows = Map<string, Row>

/** The things in a page that its job is about. */
export function rowsOf({ commits = [], mrs = [], reviews = [], revisions = [] }: Facts, job: JobType): Rows {
  const rows: Rows = new Map()
  const put = (key: string, text: string | null, rest: string, sanitized: string[]): void => {
    rows.set(key, { text: text ?? '', rest, sanitized, gone: false })
  }
  for (const commit of commits) put(commit.sha, commit.message, restOfCommit(commit), commit.sanitized)
  for (const revision of revisions)
    put(`r${revision.rev}`, revision.message, restOfRevision(revision), revision.sanitized)
  if (job === 'mrs') for (const mr of mrs) put(`!${mr.iid}`, mr.description, restOfMr(mr), mr.sanitized)
  for (const { iid, events } of reviews)
    for (const event of events) put(`!${iid} ${event.id}`, event.body, event.kind, event.sanitized)
  return rows
}

/** What a page may hold pageSize of. */
export function recordsIn(
  { commits = [], mrs = [], reviews = [], revisions = [] }: Facts,
  job: JobType,
): number {
  if (job === 'mrs') return mrs.length
  if (job === 'reviews') return new Set(reviews.map(({ iid }) => iid)).size
  return commits.length + revisions.length
}

type Who = Pick<Person, 'name' | 'email' | 'epochSeconds' | 'offsetMinutes'>

export function restOfCommit(of: { parents: string[]; author: Who; committer: Who }): string {
  const who = ({ name, email, epochSeconds, offsetMinutes }: Who) => [
    name,
    email,
    epochSeconds,
    offsetMinutes,
  ]
  return JSON.stringify([of.parents, who(of.author), who(of.committer)])
}

const OF_MR = [
  'sourceMrId',
  'status',
  'title',
  'author',
  'sourceBranch',
  'targetBranch',
  'userNotesCount',
  'createdAt',
  'updatedAt',
  'mergedAt',
  'closedAt',
] as const

export function restOfMr(mr: Pick<MergeRequest, (typeof OF_MR)[number]>): string {
  return JSON.stringify(OF_MR.map((field) => mr[field] ?? null))
}

export function restOfRevision({
  author,
  at,
  pathCount,
}: Pick<Revision, 'author' | 'at' | 'pathCount'>): string {
  return JSON.stringify([author, at, pathCount])
}

/** All that the stored rows have otherwise than upstream; what is gone there must be marked, and still be here. */
export function unlike(
  rows: Rows,
  truth: ReadonlyMap<string, Truth>,
  before: Iterable<string> = [],
): string[] {
  const wrong: string[] = []
  for (const [key, there] of truth) {
    const here = rows.get(key)
    if (here === undefined) wrong.push(`${key} is missing`)
    else if (here.gone) wrong.push(`${key} is marked, and is there`)
    else if (here.text !== there.text || here.rest !== there.rest)
      wrong.push(
        `${key} is ${JSON.stringify([here.text, here.rest])}, not ${JSON.stringify([there.text, there.rest])}`,
      )
  }
  for (const [key, { gone }] of rows)
    if (!truth.has(key) && !gone) wrong.push(`${key} is gone upstream, or never was there, and is not marked`)
  for (const key of before) if (!rows.has(key)) wrong.push(`${key} was removed`)
  return wrong.map((line) => line.slice(0, 400))
}

type Query = <T>(sql: string, values: unknown[]) => Promise<T[]>

/** The same things as the tables have them. */
export async function storedRows(
  query: Query,
  repoId: number,
  kind: SourceKind,
  job: JobType,
): Promise<Rows> {
  const table = kind === 'svn' ? 'revisions' : job
  const found = await query<{
    key: string
    text: string | null
    rest: string | unknown[]
    sanitized: string[] | null
    gone: boolean
  }>(SELECT[table], [repoId])
  return new Map(
    found.map(({ key, text, rest, sanitized, gone }) => [
      key,
      {
        text: text ?? '',
        rest: typeof rest === 'string' ? rest : JSON.stringify(rest),
        sanitized: sanitized ?? [],
        gone,
      },
    ]),
  )
}

const MS = (column: string): string => `(extract(epoch from ${column}) * 1000)::bigint`
const SECONDS = (column: string): string => `extract(epoch from ${column})::bigint`

const SELECT = {
  commits: `select commit_sha as key, message as text, sanitized, unreachable_since is not null as gone, json_build_array(parent_shas,
      json_build_array(author_name, author_email, ${SECONDS('authored_at')}, author_tz_minutes),
      json_build_array(committer_name, committer_email, ${SECONDS('ts')}, committer_tz_minutes)) as rest
      from scm.git_commits where repo_id = $1`,
  mrs: `select '!' || iid as key, description as text, sanitized, deleted_at is not null as gone, json_build_array(source_mr_id, status,
      title, author_username, source_branch, target_branch, user_notes_count, ${MS('created_at')}, ${MS('updated_at')},
      ${MS('merged_at')}, ${MS('closed_at')}) as rest
      from scm.mrs where repo_id = $1`,
  reviews: `select '!' || iid || ' ' || source_event_id as key, body as text, sanitized, deleted_at is not null as gone, kind as rest
      from scm.review_events where repo_id = $1`,
  revisions: `select 'r' || rev_num as key, message as text, sanitized, false as gone,
      json_build_array(author, ${MS('ts')}, path_count) as rest
      from scm.svn_revisions where repo_id = $1`,
}
