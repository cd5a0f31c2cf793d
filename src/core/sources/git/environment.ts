import type { Access } from '../source.ts'
import { isLocal, type Scheme, schemeOf } from './locate.ts'

/** What the program gives its git children of its own surroundings. Nothing else is inherited. */
export interface Surroundings {
  path: string
  home: string | null
  sshAuthSock?: string | null
  /** Proxies and certificate authorities, under the environment's own names. */
  network?: Record<string, string>
}

/** The one upstream a child may contact. */
export interface Reach {
  scheme: Scheme
  origin: string
  /** Value of the Authorization header, when the credentials are for this very host. */
  authorization: string | null
}

/** Where `access` leads, with credentials only when they were given for exactly this host and port. */
export function reachOf(access: Pick<Access, 'locator' | 'credentials'>): Reach | null {
  if (isLocal(access.locator)) return null
  const scheme = schemeOf(access.locator)
  const url = new URL(access.locator)
  const origin = `${scheme}://${url.host}`
  const { credentials } = access
  if (credentials === null || (scheme !== 'https' && scheme !== 'http'))
    return { scheme, origin, authorization: null }

  const meant = `${scheme}://${credentials.host}`
  const same = URL.canParse(meant) && new URL(meant).host === url.host
  const pair = Buffer.from(`${credentials.username}:${credentials.password}`).toString('base64')
  return { scheme, origin, authorization: same ? `Basic ${pair}` : null }
}

/** What must never be shown, in every form it has here. */
export function secretsOf(access: Pick<Access, 'credentials'>): string[] {
  if (access.credentials === null) return []
  const { username, password } = access.credentials
  return [
    Buffer.from(`${username}:${password}`).toString('base64'),
    password,
    encodeURIComponent(password),
  ].filter((secret) => secret !== '')
}

/**
 * The whole environment of one git child.
 *
 * A repository that is read in place may be hostile, and its own config can name programs: fsmonitor, hooks, sshCommand,
 * external diffs, textconv filters, promisor remotes. So: plumbing only, every such key overridden in command scope
 * (which beats the repository's), no protocol allowed at all while reading, no lazy fetch, `--no-ext-diff
 * --no-textconv` on every diff. GIT_DIR is always named outright, for two reasons: git never walks up into a
 * repository nobody named, and its ownership check (safe.directory), which protects people whose shell prompt runs
 * git in a stranger's folder, does not stop a worker that reads as another user than the owner.
 * `core.bare` keeps it away from the work tree and its .gitattributes; the index file named does not exist.
 * Credentials travel here, in config-by-environment, never in argv or a file.
 */
export function environmentOf(
  surroundings: Surroundings,
  gitDir: string | null,
  reach: Reach | null,
): Record<string, string> {
  const config: [string, string][] = [
    ['core.hooksPath', '/dev/null'],
    ['core.fsmonitor', 'false'],
    ['core.askPass', ''],
    ['core.attributesFile', '/dev/null'],
    // Git 2.43 to 2.45 would take the attributes of a bare repository from its HEAD; what is not there has none.
    ['attr.tree', 'refs/engram/no-attributes'],
    ['core.quotePath', 'true'],
    // A commit-graph cuts dates to 34 bits and, in a hostile repository, may lie about parents.
    ['core.commitGraph', 'false'],
    ['core.deltaBaseCacheLimit', '256m'], // numstat over a big history: 2x faster than git's 96m
    ['core.alternateRefsCommand', ''],
    ['credential.helper', ''],
    ['safe.directory', '*'],
    ['protocol.allow', 'never'],
    ['gc.auto', '0'],
    ['maintenance.auto', 'false'],
    ['fetch.writeCommitGraph', 'false'],
    ['fetch.recurseSubmodules', 'false'],
    ['transfer.bundleURI', 'false'],
    ['diff.suppressBlankEmpty', 'false'],
    ['advice.graftFileDeprecated', 'false'],
    // Also the first redirect could lead the Authorization header, or us, to another host.
    ['http.followRedirects', 'false'],
    ['http.lowSpeedLimit', '1000'],
    ['http.lowSpeedTime', '60'],
  ]
  if (gitDir !== null) config.push(['core.bare', 'true'])
  if (reach?.authorization)
    config.push([`http.${reach.origin}/.extraHeader`, `Authorization: ${reach.authorization}`])

  const env: Record<string, string> = {
    PATH: surroundings.path,
    LC_ALL: 'C.UTF-8',
    GIT_CONFIG_NOSYSTEM: '1',
    GIT_CONFIG_GLOBAL: '/dev/null',
    GIT_ATTR_NOSYSTEM: '1',
    GIT_TERMINAL_PROMPT: '0',
    GIT_ASKPASS: '',
    SSH_ASKPASS_REQUIRE: 'never',
    GIT_OPTIONAL_LOCKS: '0',
    GIT_NO_LAZY_FETCH: '1',
    GIT_NO_REPLACE_OBJECTS: '1',
    GIT_GRAFT_FILE: '/dev/null',
    GIT_PROTOCOL_FROM_USER: '0',
    // An empty list allows nothing; without the variable everything would be.
    GIT_ALLOW_PROTOCOL: reach?.scheme ?? '',
    GIT_DIR: gitDir ?? '/dev/null',
    GIT_CONFIG_COUNT: String(config.length),
  }
  if (gitDir !== null) env.GIT_INDEX_FILE = `${gitDir}/engram-reads-no-index`
  for (const [i, [key, value]] of config.entries()) {
    env[`GIT_CONFIG_KEY_${i}`] = key
    env[`GIT_CONFIG_VALUE_${i}`] = value
  }
  if (reach?.scheme === 'ssh') Object.assign(env, sshEnvironment(surroundings))
  if (reach?.scheme === 'https' || reach?.scheme === 'http') {
    for (const [name, value] of Object.entries(surroundings.network ?? {}))
      if (/^((https?|all|no)_proxy|GIT_SSL_CAINFO|GIT_SSL_CAPATH|SSL_CERT_(FILE|DIR))$/i.test(name))
        env[name] = value
  }
  return env
}

function sshEnvironment(surroundings: Surroundings): Record<string, string> {
  const env: Record<string, string> = {
    // A control master would outlive the call and hold its stderr open: the call would never end.
    GIT_SSH_COMMAND:
      'ssh -oBatchMode=yes -oConnectTimeout=20 -oServerAliveInterval=15 -oServerAliveCountMax=4 -oControlMaster=no -oPermitLocalCommand=no -oForwardAgent=no',
    GIT_SSH_VARIANT: 'ssh',
  }
  if (surroundings.home !== null) env.HOME = surroundings.home
  if (surroundings.sshAuthSock) env.SSH_AUTH_SOCK = surroundings.sshAuthSock
  return env
}
