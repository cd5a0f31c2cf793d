import { UPSTREAMS } from './conformance/upstreams.ts'
import { conformsInTables } from './conformance.ts'

/** The same through the program, with real tables. */
for (const [name, make] of UPSTREAMS) conformsInTables(name, make)
