import type { Config } from '../contracts/config.ts'
import type { Origin } from './config-layer.ts'
import type { Problem } from './config-problem.ts'

interface Rule {
  holds: boolean
  /** The two keys, the wrong one first, and what is between them. */
  left: string
  says: string
  right: string
  values: [number | string, number | string]
}

/** What no single key can be blamed for: two figures that do not go together. A key that is wrong by itself is left out. */
export function brokenRules(
  config: Config,
  origins: Record<string, Origin>,
  wrong: readonly string[] = [],
): Problem[] {
  const isWrong = (key: string) => wrong.some((path) => key === path || key.startsWith(`${path}.`))
  const broken = rules(config).filter(({ holds, left, right }) => !holds && !isWrong(left) && !isWrong(right))
  return [
    ...broken.map(({ left, says, right, values }) => ({
      text: `${left} (${values[0]}, ${from(origins[left])}) must be ${says} ${right} (${values[1]}, ${from(origins[right])})`,
      hint: 'change one of the two',
    })),
    ...placeless(config).filter(({ at }) => !isWrong(`${at}.url`)),
  ]
}

/** An instance is found by its url, or where its name is that of a host, there. */
function placeless({ scm }: Config): (Problem & { at: string })[] {
  return Object.entries(scm.gitlab.instances)
    .filter(([name, { url }]) => url === null && !/^[\w-]+(\.[\w-]+)+(:\d+)?$/.test(name))
    .map(([name]) => {
      const at = `scm.gitlab.instances.${name}`
      const hint = `add url = "https://…" to [${at}]`
      return { at, text: `${at} has no url, and its name is no host`, hint }
    })
}

function rules({ postgres, scm }: Config): Rule[] {
  const { worker, circuit_breaker: breaker, degradation: d, http, scheduler } = scm
  const timeout = postgres.statement_timeout_ms
  return [
    {
      holds: worker.renew_interval_seconds < worker.lease_seconds / 2,
      left: 'scm.worker.renew_interval_seconds',
      says: 'below half of',
      right: 'scm.worker.lease_seconds',
      values: [`${worker.renew_interval_seconds} s`, `${worker.lease_seconds} s`],
    },
    {
      holds: timeout === null || timeout < (worker.lease_seconds * 1000) / 2,
      left: 'postgres.statement_timeout_ms',
      says: 'below half of',
      right: 'scm.worker.lease_seconds',
      values: [`${timeout} ms`, `${worker.lease_seconds} s`],
    },
    atMost('scm.circuit_breaker', breaker, 'recovery_success_count', 'half_open_max_requests'),
    atMost('scm.circuit_breaker', breaker, 'min_samples', 'window_count'),
    atMost('scm.degradation', d, 'min_batch_size', 'default_batch_size'),
    atMost('scm.degradation', d, 'default_batch_size', 'max_batch_size'),
    atMost('scm.degradation', d, 'min_forward_window_seconds', 'default_forward_window_seconds'),
    atMost('scm.degradation', d, 'default_forward_window_seconds', 'max_forward_window_seconds'),
    atMost('scm.degradation', d, 'base_sleep_seconds', 'max_sleep_seconds'),
    atMost('scm.http', http, 'backoff_base_seconds', 'backoff_max_seconds'),
    atMost('scm.scheduler', scheduler, 'backfill_repair_window_hours', 'max_backfill_window_hours'),
  ]
}

type Numeric<G> = { [K in keyof G]: G[K] extends number ? K : never }[keyof G] & string

function atMost<G>(group: string, values: G, left: Numeric<G>, right: Numeric<G>): Rule {
  const pair: [number, number] = [Number(values[left]), Number(values[right])]
  return {
    holds: pair[0] <= pair[1],
    left: `${group}.${left}`,
    says: 'at most',
    right: `${group}.${right}`,
    values: pair,
  }
}

function from(origin: Origin | undefined): string {
  if (!origin || origin.source === 'default') return 'the default'
  return origin.source === 'preset' ? `preset ${origin.where}` : origin.where
}
