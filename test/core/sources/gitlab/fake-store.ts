import { expect } from 'vitest'
import type { MergeRequest, ReviewEvent } from '../../../../src/core/domain/facts.ts'
import { mrPages } from '../../../../src/core/sources/gitlab/mrs/mr-pages.ts'
import { reviewPages } from '../../../../src/core/sources/gitlab/mrs/review-pages.ts'
import type { Opened } from '../../../../src/core/sources/gitlab/opened.ts'
import type { Page, Resume, UpdatesAsk } from '../../../../src/core/sources/source.ts'
import type { Truth } from '../../../helpers/gitlab/truth.ts'

type Job = 'mrs' | 'reviews'

/** What the database does with pages of merge requests and reviews, without one. */
export class FakeStore {
  readonly mrs = new Map<number, MergeRequest & { reviewedAs: string | null; degraded: string | null }>()
  readonly events = new Map<string, ReviewEvent & { iid: number; deleted: boolean }>()
  readonly position: Record<Job, Date | null> = { mrs: null, reviews: null }
  readonly chance: () => number
  #checkpoint: Record<Job, string | null> = { mrs: null, reviews: null }

  constructor(chance: () => number = () => 0) {
    this.chance = chance
  }

  /** As ask-of.ts asks. */
  ask(of: Job): { ask: UpdatesAsk; resume: Resume | null } {
    const position = this.position[of]
    const token = this.#checkpoint[of]
    const since = position
    const from = token === null ? since : new Date(token.split('#')[0] as string)
    const known = new Map<number, string>()
    for (const mr of this.mrs.values()) {
      const digest = of === 'mrs' ? mr.digest : mr.reviewedAs
      if (from !== null && mr.updatedAt >= from.getTime() && digest !== null) known.set(mr.iid, digest)
    }
    const ask: UpdatesAsk = { window: 'updates', of, since, position, known }
    return { ask, resume: token === null ? null : { token, pinned: {} } }
  }

  /** One run; it dies before its n-th page is stored. Answers the pages it stored. */
  async sync(opened: Opened, of: Job, diesAt = Number.POSITIVE_INFINITY): Promise<Page[]> {
    const { ask, resume } = this.ask(of)
    const pages = of === 'mrs' ? mrPages(opened, ask, resume) : reviewPages(opened, ask, resume)
    const stored: Page[] = []
    const tokens = new Set<string>()
    for await (const page of pages) {
      if (stored.length + 1 >= diesAt) return stored
      expect(tokens).not.toContain(page.token)
      expect(stored.at(-1)?.landing).toBeUndefined()
      tokens.add(page.token)
      this.apply(page)
      stored.push(page)
      this.#checkpoint[of] = page.token
    }
    const { landing } = stored.at(-1) as Page
    expect(landing).toBeTruthy()
    this.position[of] = landing?.position ?? null
    this.#checkpoint[of] = null
    return stored
  }

  /** As db/facts/mrs.ts and db/facts/reviews.ts do; what SQL leaves open is left to chance. */
  apply({ facts: { mrs = [], reviews = [] } }: Page): void {
    const shuffled = [...mrs].sort(() => this.chance() - 0.5).sort((a, b) => b.updatedAt - a.updatedAt)
    const done = new Set<number>()
    for (const mr of shuffled) {
      if (done.has(mr.iid)) continue
      done.add(mr.iid)
      const old = this.mrs.get(mr.iid)
      if (old !== undefined && old.updatedAt > mr.updatedAt) continue
      this.mrs.set(mr.iid, { reviewedAs: null, degraded: null, ...old, ...mr })
    }
    const kept = new Map<number, Set<string>>()
    const whole = reviews.flatMap((review) =>
      review.whole === null ? [] : [{ iid: review.iid, ...review.whole }],
    )
    for (const { iid, events } of reviews.sort(() => this.chance() - 0.5))
      for (const event of events) this.events.set(`${iid} ${event.id}`, { ...event, iid, deleted: false })
    for (const { iid, ids } of whole) {
      const all = kept.get(iid) ?? new Set()
      for (const id of ids) all.add(id)
      kept.set(iid, all)
    }
    for (const { iid, kinds, of, degraded } of whole) {
      for (const event of this.events.values())
        if (event.iid === iid && kinds.includes(event.kind) && !kept.get(iid)?.has(event.id))
          event.deleted = true
      const mr = this.mrs.get(iid)
      if (mr) Object.assign(mr, { reviewedAs: of, degraded })
    }
  }

  /** What is not as it is upstream; nothing, after a quiet sync. */
  amiss(truth: Truth): string[] {
    const wrong: string[] = []
    for (const [iid, there] of truth.mrs) {
      const here = this.mrs.get(iid)
      for (const [field, value] of Object.entries(there))
        if (here?.[field as keyof MergeRequest] !== value)
          wrong.push(`!${iid} ${field}: ${String(here?.[field as keyof MergeRequest])}, not ${String(value)}`)
      const review = truth.reviews.get(iid)
      const mine = [...this.events.values()].filter((event) => event.iid === iid && !event.deleted)
      const ids = new Set(mine.map(({ id }) => id))
      const expected = [...(review?.notes ?? []), ...(review?.states ?? [])]
      if (there.status === 'open') expected.push(...(review?.approvals ?? []))
      for (const id of expected) if (!ids.delete(id)) wrong.push(`!${iid} ${id} is missing`)
      for (const id of ids)
        if (there.status === 'open' || !id.startsWith('approval:')) wrong.push(`!${iid} ${id} is deleted`)
      for (const { id, body } of mine)
        if (body !== null && review?.bodies.get(id) !== body) wrong.push(`!${iid} ${id} is stale`)
    }
    return wrong
  }
}
