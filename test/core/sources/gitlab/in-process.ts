import { SyncError } from '../../../../src/core/domain/errors.ts'
import { answerOf, type Shape, wordsOf } from '../../../../src/core/sources/gitlab/http/answer.ts'
import type { Client, Query } from '../../../../src/core/sources/gitlab/http/client.ts'
import { failedStatus } from '../../../../src/core/sources/gitlab/http/failure.ts'
import { saidBy } from '../../../../src/core/sources/gitlab/http/wait.ts'
import type { Opened } from '../../../../src/core/sources/gitlab/opened.ts'
import type { Project as Upstream } from '../../../helpers/gitlab/project.ts'
import type { GitLabRequest } from '../../../helpers/gitlab/request.ts'
import { readRequest } from '../../../helpers/gitlab/request.ts'
import { answer } from '../../../helpers/gitlab/routes.ts'

/** The project as `openProject` would have it. */
export function opened(client: Client, upstream: Upstream, pageSize = 100): Opened {
  return {
    access: { pageSize, signal: new AbortController().signal } as Opened['access'],
    place: { instance: 'http://gitlab.test', project: upstream.id },
    project: {
      id: upstream.id,
      path: upstream.path,
      defaultBranch: 'main',
      state: 'active',
      mergeRequestsOff: upstream.mergeRequestsAccess === 'disabled',
      webUrl: null,
    },
    client,
  }
}

/**
 * A client of the scripted server without HTTP in between: a million requests take minutes. `shrink` makes pages so many
 * times smaller, so that a few rows are many pages. What `before` throws is the answer.
 */
export function inProcess(
  upstream: Upstream,
  {
    shrink = 1,
    before = () => {},
    headers = {},
  }: {
    shrink?: number
    before?: (request: GitLabRequest, n: number) => void
    headers?: Record<string, null>
  } = {},
): Client {
  const usage = { requests: 0, limited: 0, unannounced: 0, timeouts: 0, retries: 0, waitedMs: 0 }
  const find = () => upstream
  return {
    usage: () => ({ ...usage }),
    get: async <S extends Shape = 'array'>(path: string, query: Query = {}, more: { expect?: S } = {}) => {
      usage.requests += 1
      const url = new URL(`http://gitlab.test/api/v4/${path}`)
      for (const [name, value] of Object.entries(query))
        for (const one of Array.isArray(value) ? value : [value])
          if (one !== undefined) url.searchParams.append(name, `${one}`)
      const rows = url.searchParams.get('per_page')
      if (rows !== null) url.searchParams.set('per_page', `${Math.max(1, Math.floor(Number(rows) / shrink))}`)
      const message = { url: url.pathname + url.search, method: 'GET', headers: {} }
      const request = readRequest(message as Parameters<typeof readRequest>[0], usage.requests, 0, '')
      before(request, usage.requests)
      const reply = answer(request, { url: '', token: null, given: 'glpat', find })
      const said: Record<string, string | null> = {
        'content-type': 'application/json',
        date: new Date(upstream.world.now()).toUTCString(),
        ...reply.headers,
        ...headers,
      }
      const head = new Headers(Object.entries(said).filter((h): h is [string, string] => h[1] !== null))
      const body = Buffer.from(reply.body)
      if (reply.status !== 200) {
        const { kind, why, status } = failedStatus(
          reply.status,
          wordsOf(head, body),
          saidBy(head, upstream.world.now()),
        )
        throw new SyncError(kind, `${path}: ${why}`, status === undefined ? {} : { status })
      }
      const result = answerOf(head, body, more.expect ?? ('array' as S))
      if (typeof result === 'string') throw new SyncError('upstream', result)
      return result
    },
  }
}
