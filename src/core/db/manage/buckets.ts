/** Rate limit buckets as operators list and silence them; by the database's clock. */
import { type Db, row, rows } from '../connect.ts'

export interface BucketRow {
  instance_key: string
  tokens: number
  rate: number
  burst: number
  last_refill: Date
  paused_until: Date | null
  is_paused: boolean
  remaining_pause_seconds: number
  wait_seconds: number
  updated_at: Date
  raw_value: unknown
}

export async function bucketsKept(db: Db): Promise<BucketRow[]> {
  return rows(
    db,
    'by_hand_buckets',
    `select instance_key, scm.bucket_tokens(b, now()) as tokens, rate, burst, updated_at as last_refill,
            -- Somebody may have written infinity, which no calendar has.
            case when isfinite(paused_until) then paused_until end as paused_until, coalesce(paused_until > now(), false) as is_paused,
            scm.seconds_left(paused_until, now()) as remaining_pause_seconds, scm.bucket_wait(b, now()) as wait_seconds,
            updated_at, meta_json as raw_value
       from scm.sync_rate_limits b order by instance_key`,
  )
}

/** Until when it is silent, held until the transaction ends. null: nobody has ever used it. */
export async function lockBucket(tx: Db, key: string): Promise<{ pausedUntil: string | null } | null> {
  return row(
    tx,
    'by_hand_bucket_lock',
    `select paused_until::text as "pausedUntil" from scm.sync_rate_limits where instance_key = $1 for update`,
    [key],
  )
}

/** From now on for so long, whatever was before. Rate and burst of a new row are set with the first request. */
export async function silenceBucket(tx: Db, key: string, seconds: number, reason: string): Promise<Date> {
  const silent = await row<{ until: Date }>(
    tx,
    'by_hand_bucket_pause',
    `insert into scm.sync_rate_limits as b (instance_key, tokens, paused_until, meta_json)
     values ($1, 0, clock_timestamp() + make_interval(secs => $2), jsonb_build_object('pause_reason', $3::text))
     on conflict (instance_key) do update
        set paused_until = excluded.paused_until, meta_json = b.meta_json || excluded.meta_json
     returning paused_until as until`,
    [key, seconds, reason],
  )
  return (silent as { until: Date }).until
}

export async function endSilence(tx: Db, key: string): Promise<void> {
  await rows(
    tx,
    'by_hand_bucket_unpause',
    'update scm.sync_rate_limits set paused_until = null where instance_key = $1',
    [key],
  )
}
