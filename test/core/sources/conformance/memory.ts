import type { Json } from '../../../../src/core/domain/ledger.ts'
import type { Ask, Heads, Page, Refetch, Resume } from '../../../../src/core/sources/source.ts'
import { tempFolder } from '../../../helpers/git-repo.ts'
import { type Rows, rowsOf } from './rows.ts'
import type { Upstream } from './upstream.ts'

interface Listed {
  digest: string
  reviewedAs: string | null
  updatedAt: number
}

/** What the program keeps between reads, without a database: rows, cursors, digests, settings, and a checkpoint. */
export class Memory {
  readonly rows: Rows = new Map()
  settings: { [key: string]: Json } = {}
  heads: Heads = {}
  position: Date | null = null
  scanned: number | null = null
  checkpoint: Resume | null = null
  /** Rows written that were not there just so. */
  written = 0
  readonly upstream: Upstream
  readonly cacheDir: string
  #seen = new Set<string>()
  #listed = new Map<number, Listed>()

  constructor(upstream: Upstream, cacheDir = tempFolder()) {
    this.upstream = upstream
    this.cacheDir = cacheDir
  }

  /** What the next read asks; with `refetch`, what it asks when an operator set the cursor back or deleted it. */
  ask(refetch: Refetch | number = null): Ask {
    const { source, job } = this.upstream
    const cursor = source.jobs[job]
    if (cursor === 'revisions') {
      const again = refetch === 'beginning' ? 1 : typeof refetch === 'number' ? refetch : null
      return { window: 'revisions', scanned: refetch === 'beginning' ? null : this.scanned, again }
    }
    const from = typeof refetch === 'number' ? null : refetch
    if (cursor === 'heads')
      return { window: 'heads', known: this.heads, seen: [...this.#seen], refetch: from }
    const { position } = this
    if (from !== null)
      return {
        window: 'updates',
        of: job,
        since: from === 'beginning' ? null : from,
        position,
        known: new Map(),
      }
    const listedFrom = this.checkpoint && Date.parse(this.checkpoint.token.split('#')[0] as string)
    const known = new Map<number, string>()
    for (const [iid, { digest, reviewedAs, updatedAt }] of this.#listed) {
      const last = job === 'mrs' ? digest : reviewedAs
      if (last !== null && updatedAt >= (listedFrom ?? position?.getTime() ?? Number.POSITIVE_INFINITY))
        known.set(iid, last)
    }
    return { window: 'updates', of: job, since: position, position, known }
  }

  /** As the tables take it. */
  take(page: Page): void {
    const { job } = this.upstream
    for (const [key, row] of rowsOf(page.facts, job)) {
      if (JSON.stringify(this.rows.get(key)) !== JSON.stringify(row)) this.written += 1
      this.rows.set(key, row)
    }
    for (const { iid, digest, updatedAt } of page.facts.mrs ?? [])
      this.#listed.set(iid, { reviewedAs: null, ...this.#listed.get(iid), digest, updatedAt })
    for (const { iid, whole } of page.facts.reviews ?? []) {
      if (whole === null) continue
      const ids = new Set(whole.ids.map((id) => `!${iid} ${id}`))
      for (const [key, row] of this.rows)
        if (key.startsWith(`!${iid} `) && whole.kinds.some((kind) => kind === row.rest) && !ids.has(key))
          row.gone = true
      const listed = this.#listed.get(iid)
      if (listed) listed.reviewedAs = whole.of
    }
    this.checkpoint = { token: page.token, pinned: page.pinned }
    if (this.upstream.source.jobs[job] === 'heads')
      for (const sha of Object.values(page.pinned)) this.#seen.add(sha)
    if (page.landing === undefined) return
    this.checkpoint = null
    const { heads, position, scanned } = page.landing ?? {}
    if (position !== undefined) this.position = position
    if (scanned !== undefined) this.scanned = scanned
    if (heads === undefined) return
    this.#seen.clear()
    this.heads = Object.fromEntries(heads.refs.map(({ name, sha }) => [name, sha]))
    for (const sha of heads.unreachable === 'all' ? [...this.rows.keys()] : heads.unreachable) {
      const row = this.rows.get(sha)
      if (row) row.gone = true
    }
  }
}
