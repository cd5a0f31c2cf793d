import type { Failed } from './failure.ts'

/** Where the API of an instance begins. What of its address is no place (userinfo, query) falls away. */
export function apiRoot(instance: string): URL {
  const { origin, pathname } = new URL(instance)
  return new URL(`${origin}${pathname.replace(/\/+$/, '')}/api/v4/`)
}

export function isWithin(root: URL, url: URL): boolean {
  return (
    url.origin === root.origin && url.pathname.startsWith(root.pathname) && url.username + url.password === ''
  )
}

/** Where a redirect leads, when that is still the API of the instance; the token goes nowhere else. */
export function redirected(root: URL, from: URL, status: number, location: string | null): URL | Failed {
  const to = location === null ? null : resolved(location, from)
  const sends = [301, 302, 303, 307, 308].includes(status)
  if (to !== null && sends && isWithin(root, to)) return to

  const failed = { status, again: false }
  if (to !== null && to.hostname === root.hostname && root.protocol === 'http:' && to.protocol === 'https:') {
    return {
      ...failed,
      kind: 'config',
      why: `${status}: it speaks https`,
      hint: `set its url to ${to.origin}`,
    }
  }
  const where = to === null ? 'nowhere' : `to ${to.origin}, which is not the API of this instance`
  return {
    ...failed,
    kind: 'upstream',
    why: `${status}: protocol: it redirects ${where}`,
    hint: 'set the url of the instance to where it lives; a redirect elsewhere is not followed',
  }
}

function resolved(location: string, from: URL): URL | null {
  try {
    return new URL(location, from)
  } catch {
    return null
  }
}
