import type { Metric } from '../../contracts/metrics.ts'
import type { BreakerShown } from '../../contracts/status.ts'
import { atMost, metric, type Samples } from './metric.ts'
import { breakerShown } from './read-figures.ts'

const STATES = ['closed', 'open', 'half_open'] as const
const STATE_NUMBERS = { closed: 0, half_open: 2, open: 1 }

/** Breakers: by key, by scope, and by upstream host. */
export function breakerMetrics(known: BreakerShown[], project: string): Metric[] {
  // Without a row the global breaker is closed, and an alert needs a series to be quiet about.
  const key = `${project}:global`
  const all = known.some((b) => b.key === key) ? known : [breakerShown({ key, value: null }), ...known]
  const scopes = [...new Set(all.map((b) => b.parsed_key.scope_type))]
  const of = (
    labels: (b: BreakerShown) => Samples[number]['labels'],
    value: (b: BreakerShown) => number,
  ): Samples => atMost(all.map((b) => ({ labels: labels(b), value: value(b) })))
  const instance = (b: BreakerShown) => ({
    instance_key: (b.parsed_key.scope_type === 'instance' && b.parsed_key.scope_value) || b.key,
  })
  const byKey = (b: BreakerShown) => ({ key: b.key })
  return [
    metric(
      'scm_circuit_breaker_state',
      '1 for the state the breaker is in, 0 for the others.',
      all.flatMap((b) =>
        STATES.map((state) => ({ labels: { key: b.key, state }, value: b.state.state === state ? 1 : 0 })),
      ),
    ),
    metric(
      'scm_circuit_breaker_failure_count',
      'Failures the breaker has counted.',
      of(byKey, (b) => b.state.failure_count),
    ),
    metric(
      'scm_circuit_breaker_success_count',
      'Good probes since it is half open.',
      of(byKey, (b) => b.state.half_open_successes),
    ),
    metric(
      'scm_circuit_breakers_by_scope',
      'Breakers by scope and state.',
      scopes.flatMap((scope) =>
        STATES.map((state) => ({
          labels: { scope, state },
          value: all.filter((b) => b.parsed_key.scope_type === scope && b.state.state === state).length,
        })),
      ),
    ),
    metric(
      'scm_circuit_breakers_total_failures',
      'Failures the breakers of a scope have counted.',
      scopes.map((scope) => ({
        labels: { scope },
        value: all
          .filter((b) => b.parsed_key.scope_type === scope)
          .reduce((n, b) => n + b.state.failure_count, 0),
      })),
    ),
    metric(
      'scm_breaker_state',
      'The breaker of an upstream host, or of the key: 0 closed, 1 open, 2 half open.',
      of(instance, (b) => STATE_NUMBERS[b.state.state]),
    ),
    metric(
      'scm_breaker_failure_count',
      'Failures it has counted.',
      of(instance, (b) => b.state.failure_count),
    ),
    metric(
      'scm_breaker_success_count',
      'Good probes since it is half open.',
      of(instance, (b) => b.state.half_open_successes),
    ),
  ]
}
