import { type HeldJob, renewLease } from '../db/jobs.ts'
import { SyncError } from '../domain/errors.ts'
import type { Context } from './context.ts'

export interface Lease {
  /** Aborted when the process stops or the lease is lost; pass it to everything the job waits for. */
  signal: AbortSignal
  stop(): void
}

/**
 * Renews a held job every `renew_interval_seconds` until stopped. Zero rows means somebody else holds it: over at
 * once. An unreachable database is only suspicion, so it takes `max_renew_failures` in a row. Pages renew too, and
 * are fenced anyway: this keeps a long fetch alive and spares a lost one its work, it protects no data.
 */
export function keepLease(ctx: Context, held: HeldJob): Lease {
  const lost = new AbortController()
  const intervalMs = Math.min(
    ctx.config.scm.worker.renew_interval_seconds * 1000,
    (held.leaseSeconds * 1000) / 3,
  )
  let failures = 0
  let timer = setTimeout(renew, intervalMs)
  let stopped = false

  function renew() {
    renewLease(ctx.db, held)
      .then(
        (mine) => {
          failures = 0
          if (!mine) giveUp('its lease was taken over')
        },
        (error) => {
          failures += 1
          ctx.log.warn({ jobId: held.jobId, failures, err: error }, 'lease not renewed')
          if (failures >= ctx.config.scm.worker.max_renew_failures) giveUp('its lease could not be renewed')
        },
      )
      .finally(() => {
        if (!stopped) timer = setTimeout(renew, intervalMs)
      })
  }

  function giveUp(why: string) {
    if (stopped) return
    stop()
    lost.abort(new SyncError('lease_lost', `job ${held.jobId}: ${why}`))
  }

  function stop() {
    stopped = true
    clearTimeout(timer)
  }

  return { signal: AbortSignal.any([ctx.signal, lost.signal]), stop }
}
