import { GONE, SyncError } from '../../../domain/errors.ts'
import type { Opened } from '../opened.ts'

/** What a list of commits that are not there may be answered with; a 500 by old servers. */
export function isRefusal(error: unknown): boolean {
  return error instanceof SyncError && [400, 404, 500].includes(error.status ?? 0)
}

/** The first of these commits that upstream does not have; null when it has all. */
export async function firstMissing({ client, project }: Opened, shas: string[]): Promise<string | null> {
  for (const sha of shas) {
    const path = `projects/${project.id}/repository/commits/${sha}`
    try {
      await client.get(path, { stats: false }, { expect: 'object' })
    } catch (error) {
      if (error instanceof SyncError && error.kind === 'not_found') return sha
      throw error
    }
  }
  return null
}

export function gone(sha: string): SyncError {
  return new SyncError('upstream', `${sha} is gone: a forced push, and its commits were thrown away`, {
    status: GONE,
  })
}

/** What was pinned is no longer there; a reading has to begin anew with what there is now. */
export function isGone(error: unknown): boolean {
  return error instanceof SyncError && error.isGone
}
