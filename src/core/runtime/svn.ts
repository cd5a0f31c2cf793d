import type { Config } from '../contracts/config.ts'
import type { Source } from '../sources/source.ts'
import type { Surroundings } from '../sources/svn/client.ts'
import { svnSource } from '../sources/svn/svn.ts'

/** The Subversion source as the configuration has it. */
export function svnOf({ scm: { svn } }: Config, surroundings: Surroundings): Source {
  return svnSource({
    ...surroundings,
    deadline: svn.command_timeout * 1000,
    trustUnknownCa: svn.trust_server_cert,
  })
}
