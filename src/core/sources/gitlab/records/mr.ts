import type { MergeRequest } from '../../../domain/facts.ts'
import { hashOf, type Json } from '../../../domain/ledger.ts'
import { Fields, MAX_COUNT, present, WHOLE } from './fields.ts'

/**
 * A merge request as `merge_requests` lists it. What GitLab works out in the background (whether it can be merged, has
 * conflicts, its pipeline) is left out: it changes without anybody doing anything, and the digest would with it.
 */
export function mergeRequestOf(value: unknown): MergeRequest {
  const fields = new Fields(value, 'merge request')
  const iid = fields.id('iid')
  fields.record = `merge request !${iid}`
  const updatedAt = fields.must('updated_at', fields.instant('updated_at'))

  const mergedAt = fields.instant('merged_at')
  const closedAt = fields.instant('closed_at')
  const known = {
    iid,
    sourceMrId: fields.id('id'),
    status: statusOf(fields, mergedAt, closedAt),
    title: fields.text('title') ?? '',
    description: fields.text('description', WHOLE),
    author: username(fields, 'author'),
    sourceBranch: fields.text('source_branch'),
    targetBranch: fields.text('target_branch'),
    headSha: fields.sha('sha'),
    mergeCommitSha: fields.sha('merge_commit_sha'),
    // Older servers call it work in progress.
    draft: fields.boolean('draft') ?? fields.boolean('work_in_progress'),
    url: fields.text('web_url'),
    userNotesCount: fields.integer('user_notes_count', MAX_COUNT),
    createdAt: createdAtOf(fields, updatedAt),
    updatedAt,
    mergedAt,
    closedAt,
    meta: metaOf(fields),
  } satisfies Partial<MergeRequest>
  return { ...known, digest: hashOf(known), sanitized: fields.sanitized }
}

const STATUSES = new Map<string | null, MergeRequest['status']>([
  ['opened', 'open'],
  ['closed', 'closed'],
  ['merged', 'merged'],
  ['locked', 'locked'],
])

/** A state nobody knows is told by the dates, and named. */
function statusOf(fields: Fields, mergedAt: number | null, closedAt: number | null): MergeRequest['status'] {
  const status = STATUSES.get(fields.text('state'))
  if (status !== undefined) return status
  if (!fields.sanitized.includes('state')) fields.sanitized.push('state')
  if (mergedAt !== null) return 'merged'
  return closedAt === null ? 'open' : 'closed'
}

function createdAtOf(fields: Fields, updatedAt: number): number {
  const createdAt = fields.instant('created_at')
  if (createdAt === null && !fields.sanitized.includes('created_at')) fields.sanitized.push('created_at')
  return createdAt ?? updatedAt
}

/** Lists are sets to GitLab, and old servers do not order them: sorted, the same set has the same digest. */
function metaOf(fields: Fields): { [key: string]: Json } {
  const author = fields.within('author')
  const changesCount = fields.text('changes_count')
  return present({
    project_id: fields.integer('project_id'),
    source_project_id: fields.integer('source_project_id'),
    target_project_id: fields.integer('target_project_id'),
    reference: fields.within('references')?.text('full') ?? null,
    author_id: author?.integer('id') ?? null,
    author_name: author?.text('name') ?? null,
    assignees: usernames(fields, 'assignees'),
    reviewers: usernames(fields, 'reviewers'),
    labels: fields.texts('labels').sort(),
    milestone: fields.within('milestone')?.text('title') ?? null,
    // merged_by is its older name; lists have both.
    merged_by: username(fields, 'merge_user') ?? username(fields, 'merged_by'),
    closed_by: username(fields, 'closed_by'),
    squash_commit_sha: fields.sha('squash_commit_sha'),
    discussion_locked: fields.boolean('discussion_locked'),
    upvotes: fields.integer('upvotes'),
    downvotes: fields.integer('downvotes'),
    // Text, since it may be `1000+`; the number is then the least it can be. Lists do not have it.
    changes_count: changesCount,
    changes: changesCount === null ? null : numberAtFront(changesCount),
  })
}

function username(fields: Fields, key: string): string | null {
  return fields.within(key)?.text('username') ?? null
}

function usernames(fields: Fields, key: string): string[] {
  const names = fields.each(key).map((person) => person.text('username'))
  return names.filter((name) => name !== null).sort()
}

function numberAtFront(text: string): number | null {
  const digits = /^\d{1,9}(?=\+?$)/.exec(text)?.[0]
  return digits === undefined ? null : Number(digits)
}
