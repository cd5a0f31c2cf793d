import type { MergeRequest } from '../../../domain/facts.ts'
import type { Page, Resume, TimeAsk, UpdatesAsk } from '../../source.ts'
import type { Opened } from '../opened.ts'
import { mergeRequestOf } from '../records/mr.ts'
import { PER_PAGE } from '../shifting.ts'
import { type Entry, gather } from './gather.ts'
import { type Updates, updatesOf } from './updates.ts'

/** Merge requests that are not stored as they are now, in the order of their update. */
export async function* mrPages(
  opened: Opened,
  ask: UpdatesAsk | TimeAsk,
  resume: Resume | null,
): AsyncGenerator<Page> {
  const updates = updatesOf(opened, ask, resume)
  const entries = opened.project.mergeRequestsOff ? none() : entriesOf(updates)
  yield* gather(entries, updates, opened.access.pageSize, opened.access.signal)
}

/** For what has them switched off: nothing to read, and no failure. */
export async function* none(): AsyncGenerator<Entry> {}

async function* entriesOf(updates: Updates): AsyncGenerator<Entry> {
  for await (const { mr, resumeAt } of updates.rows())
    yield {
      iid: mr.iid,
      fact: { mrs: [mr] },
      chars: (mr.description?.length ?? 0) + mr.title.length,
      resumeAt,
    }
}

/** Every merge request there is, for an audit; one that changes meanwhile comes again. */
export async function* allMrs(opened: Pick<Opened, 'client' | 'project'>): AsyncGenerator<MergeRequest> {
  const everything: UpdatesAsk = {
    window: 'updates',
    of: 'mrs',
    since: null,
    position: null,
    known: new Map(),
  }
  for await (const { mr } of updatesOf(opened, everything, null).rows()) yield mr
}

/** Those of the numbers that are there: what is missing was deleted, or may not be seen. */
export async function mrsByIid(
  { client, project }: Pick<Opened, 'client' | 'project'>,
  iids: readonly number[],
): Promise<MergeRequest[]> {
  const found: MergeRequest[] = []
  for (let i = 0; i < iids.length; i += PER_PAGE) {
    const some = iids.slice(i, i + PER_PAGE)
    const { json } = await client.get(`projects/${project.id}/merge_requests`, {
      scope: 'all',
      state: 'all',
      'iids[]': some,
      per_page: PER_PAGE,
    })
    found.push(...json.map(mergeRequestOf).filter(({ iid }) => some.includes(iid)))
  }
  return found
}
