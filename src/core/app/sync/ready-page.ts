import type { Db } from '../../db/connect.ts'
import { type CommitPayload, commitPayload, upsertCommits } from '../../db/facts/commits.ts'
import { mrPayload, upsertMrs } from '../../db/facts/mrs.ts'
import { type ReviewPayload, reviewPayload, upsertReviews } from '../../db/facts/reviews.ts'
import { type RevisionPayload, revisionPayload, upsertRevisions } from '../../db/facts/revisions.ts'
import { bulkReason, bulkRevisionReason } from '../../domain/bulk.ts'
import { countsOf, type PageCounts } from '../../domain/tally.ts'
import type { Page } from '../../sources/source.ts'
import type { Context } from '../context.ts'

/** A page, ready to be stored: what can be computed outside the transaction is. */
export interface ReadyPage {
  page: Omit<Page, 'facts'>
  payload: {
    commits: CommitPayload | null
    mrs: string | null
    reviews: ReviewPayload | null
    revisions: RevisionPayload | null
  }
  counts: PageCounts
}

export function readyPage(ctx: Context, { facts, ...page }: Page): ReadyPage {
  const { commits = [], mrs = [], reviews = [], revisions = [] } = facts
  const thresholds = ctx.config.scm.bulk_thresholds
  let bulk = 0
  const counted = (why: string | null) => {
    if (why !== null) bulk += 1
    return why
  }
  const payload = {
    commits: some(commits) ? commitPayload(commits, (c) => counted(bulkReason(c, thresholds))) : null,
    mrs: some(mrs) ? mrPayload(mrs) : null,
    reviews: some(reviews) ? reviewPayload(reviews) : null,
    revisions: some(revisions)
      ? revisionPayload(page.pinned.uuid ?? null, revisions, (r) =>
          counted(bulkRevisionReason(r, thresholds)),
        )
      : null,
  }
  // The facts are in the payload now; keeping them too would hold the page twice.
  return { page, payload, counts: { ...countsOf(facts), bulk } }
}

/** Writes the rows of a page; answers how many changed. */
export async function storeFacts(
  tx: Db,
  by: { repoId: number; runId: number; batchId: number },
  { commits, mrs, reviews, revisions }: ReadyPage['payload'],
): Promise<number> {
  let changed = 0
  if (commits) changed += await upsertCommits(tx, by, commits)
  if (mrs) changed += await upsertMrs(tx, by, mrs)
  if (reviews) changed += await upsertReviews(tx, by, reviews)
  if (revisions) changed += await upsertRevisions(tx, by, revisions)
  return changed
}

const some = (list: unknown[]): boolean => list.length > 0
