import type { IncomingMessage } from 'node:http'

const ROUTES = {
  version: /^\/version$/,
  project: /^\/projects\/([^/]+)$/,
  branches: /^\/projects\/([^/]+)\/repository\/branches$/,
  tags: /^\/projects\/([^/]+)\/repository\/tags$/,
  commits: /^\/projects\/([^/]+)\/repository\/commits$/,
  commit: /^\/projects\/([^/]+)\/repository\/commits\/([^/]+)$/,
  mergeBase: /^\/projects\/([^/]+)\/repository\/merge_base$/,
  refs: /^\/projects\/([^/]+)\/repository\/commits\/([^/]+)\/refs$/,
  diff: /^\/projects\/([^/]+)\/repository\/commits\/([^/]+)\/diff$/,
  mrs: /^\/projects\/([^/]+)\/merge_requests$/,
  mr: /^\/projects\/([^/]+)\/merge_requests\/(\d+)$/,
  discussions: /^\/projects\/([^/]+)\/merge_requests\/(\d+)\/discussions$/,
  notes: /^\/projects\/([^/]+)\/merge_requests\/(\d+)\/notes$/,
  approvals: /^\/projects\/([^/]+)\/merge_requests\/(\d+)\/approvals$/,
  states: /^\/projects\/([^/]+)\/merge_requests\/(\d+)\/resource_state_events$/,
}

export type Route = keyof typeof ROUTES | 'unknown'

/** A request as it came; `gitlab.requests` keeps them all, oldest first. */
export interface GitLabRequest {
  /** The n-th of this server, from 1. */
  n: number
  method: string
  /** As sent, from `/api/v4` on, percent signs and all. */
  path: string
  query: URLSearchParams
  /** Tokens are replaced by their length: `[20 characters]`. */
  headers: Record<string, string>
  /** By the server's clock, ms. */
  at: number
  /** What it asks for. */
  route: Route
  /** The project as the path names it, decoded. */
  project: string | null
  /** The iid or sha in the path. */
  of: string | null
  /** What was answered; null while it is not, and for ever where the connection was cut first. */
  status: number | null
}

const SECRET = new Set(['private-token', 'authorization', 'job-token', 'cookie'])

/** `root` is the relative URL root of the instance. */
export function readRequest(message: IncomingMessage, n: number, at: number, root: string): GitLabRequest {
  const url = message.url ?? '/'
  const mark = url.indexOf('?')
  const whole = mark < 0 ? url : url.slice(0, mark)
  const path =
    root !== '' && whole.startsWith(`${root}/`) ? whole.slice(root.length) : root === '' ? whole : ''
  const headers: Record<string, string> = {}
  for (const [name, value] of Object.entries(message.headers)) {
    const text = String(value)
    headers[name] = SECRET.has(name) ? `[${text.length} characters]` : text
  }
  const query = new URLSearchParams(mark < 0 ? '' : url.slice(mark + 1))
  const request = { n, method: message.method ?? 'GET', path, query, headers, at, status: null }
  const below = path.startsWith('/api/v4/') ? path.slice(7) : ''
  for (const [route, form] of Object.entries(ROUTES)) {
    const found = form.exec(below)
    if (found === null) continue
    const [project, of] = [found[1], found[2]].map((part) => (part === undefined ? null : decoded(part)))
    return { ...request, route: route as Route, project: project ?? null, of: of ?? null }
  }
  return { ...request, route: 'unknown', project: null, of: null }
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part)
  } catch {
    return part
  }
}
