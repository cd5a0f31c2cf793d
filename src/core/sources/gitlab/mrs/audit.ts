import type { MergeRequest } from '../../../domain/facts.ts'
import type { Audit } from '../../source.ts'
import type { Opened } from '../opened.ts'
import { isTooLarge, PER_PAGE } from '../shifting.ts'
import { allMrs, mrsByIid } from './mr-pages.ts'

/** The merge requests of a project, a hundred at a time. */
export function auditOf(opened: Pick<Opened, 'client' | 'project'>): Audit {
  return {
    all: async function* () {
      let some: MergeRequest[] = []
      for await (const mr of allMrs(opened)) {
        some.push(mr)
        if (some.length < PER_PAGE) continue
        yield some
        some = []
      }
      if (some.length > 0) yield some
    },
    some: async function* (iids) {
      for (let i = 0; i < iids.length; i += PER_PAGE) yield byIid(opened, iids.slice(i, i + PER_PAGE))
    },
  }
}

/** In halves, where the answer to all would be too large. */
async function byIid(
  opened: Pick<Opened, 'client' | 'project'>,
  iids: readonly number[],
): Promise<MergeRequest[]> {
  try {
    return await mrsByIid(opened, iids)
  } catch (error) {
    if (iids.length === 1 || !isTooLarge(error)) throw error
    const half = Math.ceil(iids.length / 2)
    return [...(await byIid(opened, iids.slice(0, half))), ...(await byIid(opened, iids.slice(half)))]
  }
}
