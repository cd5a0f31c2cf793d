import type { WorkerReport } from '../../contracts/worker.ts'
import { patiently } from '../../db/connect.ts'
import { isTransient } from '../../db/failure.ts'
import { type ClaimedJob, claimJobs } from '../../db/queue/claim.ts'
import { type Ear, listenForJobs } from '../../db/queue/wake.ts'
import { SyncError } from '../../domain/errors.ts'
import { exitCodeOf, sumOf } from '../../domain/outcome.ts'
import type { JobType } from '../../domain/repo.ts'
import { type Ask, jobTypesOf } from '../../sources/source.ts'
import type { Context } from '../context.ts'
import { asksOf } from '../sync/ask-of.ts'
import { type Holder, makeHolder } from '../sync/holder.ts'
import { type JobDone, workJob } from './work-job.ts'

export interface WorkAsk {
  /** At most one job, then the end. */
  once: boolean
  /** The end when nothing is due. */
  drain: boolean
  /** Empty means: what the pool or the configuration says; and empty there means all. */
  jobTypes: JobType[]
  pool: string | null
  /** Said for this process: goes before what its pool says. */
  parallelism?: number | undefined
}

/** Errors kept for the report; the log has all of them. */
const MOST_ERRORS = 20

const GATHER_MS = 2

/**
 * Claims due jobs and works them off, several at a time, until stopped (or once, or until nothing is due). New jobs
 * ring a bell; the poll is what finds them for certain. When stopped: nothing more is claimed, what is in hand is
 * abandoned at a page's end and given back without penalty.
 */
export async function work(ctx: Context, ask: WorkAsk): Promise<WorkerReport> {
  const startedAt = ctx.now()
  const counts = { completed: 0, failed: 0, released: 0, cancelled: 0 }
  let synced = 0
  const errors: string[] = []

  const served = servedBy(ctx, ask)
  const slots = ask.once ? 1 : served.parallelism
  const inHand = new Set<Promise<void>>()
  const bell = makeBell(ctx.signal)
  // A poll that only waits for its end to be written leaves its slot: what comes next is claimed meanwhile.
  let ending = 0
  const busy = () => inHand.size - ending
  const { keep, endPoll } = makeHolder(ctx)
  const holder: Holder = {
    keep,
    endPoll: (poll) => {
      ending += 1
      bell.ring()
      return endPoll(poll).finally(() => {
        ending -= 1
      })
    },
  }
  let ear: Ear | null = null
  let claimed = 0

  ctx.log.info({ ...served, once: ask.once, drain: ask.drain }, 'worker started')
  try {
    while (!ctx.signal.aborted) {
      if (!ask.once && !ask.drain && !ear?.hears) ear = await listen()
      const free = slots - busy()
      const alone = inHand.size === 0
      const jobs = free > 0 ? await claim(free) : []
      const asks = asksOf(ctx, jobs)
      asks.catch(() => {}) // each job hears of it
      for (const [n, held] of jobs.entries()) start(held, async () => (await asks)[n] as Ask)
      claimed += jobs.length

      // What ended while we asked may have let the next of its (repo, job type) in.
      const idle = alone && jobs.length === 0
      if ((ask.once && (claimed > 0 || idle)) || (ask.drain && idle)) break
      // With every slot busy only the end of a job matters; otherwise anything may have become due.
      await bell.rest(busy() === slots ? null : pollMs())
      // Jobs that end at nearly the same time leave their slots to one claim: its fixed cost is that of ten jobs.
      await new Promise(setImmediate)
      if (busy() > 0) await new Promise((resolve) => setTimeout(resolve, GATHER_MS))
    }
  } finally {
    await Promise.all(inHand)
    ear?.stop()
  }

  const outcomes = [
    ...Array<'success'>(counts.completed + counts.cancelled).fill('success'),
    ...Array<'failed'>(counts.failed).fill('failed'),
  ]
  const judged = ask.once || ask.drain ? sumOf(outcomes) : 'success'
  const status = judged === 'partial' || judged === 'failed' ? judged : 'success'
  ctx.log.info({ ...counts, synced }, 'worker ended')
  return {
    status,
    worker_id: ctx.worker,
    jobs_worked: claimed,
    jobs_completed: counts.completed,
    jobs_failed: counts.failed,
    jobs_released: counts.released,
    jobs_cancelled: counts.cancelled,
    items_synced: synced,
    errors,
    started_at: startedAt.toISOString(),
    finished_at: ctx.now().toISOString(),
    exit_code: exitCodeOf(status),
  }

  function start(held: ClaimedJob, asked: () => Promise<Ask>): void {
    const job: Promise<void> = workJob(ctx, held, holder, asked)
      .catch((error): JobDone => {
        // Not even closing it worked: its lease ends it, and the reaper or another worker goes on.
        ctx.log.error({ jobId: held.jobId, err: error }, 'job left to its lease')
        return {
          outcome: 'failed',
          synced: 0,
          error: `job ${held.jobId}: ${String(error?.message ?? error)}`,
        }
      })
      .then((ended) => {
        counts[ended.outcome] += 1
        synced += ended.synced
        if (ended.error && errors.length < MOST_ERRORS) errors.push(ended.error)
        inHand.delete(job)
        bell.ring()
      })
    inHand.add(job)
  }

  async function claim(count: number): Promise<ClaimedJob[]> {
    const { scheduler, worker } = ctx.config.scm
    const ends = ask.once || ask.drain
    const claimNow = () =>
      claimJobs(ctx.db, {
        project: ctx.config.project.project_key,
        count,
        worker: ctx.worker,
        leaseSeconds: worker.lease_seconds,
        jobTypes: served.jobTypes,
        instances: served.instances,
        tenants: served.tenants,
        limits: {
          running: scheduler.max_running,
          perInstance: scheduler.per_instance_concurrency,
          perTenant: scheduler.per_tenant_concurrency,
        },
      })
    try {
      // Who ends when nothing is due has to know that nothing is; a loop looks again anyway.
      return await (ends ? patiently(ctx.signal, claimNow) : claimNow())
    } catch (error) {
      if (ends && !ctx.signal.aborted) throw error
      // The queue is busy: nothing was taken, the next look will tell.
      if (isTransient(error)) ctx.log.debug({ err: error }, 'claim to be tried again')
      else ctx.log.warn({ err: error }, 'no claim: the database does not answer')
      return []
    }
  }

  async function listen(): Promise<Ear | null> {
    try {
      return await listenForJobs(ctx.db, bell.ring)
    } catch (error) {
      ctx.log.debug({ err: error }, 'not listening; polling only')
      return null
    }
  }

  /** Workers that were started together must not all ask together. */
  function pollMs(): number {
    return ctx.config.scm.worker.poll_interval * 1000 * (0.8 + 0.4 * Math.random())
  }
}

const sourced = (ctx: Context): JobType[] => [...new Set(Object.values(ctx.sources).flatMap(jobTypesOf))]

/** What this process takes: flags, else its pool, else the worker's own configuration. null = anything. */
function servedBy(ctx: Context, ask: WorkAsk) {
  const { worker } = ctx.config.scm
  const pool = ask.pool === null ? null : worker.pools[ask.pool]
  if (pool === undefined) {
    throw new SyncError('usage', `there is no worker pool ${JSON.stringify(ask.pool)}`, {
      hint: `pools are tables [scm.worker.pools.NAME] of the configuration; there are: ${Object.keys(worker.pools).join(', ') || 'none'}`,
    })
  }
  const some = <T>(...lists: (readonly T[] | undefined)[]): T[] | null => {
    const found = lists.find((l) => l !== undefined && l.length > 0)
    return found ? [...found] : null
  }
  const hosts = some(worker.instance_allowlist, pool?.instance_allowlist)
  return {
    parallelism: ask.parallelism ?? pool?.parallelism ?? worker.parallelism,
    // At least not what no source of this program has.
    jobTypes: some(ask.jobTypes, pool?.job_types) ?? sourced(ctx),
    instances: hosts?.map((host) => host.toLowerCase()) ?? null,
    tenants: some(worker.tenant_allowlist, pool?.tenant_allowlist),
  }
}

/** Rings are remembered, so one that comes just before the rest is not slept through. */
function makeBell(signal: AbortSignal) {
  let rung = false
  let wake = () => {}
  const ring = () => {
    rung = true
    wake()
  }
  return {
    ring,
    /** Until the bell rings, the process is asked to stop, or `ms` are over (null: never). */
    rest: (ms: number | null): Promise<void> =>
      new Promise((resolve) => {
        if (rung || signal.aborted) {
          rung = false
          return resolve()
        }
        const timer = ms === null ? undefined : setTimeout(end, ms)
        signal.addEventListener('abort', end, { once: true })
        wake = end
        function end() {
          clearTimeout(timer)
          signal.removeEventListener('abort', end)
          wake = () => {}
          rung = false
          resolve()
        }
      }),
  }
}
