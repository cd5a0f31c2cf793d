import { afterAll, expect } from 'vitest'
import type { RefMove } from '../../../../src/core/domain/facts.ts'
import { commitPages } from '../../../../src/core/sources/gitlab/commits/commit-pages.ts'
import type { Opened } from '../../../../src/core/sources/gitlab/opened.ts'
import type { Access, Heads, HeadsAsk, Page, Resume, TimeAsk } from '../../../../src/core/sources/source.ts'
import type { Project } from '../../../helpers/gitlab/project.ts'
import { type GitLab, type GitLabOptions, startGitLab } from '../../../helpers/gitlab/server.ts'
import { asking } from './asking.ts'

const started: GitLab[] = []
afterAll(async () => {
  for (const gitlab of started) await gitlab.stop()
})

export async function gitlabHere(options: GitLabOptions = {}): Promise<GitLab> {
  const gitlab = await startGitLab(options)
  started.push(gitlab)
  return gitlab
}

/** A project as the source opens it. */
export function openedAt(
  gitlab: GitLab,
  project: Project,
  more: Partial<Access> = {},
  client = asking(gitlab.url),
): Opened {
  const empty = project.branches.size === 0
  return {
    access: {
      locator: `${gitlab.url}/${project.path}`,
      tenantId: '',
      settings: {},
      learn: () => {},
      tier: 'none',
      asksDetails: true,
      pageSize: 1000,
      cacheDir: '/nowhere',
      credentials: null,
      budget: null,
      signal: new AbortController().signal,
      say: () => {},
      ...more,
    },
    place: { instance: gitlab.url, project: project.path },
    project: {
      id: project.id,
      path: project.path,
      defaultBranch: empty ? null : project.defaultBranch,
      state: project.repositoryAccess === 'disabled' ? 'repository_off' : empty ? 'empty' : 'active',
      mergeRequestsOff: false,
      webUrl: null,
    },
    client,
  }
}

export function since(known: Heads, more: Partial<HeadsAsk> = {}): HeadsAsk {
  return { window: 'heads', known, refetch: null, ...more }
}

export async function readAll(
  opened: Opened,
  ask: HeadsAsk | TimeAsk = since({}),
  resume: Resume | null = null,
): Promise<Page[]> {
  const pages: Page[] = []
  for await (const page of commitPages(opened, ask, resume)) pages.push(page)
  return pages
}

/** What the database would hold: the rows, the heads, and what is marked unreachable. */
export class Stored {
  readonly shas = new Set<string>()
  readonly unreachable = new Set<string>()
  /** Heads of reads that stored something and did not land. */
  seen: string[] = []
  heads: Heads = {}
  moves: RefMove[] = []

  take(page: Page): void {
    const commits = page.facts.commits ?? []
    expect(new Set(commits.map(({ sha }) => sha)).size).toBe(commits.length)
    for (const { sha } of commits) {
      this.shas.add(sha)
      this.unreachable.delete(sha)
    }
    if (page.landing === undefined) return
    const landing = page.landing?.heads
    if (landing === undefined) return
    this.seen = []
    this.heads = Object.fromEntries(landing.refs.map(({ name, sha }) => [name, sha]))
    this.moves = landing.moves
    const left = landing.unreachable === 'all' ? this.shas : landing.unreachable
    for (const sha of left) this.unreachable.add(sha)
  }
}
