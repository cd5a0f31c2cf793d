import { isDeepStrictEqual } from 'node:util'
import type { Db } from '../../db/connect.ts'
import { type BreakerFound, findBreakers, writeBreakers } from '../../db/queue/breakers.ts'
import { type Breaker, type BreakerPolicy, closedAt, judgeBreaker } from '../../domain/breaker.ts'
import { breakerRow, readBreaker, stateOf } from '../../domain/breaker-row.ts'
import type { Context } from '../context.ts'

interface Judged {
  found: BreakerFound
  before: Breaker
  after: Breaker
}

/**
 * Every breaker, judged by what its runs say, by scope. In the scan's transaction and under the rows' locks, so that no
 * edit made meanwhile is lost. Who does not write (a dry run, a scheduler that stands by) waits for no lock and says
 * nothing of what would move.
 */
export async function judgeBreakers(
  ctx: Context,
  tx: Db,
  { now, writes }: { now: Date; writes: boolean },
): Promise<Map<string, Breaker>> {
  const { circuit_breaker: c } = ctx.config.scm
  const found = await findBreakers(tx, {
    project: ctx.config.project.project_key,
    windowMinutes: c.window_minutes,
    windowCount: c.window_count,
    hold: writes,
  })
  const judged = judgeAll(found, policyOf(ctx), now.getTime() / 1000)
  if (writes) await keep(ctx, tx, judged)
  return new Map(judged.map(({ found: f, after }) => [f.scope, after]))
}

async function keep(ctx: Context, tx: Db, judged: Judged[]): Promise<void> {
  for (const { found: f, before, after } of judged) {
    if (before.state !== after.state)
      ctx.log.warn(
        { breaker: f.key, from: before.state, to: after.state, reason: after.reason },
        'breaker moved',
      )
    if (stateOf(f.value) === 'unknown')
      ctx.log.warn(
        { breaker: f.key },
        'breaker in an unknown state: it holds everything, as one opened by hand',
      )
  }
  // What a person wrote stays as it was written, as long as it means the same.
  const changed = judged
    .filter(({ found: f, before, after }) => f.value === null || !isDeepStrictEqual(before, after))
    .map(({ found: { key, value }, after }) => ({
      key,
      isNew: value === null,
      value: breakerRow(key, after),
    }))
  if (changed.length > 0) await writeBreakers(tx, changed)
}

function judgeAll(found: BreakerFound[], policy: BreakerPolicy, now: number): Judged[] {
  const judged = found.map((f): Judged => {
    const before = readBreaker(f.value)
    // What nobody can read stays as it was written: it is the evidence.
    const after = stateOf(f.value) === 'unknown' ? before : judgeBreaker(before, f, policy, now)
    return { found: f, before, after }
  })
  const main = judged.find((j) => j.found.scope === 'global')
  const others = judged.filter((j) => j !== main)

  // Who closes the global one by hand, or deletes it, means all that the program opened by itself.
  if (main && main.before.state === 'closed' && main.before.closedAt === null) {
    for (const other of others) if (!other.after.byHand) other.after = closedAt(now)
  }
  // The trouble of one among several is its own: a repository has its error budget, a host and a tenant their breaker.
  const trips = (j: Judged) => j.before.state === 'closed' && j.after.state === 'open'
  for (const one of judged) if (trips(one) && one.found.isConfined) one.after = one.before
  // A host that has just been found bad was in the evidence against all: what is left will be judged by the next scan.
  if (main && trips(main) && others.some(trips)) main.after = main.before
  return judged
}

function policyOf({ config: { scm } }: Context): BreakerPolicy {
  const c = scm.circuit_breaker
  return {
    failureRate: c.failure_rate_threshold,
    rateLimitRate: c.rate_limit_threshold,
    timeoutRate: c.timeout_rate_threshold,
    minSamples: c.min_samples,
    alpha: c.enable_smoothing ? c.smoothing_alpha : 1,
    openSeconds: c.open_duration_seconds,
    probes: {
      atMost: c.half_open_max_requests,
      perScan: c.probe_budget_per_interval,
      enough: c.recovery_success_count,
      jobTypes: c.probe_job_types_allowlist,
    },
    repairs: c.backfill_only_mode ? { everySeconds: c.backfill_interval_seconds } : null,
  }
}
