import type { Page, Resume, TimeAsk, UpdatesAsk } from '../../source.ts'
import type { Opened } from '../opened.ts'
import { type Entry, gather } from './gather.ts'
import { makeLoad } from './load.ts'
import { none } from './mr-pages.ts'
import { makeRefusals } from './refusals.ts'
import { charsOf, reviewOf } from './review-of.ts'
import { sideBySide } from './side-by-side.ts'
import { type Updates, updatesOf } from './updates.ts'

/** Merge requests read side by side; how many requests that makes is for the gate to say. */
const WIDTH = 6

/** The reviews of merge requests that changed since theirs were read, in the order of their update. */
export async function* reviewPages(
  opened: Opened,
  ask: UpdatesAsk | TimeAsk,
  resume: Resume | null,
): AsyncGenerator<Page> {
  const updates = updatesOf(opened, ask, resume)
  const entries = opened.project.mergeRequestsOff ? none() : entriesOf(opened, updates)
  yield* gather(entries, updates, opened.access.pageSize, opened.access.signal)
}

function entriesOf(opened: Opened, updates: Updates): AsyncGenerator<Entry> {
  const refusals = makeRefusals()
  const load = makeLoad(WIDTH)
  return sideBySide(updates.rows(), load, async function* ({ mr, resumeAt }, left) {
    for await (const review of reviewOf(opened, mr, { refusals, load, left }))
      yield {
        iid: mr.iid,
        // With its review, since nobody may have asked for merge requests by themselves.
        fact: { mrs: review.whole ? [mr] : [], reviews: [review] },
        chars: charsOf(review.events),
        resumeAt,
      }
  })
}
