import { mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { SyncError } from '../../domain/errors.ts'
import { type Child, type Program, startChild } from '../child.ts'
import type { Access } from '../source.ts'
import { failureOf } from './failure.ts'
import { isHostOf, schemeOf } from './locate.ts'

/** What the program gives its svn children of its own surroundings. Nothing else is inherited. */
export interface Surroundings {
  path: string
  /** Where ssh finds its keys; used for svn+ssh alone. */
  ssh?: { home: string; authSock: string | null }
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
 * Every call has an empty config folder of its own: no tunnels, no stored passwords, no certificates anybody accepted,
 * no proxies, and with it svn reads none of the machine's either. The password travels through stdin. The child has no
 * terminal, so nothing can be asked of anybody.
 */
export function startSvn(
  svn: Svn,
  doing: string,
  command: 'info' | 'proplist' | 'log' | 'diff',
  options: readonly string[],
  target: string,
): Child {
  const config = mkdtempSync(join(svn.scratch, 'svn-config-'))
  const discard = (): void => rmSync(config, { recursive: true, force: true })
  let child: Child
  try {
    const args = [command, ...safely(svn, config), ...options, '--', target]
    child = startChild(programOf(svn), doing, args, { whole: svn.deadline })
  } catch (error) {
    discard()
    throw error
  }
  if (svn.credentials !== null) child.write(`${svn.credentials.password}\n`)
  child.end()
  const stop: Child['stop'] = (why) => child.stop(why).finally(discard)
  return { ...child, stop }
}

function safely({ credentials, trustUnknownCa }: Svn, config: string): string[] {
  const args = ['--non-interactive', '--no-auth-cache', '--config-dir', config]
  if (credentials !== null) args.push(`--username=${credentials.username}`, '--password-from-stdin')
  if (trustUnknownCa) args.push('--trust-server-cert-failures=unknown-ca')
  return args
}

function programOf({ surroundings, credentials, signal, url }: Svn): Program {
  const secrets = credentials === null ? [] : [credentials.password, encodeURIComponent(credentials.password)]
  const env: Record<string, string> = { PATH: surroundings.path, LC_ALL: 'C.UTF-8' }
  if (schemeOf(url) === 'svn+ssh') {
    env.SVN_SSH = 'ssh -q -oBatchMode=yes -oConnectTimeout=20 -oControlMaster=no -oPermitLocalCommand=no'
    if (surroundings.ssh !== undefined) env.HOME = surroundings.ssh.home
    if (surroundings.ssh?.authSock) env.SSH_AUTH_SOCK = surroundings.ssh.authSock
  }
  return {
    file: 'svn',
    env,
    signal,
    failure: (doing, stderr) => failureOf(doing, stderr, secrets),
    remedy: 'install Subversion (apt install subversion) and have svn in PATH',
  }
}
