import { SyncError } from '../../domain/errors.ts'
import { oneLine } from '../../domain/one-line.ts'
import type { Budget } from '../source.ts'
import { makeClient } from './http/client.ts'
import { makeGate } from './http/gate.ts'

/** What an instance says of itself and of a token; null where it does not. */
export interface Introduction {
  version: string | null
  scopes: string[] | null
  expiresAt: string | null
  isActive: boolean | null
  date: Date | null
  asked: { from: Date; until: Date }
  rate: { limit: number | null; remaining: number } | null
}

/** Two requests side by side, each tried once. Throws when the instance cannot be reached or refuses the token. */
export async function introduce({
  url,
  token,
  timeoutMs,
  signal,
}: {
  url: string
  token: string | null
  timeoutMs: number
  signal: AbortSignal
}): Promise<Introduction> {
  let rate: Introduction['rate'] = null
  const budget: Budget = {
    take: async () => 0,
    pause: async () => {},
    heard: async ({ limit, remaining }) => {
      rate = { limit, remaining }
    },
  }
  const client = makeClient({
    instance: { url, token: async () => token, renewToken: async () => token },
    limits: { timeoutMs, maxAttempts: 1, backoffBaseMs: 0, backoffMaxMs: 0 },
    gate: makeGate(),
    budget,
    signal,
  })
  const asked = async (path: string, silent: readonly string[]) => {
    try {
      return await client.get(path, {}, { expect: 'object' })
    } catch (error) {
      if (error instanceof SyncError && silent.includes(error.kind)) return null
      throw error
    }
  }

  const from = new Date()
  // A good token without scope for it is forbidden the version, a bad one is not let in. Of itself an access token may
  // always tell, but not to a GitLab before 15.5, and other tokens may not.
  const unanswered = ['permission', 'not_found']
  const [version, self] = await Promise.all([
    asked('version', token === null ? [...unanswered, 'auth'] : unanswered),
    token === null ? null : asked('personal_access_tokens/self', [...unanswered, 'auth']),
  ])
  const until = new Date()

  const { scopes, expires_at: expiresAt, active } = self?.json ?? {}
  return {
    version: textOf(version?.json.version),
    scopes: Array.isArray(scopes) ? scopes.flatMap((scope) => textOf(scope) ?? []).slice(0, 50) : null,
    expiresAt: textOf(expiresAt),
    isActive: typeof active === 'boolean' ? active : null,
    date: version?.date ?? self?.date ?? null,
    asked: { from, until },
    rate,
  }
}

function textOf(value: unknown): string | null {
  return typeof value === 'string' ? oneLine(value.slice(0, 100)) : null
}
