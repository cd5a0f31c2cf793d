import { transaction } from '../../db/connect.ts'
import type { TriggerRow } from '../../db/ledger/triggers.ts'
import { type HeldJob, holdJob as hold, jobState, type LockHolder, lockHolder } from '../../db/queue/jobs.ts'
import { attributeRun } from '../../db/queue/runs.ts'
import { SyncError } from '../../domain/errors.ts'
import { type Repo, spell } from '../../domain/repo.ts'
import { type Context, underLease } from '../context.ts'
import { pidHere } from '../worker-name.ts'

/** States a person's command may start from. `completed` only when the same thing is asked for again. */
const BY_HAND = ['pending', 'reserved', 'failed', 'dead']
/**
 * A chunk is wanted as long as its window is. An incremental job that was cancelled has a successor, and must not come
 * back beside it.
 */
const CHUNK_BY_HAND = [...BY_HAND, 'cancelled']

const LOOK_AGAIN_MS = 500

/**
 * Takes the job, waiting up to `waitSeconds` for whoever is syncing the same thing. null: nobody holds it and it is
 * not to be had, so somebody else has finished it meanwhile.
 */
export async function holdJob(
  ctx: Context,
  ask: {
    repo: Repo
    jobId: number
    jobType: HeldJob['jobType']
    chunk: boolean
    again: boolean
    waitSeconds: number
    trigger: TriggerRow
  },
): Promise<HeldJob | null> {
  const from = [...(ask.chunk ? CHUNK_BY_HAND : BY_HAND), ...(ask.again ? ['completed'] : [])]
  const giveUpAt = performance.now() + ask.waitSeconds * 1000
  for (;;) {
    const { lease_seconds: leaseSeconds } = ctx.config.scm.worker
    const holder = await lockHolder(ctx.db, ask.repo.repoId, ask.jobType)
    const dead = holder && isGone(holder.lockedBy) ? holder.lockedBy : null
    let asked = false
    const held = await transaction(ctx.db, underLease(ctx, leaseSeconds), async (tx) => {
      // Tried again after a break: the job may have become ours, and the answer was lost.
      const ours = asked && (await jobState(tx, ask.jobId))?.owner === ctx.worker
      asked = true
      const job = await hold(tx, {
        jobId: ask.jobId,
        worker: ctx.worker,
        leaseSeconds,
        from,
        deadOwner: ours ? ctx.worker : dead,
      })
      if (!job || job.scheduleInstanceId === ask.trigger.id) return job
      const { id, correlationId } = ask.trigger
      await attributeRun(tx, job.runId, { id, correlationId })
      return { ...job, scheduleInstanceId: id, correlationId }
    })
    if (held) return held

    // Who took the lock between our look and our grasp has not finished our job.
    const other = holder ?? (await lockHolder(ctx.db, ask.repo.repoId, ask.jobType))
    if (!other) {
      const state = await jobState(ctx.db, ask.jobId)
      if (!state || !from.includes(state.status)) return null
      continue
    }
    const left = giveUpAt - performance.now()
    if (left <= 0) throw busy(ask.repo, ask.jobType, other)
    ctx.progress(`waiting for ${other.lockedBy} to finish (${Math.ceil(left / 1000)} s left)`)
    await new Promise((resolve) => setTimeout(resolve, Math.min(LOOK_AGAIN_MS, left)))
    if (ctx.signal.aborted) throw new SyncError('cancelled', 'stopped while waiting for the lock')
  }
}

/** True when a worker of this very machine is proven dead. Only spares a wait: should the proof be wrong, the fence still stops the loser. */
function isGone(worker: string): boolean {
  const pid = pidHere(worker)
  if (pid === null) return false
  try {
    process.kill(pid, 0)
    return false
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ESRCH'
  }
}

function busy(repo: Repo, jobType: string, holder: LockHolder): SyncError {
  const until = holder.freeAt.toISOString()
  return new SyncError(
    'lock_held',
    `${spell(repo)} ${jobType} is being synced by ${holder.lockedBy} until ${until} at the latest`,
    {
      hint: 'wait, or look with engram-scm-status; a lock ends by itself when its holder is gone',
    },
  )
}
