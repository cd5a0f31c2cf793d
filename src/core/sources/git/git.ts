import type { Access, Source } from '../source.ts'
import { bareObjects } from './bare-objects.ts'
import type { Deadlines, Git } from './child.ts'
import { reachOf, type Surroundings, secretsOf } from './environment.ts'
import { isLocal, locate } from './locate.ts'
import { readingOf } from './reading.ts'
import { readHeads } from './refs.ts'
import { openRemote } from './remote.ts'
import { openLocal } from './repository.ts'
import { surveyOf } from './survey.ts'

const DEADLINES: Deadlines = {
  ask: 60_000, // one question to a server or a small one to a repository
  fetch: 2 * 3_600_000, // a first fetch of a very large repository; a stalled one ends after 60 s by lowSpeedTime
  read: 600_000, // a silence while walking or diffing; the slowest single diff seen took seconds
}

/** Repositories by git itself: local ones in place, remote ones through a mirror in the cache folder. */
export function gitSource(options: Surroundings & { deadlines?: Partial<Deadlines> }): Source {
  const longest = { ...DEADLINES, ...options.deadlines }
  // Who waits for a fetch no longer than that waits for an answer no longer either.
  const deadlines = { ...longest, ask: Math.min(longest.ask, longest.fetch) }
  const gitFor = (access: Access): Git => ({
    surroundings: options,
    deadlines,
    gitDir: null,
    reach: reachOf(access),
    signal: access.signal,
    secrets: secretsOf(access),
  })

  return {
    kind: 'git',
    jobs: { commits: 'heads' },
    locate,
    survey: (access, asks) => surveyOf(gitFor(access), access, asks),
    open: async (access) => {
      const git = gitFor(access)
      if (isLocal(access.locator)) {
        const repo = await openLocal(git, access.locator)
        return readingOf(await bareObjects(repo, access), await readHeads(repo), access)
      }
      return openRemote(git, access)
    },
  }
}
