import { createHash } from 'node:crypto'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type Fault, misbehave, spoiled } from './faults.ts'
import { type ApplicationLimit, applicationLimit, type Limiter, type RateLimit, throttle } from './limits.ts'
import type { Reply } from './paging.ts'
import { Project, type ProjectOptions } from './project.ts'
import { type GitLabRequest, readRequest } from './request.ts'
import { answer } from './routes.ts'
import { type Truth, truthOf } from './truth.ts'
import { type User, World } from './world.ts'

export interface GitLabOptions {
  /** What PRIVATE-TOKEN must be. Without it everybody is let in, but notes, discussions and approvals still want some token. */
  token?: string
  /** The server's clock, ms since 1970: rows, Date header and rate limit windows follow it. */
  now?: () => number
  /** What ids of discussions and the order of ties follow from. */
  seed?: number
  /** Of the times of merge requests and notes: `second` makes ties common, `us` hides microseconds as PostgreSQL does. */
  resolution?: 'second' | 'ms' | 'us'
  /** A relative URL root, as in `/gitlab`. */
  root?: string
}

type Unhook = () => void
export type Hook = (request: GitLabRequest) => unknown
/** `n` counts the requests of this server from 1. */
export type FaultPlan = (request: GitLabRequest, n: number) => Fault | null | undefined

/** A scripted GitLab. */
export interface GitLab {
  /** With the relative root, without a slash at the end. */
  url: string
  /** Changing it revokes the old one. */
  token: string | null
  requests: GitLabRequest[]
  /** Makes a project; its id and path default to new ones. */
  project(options?: ProjectOptions): Project
  /** The user of that name; unknown ones are made. */
  user(username: string): User
  /** Called before each request is answered, in turn and awaited: the place to change the world while it is being paged. */
  beforeEach(hook: Hook): Unhook
  /** The first plan that answers with a fault decides. */
  fault(plan: FaultPlan): Unhook
  rateLimit(limit: RateLimit): Unhook
  applicationLimit(limit: ApplicationLimit): Unhook
  truth(project: Project): Truth
  stop(): Promise<void>
}

/** Real HTTP on 127.0.0.1, a port of its own. */
export async function startGitLab(options: GitLabOptions = {}): Promise<GitLab> {
  const { now = Date.now, root = '', seed = 1, resolution = 'ms' } = options
  const world = new World(now, seed, resolution)
  const projects: Project[] = []
  const [hooks, plans, limiters]: [Set<Hook>, Set<FaultPlan>, Set<Limiter>] = [
    new Set(),
    new Set(),
    new Set(),
  ]
  const requests: GitLabRequest[] = []

  const find = (named: string): Project | null => {
    const path = named.toLowerCase()
    if (/^\d+$/.test(named)) return projects.find(({ id }) => id === Number(named)) ?? null
    return (
      projects.find((project) => !project.deleted && project.path.toLowerCase() === path) ??
      projects.find(({ formerPaths }) => formerPaths.has(named)) ??
      null
    )
  }
  const hooked = <T>(set: Set<T>, one: T): Unhook => {
    set.add(one)
    return () => set.delete(one)
  }

  async function serve(message: IncomingMessage, response: ServerResponse): Promise<void> {
    const at = world.now()
    const request = readRequest(message, requests.length + 1, at, root)
    requests.push(request)
    const given = message.headers['private-token']
    for (const hook of [...hooks]) await hook(request)

    const limits: Record<string, string> = {}
    let refused: Reply | null = null
    for (const limiter of limiters) {
      const said = limiter(request, at)
      if ('refused' in said) refused ??= said.refused
      else Object.assign(limits, said.headers)
    }
    const truth = (page?: number): Reply => {
      if (refused !== null) return refused
      const query = new URLSearchParams(request.query)
      if (page !== undefined) query.set('page', String(page))
      const served = {
        url: world.url,
        token: gitlab.token,
        given: given === undefined ? null : String(given),
        find,
      }
      const reply = answer({ ...request, query }, served)
      return { ...reply, headers: { ...reply.headers, ...limits } }
    }
    let fault: Fault | null = null
    for (const plan of plans) fault ??= plan(request, request.n) ?? null
    if (fault !== null && 'delayMs' in fault) {
      const { delayMs } = fault
      await new Promise((later) => setTimeout(later, delayMs))
      fault = null
    }
    if (fault === null) return send(message, response, request, truth(), null)
    const changed = spoiled(fault, Number(request.query.get('page') ?? 1), truth)
    if (changed !== null) return send(message, response, request, changed.reply, changed.body)
    if (!('hang' in fault) && !('reset' in fault)) request.status = 200
    await misbehave(fault, response, truth)
  }

  function send(
    message: IncomingMessage,
    response: ServerResponse,
    request: GitLabRequest,
    reply: Reply,
    bytes: Buffer | null,
  ): void {
    const body = bytes ?? Buffer.from(reply.body)
    const etag = `W/"${createHash('md5').update(body).digest('hex')}"`
    const same = reply.status === 200 && message.headers['if-none-match'] === etag
    request.status = same ? 304 : reply.status
    const headers = {
      'content-type': 'application/json',
      'cache-control': 'max-age=0, private, must-revalidate',
      vary: 'Origin',
      'x-content-type-options': 'nosniff',
      'x-gitlab-meta': '{"correlation_id":"0","version":"1"}',
      ...(reply.status === 200 ? { etag } : {}),
      date: new Date(world.now()).toUTCString(),
      'content-length': same ? '0' : String(body.length),
      ...reply.headers,
    }
    response.sendDate = false
    for (const [name, value] of Object.entries(headers)) if (value !== null) response.setHeader(name, value)
    response.writeHead(request.status)
    response.end(same ? '' : body)
  }

  const server = createServer({ keepAliveTimeout: 30_000 }, (message, response) => {
    message.resume()
    serve(message, response).catch((error: unknown) => {
      process.stderr.write(`scripted GitLab: ${error instanceof Error ? error.stack : String(error)}\n`)
      response.socket?.destroy()
    })
  })
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening))
  world.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}${root}`

  const gitlab: GitLab = {
    url: world.url,
    token: options.token ?? null,
    requests,
    project: (wanted = {}) => {
      const project = new Project(world, wanted, options.token === undefined ? 'public' : 'private')
      projects.push(project)
      return project
    },
    user: (name) => world.user(name),
    beforeEach: (hook) => hooked(hooks, hook),
    fault: (plan) => hooked(plans, plan),
    rateLimit: (limit) => hooked(limiters, throttle(limit)),
    applicationLimit: (limit) => hooked(limiters, applicationLimit(limit)),
    truth: truthOf,
    stop: async () => {
      const closed = new Promise((done) => server.close(done))
      server.closeAllConnections()
      await closed
    },
  }
  return gitlab
}
