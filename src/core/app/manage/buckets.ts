import type { BucketReport, BucketsReport } from '../../contracts/admin.ts'
import type { Db } from '../../db/connect.ts'
import { isRegistered } from '../../db/facts/repos.ts'
import * as buckets from '../../db/manage/buckets.ts'
import { SyncError } from '../../domain/errors.ts'
import type { Context } from '../context.ts'
import { type Operator, operate, outcomeOf } from './operate.ts'

export async function listBuckets(ctx: Context): Promise<BucketsReport> {
  const kept = await buckets.bucketsKept(ctx.db)
  return {
    status: 'success',
    buckets: kept.map((bucket) => ({
      ...bucket,
      last_refill: bucket.last_refill.toISOString(),
      updated_at: bucket.updated_at.toISOString(),
      paused_until: bucket.paused_until?.toISOString() ?? null,
    })),
    count: kept.length,
    exit_code: 0,
  }
}

/** Nobody asks this host, or for this tenant of it, for so long from now on; shorter than a pause that lasts, too. */
export async function pauseBucket(
  ctx: Context,
  ask: { key: string; seconds: number },
  as: Operator,
): Promise<BucketReport> {
  return operate(ctx, 'buckets pause', as, async (tx) => {
    const known = await buckets.lockBucket(tx, ask.key)
    if (known === null) await requireHost(tx, ask.key)
    const until = await buckets.silenceBucket(tx, ask.key, ask.seconds, as.reason ?? 'manual_pause')
    const before = known?.pausedUntil ?? null
    return {
      report: {
        ...outcomeOf(1, 0),
        dry_run: as.dryRun,
        instance_key: ask.key,
        paused_until: until.toISOString(),
        was_paused_until: before,
      },
      changes: [
        {
          target: { instance_key: ask.key },
          before: { paused_until: before },
          after: { paused_until: until.toISOString() },
        },
      ],
    }
  })
}

export async function unpauseBucket(ctx: Context, ask: { key: string }, as: Operator): Promise<BucketReport> {
  return operate(ctx, 'buckets unpause', as, async (tx) => {
    const known = await buckets.lockBucket(tx, ask.key)
    if (known !== null) await buckets.endSilence(tx, ask.key)
    const before = known?.pausedUntil ?? null
    return {
      report: {
        ...outcomeOf(known ? 1 : 0, known ? 0 : 1),
        dry_run: as.dryRun,
        instance_key: ask.key,
        paused_until: null,
        was_paused_until: before,
      },
      changes:
        before === null
          ? []
          : [
              {
                target: { instance_key: ask.key },
                before: { paused_until: before },
                after: { paused_until: null },
              },
            ],
    }
  })
}

/** A slip in a name would silence nobody, and nobody would notice. */
async function requireHost(db: Db, key: string): Promise<void> {
  const instance = key.split(':tenant:')[0] as string
  if (await isRegistered(db, { instance })) return
  throw new SyncError('not_found', `no repository is synced from ${instance}`, {
    hint: 'engram-scm-sync admin buckets list shows the keys; a host has its port, if it has one',
  })
}
