import { type Examined, hasKind } from './examined.ts'
import { type Finding, failed, ok, warning } from './finding.ts'

const OLDEST_GIT = [2, 37] as const // the environment it is given has GIT_CONFIG_COUNT and safe.directory of then
const OLDEST_SVN = [1, 10] as const // --password-from-stdin

export async function git({ programs, config, registered }: Examined): Promise<Finding> {
  const remedy = `install git ${OLDEST_GIT.join('.')} or later and have it in PATH`
  try {
    const { version, isWhole } = await programs.git()
    if (!isAtLeast(version, OLDEST_GIT)) return failed(`git ${version} is too old`, remedy)
    if (!isWhole)
      return warning(
        `git ${version} cannot read over https: git-remote-https is missing`,
        'install the whole of git, with curl',
      )
    return ok(`git ${version}`)
  } catch (error) {
    const known = await registered
    const needs =
      hasKind(known, 'git') || (config?.scm.gitlab.commits_via === 'git' && hasKind(known, 'gitlab'))
    return absent(sentence(error), remedy, known === null ? null : needs === true)
  }
}

export async function svn({ programs, registered }: Examined): Promise<Finding> {
  const remedy = `install Subversion ${OLDEST_SVN.join('.')} or later and have svn in PATH`
  try {
    const { version, schemes } = await programs.svn()
    if (!isAtLeast(version, OLDEST_SVN))
      return absent(`svn ${version} is too old`, remedy, hasKind(await registered, 'svn'))
    const lacking = lackingSchemes(
      schemes,
      ((await registered) ?? []).map((repo) => repo.locator),
    )
    if (lacking.length > 0)
      return failed(
        `svn ${version} cannot read ${lacking.join(', ')}, as registered repositories need`,
        'install a Subversion that can: see svn --version',
      )
    return ok(`svn ${version}, reads ${schemes.join(', ')}`)
  } catch (error) {
    return absent(sentence(error), remedy, hasKind(await registered, 'svn'))
  }
}

/** Anonymous reading may be meant; then there is nothing to do. */
export async function svnCredentials({ config, registered }: Examined): Promise<Finding[]> {
  if (config === null) return []
  const { username, password } = config.scm.svn
  const remote = ((await registered) ?? []).filter(
    (r) => r.kind === 'svn' && /^(https?|svn):/.test(r.locator),
  )
  if (username && password) return [ok('a user and a password are configured')]
  if (username || password)
    return [
      failed(
        `a ${username ? 'user' : 'password'} is configured without a ${username ? 'password' : 'user'}`,
        'set both SVN_USERNAME and SVN_PASSWORD: one alone is not used',
      ),
    ]
  if (remote.length === 0) return []
  const named = `${remote.length} registered ${remote.length === 1 ? 'repository is' : 'repositories are'}`
  return [
    warning(
      `no user and password are configured: ${named} read anonymously`,
      'set SVN_USERNAME and SVN_PASSWORD if the server asks for them',
    ),
  ]
}

/** As grave as the need for it: null where nobody can say what is registered. */
function absent(found: string, remedy: string, isNeeded: boolean | null): Finding {
  if (isNeeded === null) return warning(`${found}; whether a repository needs it is not known`, remedy)
  return isNeeded ? failed(found, remedy) : ok(`${found}; no registered repository needs it`)
}

function lackingSchemes(able: readonly string[], locators: readonly string[]): string[] {
  const needed = locators.flatMap((locator) => /^(https?|svn|file)(?=:)/.exec(locator)?.[1] ?? [])
  return [...new Set(needed)].filter((scheme) => !able.includes(scheme))
}

function isAtLeast(version: string, [major, minor]: readonly [number, number]): boolean {
  const [a = 0, b = 0] = version.split('.').map(Number)
  return a > major || (a === major && b >= minor)
}

function sentence(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
