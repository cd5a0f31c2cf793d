import { UPSTREAMS } from './conformance/upstreams.ts'
import { conforms } from './conformance.ts'

/** What a mirror that was made again cannot tell: it has no heads that a forced push left behind before. */
const NO_OLD_HEADS = {
  'a cache that was deleted meanwhile changes nothing of what is stored':
    'what only old heads led to stays unmarked',
}
const LIMITS: Record<string, typeof NO_OLD_HEADS> = {
  'git, over http through a mirror': NO_OLD_HEADS,
  'gitlab, commits through git': NO_OLD_HEADS,
}

/** What is the same of all sources; what is each one's own is tested beside it. */
for (const [name, make] of UPSTREAMS) conforms(name, make, { skip: LIMITS[name] ?? {} })
