import { SyncError } from '../../../domain/errors.ts'
import type { MergeRequest, Review, ReviewEvent, ReviewKind } from '../../../domain/facts.ts'
import type { Opened } from '../opened.ts'
import { approvalEventsOf, noteEventsOf, stateEventOf } from '../records/review.ts'
import { allOf } from '../shifting.ts'
import type { Load } from './load.ts'
import { isTrouble, type Refusals } from './refusals.ts'

/** Characters after which a long review is given out in part: half a page. */
const PART_CHARS = 512 * 1024

/** Their ids are in memory until the review is whole. */
const MOST_EVENTS = 200_000

const ENDPOINTS: Record<ReviewKind, string> = {
  note: 'discussions',
  state: 'resource_state_events',
  approval: 'approvals',
}

/**
 * Everything of one merge request, in parts, the last of them whole; nothing more when it was deleted meanwhile. What
 * changes while it is read moves the merge request in the list, under another digest, and is read again then.
 */
export async function* reviewOf(
  { client, project }: Pick<Opened, 'client' | 'project'>,
  mr: MergeRequest,
  { refusals, load, left }: { refusals: Refusals; load: Load; left: AbortSignal },
): AsyncGenerator<Review> {
  const path = `projects/${project.id}/merge_requests/${mr.iid}`
  const kinds: ReviewKind[] = []
  const degraded: string[] = []
  const ids: string[] = []
  let events: ReviewEvent[] = []
  let chars = 0
  let comments = 0
  let began: Date | null = null
  let isLarge = false

  const listOf = (
    kind: ReviewKind,
    eventsOf: (entry: unknown) => ReviewEvent[],
  ): AsyncGenerator<ReviewEvent[]> =>
    allOf({
      name: `the ${ENDPOINTS[kind]} of !${mr.iid}`,
      size: load.size,
      sheet: async (page, size) => {
        load.asks(size)
        const query = { page, per_page: size }
        const { json, next, total, date } = await client.get(`${path}/${ENDPOINTS[kind]}`, query, {
          signal: left,
        })
        began ??= date
        const items = json.flatMap(eventsOf)
        load.came(charsOf(items))
        return { items, rows: json.length, next, total }
      },
      key: ({ id }) => id,
      leftOut: () => {
        isLarge = true
      },
    })
  async function* approvals(): AsyncGenerator<ReviewEvent[]> {
    const { json } = await client.get(`${path}/approvals`, {}, { expect: 'object', signal: left })
    yield approvalEventsOf(json)
  }
  const lists: [ReviewKind, () => AsyncGenerator<ReviewEvent[]>][] = [
    ['note', () => listOf('note', noteEventsOf)],
    ['state', () => listOf('state', (entry) => [stateEventOf(entry)])],
  ]
  // What it says of others is of no more use, and would say that what was approved then is not.
  if (mr.status === 'open') lists.push(['approval', approvals])

  for (const [kind, list] of lists) {
    let why = refusals.given(kind)
    isLarge = false
    try {
      if (why === null) {
        for await (const some of list()) {
          for (const event of some) ids.push(event.id)
          comments += some.filter(isComment).length
          if (ids.length > MOST_EVENTS)
            throw new SyncError('upstream', `!${mr.iid} has more than ${MOST_EVENTS} events`)
          events.push(...some)
          chars += charsOf(some)
          if (chars < PART_CHARS) continue
          yield { iid: mr.iid, events, whole: null }
          events = []
          chars = 0
        }
        refusals.answered(kind)
        why = isLarge ? 'too large' : null
      }
    } catch (error) {
      if ((kind === 'note' || isTrouble(error)) && !(await isThere(client, path, error))) return
      why = refusals.refused(kind, error)
    }
    if (why === null) kinds.push(kind)
    else degraded.push(`${ENDPOINTS[kind]}:${why}`)
  }

  if (kinds.includes('note') && comments < (mr.userNotesCount ?? 0)) degraded.push(`${ENDPOINTS.note}:hidden`)
  yield {
    iid: mr.iid,
    events,
    whole: {
      ids,
      kinds,
      // A change in the same second would have the same digest: this one is good for nothing but to be read again.
      of: isInSecondOf(mr, began) ? '' : mr.digest,
      degraded: degraded.length === 0 ? null : degraded.join(', '),
    },
  }
}

/** What user_notes_count counts, also where this token may not see it. */
function isComment({ kind, payload }: ReviewEvent): boolean {
  return kind === 'note' && payload.system === false
}

/** Events, as far as their size goes. */
export function charsOf(events: ReviewEvent[]): number {
  return events.reduce(
    (sum, { body, payload }) => sum + 500 + (body?.length ?? 0) + Object.keys(payload).length * 20,
    0,
  )
}

/** Whether the merge request itself can be had; a server that fails at that too has trouble of another kind. */
async function isThere(client: Opened['client'], path: string, because: unknown): Promise<boolean> {
  const { kind } = because instanceof SyncError ? because : { kind: 'bug' }
  if (kind !== 'not_found' && kind !== 'permission' && !isTrouble(because)) throw because
  try {
    await client.get(path, {}, { expect: 'object' })
    return true
  } catch (error) {
    if (error instanceof SyncError && error.kind === 'not_found') return false
    throw error
  }
}

/** Servers that stamp whole seconds: what was read in that second may not be all that happened in it. */
function isInSecondOf({ updatedAt }: MergeRequest, began: Date | null): boolean {
  const ago = began === null ? Number.POSITIVE_INFINITY : began.getTime() - updatedAt
  return updatedAt % 1000 === 0 && ago <= 0 && ago > -2000
}
