import type { GraphCommit } from './history.ts'
import * as json from './json.ts'
import { dateOf, paged, Refusal, type Reply, refuse } from './paging.ts'
import type { Project } from './project.ts'
import type { GitLabRequest } from './request.ts'
import type { Mr, Note } from './reviews.ts'

export interface Served {
  /** With the relative root, without a slash at the end. */
  url: string
  /** What PRIVATE-TOKEN must be; null lets everybody in. */
  token: string | null
  /** The token that came with the request. */
  given: string | null
  find: (named: string) => Project | null
}

const ok = (body: string): Reply => ({ status: 200, headers: {}, body })

/** What GitLab answers, in the order in which it looks: token, project, permission, thing. */
export function answer(request: GitLabRequest, by: Served): Reply {
  try {
    return found(request, by)
  } catch (error) {
    if (error instanceof Refusal) return error.reply
    throw error
  }
}

function found(request: GitLabRequest, by: Served): Reply {
  if (request.route === 'unknown') throw new Refusal(404, { error: '404 Not Found' })
  if (request.method !== 'GET') throw new Refusal(405, { error: '405 Method Not Allowed' })
  if (by.given !== null && by.token !== null && by.given !== by.token) throw refuse(401, 'Unauthorized')
  const anonymous = by.given === null
  if (request.route === 'version') {
    if (anonymous && by.token !== null) throw refuse(401, 'Unauthorized')
    return ok('{"version":"17.5.2","revision":"f2a6b7c1d3e","kas":{"enabled":false},"enterprise":true}')
  }
  if (anonymous && NEEDS_TOKEN.has(request.route)) throw refuse(401, 'Unauthorized')
  const named = request.project as string
  const project = by.find(named)
  if (project === null || project.deleted) throw refuse(404, 'Project Not Found')
  if (anonymous && by.token !== null && project.visibility === 'private')
    throw refuse(404, 'Project Not Found')
  if (project.formerPaths.has(named) && project.path !== named) return moved(request, project, by.url)
  if (request.route === 'project') return ok(json.projectJson(project, request.path))
  return OF_REPOSITORY.has(request.route)
    ? ofRepository(request, project, by)
    : ofReviews(request, project, by)
}

const NEEDS_TOKEN = new Set(['notes', 'discussions', 'approvals'])
const OF_REPOSITORY = new Set(['branches', 'tags', 'commits', 'commit', 'refs', 'mergeBase', 'diff'])

/** GitLab 16.7 and later. */
function moved(request: GitLabRequest, project: Project, url: string): Reply {
  const rest = request.path
    .split('/')
    .slice(5)
    .map((part) => `/${part}`)
    .join('')
  const query = request.query.toString()
  const location = `${url}/api/v4/projects/${project.id}${rest}${query === '' ? '' : `?${query}`}`
  const body = `This resource has been moved permanently to ${location}`
  return { status: 301, headers: { location, 'content-type': 'text/plain' }, body }
}

function ofRepository(request: GitLabRequest, project: Project, { url }: Served): Reply {
  if (project.repositoryAccess === 'disabled')
    throw refuse(
      project.repositoryOffStatus,
      project.repositoryOffStatus === 403 ? 'Forbidden' : 'Repository Not Found',
    )
  const list = { total: project.maxTotal, offsetCap: project.offsetCap, type: 'Branch' }
  switch (request.route) {
    case 'branches': {
      const search = request.query.get('search') ?? ''
      const rows = [...project.branches.keys()].filter((name) => name.includes(search)).sort()
      const merged = mergedInto(project)
      const write = (name: string): string => json.branchJson(project, name, merged(name))
      return paged(request, url, { ...list, rows, write })
    }
    case 'tags':
      return paged(request, url, {
        ...list,
        rows: tagsInOrder(request, project),
        write: (name) => json.tagJson(project, name),
      })
    case 'commits':
      return commitList(request, project, url)
    case 'mergeBase':
      return mergeBase(request, project)
    default: {
      const sha = project.resolve(request.of as string)
      if (sha === null) throw refuse(404, 'Commit Not Found')
      if (request.route === 'commit') return ok(json.withStats(project, sha))
      if (request.route === 'refs')
        return paged(request, url, { ...list, rows: refsOf(project, sha), write: JSON.stringify })
      const rows = json.filesOf(project.commitOf(sha) as GraphCommit)
      return paged(request, url, { ...list, rows, write: json.diffJson })
    }
  }
}

/** A head that the default branch has too is "merged", unless it is the very same commit. */
function mergedInto(project: Project): (name: string) => boolean {
  const head = project.branches.get(project.defaultBranch)
  const inside = head === undefined ? new Set() : project.history.reachable([head])
  return (name) => project.branches.get(name) !== head && inside.has(project.branches.get(name) as string)
}

function mergeBase(request: GitLabRequest, project: Project): Reply {
  const refs = request.query.getAll('refs[]')
  const shas = refs.map((ref) => project.resolve(ref))
  if (shas.includes(null)) throw refuse(400, `Could not find ref: ${refs[shas.indexOf(null)]}`)
  const [ours, theirs] = (shas as string[]).map((sha) => project.history.reachable([sha]))
  const shared = [...(ours as Set<string>)].filter((sha) => theirs?.has(sha))
  const best = shared.find((sha) => !shared.some((other) => project.commitOf(other)?.parents.includes(sha)))
  if (best === undefined) throw refuse(404, 'Merge Base Not Found')
  return ok(json.commitJson(project, best))
}

/** The branches and tags that lead to a commit. */
function refsOf(project: Project, sha: string): { type: string; name: string }[] {
  const leads = (head: string | null): boolean => head !== null && project.history.reachable([head]).has(sha)
  const branches = [...project.branches].filter(([, head]) => leads(head))
  const tags = [...project.tags].filter(([, tag]) => leads(tag.sha))
  return [
    ...branches.map(([name]) => ({ type: 'branch', name })),
    ...tags.map(([name]) => ({ type: 'tag', name })),
  ]
}

/** Newest first, or by name. */
function tagsInOrder({ query }: GitLabRequest, project: Project): string[] {
  const names = [...project.tags.keys()].sort()
  const at = (name: string): number => {
    const sha = project.tags.get(name)?.sha
    return sha ? (project.commitOf(sha)?.committer.epochSeconds ?? 0) : 0
  }
  const sorted = query.get('order_by') === 'name' ? names : names.sort((a, b) => at(a) - at(b))
  return query.get('sort') === 'asc' ? sorted : sorted.reverse()
}

function commitList(request: GitLabRequest, project: Project, url: string): Reply {
  const { query } = request
  if (project.branches.size === 0) throw refuse(404, 'Repository Not Found')
  const all = query.get('all') === 'true'
  const range = all
    ? { heads: [...project.heads(), ...project.kept].sort(), not: [] }
    : rangeOf(project, query)
  if (range === null && project.unknownRef !== 'empty')
    throw refuse(
      project.unknownRef,
      project.unknownRef === 404 ? 'Commit Not Found' : 'Internal Server Error',
    )
  const [since, until] = [dateOf(request, 'since'), dateOf(request, 'until')]
  const rows =
    range === null
      ? []
      : project.history.log({
          ...range,
          since: since === null ? null : Math.ceil(since / 1000),
          until: until === null ? null : Math.floor(until / 1000),
          firstParent: query.get('first_parent') === 'true',
          topo: query.get('order') === 'topo',
        })
  const write = query.get('with_stats') === 'true' ? json.withStats : json.commitJson
  const { offsetCap } = project
  return paged(request, url, {
    rows,
    write: (sha) => write(project, sha),
    total: 'never',
    offsetCap,
    type: 'Commit',
  })
}

function rangeOf(project: Project, query: URLSearchParams): { heads: string[]; not: string[] } | null {
  const name = query.get('ref_name') || project.defaultBranch
  const dots = name.indexOf('..')
  const [from, to] = dots < 0 ? [null, name] : [name.slice(0, dots), name.slice(dots + 2)]
  const head = project.resolve(to || 'HEAD')
  const not = from === null ? [] : [project.resolve(from || 'HEAD')]
  return head === null || not.includes(null) ? null : { heads: [head], not: not as string[] }
}

function ofReviews(request: GitLabRequest, project: Project, { url }: Served): Reply {
  if (project.mergeRequestsAccess === 'disabled') throw refuse(403, 'Forbidden')
  const list = { total: project.maxTotal, offsetCap: project.offsetCap, type: 'MergeRequest' }
  if (request.route === 'mrs')
    return paged(request, url, {
      ...list,
      rows: mrList(request, project),
      write: (mr) => json.mrJson(project, mr),
    })
  const mr = project.mrs.get(Number(request.of))
  if (mr === undefined) throw new Refusal(404, { message: '404 Not found' })
  switch (request.route) {
    case 'mr':
      return ok(json.oneMrJson(project, mr))
    case 'approvals':
      return ok(json.approvalsJson(project, mr))
    case 'states':
      return paged(request, url, {
        ...list,
        rows: mr.states,
        write: (event) => json.stateEventJson(project, mr, event),
      })
    case 'discussions': {
      const threads = new Map<string, Note[]>()
      for (const note of mr.notes)
        threads.set(note.discussion, [...(threads.get(note.discussion) ?? []), note])
      const write = (notes: Note[]): string | null => json.discussionJson(project, mr, notes)
      return paged(request, url, { ...list, rows: [...threads.values()], write })
    }
    default: {
      const at = request.query.get('order_by') === 'updated_at' ? 'updatedAt' : 'createdAt'
      const rows = [...mr.notes].sort((a, b) => a[at] - b[at] || a.id - b.id)
      if (request.query.get('sort') !== 'asc') rows.reverse()
      const write = (note: Note): string | null => (note.hidden ? null : json.noteJson(project, mr, note))
      return paged(request, url, { ...list, rows, write })
    }
  }
}

function mrList(request: GitLabRequest, project: Project): Mr[] {
  const { query } = request
  const iids = new Set([...query.getAll('iids[]'), ...query.getAll('iids')].map(Number))
  const state = query.get('state') ?? 'all'
  const [source, target] = [query.get('source_branch'), query.get('target_branch')]
  const [createdAfter, createdBefore] = [dateOf(request, 'created_after'), dateOf(request, 'created_before')]
  const [updatedAfter, updatedBefore] = [dateOf(request, 'updated_after'), dateOf(request, 'updated_before')]
  const rows = project
    .inOrder(query.get('order_by') === 'updated_at' ? 'updated' : 'created')
    .filter(
      (mr) =>
        (iids.size === 0 || iids.has(mr.iid)) &&
        (state === 'all' || mr.state === state) &&
        (source === null || mr.source === source) &&
        (target === null || mr.target === target) &&
        (updatedAfter === null || mr.updatedAt >= updatedAfter) &&
        (updatedBefore === null || mr.updatedAt + project.hiddenMicros(mr) / 1000 <= updatedBefore) &&
        (createdAfter === null || mr.createdAt >= createdAfter) &&
        (createdBefore === null || mr.createdAt <= createdBefore),
    )
  return query.get('sort') === 'asc' ? rows : rows.reverse()
}
