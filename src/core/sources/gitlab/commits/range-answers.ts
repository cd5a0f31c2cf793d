import { SyncError } from '../../../domain/errors.ts'
import type { Commit } from '../../../domain/facts.ts'
import type { Opened } from '../opened.ts'
import { commitOf } from '../records/commit.ts'
import type { Range } from './ranges.ts'
import { isWeakness, reasonOf } from './weakness.ts'

/** One answer to a list of commits: those from `at` to `end`, as they follow each other in it. */
export interface RangeAnswer {
  commits: Commit[]
  at: number
  end: number
  more: boolean
}

/** What `per_page` may be: each starts at a multiple of itself, and all end at one of 100. */
const SIZES = [100, 50, 25, 10, 5, 1]

/** Statistics make one diff a commit on the server. Where they failed so often they are not asked for again. */
const MAX_WEAK = 2

/**
 * Asks for the commits of a range behind a base, from any on. A page of more bytes than the client takes is asked for in
 * smaller ones, which then grow again. One whose statistics the server cannot make comes without, and its commits say so.
 */
export function rangeAnswers(
  { client, project }: Opened,
  range: Range,
  wantsStats: boolean,
): (base: string | null, at: number) => Promise<RangeAnswer> {
  let size = 0 // of SIZES
  let weak = 0

  const get = async (base: string | null, perPage: number, page: number, stats: boolean) => {
    const { json, next } = await client.get(`projects/${project.id}/repository/commits`, {
      ref_name: base === null ? range.to : `${base}..${range.to}`,
      since: range.since === null ? undefined : new Date(range.since).toISOString(),
      until: range.until === null ? undefined : new Date(range.until).toISOString(),
      with_stats: stats || undefined,
      per_page: perPage,
      page,
    })
    return { commits: json.map(commitOf), next }
  }

  const getRich: typeof get = async (base, perPage, page, stats) => {
    if (!stats) return get(base, perPage, page, false)
    let reason = 'stats:server_error'
    if (weak < MAX_WEAK) {
      try {
        const answer = await get(base, perPage, page, true)
        weak = 0
        explain(answer.commits, 'stats:missing')
        return answer
      } catch (error) {
        if (!isWeakness(error)) throw error
        weak += 1
        reason = `stats:${reasonOf(error)}`
      }
    }
    const answer = await get(base, perPage, page, false)
    explain(answer.commits, reason)
    return answer
  }

  return async (base, at) => {
    for (;;) {
      // One of the sizes always fits: the last is 1.
      const fits = SIZES.findIndex((perPage, i) => i >= size && at % perPage === 0)
      const perPage = SIZES[fits] as number
      try {
        const { commits, next } = await getRich(base, perPage, at / perPage + 1, wantsStats)
        size = Math.max(0, fits - 1)
        // A proxy may have dropped the headers that tell of a next page.
        const more = commits.length > 0 && (next || commits.length === perPage)
        return { commits, at, end: at + commits.length, more }
      } catch (error) {
        if (!(error instanceof SyncError) || error.limit !== 'bytes') throw error
        if (perPage === 1) throw unreadable(error)
        size = fits + 1
      }
    }
  }
}

function explain(commits: Commit[], reason: string): void {
  for (const commit of commits)
    if (commit.tier === 'none' && commit.parents.length < 2)
      commit.degraded = commit.degraded === null ? reason : `${commit.degraded},${reason}`
}

function unreadable(cause: SyncError): SyncError {
  return new SyncError('upstream', `one commit alone: ${cause.message}`, {
    hint: 'read the commits through git instead: commits_via = "git"',
    limit: 'bytes',
    cause,
  })
}
