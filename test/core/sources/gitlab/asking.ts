import { inspect } from 'node:util'
import { expect } from 'vitest'
import { SyncError } from '../../../../src/core/domain/errors.ts'
import { type Client, makeClient } from '../../../../src/core/sources/gitlab/http/client.ts'
import type { Clock } from '../../../../src/core/sources/gitlab/http/clock.ts'
import { makeGate } from '../../../../src/core/sources/gitlab/http/gate.ts'

/** Looks different in every form: URL-encoded, base64, in JSON. */
export const CANARY = 'glpat-CANARY+/=%41"canary\\end'
const FORMS = [
  CANARY,
  encodeURIComponent(CANARY),
  btoa(CANARY).replace(/=+$/, ''),
  JSON.stringify(CANARY).slice(1, -1),
]

export const NOON = Date.UTC(2026, 10, 22, 12)

/** Time passes only in sleep, and `slept` tells how much at a time. */
export function fastClock(chance: () => number = () => 0.5): Clock & { slept: number[] } {
  const slept: number[] = []
  let now = NOON
  return {
    slept,
    chance,
    now: () => now,
    sleep: async (ms, signal) => {
      signal.throwIfAborted()
      slept.push(ms)
      now += ms
    },
  }
}

export const LIMITS = { timeoutMs: 5000, maxAttempts: 3, backoffBaseMs: 1000, backoffMaxMs: 60_000 }

/** A client whose token is the canary, in a hurry unless told otherwise. */
export function asking(url: string, more: Partial<Parameters<typeof makeClient>[0]> = {}): Client {
  return makeClient({
    instance: { url, token: async () => CANARY, renewToken: async () => CANARY },
    limits: LIMITS,
    gate: makeGate(),
    budget: null,
    signal: new AbortController().signal,
    clock: fastClock(),
    ...more,
  })
}

/** The failure, once it is sure that no form of the token is anywhere in it. */
export async function failure(promise: Promise<unknown>): Promise<SyncError> {
  const thrown = await promise.then(
    (value) => expect.unreachable(`answered ${inspect(value)}`),
    (error: unknown) => error,
  )
  const everything = [
    inspect(thrown, { depth: 20, showHidden: true }),
    JSON.stringify(thrown, Object.getOwnPropertyNames(thrown)),
    JSON.stringify(thrown),
  ].join('\n')
  for (const form of FORMS) expect(everything).not.toContain(form)
  if (!(thrown instanceof SyncError)) throw thrown
  expect(thrown.message).toMatch(/^[^\p{Cc}\p{Cf}]{1,300}$/u)
  return thrown
}
