import { SyncError } from '../../domain/errors.ts'
import { oneLine } from '../../domain/one-line.ts'
import { canonicalAuthority } from '../authority.ts'

/** What anybody may name, and what the operator must have allowed: a tunnel runs ssh, a file is this machine's. */
export type Scheme = 'https' | 'http' | 'svn' | 'svn+ssh' | 'file'
export type Allowed = 'svn+ssh' | 'file'

const DEFAULT_PORT: Record<Scheme, number> = { https: 443, http: 80, svn: 3690, 'svn+ssh': 22, file: 0 }
const CREDENTIALS = 'leave the user out and set SVN_USERNAME and SVN_PASSWORD'
const FORMS = 'give https://host/path, http://host/path or svn://host/path'

/**
 * The canonical locator: `scheme://host[:port]/path`, escaped as svn itself escapes. What svn would take for an option,
 * a tunnel to run or a secret to keep never gets past here, so the rest of the room may trust a locator.
 */
export function locator(typed: string, allowed: readonly Allowed[]): string {
  if (typed === '') throw refuse('an empty repository address', FORMS)
  if (typed.length > MAX_TYPED) throw refuse('an address of more than 4096 characters', FORMS)
  if (CONTROL.test(typed)) throw refuse(`control characters in ${show(typed)}`, 'type the address again')
  const [, scheme = '', rest = ''] = /^([a-z][a-z0-9+.-]*):\/\/(.*)$/is.exec(typed) ?? []
  const known = scheme.toLowerCase()
  if (!isScheme(known)) throw refuse(`${show(typed)} has no scheme this source speaks`, FORMS)
  if ((known === 'svn+ssh' || known === 'file') && !allowed.includes(known))
    throw refuse(`${show(typed)}: ${known} is not allowed here`, FORMS)
  if (/[?#]/.test(rest)) throw refuse(`${show(typed)} has a query or a fragment`, 'leave it out')
  if (rest.includes('\\')) throw refuse(`${show(typed)} holds a backslash`, FORMS)

  const slash = rest.indexOf('/')
  const authority = slash < 0 ? rest : rest.slice(0, slash)
  const path = canonicalPath(slash < 0 ? '' : rest.slice(slash), typed)
  if (known === 'file') {
    if (authority !== '' && authority.toLowerCase() !== 'localhost')
      throw refuse(`${show(typed)} is not a file of this machine`, 'file:///absolute/path')
    if (path === '') throw refuse(`${show(typed)} names no repository`, 'file:///absolute/path')
    return `file://${path}`
  }
  return `${known}://${canonicalHost(authority, known, typed)}${path}`
}

const MAX_TYPED = 4096
const CONTROL = /[\p{Cc}\p{Zl}\p{Zp}\p{Surrogate}]/u

export function schemeOf(url: string): Scheme {
  return url.slice(0, url.indexOf(':')) as Scheme
}

/** The decoded path below the root of the repository: '' for the root itself, else `/trunk`. Null when not below. */
export function pathBelow(root: string, url: string): string | null {
  if (url === root) return ''
  return url.startsWith(`${root}/`) ? decodeURIComponent(url.slice(root.length)) : null
}

/** The addresses of the folders above, nearest first. */
export function foldersAbove(url: string): string[] {
  const start = schemeOf(url).length + '://'.length
  const above: string[] = []
  for (let end = url.lastIndexOf('/'); end > start; end = url.lastIndexOf('/', end - 1))
    above.push(url.slice(0, end))
  return above
}

/** The host of a locator, without its user, its port and the brackets of an IPv6 address. */
export function hostOf(url: string): string {
  const [, host = ''] = /^[^:]+:\/\/(?:[^@/]*@)?\[?([^/]*?)\]?(?::\d+)?(?:\/|$)/.exec(url) ?? []
  return host
}

/** Whether credentials given for `host` are for the server of this locator. */
export function isHostOf(host: string, url: string): boolean {
  const scheme = schemeOf(url)
  if (scheme === 'file') return false
  const [authority = ''] = url.slice(scheme.length + 3).split('/')
  try {
    return canonicalHost(host, scheme, host) === authority.slice(authority.indexOf('@') + 1)
  } catch {
    return false
  }
}

function isScheme(text: string): text is Scheme {
  return Object.hasOwn(DEFAULT_PORT, text)
}

function canonicalHost(authority: string, scheme: Scheme, typed: string): string {
  const found = canonicalAuthority(authority, {
    port: DEFAULT_PORT[scheme],
    mayHaveUser: scheme === 'svn+ssh',
  })
  if ('odd' in found) throw refuse(`${show(typed)} ${found.odd}`, found.isCredentials ? CREDENTIALS : FORMS)
  return found.canonical
}

function canonicalPath(path: string, typed: string): string {
  const segments = path.split('/').filter((segment) => segment !== '' && segment !== '.')
  return segments.map((segment) => `/${escaped(decoded(segment, typed))}`).join('')
}

function decoded(segment: string, typed: string): string {
  let text: string
  try {
    text = decodeURIComponent(segment)
  } catch {
    throw refuse(`${show(typed)} has a percent sign that escapes no UTF-8`, 'write a percent sign as %25')
  }
  if (CONTROL.test(text) || text.includes('/') || text === '..' || text === '.')
    throw refuse(`${show(typed)} holds characters no repository address has`, FORMS)
  return text
}

/** Exactly what svn leaves as it is (svn_uri__char_validity), so that its answers can be compared with ours. */
function escaped(segment: string): string {
  return encodeURIComponent(segment).replace(/%(24|26|2B|2C|3A|3D|40)/g, (code) => decodeURIComponent(code))
}

/** Typed text for a message: nothing before an @ and no query (either may hold a secret), nothing unprintable. */
function show(typed: string): string {
  const bare = typed.replace(/^([a-z0-9+.-]*:\/\/)?.*@/is, '$1***@').replace(/[?#].*$/s, '?***')
  return oneLine(JSON.stringify(bare))
}

function refuse(why: string, hint: string): SyncError {
  return new SyncError('usage', oneLine(why), { hint })
}
