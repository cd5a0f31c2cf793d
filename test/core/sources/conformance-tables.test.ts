import { UPSTREAMS } from './conformance/upstreams.ts'
import { conformsInTables } from './conformance.ts'

/** The same through the program, with real tables. */
// How a revision came is of no matter to a table.
for (const [name, make] of UPSTREAMS) if (name !== 'svn, over http') conformsInTables(name, make)
