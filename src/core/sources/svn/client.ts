import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { SyncError } from '../../domain/errors.ts'
import { type Child, type Program, startChild } from '../child.ts'
import type { Access } from '../source.ts'
import { failureOf } from './failure.ts'
import { hostOf, isHostOf, schemeOf } from './locate.ts'

/** What the program gives its svn children of its own surroundings. Nothing else is inherited. */
export interface Surroundings {
  path: string
  /** Where ssh finds its keys; used for svn+ssh alone. */
  ssh?: { home: string; authSock: string | null }
  /** Certificate authorities, under the environment's own names; used for https alone. */
  network?: Record<string, string>
}

/** An svn to call: whose surroundings, for whom, and how long one command may take. */
export interface Svn {
  surroundings: Surroundings
  /** Milliseconds of waiting for one command, whether it is silent or slow. */
  deadline: number
  /** Certificates of an unknown authority pass; all else that can be wrong with one does not. */
  trustUnknownCa: boolean
  url: string
  credentials: { username: string; password: string } | null
  /** Where the config folder of a call is made. */
  scratch: string
  signal: AbortSignal
}

/** The svn for `access`, with credentials only when they were given for exactly its host and port. */
export function svnFor(
  options: { surroundings: Surroundings; deadline: number; trustUnknownCa: boolean },
  access: Access,
): Svn {
  const { locator, credentials, cacheDir, signal } = access
  const mine = credentials !== null && isHostOf(credentials.host, locator)
  // It is handed over as one line.
  if (mine && /[\r\n\0]/.test(credentials.password + credentials.username))
    throw new SyncError('config', 'the SVN user or password has a line break in it', {
      hint: 'check SVN_USERNAME and SVN_PASSWORD',
    })
  return { ...options, url: locator, credentials: mine ? credentials : null, scratch: cacheDir, signal }
}

/**
 * Starts `svn <command> [options] -- <target>`. `target` ends in its peg revision, so that an @ in a path is none.
 *
 * Every call has a config folder of its own: no tunnels, no stored passwords, no certificates anybody accepted, and with
 * it svn reads none of the machine's either; what a diff puts aside goes there too, and away with it. The password travels through stdin. The child has no terminal, so nothing
 * can be asked of anybody.
 */
export function startSvn(
  svn: Svn,
  doing: string,
  command: 'info' | 'proplist' | 'log' | 'diff',
  options: readonly string[],
  target: string,
): Child {
  const config = configFolder(svn)
  const discard = (): void => rmSync(config, { recursive: true, force: true })
  let child: Child
  try {
    const args = [command, ...safely(svn, config), ...options, '--', target]
    child = startChild(programOf(svn, config), doing, ['-c', LIMITED, 'svn', ...args], {
      whole: svn.deadline,
    })
  } catch (error) {
    discard()
    throw error
  }
  if (svn.credentials !== null) child.write(`${svn.credentials.password}\n`)
  child.end()
  const stop: Child['stop'] = (why) => child.stop(why).finally(discard)
  return { ...child, stop }
}

/**
 * Over http svn 1.14 follows up to three redirects by itself, and gives whoever is there the password (seen with `info`
 * and `log`); no option forbids it. So every host but the one asked for lies behind a proxy that is not there: nothing
 * listens on the first port of loopback.
 */
function configFolder({ scratch, url }: Svn): string {
  const folder = mkdtempSync(join(scratch, 'svn-config-'))
  writeFileSync(
    join(folder, 'servers'),
    `[global]\nhttp-proxy-exceptions = ${hostOf(url)}\nhttp-proxy-host = 127.0.0.1\nhttp-proxy-port = 1\n`,
  )
  return folder
}

/**
 * Svn holds a message in memory four times before we can see its size, and 300 kB of gzip make one of 256 MiB. Honest
 * work takes 200 MiB: the diff of a file of 900,000 lines. Where there is no such limit (macOS) it runs without.
 */
const MAX_MEMORY_KIB = 1024 * 1024
const LIMITED = `ulimit -v ${MAX_MEMORY_KIB} 2>/dev/null; exec svn "$@"`
const NOT_STARTED = /^svn: (?:line )?\d+: exec: svn: (?:not found|permission denied)$/im

function safely({ credentials, trustUnknownCa }: Svn, config: string): string[] {
  const args = ['--non-interactive', '--no-auth-cache', '--config-dir', config]
  if (credentials !== null) args.push(`--username=${credentials.username}`, '--password-from-stdin')
  if (trustUnknownCa) args.push('--trust-server-cert-failures=unknown-ca')
  return args
}

function programOf({ surroundings, credentials, signal, url }: Svn, temporary: string): Program {
  const secrets = credentials === null ? [] : [credentials.password, encodeURIComponent(credentials.password)]
  const env: Record<string, string> = { PATH: surroundings.path, LC_ALL: 'C.UTF-8', TMPDIR: temporary }
  if (schemeOf(url) === 'https')
    for (const name of ['SSL_CERT_FILE', 'SSL_CERT_DIR'])
      if (surroundings.network?.[name] !== undefined) env[name] = surroundings.network[name]
  if (schemeOf(url) === 'svn+ssh') {
    env.SVN_SSH = 'ssh -q -oBatchMode=yes -oConnectTimeout=20 -oControlMaster=no -oPermitLocalCommand=no'
    if (surroundings.ssh !== undefined) env.HOME = surroundings.ssh.home
    if (surroundings.ssh?.authSock) env.SSH_AUTH_SOCK = surroundings.ssh.authSock
  }
  const remedy = 'install Subversion (apt install subversion) and have svn in PATH'
  return {
    file: '/bin/sh',
    env,
    signal,
    failure: (doing, stderr) =>
      NOT_STARTED.test(stderr)
        ? new SyncError('config', 'the svn program cannot be started', { hint: remedy })
        : failureOf(doing, stderr, secrets),
    remedy,
  }
}
