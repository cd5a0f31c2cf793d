import type { Access, Source } from '../source.ts'
import { type Surroundings, svnFor } from './client.ts'
import { type Allowed, locator } from './locate.ts'
import { readingOf } from './reading.ts'
import { openRepository } from './repository.ts'
import { surveyOf } from './survey.ts'

/** Milliseconds one svn command may take; a big chunk of log over a slow line takes tens of seconds. */
const DEADLINE = 120_000

/** Repositories by svn itself: its log for what happened, its diffs where a tier asks for them. */
export function svnSource(
  options: Surroundings & { deadline?: number; allowed?: readonly Allowed[]; trustUnknownCa?: boolean },
): Source {
  const { deadline = DEADLINE, allowed = [], trustUnknownCa = false } = options
  const openFor = (access: Access) =>
    openRepository(svnFor({ surroundings: options, deadline, trustUnknownCa }, access), access)
  return {
    kind: 'svn',
    jobs: { commits: 'revisions' },
    locate: (typed) => locator(typed, allowed),
    survey: async (access, asks) => surveyOf(await openFor(access), asks),
    open: async (access) => readingOf(await openFor(access), access),
  }
}
