import type { Breaker } from './breaker.ts'
import type { Candidate } from './candidate.ts'
import type { Pair } from './schedule.ts'

export type Refusal = 'circuit_open' | 'instance_circuit_open' | 'tenant_circuit_open'

/** What breakers that are not closed let into the queue in one scan. */
export interface Gates {
  /** Nothing holds it back. */
  areOpenTo(pair: Pair): boolean
  refusal(candidate: Candidate): Refusal | null
  /** It got a place. */
  passed(candidate: Candidate): void
}

/**
 * By scope: `global`, `instance:<host>`, `tenant:<id>`. Open: only repairs, and by hand not even those. Half open: as
 * many syncs as it may probe with, of the types fit for that while any of them wants one.
 */
export function makeGates(breakers: ReadonlyMap<string, Breaker>, wanted: readonly Candidate[]): Gates {
  const shut = new Map([...breakers].filter(([, { state }]) => state !== 'closed'))
  const passing = new Map([...shut].map(([scope, { credits }]) => [scope, credits]))
  const withFit = new Set<string>()
  // One that another breaker stops will not come, and would be waited for.
  const stopped = ({ pair }: Candidate) => scopesOf(pair).some((scope) => shut.get(scope)?.state === 'open')
  for (const candidate of shut.size === 0 ? [] : wanted.filter((w) => !stopped(w)))
    for (const scope of scopesOf(candidate.pair)) if (isFit(candidate, shut.get(scope))) withFit.add(scope)

  return {
    areOpenTo: (pair) => !scopesOf(pair).some((scope) => shut.has(scope)),
    refusal: (candidate) => {
      const scope = scopesOf(candidate.pair).find((s) => !mayPass(s, candidate))
      return scope === undefined ? null : refusalOf(scope)
    },
    passed: ({ mode, pair }) => {
      if (mode === 'backfill') return
      for (const scope of scopesOf(pair)) passing.set(scope, (passing.get(scope) ?? 0) - 1)
    },
  }

  function mayPass(scope: string, candidate: Candidate): boolean {
    const breaker = shut.get(scope)
    if (breaker === undefined) return true
    if (breaker.state === 'open')
      return candidate.mode === 'backfill' && !breaker.byHand && breaker.grantedAt !== null
    return (
      candidate.mode === 'incremental' &&
      (passing.get(scope) ?? 0) >= 1 &&
      (isFit(candidate, breaker) || !withFit.has(scope))
    )
  }
}

function isFit({ mode, pair }: Candidate, breaker: Breaker | undefined): boolean {
  return mode === 'incremental' && breaker !== undefined && breaker.probeTypes.includes(pair.jobType)
}

function scopesOf({ instanceKey, tenantId }: Pair): string[] {
  return [
    'global',
    ...(instanceKey === '' ? [] : [`instance:${instanceKey}`]),
    ...(tenantId === '' ? [] : [`tenant:${tenantId}`]),
  ]
}

function refusalOf(scope: string): Refusal {
  if (scope === 'global') return 'circuit_open'
  return scope.startsWith('instance:') ? 'instance_circuit_open' : 'tenant_circuit_open'
}
