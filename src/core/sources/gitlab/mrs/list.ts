import { SyncError } from '../../../domain/errors.ts'
import type { MergeRequest } from '../../../domain/facts.ts'
import type { TimeAsk, UpdatesAsk } from '../../source.ts'
import type { Answer } from '../http/answer.ts'
import type { Opened } from '../opened.ts'
import { mergeRequestOf } from '../records/mr.ts'

/** A list that begins so much too early does not know `updated_after`; a server may well round it to seconds. */
const ROUNDED_MS = 1000

/** One page of the merge requests that were updated from then on, the earliest first. */
export function list(
  { client, project }: Pick<Opened, 'client' | 'project'>,
  ask: UpdatesAsk | TimeAsk,
  from: number | null,
  n: number,
  size: number,
  signal?: AbortSignal,
): Promise<Answer<'array'>> {
  const query = {
    scope: 'all',
    state: 'all',
    order_by: 'updated_at',
    sort: 'asc',
    updated_after: from === null ? undefined : new Date(from).toISOString(),
    updated_before: ask.window === 'time' ? ask.until.toISOString() : undefined,
    page: n,
    per_page: size,
  }
  return client.get(`projects/${project.id}/merge_requests`, query, signal && { signal })
}

/** A page whose order is not what was asked for would lead past rows that were never seen. */
export function inOrder(
  { project }: Pick<Opened, 'project'>,
  answer: Answer<'array'>,
  from: number | null,
): MergeRequest[] {
  const refuse = (why: string): SyncError => new SyncError('upstream', `the list of merge requests ${why}`)
  const mrs = answer.json.map(mergeRequestOf)
  let before = from === null ? Number.NEGATIVE_INFINITY : from - ROUNDED_MS
  for (const { iid, updatedAt, meta } of mrs) {
    if (typeof meta.project_id === 'number' && meta.project_id !== project.id)
      throw refuse(`of project ${project.id} has !${iid} of project ${meta.project_id}`)
    if (updatedAt < before) throw refuse(`is not by time of update, or begins before that: !${iid}`)
    before = updatedAt
  }
  return from === null ? mrs : mrs.filter((mr) => mr.updatedAt >= from)
}
