import { Flags, type Interfaces } from '@oclif/core'
import type { Context } from '../../core/app/context.ts'
import { reap } from '../../core/app/queue/reap.ts'
import { tickScheduler } from '../../core/app/queue/tick-scheduler.ts'
import { reposOfShard } from '../../core/app/sync/repos-of-shard.ts'
import { runBackfill } from '../../core/app/sync/run-backfill.ts'
import { runIncremental } from '../../core/app/sync/run-incremental.ts'
import { verify } from '../../core/app/sync/verify.ts'
import { SyncError } from '../../core/domain/errors.ts'
import { MOST_REVISIONS } from '../../core/domain/mark.ts'
import { type JobType, parseRepoRef } from '../../core/domain/repo.ts'
import { revisionsWished, windowWished } from '../../core/domain/window.ts'
import { saidOf } from '../failure.ts'
import { jobFlag, lockWaitFlag } from '../runner-flags.ts'
import { reaperText, schedulerText } from '../text/queue.ts'
import { backfillText, incrementalText } from '../text/runner.ts'
import { verifyText } from '../text/verify.ts'
import { windowFlags, wishOf } from '../window-flags.ts'
import { flagsIn } from './params.ts'
import type { Result } from './triggers.ts'

/** Work with its parameters understood: it ends, and never throws. */
export type Work = (ctx: Context) => Promise<Result>

/** Names for `executorHandler`. */
export const HANDLERS = ['incremental', 'backfill', 'verify', 'scheduler', 'reaper'] as const

const reposFlags = {
  repo: Flags.string({ multiple: true, multipleNonGreedy: true, exclusive: ['all'] }),
  all: Flags.boolean(),
}
const incrementalFlags = { ...reposFlags, job: jobFlag, 'lock-wait': lockWaitFlag }
const backfillFlags = { ...incrementalFlags, ...windowFlags }

type Repos = Interfaces.InferredFlags<typeof reposFlags>

/**
 * The work a trigger asks for. Throws `usage` for a handler that is not there and parameters that cannot be meant; what
 * only the database or an upstream knows to be wrong is the end of the work.
 */
export async function workFor(handler: string, params: string): Promise<Work> {
  switch (handler) {
    case 'incremental': {
      const flags = await read(params, incrementalFlags)
      return each(flags, flags.job, async (ctx, repo) => {
        const ask = { repo, job: flags.job, lockWaitSeconds: flags['lock-wait'] }
        return told(await runIncremental(ctx, ask), incrementalText)
      })
    }
    case 'backfill': {
      const flags = await read(params, backfillFlags)
      for (const repo of flags.repo ?? []) wishOf(repo, flags)
      // Only to be refused at once: what window it is, is decided when the work begins.
      const { since, until, 'start-rev': startRev, 'end-rev': endRev } = flags
      windowWished({ since, until }, new Date(), 1)
      revisionsWished({ startRev, endRev }, MOST_REVISIONS)
      return each(flags, flags.job, async (ctx, repo) => {
        const wish = wishOf(repo, flags)
        const { job, 'update-watermark': updateWatermark, 'lock-wait': lockWaitSeconds } = flags
        return told(
          await runBackfill(ctx, { repo, job, wish, updateWatermark, lockWaitSeconds }),
          backfillText,
        )
      })
    }
    case 'verify': {
      const flags = await read(params, reposFlags)
      return each(flags, 'mrs', async (ctx, repo) =>
        told(await verify(ctx, { repo, dryRun: false }), verifyText),
      )
    }
    case 'scheduler':
      await read(params, {})
      return safely(async (ctx) =>
        told(await tickScheduler(ctx, { dryRun: false, keepLeading: false }), schedulerText),
      )
    case 'reaper':
      await read(params, {})
      return safely(async (ctx) =>
        told(await reap(ctx, { dryRun: false, policy: 'to_failed', retryDelaySeconds: 60 }), reaperText),
      )
    default:
      throw new SyncError('usage', `job handler [${handler.slice(0, 80)}] not found`, {
        hint: `there are: ${HANDLERS.join(', ')}`,
      })
  }
}

async function read<F extends Interfaces.FlagInput>(
  params: string,
  flags: F,
): Promise<Interfaces.InferredFlags<F>> {
  return (await flagsIn(params, flags)) as Interfaces.InferredFlags<F>
}

/** One repository after the other; what fails for one of them keeps none of the others from its turn. */
function each(flags: Repos, job: JobType, one: (ctx: Context, repo: string) => Promise<Result>): Work {
  const named = flags.repo ?? []
  if (named.length === 0 && !flags.all)
    throw new SyncError('usage', 'executorParams name no repository', {
      hint: 'for example --repo gitlab:123, several times for several, or --all',
    })
  for (const repo of named) parseRepoRef(repo)
  return safely(async (ctx) => {
    const repos = await reposOfShard(ctx, { repos: flags.all ? 'all' : named, job })
    const results: Result[] = []
    for (const repo of repos) {
      if (ctx.signal.aborted) results.push({ exitCode: 2, text: `${repo}: not begun` })
      else results.push(await safely((c) => one(c, repo))(ctx))
      if (repos.length > 1) ctx.progress(results.at(-1)?.text ?? '')
    }
    return summed(results)
  })
}

/** What went wrong first: of a long message an admin keeps the head. */
function summed(results: readonly Result[]): Result {
  const [first] = results
  if (first === undefined) return { exitCode: 0, text: 'no repository is of this shard' }
  if (results.length === 1) return first
  const good = results.filter((r) => r.exitCode === 0).length
  const head = `${good} of ${results.length} repositories succeeded`
  const texts = [...results].sort((a, b) => b.exitCode - a.exitCode).map((r) => r.text)
  const failed = results.every((r) => r.exitCode === 2)
  return { exitCode: good === results.length ? 0 : failed ? 2 : 1, text: [head, ...texts].join('\n') }
}

function told<R extends { exit_code: 0 | 1 | 2 }>(report: R, text: (report: R) => string): Result {
  return { exitCode: report.exit_code, text: text(report) }
}

function safely(work: Work): Work {
  return async (ctx) => {
    try {
      return await work(ctx)
    } catch (error) {
      // What somebody foresaw is told by its end.
      if (!(error instanceof SyncError)) ctx.log.error({ err: error }, 'trigger failed')
      return { exitCode: 2, text: saidOf(error) }
    }
  }
}
