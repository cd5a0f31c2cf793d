/** What of the configuration a scan goes by. */
import type { Limits } from '../../domain/places.ts'
import type { Policy } from '../../domain/schedule.ts'
import type { Context } from '../context.ts'

export function policyOf(ctx: Context): Policy {
  const { scheduler: s, degradation: d } = ctx.config.scm
  return {
    cursorAgeThreshold: s.cursor_age_threshold_seconds,
    errorBudgetThreshold: s.error_budget_threshold,
    rateLimitThreshold: s.rate_limit_hit_threshold,
    repair: {
      after: s.backfill_repair_window_hours * 3600,
      atMost: s.max_backfill_window_hours * 3600,
      chunk: {
        calm: d.max_forward_window_seconds,
        afterTrouble: d.default_forward_window_seconds,
        least: d.min_forward_window_seconds,
        shrink: d.window_shrink_factor,
        grow: d.window_grow_factor,
        goodRuns: d.recovery_success_count,
      },
    },
    jobTypes: s.mvp_mode_enabled ? s.mvp_job_type_allowlist : null,
  }
}

export function limitsOf(ctx: Context): Limits {
  const { scheduler: s } = ctx.config.scm
  return {
    maxRunning: s.max_running,
    queueDepth: s.global_concurrency,
    perInstance: s.per_instance_concurrency,
    perTenant: s.per_tenant_concurrency,
    maxEnqueue: s.max_enqueue_per_scan,
    fairness: s.enable_tenant_fairness ? { maxPerRound: s.tenant_fairness_max_per_round } : null,
  }
}
