import { type Limits, patiently } from '../../db/connect.ts'
import { completePolls, type Ending } from '../../db/queue/complete.ts'
import { type HeldJob, renewLeases } from '../../db/queue/jobs.ts'
import { runsSucceeded } from '../../db/queue/runs.ts'
import { SyncError } from '../../domain/errors.ts'
import { type Context, underLease } from '../context.ts'

/** What a process does for all the jobs it holds, in one statement for all of them. */
export interface Holder {
  keep(held: HeldJob): Lease
  /** A sync that found nothing → completed. false: the job was not ours any more. */
  endPoll(poll: Ending & { kvKey: string }): Promise<boolean>
}

export interface Lease {
  /** Aborted when the process stops or the lease is lost; pass it to everything the job waits for. */
  signal: AbortSignal
  /**
   * Stores something of the job, and renews by it. Committed only while the lease that is renewed still lasts: until
   * then others count this job as running, and after it they may have filled its place.
   */
  store<T>(work: (limits: Limits) => Promise<T>): Promise<T>
  stop(): void
}

export function makeHolder(ctx: Context): Holder {
  const leases: Leases = new Map()
  return { keep: keeperOf(ctx, leases), endPoll: pollEnderOf(ctx, leases) }
}

/** Until when each lease lasts for certain (ms of performance.now()), and how its holder hears that it is lost. */
type Leases = Map<HeldJob, { lost: AbortController; until: number }>

/**
 * Renews every `renew_interval_seconds` while anything is held. What does not come back is somebody else's: over at once.
 * An unreachable database is only suspicion, so it takes `max_renew_failures` in a row. Pages renew too, and are
 * fenced anyway: this keeps a long fetch alive and spares a lost one its work, it protects no data.
 */
function keeperOf(ctx: Context, leases: Leases): Holder['keep'] {
  const { renew_interval_seconds, max_renew_failures, lease_seconds } = ctx.config.scm.worker
  const intervalMs = Math.min(renew_interval_seconds, lease_seconds / 3) * 1000
  let timer: NodeJS.Timeout | undefined
  let failures = 0
  // A server that hangs answers nothing for long: our own clock knows when a lease is over at the latest.
  let clock: NodeJS.Timeout | undefined
  const look = () => {
    for (const [held, { until }] of leases) if (performance.now() > until) lose(held, 'its lease is over')
  }

  async function renew() {
    timer = undefined
    const asked = [...leases.keys()]
    const until = performance.now() + lease_seconds * 1000
    try {
      const mine = await renewLeases(ctx.db, asked)
      failures = 0
      for (const held of asked) {
        const lease = leases.get(held)
        if (!mine.has(held.jobId)) lose(held, 'its lease is over')
        else if (lease) lease.until = until
      }
    } catch (error) {
      failures += 1
      ctx.log.warn({ jobs: asked.map((h) => h.jobId), failures, err: error }, 'leases not renewed')
      if (failures >= max_renew_failures)
        for (const held of asked) lose(held, 'its lease could not be renewed')
    }
    if (leases.size > 0) timer ??= setTimeout(renew, intervalMs)
  }

  function lose(held: HeldJob, why: string) {
    leases.get(held)?.lost.abort(new SyncError('lease_lost', `job ${held.jobId}: ${why}`))
    leases.delete(held)
  }

  return (held) => {
    const lost = new AbortController()
    const lease = { lost, until: held.askedAt + held.leaseSeconds * 1000 }
    leases.set(held, lease)
    timer ??= setTimeout(renew, intervalMs)
    clock ??= setInterval(look, Math.min(intervalMs, 1000))
    const signal = AbortSignal.any([ctx.signal, lost.signal])
    return {
      signal,
      async store(work) {
        const until = performance.now() + held.leaseSeconds * 1000
        const stored = await work({
          ...underLease(ctx, held.leaseSeconds, signal),
          commitBefore: lease.until,
        })
        lease.until = until
        return stored
      },
      stop() {
        leases.delete(held)
        if (leases.size > 0) return
        clearTimeout(timer)
        clearInterval(clock)
        timer = undefined
        clock = undefined
      },
    }
  }
}

const GATHER_MS = 1

/** Polls that end within a millisecond, or while a statement is on its way, go together; nobody waits when all are there. */
function pollEnderOf(ctx: Context, leases: Leases): Holder['endPoll'] {
  type Poll = Parameters<Holder['endPoll']>[0]
  let waiting: { poll: Poll; mine: (was: boolean) => void; failed: (error: unknown) => void }[] = []
  let busy = false
  let timer: NodeJS.Timeout | undefined

  async function flush() {
    clearTimeout(timer)
    busy = true
    while (waiting.length > 0) {
      const batch = waiting
      waiting = []
      try {
        const ended = await end(
          ctx,
          batch.map((b) => b.poll),
        )
        for (const { poll, mine } of batch) mine(ended.has(poll.held.jobId))
      } catch (error) {
        for (const { failed } of batch) failed(error)
      }
    }
    busy = false
  }

  return (poll) =>
    new Promise((mine, failed) => {
      waiting.push({ poll, mine, failed })
      if (busy) return
      if (waiting.length === 1) timer = setTimeout(flush, GATHER_MS)
      if (waiting.length === leases.size) void flush()
    })
}

async function end(ctx: Context, polls: Parameters<Holder['endPoll']>[0][]): Promise<Set<number>> {
  const ended = await patiently(ctx.signal, () => completePolls(ctx.db, polls))
  const others = polls.filter((p) => !ended.has(p.held.jobId))
  if (others.length === 0) return ended
  // Of a commit whose answer was lost, the second try finds nothing left to do.
  const before = await runsSucceeded(
    ctx.db,
    others.map((p) => p.held.runId),
  )
  return new Set([...ended, ...others.filter((p) => before.has(p.held.runId)).map((p) => p.held.jobId)])
}
