import { SyncError } from '../../domain/errors.ts'
import { oneLine } from '../../domain/one-line.ts'
import { maskUserinfo } from '../../domain/repo.ts'

/** Where a project is: what its API path is made of. */
export interface Place {
  /** `https://host`, or `https://host/root` where GitLab lives below a path. */
  instance: string
  /** Its number, or its full path. */
  project: number | string
}

export interface Instances {
  home: string | null
  instances: readonly string[]
}

const FORMS = 'give a project id, group/project, or the https URL of the project'
const MAX_TYPED = 1024
// What GitLab lets a group or a project be called; a dot or dash cannot come first.
const PATH = /^[\p{L}\p{N}_][\p{L}\p{N}_.-]*(\/[\p{L}\p{N}_][\p{L}\p{N}_.-]*)+$/u
const BY_NUMBER = /^projects\/(\d{1,15})$/

/**
 * The canonical locator of a project: `<instance>/group/project`, or `<instance>/projects/<id>` where only its number was
 * given (no group can be called `projects`). Only configured instances are ever contacted, so a URL of any other host is
 * refused here, and the rest of the program may trust a locator.
 */
export function locate(typed: string, { home, instances }: Instances): string {
  if (typed.length > MAX_TYPED || /[\p{Cc}\p{Zl}\p{Zp}\p{Surrogate}\s\\]/u.test(typed))
    throw refuse(`${shown(typed)} is no project`, FORMS)
  if (/^[a-z][a-z0-9+.-]*:\/\//i.test(typed)) return fromUrl(typed, instances)

  if (home === null)
    throw new SyncError('config', `${shown(typed)} names no GitLab`, {
      hint: 'set GITLAB_URL or [scm.gitlab] url, or give the whole URL of the project',
    })
  if (/^\d{1,15}$/.test(typed) && Number(typed) > 0) return `${home}/projects/${Number(typed)}`
  const path = typed.replace(/^\/+|\/+$/g, '').replace(/\.git$/, '')
  if (!isPath(path)) throw refuse(`${shown(typed)} is no path of a project`, FORMS)
  return `${home}/${path}`
}

/** A locator made by `locate`, taken apart; refused when its instance is no longer configured. */
export function placeOf(locator: string, { instances }: Pick<Instances, 'instances'>): Place {
  const instance = instanceOf(new URL(locator), instances)
  if (instance === null) throw strange(new URL(locator).host)
  const path = decodeURIComponent(locator.slice(instance.length + 1))
  const number = BY_NUMBER.exec(path)?.[1]
  return { instance, project: number === undefined ? path : Number(number) }
}

function fromUrl(typed: string, instances: readonly string[]): string {
  const url = URL.canParse(typed) ? new URL(typed) : null
  if (url === null) throw refuse(`${shown(typed)} is no URL`, FORMS)
  if (url.protocol !== 'https:' && url.protocol !== 'http:')
    throw refuse(`${shown(typed)} is neither https nor http`, FORMS)
  if (url.username !== '' || url.password !== '')
    throw refuse(`${shown(typed)} carries a user or a password`, 'leave it out and set GITLAB_TOKEN')
  if (url.search !== '' || url.hash !== '')
    throw refuse(`${shown(typed)} has a query or a fragment`, 'leave it out')

  const instance = instanceOf(url, instances)
  if (instance === null) throw strange(url.host)
  const path = decoded(url.href.slice(instance.length + 1))
    ?.replace(/\/+$/, '')
    .replace(/\.git$/, '')
  if (path !== undefined && BY_NUMBER.test(path)) return `${instance}/${path}`
  if (path === undefined || !isPath(path)) throw refuse(`${shown(typed)} is no address of a project`, FORMS)
  return `${instance}/${path}`
}

/** The configured instance a URL lies in: the longest, where one lives below another. */
function instanceOf(url: URL, instances: readonly string[]): string | null {
  const within = instances.filter((instance) => url.href.startsWith(`${instance}/`))
  return within.sort((a, b) => b.length - a.length)[0] ?? null
}

function isPath(path: string): boolean {
  return PATH.test(path) && !path.startsWith('projects/')
}

function decoded(path: string): string | undefined {
  try {
    return decodeURIComponent(path)
  } catch {
    return undefined
  }
}

function strange(host: string): SyncError {
  return new SyncError('config', oneLine(`${host} is no GitLab of the configuration`), {
    hint: `add [scm.gitlab.instances.NAME] with url = "https://${oneLine(host)}", or set GITLAB_URL`,
  })
}

/** Typed text for a message: nothing before an @ and no query (either may hold a secret), nothing unprintable. */
function shown(typed: string): string {
  return oneLine(JSON.stringify(maskUserinfo(typed.slice(0, 200)).replace(/[?#].*$/s, '?***')))
}

function refuse(why: string, hint: string): SyncError {
  return new SyncError('usage', oneLine(why), { hint })
}
