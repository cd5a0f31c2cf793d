import { patiently } from '../../db/connect.ts'
import { digestsSince } from '../../db/facts/mrs.ts'
import { type HeadsKnown, headsKnown } from '../../db/facts/refs.ts'
import { observedMax } from '../../db/ledger/cursors.ts'
import type { HeldJob } from '../../db/queue/jobs.ts'
import { outOfLedger } from '../../domain/ledger-window.ts'
import { kindIn } from '../../domain/repo.ts'
import { isTime } from '../../domain/window.ts'
import type { Ask, CursorKind, Refetch, UpdatesAsk } from '../../sources/source.ts'
import type { Context } from '../context.ts'
import { sourceFor } from '../find-repo.ts'
import { mainLine } from './land-cursor.ts'

type Slice = Pick<HeldJob, 'mode' | 'repoId' | 'jobType' | 'provenance' | 'spec' | 'checkpoint'>

/** The slices of jobs, as their sources understand them; the heads of all of them in one look. */
export async function asksOf(ctx: Context, jobs: Slice[]): Promise<Ask[]> {
  const repoIds = jobs.filter((job) => cursorOf(ctx, job) === 'heads').map((job) => job.repoId)
  const heads =
    repoIds.length > 0
      ? await patiently(ctx.signal, () => headsKnown(ctx.db, repoIds))
      : new Map<number, HeadsKnown>()
  return Promise.all(jobs.map((job) => askFor(ctx, job, heads.get(job.repoId))))
}

async function askFor(ctx: Context, job: Slice, heads: HeadsKnown | undefined): Promise<Ask> {
  const { window, refetch_since: spec } = job.spec
  switch (cursorOf(ctx, job)) {
    case 'window': {
      const wanted = outOfLedger(window)
      return isTime(wanted)
        ? { window: 'time', of: job.jobType, ...wanted }
        : { window: 'range', from: wanted.startRev, to: wanted.endRev }
    }
    case 'heads':
      return { window: 'heads', ...(heads as HeadsKnown), refetch: refetchOf(spec) }
    case 'updates':
      return patiently(ctx.signal, () => updatesAsk(ctx, job, refetchOf(spec)))
    case 'revisions':
      return {
        window: 'revisions',
        scanned: window.from === null ? null : Number(window.from),
        again: spec === undefined || spec === null ? null : spec === 'beginning' ? 1 : Number(spec),
      }
  }
}

export async function askOf(ctx: Context, job: Slice): Promise<Ask> {
  const [ask] = await asksOf(ctx, [job])
  return ask as Ask
}

export function refetchOf(spec: string | null | undefined): Refetch {
  if (spec === undefined || spec === null) return null
  return spec === 'beginning' ? 'beginning' : new Date(spec)
}

/**
 * From where its runs have seen everything. What is stored of that time already need not be read again, unless an
 * operator asked for it.
 */
export async function updatesAsk(
  ctx: Context,
  { provenance, jobType, repoId, spec, checkpoint }: Omit<Slice, 'mode'>,
  refetch: Refetch,
): Promise<UpdatesAsk> {
  const seen = await observedMax(ctx.db, mainLine({ provenance, jobType }))
  // An operator may have set it a little ahead; nothing was updated later than the plan was made.
  const position = seen && new Date(Math.min(seen.getTime(), Date.parse(spec.window.to as string)))
  if (refetch !== null) {
    const since = refetch === 'beginning' ? null : refetch
    return { window: 'updates', of: jobType, since, position, known: new Map() }
  }
  const resumesAt = checkpoint && new Date(checkpoint.token.split('#')[0] as string)
  // Without a position there may be what a backfill has stored.
  const from = resumesAt ?? position ?? new Date(0)
  const known = await digestsSince(ctx.db, repoId, jobType as 'mrs' | 'reviews', from)
  return { window: 'updates', of: jobType, since: position, position, known }
}

function cursorOf(ctx: Context, { mode, provenance, jobType }: Slice): CursorKind | 'window' {
  if (mode === 'backfill') return 'window'
  return sourceFor(ctx, kindIn(provenance)).jobs[jobType] ?? 'heads'
}
