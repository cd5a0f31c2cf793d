import { describe, expect, test } from 'vitest'
import { type Breaker, closedAt, openedByHand } from '../../../src/core/domain/breaker.ts'
import type { Candidate } from '../../../src/core/domain/candidate.ts'
import { makeGates } from '../../../src/core/domain/gates.ts'
import type { JobType } from '../../../src/core/domain/repo.ts'
import type { Pair } from '../../../src/core/domain/schedule.ts'

const wants = (
  jobType: JobType = 'commits',
  mode: Candidate['mode'] = 'incremental',
  at = { instanceKey: 'h', tenantId: 't' },
): Candidate => ({
  pair: { repoId: 1, jobType, ...at } as Pair,
  mode,
  priority: 1,
  reason: '',
})
const open: Breaker = { ...closedAt(0), state: 'open', openedAt: 0, grantedAt: 0 }
const half: Breaker = {
  ...closedAt(0),
  state: 'half_open',
  halfOpenAt: 0,
  credits: 2,
  probeTypes: ['commits'],
}
const refusal = (breakers: Record<string, Breaker>, candidate: Candidate, others: Candidate[] = []) =>
  makeGates(new Map(Object.entries(breakers)), [candidate, ...others]).refusal(candidate)

describe('what breakers let into the queue', () => {
  test.each<[string, Record<string, Breaker>, Candidate, string | null]>([
    ['closed ones, everything', { global: closedAt(1) }, wants(), null],
    ['an open one, no sync', { global: open }, wants(), 'circuit_open'],
    ['an open one, a repair', { global: open }, wants('commits', 'backfill'), null],
    [
      'one without repairs, none',
      { global: { ...open, grantedAt: null } },
      wants('commits', 'backfill'),
      'circuit_open',
    ],
    [
      'one opened by hand, nothing',
      { global: { ...openedByHand(0, ''), grantedAt: 0 } },
      wants('mrs', 'backfill'),
      'circuit_open',
    ],
    ['one of another host, everything', { 'instance:other': open }, wants(), null],
    ['the one of its host, no sync', { 'instance:h': open }, wants(), 'instance_circuit_open'],
    ['the one of its tenant, no sync', { 'tenant:t': open }, wants(), 'tenant_circuit_open'],
    ['a half-open one, a probe', { global: half }, wants(), null],
    ['a half-open one, no repair', { global: half }, wants('commits', 'backfill'), 'circuit_open'],
    [
      'a half-open one whose probes are all taken',
      { global: { ...half, credits: 0 } },
      wants(),
      'circuit_open',
    ],
    ['of two, both have to', { global: half, 'tenant:t': open }, wants(), 'tenant_circuit_open'],
  ])('%s', (_, breakers, candidate, expected) => {
    expect(refusal(breakers, candidate)).toBe(expected)
  })

  test('types fit for probing first; others only where there are none', () => {
    expect(refusal({ global: half }, wants('mrs'), [wants()])).toBe('circuit_open')
    expect(refusal({ global: half }, wants('mrs'))).toBeNull()
    const elsewhere = wants('commits', 'incremental', { instanceKey: 'other', tenantId: '' })
    expect(refusal({ 'instance:h': half }, wants('mrs'), [elsewhere])).toBeNull()
    // The only one that is fit is stopped by a person: it would be waited for.
    const byHand = openedByHand(0, 'moving house')
    expect(refusal({ global: half, 'instance:other': byHand }, wants('mrs'), [elsewhere])).toBeNull()
  })

  test('no more than it may probe with', () => {
    const gates = makeGates(new Map([['global', half]]), [wants()])
    const passed = [1, 2, 3].map(() => {
      const refused = gates.refusal(wants())
      if (refused === null) gates.passed(wants())
      return refused
    })
    expect(passed).toEqual([null, null, 'circuit_open'])
  })
})
