import { afterEach, expect, test } from 'vitest'
import { SyncError } from '../../../../src/core/domain/errors.ts'
import { gitlabSource } from '../../../../src/core/sources/gitlab/gitlab.ts'
import type { Access, HeadsAsk, Page, Source } from '../../../../src/core/sources/source.ts'
import { type GitLab, startGitLab } from '../../../helpers/gitlab/server.ts'

/** Commits through git: what the GitLab source gives the git source, and what it does when that is refused. */
const ASK: HeadsAsk = { window: 'heads', known: {}, refetch: null }
const PAGE: Page = {
  facts: {},
  token: '0:',
  pinned: {},
  done: 0,
  total: 0,
  landing: { heads: { refs: [], moves: [], unreachable: [] } },
}

let gitlab: GitLab
afterEach(() => gitlab?.stop())

/** A git source that takes what `accepts` does, and remembers what it was given. */
function gitThat(accepts: (access: Access) => SyncError | null): { git: Source; given: Access[] } {
  const given: Access[] = []
  const git: Source = {
    kind: 'git',
    jobs: { commits: 'heads' },
    locate: (typed) => typed,
    survey: async () => [],
    open: async (access) => {
      given.push(access)
      const refusal = accepts(access)
      if (refusal) throw refusal
      return {
        pages: async function* () {
          yield PAGE
        },
      }
    },
  }
  return { git, given }
}

function accessOf(settings: Access['settings'], learn: Access['learn'] = () => {}): Access {
  return {
    locator: `${gitlab.url}/acme/app`,
    tenantId: '',
    settings,
    learn,
    tier: 'none',
    asksDetails: true,
    pageSize: 50,
    cacheDir: '/nowhere',
    credentials: null,
    budget: null,
    signal: new AbortController().signal,
    say: () => {},
  }
}

async function read(git: Source, tokens: string[], access: Access): Promise<Page[]> {
  const source = gitlabSource({
    home: gitlab.url,
    instances: [gitlab.url],
    tokenFor: () => ({
      token: async () => tokens[0] as string,
      renewToken: async () => {
        if (tokens.length > 1) tokens.shift()
        return tokens[0] as string
      },
    }),
    limits: { timeoutMs: 5000, maxAttempts: 1, backoffBaseMs: 0, backoffMaxMs: 0 },
    concurrency: 2,
    commitsVia: 'git',
    git,
  })
  const pages: Page[] = []
  for await (const page of (await source.open(access)).pages(ASK, null)) pages.push(page)
  return pages
}

const known = {
  project_id: 7,
  path: 'acme/app',
  state: 'active',
  merge_requests_off: false,
  looked_at: new Date().toISOString(),
}

test('git is given the address of the project and its token, for that host only', async () => {
  gitlab = await startGitLab({ token: 'glpat-now' })
  gitlab.project({ id: 7, path: 'acme/app' }).commit({ branch: 'main' })
  const { git, given } = gitThat(() => null)
  expect(await read(git, ['glpat-now'], accessOf({}))).toEqual([PAGE])
  expect(given).toMatchObject([
    {
      locator: `${gitlab.url}/acme/app.git`,
      credentials: { host: new URL(gitlab.url).host, username: 'oauth2', password: 'glpat-now' },
    },
  ])
})

test('a token that was exchanged is read again when git is refused', async () => {
  gitlab = await startGitLab({ token: 'glpat-new' })
  gitlab.project({ id: 7, path: 'acme/app' }).commit({ branch: 'main' })
  const { git, given } = gitThat(({ credentials }) =>
    credentials?.password === 'glpat-new' ? null : new SyncError('auth', 'no'),
  )
  expect(await read(git, ['glpat-old', 'glpat-new'], accessOf(known))).toEqual([PAGE])
  expect(given.map(({ credentials }) => credentials?.password)).toEqual(['glpat-old', 'glpat-new'])
})

test('a project that was renamed since it was looked at is found under its new name', async () => {
  gitlab = await startGitLab({ token: 't' })
  const project = gitlab.project({ id: 7, path: 'acme/app' })
  project.commit({ branch: 'main' })
  project.rename('acme/application')
  const learnt: object[] = []
  const { git, given } = gitThat(({ locator }) =>
    locator.endsWith('/acme/application.git') ? null : new SyncError('not_found', 'no such repository'),
  )
  expect(
    await read(
      git,
      ['t'],
      accessOf(known, (settings) => learnt.push(settings)),
    ),
  ).toEqual([PAGE])
  expect(given).toHaveLength(2)
  expect(learnt).toMatchObject([{ path: 'acme/application', former_path: 'acme/app' }])
})

test('what nothing explains is told as it is, after one more look', async () => {
  gitlab = await startGitLab({ token: 't' })
  gitlab.project({ id: 7, path: 'acme/app' }).commit({ branch: 'main' })
  const { git, given } = gitThat(() => new SyncError('not_found', 'no such repository'))
  await expect(read(git, ['t'], accessOf(known))).rejects.toMatchObject({
    kind: 'not_found',
    message: 'no such repository',
  })
  expect(given).toHaveLength(1)
  expect(gitlab.requests.map(({ route }) => route)).toEqual(['project'])
})
