import { SyncError } from '../../domain/errors.ts'
import type { Access, Ask, Page, Reading, Resume, Source, Survey } from '../source.ts'
import { commitPages, surveyCommits } from './commits/commit-pages.ts'
import { type Instance, makeClient } from './http/client.ts'
import { type Gate, makeGate } from './http/gate.ts'
import type { HttpLimits } from './http/wait.ts'
import { type Instances, locate, placeOf } from './locate.ts'
import { auditOf } from './mrs/audit.ts'
import { mrPages } from './mrs/mr-pages.ts'
import { reviewPages } from './mrs/review-pages.ts'
import { surveyUpdates } from './mrs/updates.ts'
import type { Opened } from './opened.ts'
import { lookUpProject, openProject } from './project.ts'
import type { Project } from './records/project.ts'

export interface GitLabOptions extends Instances {
  tokenFor(instance: string, tenantId: string): Pick<Instance, 'token' | 'renewToken'>
  limits: HttpLimits
  /** Requests side by side to one instance, at most. */
  concurrency: number
  commitsVia: 'api' | 'git'
  /** Reads commits where they come through git. */
  git: Source
}

/** Projects of GitLab through its REST API v4; their commits through git where that is wanted. */
export function gitlabSource(options: GitLabOptions): Source {
  const gates = new Map<string, Gate>()
  const gateOf = (instance: string): Gate => {
    const gate = gates.get(instance) ?? makeGate({ most: options.concurrency })
    gates.set(instance, gate)
    return gate
  }

  const open = async (access: Access): Promise<Opened> => {
    const place = placeOf(access.locator, options)
    const client = makeClient({
      instance: { url: place.instance, ...options.tokenFor(place.instance, access.tenantId) },
      limits: options.limits,
      gate: gateOf(place.instance),
      budget: access.budget,
      signal: access.signal,
    })
    return { access, place, client, project: await openProject(client, place, access) }
  }

  /** The same project as a git repository; null where its commits are not read that way. */
  const asGit = async ({ access, place, project }: Opened): Promise<Access | null> => {
    if (options.commitsVia !== 'git' || project.state === 'empty' || project.state === 'repository_off')
      return null
    const password = await options.tokenFor(place.instance, access.tenantId).token()
    return {
      ...access,
      locator: options.git.locate(`${place.instance}/${project.path}.git`),
      credentials:
        password === null ? null : { host: new URL(place.instance).host, username: 'oauth2', password },
    }
  }

  return {
    kind: 'gitlab',
    jobs: { commits: 'heads', mrs: 'updates', reviews: 'updates' },
    locate: (typed) => locate(typed, options),
    locatesNumbers: options.home !== null,
    survey: async (access, asks) => {
      const opened = await open(access)
      const git = await asGit(opened)
      const surveyed: Survey[] = []
      for (const ask of asks) {
        if (git !== null && isOfCommits(ask)) surveyed.push(...(await options.git.survey(git, [ask])))
        else surveyed.push(await surveyOf(opened, ask))
      }
      return surveyed
    },
    open: async (access) => {
      const opened = await open(access)
      let git: Promise<Reading> | null = null
      const read: Read = async function* (project, ask, resume) {
        const through = isOfCommits(ask) ? await asGit({ ...opened, project }) : null
        if (through === null) return yield* readingOf({ ...opened, project }, ask, resume)
        git ??= options.git.open(through)
        try {
          yield* (await git).pages(ask, resume)
        } catch (error) {
          git = null
          throw error
        }
      }
      return {
        pages: (ask, resume) => pagesOf(opened, read, ask, resume),
        audit: async () => {
          const project = await lookUpProject(opened.client, opened.place, opened.access)
          return project.mergeRequestsOff ? null : auditOf({ ...opened, project })
        },
        usage: opened.client.usage,
      }
    },
  }
}

function isOfCommits(ask: Ask): boolean {
  return ask.window === 'heads' || (ask.window === 'time' && ask.of === 'commits')
}

type Read = (project: Project, ask: Ask, resume: Resume | null) => AsyncGenerator<Page>

/**
 * What was remembered of the project may be a day old, and git is given a token that may have been exchanged. A refusal
 * is therefore held against the project as GitLab shows it now: where it is gone, switched off or elsewhere, that is what
 * happened; and asking has renewed the token.
 */
async function* pagesOf(opened: Opened, read: Read, ask: Ask, resume: Resume | null): AsyncGenerator<Page> {
  let at = resume
  try {
    for await (const page of read(opened.project, ask, resume)) {
      at = { token: page.token, pinned: page.pinned }
      yield page
    }
    return
  } catch (error) {
    if (!(error instanceof SyncError) || !['auth', 'permission', 'not_found'].includes(error.kind))
      throw error
    const project = await lookUpProject(opened.client, opened.place, opened.access)
    if (error.kind !== 'auth' && isAsOpen(project, opened.project)) throw error
    yield* read(project, ask, at)
  }
}

function isAsOpen(now: Project, before: Project): boolean {
  return (
    now.state === before.state && now.mergeRequestsOff === before.mergeRequestsOff && now.path === before.path
  )
}

function readingOf(opened: Opened, ask: Ask, resume: Resume | null): AsyncGenerator<Page> {
  if (ask.window === 'heads') return commitPages(opened, ask, resume)
  if (ask.window === 'updates' || ask.window === 'time') {
    if (ask.of === 'mrs') return mrPages(opened, ask, resume)
    if (ask.of === 'reviews') return reviewPages(opened, ask, resume)
    if (ask.window === 'time') return commitPages(opened, ask, resume)
  }
  throw unsupported(ask)
}

function surveyOf(opened: Opened, ask: Ask): Promise<Survey> {
  if (ask.window === 'heads' || (ask.window === 'time' && ask.of === 'commits'))
    return surveyCommits(opened, ask)
  if (ask.window === 'updates' || ask.window === 'time') return surveyUpdates(opened, ask)
  throw unsupported(ask)
}

function unsupported(ask: Ask): SyncError {
  return new SyncError('unsupported', `GitLab has no ${ask.window} of ${'of' in ask ? ask.of : 'revisions'}`)
}
