import type { Config } from '../contracts/config.ts'
import type { Source } from '../sources/source.ts'
import { svnSource } from '../sources/svn/svn.ts'

/** The Subversion source as the configuration has it. */
export function svnOf({ scm: { svn } }: Config, path: string): Source {
  return svnSource({
    path,
    deadline: svn.command_timeout * 1000,
    trustUnknownCa: svn.trust_server_cert,
  })
}
