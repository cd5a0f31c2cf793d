/**
 * What is recommended for so many repositories: defaults of other keys, below everything an operator says of them.
 * By TOML path; what a size does not name keeps its own default.
 */
export const PRESETS = {
  small: {
    'scm.scheduler.global_concurrency': 5,
    'scm.scheduler.max_running': 3,
    'scm.scheduler.scan_interval_seconds': 60,
    'scm.worker.lease_seconds': 300,
    'scm.worker.parallelism': 1,
    'scm.circuit_breaker.min_samples': 3,
  },
  medium: {
    'scm.scheduler.global_concurrency': 20,
    'scm.scheduler.max_running': 10,
    'scm.scheduler.per_instance_concurrency': 5,
    'scm.scheduler.scan_interval_seconds': 30,
    'scm.worker.lease_seconds': 300,
    'scm.worker.parallelism': 2,
    'scm.circuit_breaker.min_samples': 5,
    'scm.circuit_breaker.window_count': 20,
  },
  large: {
    'scm.scheduler.global_concurrency': 50,
    'scm.scheduler.max_running': 20,
    'scm.scheduler.per_instance_concurrency': 10,
    'scm.scheduler.per_tenant_concurrency': 5,
    'scm.scheduler.enable_tenant_fairness': true,
    'scm.scheduler.scan_interval_seconds': 15,
    'scm.worker.lease_seconds': 600,
    'scm.worker.parallelism': 4,
    'scm.circuit_breaker.min_samples': 10,
    'scm.circuit_breaker.enable_smoothing': true,
    'scm.circuit_breaker.smoothing_alpha': 0.3,
  },
} as const satisfies Record<string, Record<string, number | boolean>>

export type Preset = keyof typeof PRESETS
