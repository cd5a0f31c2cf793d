import type { JobType } from '../../../src/core/domain/repo.ts'
import type { Truth } from './truth.ts'

type Query = <T>(sql: string, values: unknown[]) => Promise<T[]>

export interface DifferencesQuestion {
  query: Query
  repoId: number
  truth: Truth
  /** Default all three. */
  jobs?: JobType[]
  /**
   * What GitLab changes without saying so (a merge request or a note deleted, a commit thrown away) must be marked too:
   * it was looked for.
   */
  whole?: boolean
}

/** All that the tables have otherwise than the project: what is missing, stale, or marked as gone and is there. */
export async function differences({
  query,
  repoId,
  truth,
  jobs = ['commits', 'mrs', 'reviews'],
  whole = false,
}: DifferencesQuestion): Promise<string[]> {
  const wrong: string[] = []
  if (jobs.includes('commits')) wrong.push(...(await ofCommits(query, repoId, truth)))
  if (jobs.includes('mrs')) wrong.push(...(await ofMrs(query, repoId, truth, whole)))
  if (jobs.includes('reviews')) wrong.push(...(await ofReviews(query, repoId, truth)))
  return wrong
}

async function ofCommits(query: Query, repoId: number, truth: Truth): Promise<string[]> {
  const rows = await query<Record<string, unknown> & { sha: string; left: boolean }>(
    `select commit_sha as sha, parent_shas as parents, author_name as author, author_email as author_email,
            extract(epoch from authored_at)::bigint as authored, author_tz_minutes as author_tz,
            committer_name as committer, extract(epoch from ts)::bigint as committed, message,
            unreachable_since is not null as left
       from scm.git_commits where repo_id = $1`,
    [repoId],
  )
  const stored = new Map(rows.map((row) => [row.sha, row]))
  const wrong: string[] = []
  for (const [sha, there] of truth.commits) {
    const { left, ...here } = stored.get(sha) ?? { left: null }
    if (left === null) wrong.push(`commit ${sha} is missing`)
    else if (left) wrong.push(`commit ${sha} is marked, and is there`)
    const expected = {
      sha,
      parents: there.parents,
      author: there.author.name,
      author_email: there.author.email,
      authored: there.author.epochSeconds,
      author_tz: there.author.offsetMinutes,
      committer: there.committer.name,
      committed: there.committer.epochSeconds,
      message: there.message,
    }
    if (left !== null) wrong.push(...unlike(`commit ${sha}`, here, expected))
  }
  const refs = await query<{ name: string; sha: string }>(
    'select ref_name as name, sha from scm.git_refs where repo_id = $1',
    [repoId],
  )
  const here = Object.fromEntries(refs.map(({ name, sha }) => [name, sha]))
  return [...wrong, ...unlike('refs:', here, Object.fromEntries(truth.refs))]
}

async function ofMrs(query: Query, repoId: number, truth: Truth, whole: boolean): Promise<string[]> {
  const ms = (column: string): string => `(extract(epoch from ${column}) * 1000)::float8`
  const rows = await query<Record<string, unknown> & { iid: number; gone: boolean }>(
    `select iid, source_mr_id as "sourceMrId", status, title, description, author_username as author,
            source_branch as "sourceBranch", target_branch as "targetBranch", head_sha as "headSha",
            merge_commit_sha as "mergeCommitSha", draft, url, user_notes_count as "userNotesCount",
            ${ms('created_at')} as "createdAt", ${ms('updated_at')} as "updatedAt", ${ms('merged_at')} as "mergedAt",
            ${ms('closed_at')} as "closedAt", deleted_at is not null as gone
       from scm.mrs where repo_id = $1`,
    [repoId],
  )
  const stored = new Map(rows.map((row) => [row.iid, row]))
  const wrong: string[] = []
  for (const [iid, there] of truth.mrs) {
    const { gone, ...here } = stored.get(iid) ?? { gone: null }
    if (gone === null) wrong.push(`!${iid} is missing`)
    else if (gone) wrong.push(`!${iid} is marked as deleted, and is there`)
    else wrong.push(...unlike(`!${iid}`, here, { ...there }))
  }
  for (const { iid, gone } of rows)
    if (whole && !truth.mrs.has(iid) && !gone) wrong.push(`!${iid} was deleted and is not marked`)
  return wrong
}

async function ofReviews(query: Query, repoId: number, truth: Truth): Promise<string[]> {
  const rows = await query<{ iid: number; id: string; body: string | null }>(
    `select iid, source_event_id as id, body from scm.review_events where repo_id = $1 and deleted_at is null`,
    [repoId],
  )
  const wrong: string[] = []
  for (const [iid, review] of truth.reviews) {
    const isOpen = truth.mrs.get(iid)?.status === 'open'
    const mine = rows.filter((row) => row.iid === iid)
    const extra = new Set(mine.map(({ id }) => id))
    const wanted = [...review.notes, ...review.states, ...(isOpen ? review.approvals : [])]
    for (const id of wanted) if (!extra.delete(id)) wrong.push(`!${iid} ${id} is missing`)
    // Approvals of a closed one are not asked for: what was seen last stays.
    for (const id of extra)
      if (isOpen || !id.startsWith('approval:')) wrong.push(`!${iid} ${id} is gone upstream and not marked`)
    for (const { id, body } of mine)
      if (review.bodies.has(id) && review.bodies.get(id) !== body) wrong.push(`!${iid} ${id} is stale`)
  }
  return wrong
}

function unlike(name: string, here: Record<string, unknown>, there: Record<string, unknown>): string[] {
  const keys = [...new Set([...Object.keys(here), ...Object.keys(there)])]
  return keys
    .filter((key) => JSON.stringify(here[key] ?? null) !== JSON.stringify(there[key] ?? null))
    .map((key) => `${name} ${key}: ${JSON.stringify(here[key])}, not ${JSON.stringify(there[key])}`)
}
