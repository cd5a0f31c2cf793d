import { hasSvn } from '../../../helpers/svn.ts'
import { hasApache } from '../../../helpers/svn-http.ts'
import { gitFolder, gitOverHttp } from './git.ts'
import { commitsViaApi, commitsViaGit, mergeRequests, reviews } from './gitlab.ts'
import { svnOverHttp, svnRepository } from './svn.ts'
import type { MakeUpstream } from './upstream.ts'

/** Every way the program reads anything. A new source is a row here. */
export const UPSTREAMS: [name: string, make: MakeUpstream][] = [
  ['git, a folder', gitFolder],
  ['git, over http through a mirror', gitOverHttp],
  ['gitlab, commits through the API', commitsViaApi],
  ['gitlab, commits through git', commitsViaGit],
  ['gitlab, merge requests', mergeRequests],
  ['gitlab, reviews', reviews],
  ...(hasSvn ? ([['svn', svnRepository]] as [string, MakeUpstream][]) : []),
  ...(hasApache ? ([['svn, over http', svnOverHttp]] as [string, MakeUpstream][]) : []),
]
