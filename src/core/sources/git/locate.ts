import { realpathSync } from 'node:fs'
import { basename, dirname, isAbsolute } from 'node:path'
import { fileURLToPath } from 'node:url'
import { SyncError } from '../../domain/errors.ts'
import { oneLine } from '../../domain/one-line.ts'
import { canonicalAuthority } from '../authority.ts'

export type Scheme = 'https' | 'http' | 'ssh' | 'git'

const DEFAULT_PORT: Record<Scheme, number> = { https: 443, http: 80, ssh: 22, git: 9418 }
const CREDENTIALS =
  'leave the user out and set [scm.git] username and password_file, or SCM_GIT_USERNAME and SCM_GIT_PASSWORD'
const FORMS = 'give a local path, https://host/path, ssh://host/path or user@host:path'

/**
 * The canonical locator: an absolute real path, or `scheme://[user@]host[:port]/path`. What git would take for an
 * option, a helper to run (`ext::sh -c …`) or a secret to keep never gets past here, so the rest of the room may
 * trust a locator. Queries and fragments are refused: git would append `/info/refs` after them, and a query is where
 * people paste tokens. `user@host:path` becomes `ssh://user@host/path`: forges treat the two alike; on a plain ssh
 * server where the path is relative to the home folder, `ssh://host/~/path` says so.
 */
export function locate(typed: string): string {
  if (typed === '') throw refuse('an empty repository address', FORMS)
  if (typed.length > MAX_TYPED) throw refuse('an address of more than 4096 characters', FORMS)
  if (CONTROL.test(typed)) throw refuse(`control characters in ${show(typed)}`, 'type the address again')
  if (typed.startsWith('-'))
    throw refuse(`${show(typed)} looks like an option`, 'write ./ before a path that begins with a dash')
  if (/^[^/]*::/.test(typed))
    throw refuse(`${show(typed)} asks git to run a helper program, which is never done`, FORMS)

  const scheme = /^([a-z][a-z0-9+.-]*):\/\//i.exec(typed)?.[1]?.toLowerCase()
  switch (scheme) {
    case undefined:
      break
    case 'file':
      return localPath(pathOfFileUrl(typed), typed)
    case 'https':
    case 'http':
    case 'ssh':
    case 'git':
      return remote(scheme, typed.slice(scheme.length + 3), typed)
    default:
      throw refuse(`${show(typed)} has a scheme this source does not speak`, FORMS)
  }

  // Git's own rule: a colon before the first slash makes it host:path.
  const scp = /^([^/:]+):(.*)$/.exec(typed)
  if (scp === null) return localPath(typed, typed)
  const [, authority = '', path = ''] = scp
  if (!authority.includes('@') && /^[^/]*@/.test(path))
    throw refuse(`${show(typed)} carries a user or a password`, CREDENTIALS)
  if (path.startsWith('-') || path === '') throw refuse(`${show(typed)} has no usable path`, FORMS)
  return remote('ssh', `${authority}/${path.replace(/^\/+/, '')}`, typed)
}

const MAX_TYPED = 4096
const CONTROL = /[\p{Cc}\p{Zl}\p{Zp}\p{Surrogate}]/u

/** Whether a locator made by `locate` is a path of this machine. */
export function isLocal(locator: string): boolean {
  return isAbsolute(locator)
}

export function schemeOf(locator: string): Scheme {
  return locator.slice(0, locator.indexOf(':')) as Scheme
}

function localPath(path: string, typed: string): string {
  let real: string
  try {
    real = realpathSync(path)
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code
    if (code === 'EACCES' || code === 'EPERM')
      throw new SyncError('permission', `no permission to look at ${show(typed)}`, {
        cause,
        hint: 'let the worker read the repository',
      })
    throw new SyncError('not_found', `no such path: ${show(typed)}`, {
      hint: 'check the spelling; a number or a bare name is not an address',
      cause,
    })
  }
  if (CONTROL.test(real)) throw refuse(`control characters in ${show(real)}`, 'rename the folder')
  // /x and /x/.git are one repository; its name is the folder people see.
  return basename(real) === '.git' ? dirname(real) : real
}

function pathOfFileUrl(typed: string): string {
  let path: string
  try {
    path = fileURLToPath(typed)
  } catch {
    throw refuse(`${show(typed)} is not a file of this machine`, 'file:///absolute/path')
  }
  if (CONTROL.test(path)) throw refuse(`control characters in ${show(typed)}`, 'type the address again')
  if (/[?#]/.test(typed)) throw refuse(`${show(typed)} has a query or a fragment`, 'leave it out')
  return path
}

function remote(scheme: Scheme, rest: string, typed: string): string {
  if (/[?#]/.test(rest)) throw refuse(`${show(typed)} has a query or a fragment`, 'leave it out')
  if (/[\\\s]/.test(rest) || /%(0.|1.|7f)/i.test(rest))
    throw refuse(`${show(typed)} holds characters no repository address has`, FORMS)

  const slash = rest.indexOf('/')
  const authority = slash < 0 ? rest : rest.slice(0, slash)
  const path = (slash < 0 ? '' : rest.slice(slash)).replace(/\/+$/, '')
  if (path === '') throw refuse(`${show(typed)} names a host and no repository`, FORMS)
  if (/^\/+(-|%2d)/i.test(path)) throw refuse(`${show(typed)} has a path that looks like an option`, FORMS)

  const found = canonicalAuthority(authority, {
    port: DEFAULT_PORT[scheme],
    mayHaveUser: scheme === 'ssh',
  })
  if ('odd' in found) throw refuse(`${show(typed)} ${found.odd}`, found.isCredentials ? CREDENTIALS : FORMS)
  const canonical = `${scheme}://${found.canonical}${path}`
  return scheme === 'ssh' || scheme === 'git' ? canonical : throughUrl(canonical, typed)
}

/** Dots, decimal addresses and percent signs as every HTTP client sees them, so that git and we mean one host. */
function throughUrl(canonical: string, typed: string): string {
  const url = URL.canParse(canonical) ? new URL(canonical) : null
  const path = url?.pathname.replace(/\/+$/, '') ?? ''
  if (url === null || path === '') throw refuse(`${show(typed)} is no address`, FORMS)
  return url.origin + path
}

/** Typed text for a message: nothing before an @ and no query (either may hold a secret), nothing unprintable. */
function show(typed: string): string {
  const bare = typed.replace(/^([a-z0-9+.-]*:\/\/)?.*@/is, '$1***@').replace(/[?#].*$/s, '?***')
  return oneLine(JSON.stringify(bare))
}

function refuse(why: string, hint: string): SyncError {
  return new SyncError('usage', oneLine(why), { hint })
}
