import type { Config } from '../../contracts/config.ts'
import { patiently } from '../../db/connect.ts'
import * as budgets from '../../db/queue/budgets.ts'
import type { Repo } from '../../domain/repo.ts'
import type { Budget } from '../../sources/source.ts'
import type { Context } from '../context.ts'

type GitLab = Config['scm']['gitlab']

/** How long another process's pause may go unseen where no rate is kept; and between two tellings of one window. */
const FRESH_MS = 5_000
/** More than this share of its limit is plenty: nobody needs to know. The scheduler's measure, too. */
const PLENTY = 0.2
const LONGEST_PAUSE_MS = 3_600_000
const MINUTE_MS = 60_000
const MOST = 2 ** 31 - 1

/**
 * The budget of a repository's upstream, shared by all processes; null for a kind that makes no counted requests.
 * Pauses and scarce windows are shared whether or not a rate is kept. A database that does not answer grants nothing:
 * it is asked for a minute, then that is the failure.
 */
export function requestBudget(
  { db, config }: Pick<Context, 'db' | 'config'>,
  repo: Pick<Repo, 'kind' | 'instanceKey' | 'tenantId'>,
  signal: AbortSignal,
): Budget | null {
  if (repo.kind !== 'gitlab') return null
  const { gitlab } = config.scm
  const instance = instanceBucket(gitlab, repo.instanceKey)
  const kept = [
    ...(gitlab.postgres_rate_limit_enabled ? [instance] : []),
    ...(gitlab.tenant_rate_limit_enabled && repo.tenantId !== '' ? [tenantBucket(gitlab, repo)] : []),
  ]
  let lookAgainAt = 0
  let told = { remaining: MOST, at: Number.NEGATIVE_INFINITY }

  return {
    async take() {
      // A turn of the instance heeds its pauses. Where it grants none they are looked up, but not for each request.
      if (!gitlab.postgres_rate_limit_enabled && performance.now() >= lookAgainAt) {
        const waitMs = await patiently(signal, () => budgets.upstreamWait(db, instance.key))
        if (waitMs > 0) return waitMs
        lookAgainAt = performance.now() + FRESH_MS
      }
      if (kept.length === 0) return 0
      return (await patiently(signal, () => budgets.takeTurn(db, kept))).waitMs
    },

    async pause(ms, reason) {
      const pauseMs = Math.min(Math.max(0, ms), LONGEST_PAUSE_MS)
      await patiently(signal, () => budgets.pauseBudget(db, instance, pauseMs, reason))
      lookAgainAt = 0
    },

    async heard({ limit, remaining, resetInMs }) {
      if (limit !== null && remaining > limit * PLENTY) return
      const now = performance.now()
      if (remaining >= told.remaining / 2 && now - told.at < FRESH_MS) return
      told = { remaining, at: now }
      const window = resetInMs > MINUTE_MS ? 'hour' : 'minute'
      await patiently(signal, () =>
        budgets.heardWindow(db, instance, window, { remaining: Math.min(remaining, MOST), resetInMs }),
      )
    },
  }
}

/** Longest a request may wait for its turn: the shortest of what its budgets allow. */
export function longestTurnMs({ scm: { gitlab, http } }: Config): number {
  const seconds = [
    ...(gitlab.postgres_rate_limit_enabled ? [gitlab.postgres_rate_limit_max_wait] : []),
    ...(gitlab.tenant_rate_limit_enabled ? [gitlab.tenant_rate_limit_max_wait] : []),
  ]
  return 1000 * (seconds.length > 0 ? Math.min(...seconds) : http.backoff_max_seconds)
}

function instanceBucket(gitlab: GitLab, key: string): budgets.Bucket {
  return { key, rate: gitlab.postgres_rate_limit_rate, burst: gitlab.postgres_rate_limit_burst }
}

function tenantBucket(gitlab: GitLab, repo: Pick<Repo, 'instanceKey' | 'tenantId'>): budgets.Bucket {
  return {
    key: `${repo.instanceKey}:tenant:${repo.tenantId}`,
    rate: gitlab.tenant_rate_limit_rate,
    burst: gitlab.tenant_rate_limit_burst,
  }
}
