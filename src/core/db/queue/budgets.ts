/** The request budget that all processes share. Everything by the database's clock; never inside a page's transaction. */
import { type Db, row, rows } from '../connect.ts'

/** What the configuration grants one instance, or one tenant of it. */
export interface Bucket {
  key: string
  /** Requests per second. */
  rate: number
  burst: number
}

/** A minute's window and an hour's: a later one never hides the other. */
export type Window = 'minute' | 'hour'

export interface Turn {
  /** 0: granted. Otherwise nothing was taken. */
  waitMs: number
  /** The bucket one has to wait for; null when granted. */
  key: string | null
}

/** Some day: further ahead a JavaScript timer does not reach, and somebody may have written `infinity`. */
const LONGEST_WAIT_MS = 86_400_000

/** A token from each of these or from none. An instance stands before its tenant. */
export async function takeTurn(db: Db, buckets: Bucket[]): Promise<Turn> {
  const turn = await row<{ wait: number; bucket: string | null }>(
    db,
    'budget_take',
    'select wait, bucket from scm.take_turn($1, $2, $3)',
    [buckets.map((b) => b.key), buckets.map((b) => b.rate), buckets.map((b) => b.burst)],
  )
  const { wait, bucket } = turn as { wait: number; bucket: string | null }
  return { waitMs: milliseconds(wait), key: wait > 0 ? bucket : null }
}

/** Until the upstream may be asked at all, for those who keep no rate. Takes and writes nothing. */
export async function upstreamWait(db: Db, key: string): Promise<number> {
  const found = await row<{ wait: number }>(
    db,
    'budget_look',
    'select scm.upstream_wait(b, clock_timestamp()) as wait from scm.sync_rate_limits b where instance_key = $1',
    [key],
  )
  return milliseconds(found?.wait ?? 0)
}

/** Nobody asks this upstream for so long. A pause that lasts longer stays. */
export async function pauseBudget(db: Db, bucket: Bucket, ms: number, reason: string): Promise<void> {
  await rows(
    db,
    'budget_pause',
    `insert into scm.sync_rate_limits as b (instance_key, tokens, rate, burst, paused_until, limited, meta_json)
     values ($1, $3::int, $2, $3::int, clock_timestamp() + make_interval(secs => $4::float8), 1, jsonb_build_object(
               'last_429_at', clock_timestamp(), 'last_retry_after', $4::float8, 'pause_reason', $5::text))
     on conflict (instance_key) do update
        set paused_until = greatest(b.paused_until, excluded.paused_until), limited = b.limited + 1,
            meta_json = b.meta_json || excluded.meta_json`,
    [bucket.key, bucket.rate, bucket.burst, ms / 1000, reason],
  )
}

/**
 * The upstream still grants so many until then. Within one window (its end is told in whole seconds, and underway for
 * a while) it only gets less: an answer may be older than the turns taken since. What is said of an earlier one is late.
 */
export async function heardWindow(
  db: Db,
  bucket: Bucket,
  window: Window,
  told: { remaining: number; resetInMs: number },
): Promise<void> {
  const [remaining, resets] = [`${window}_remaining`, `${window}_resets_at`]
  const same = `abs(extract(epoch from b.${resets}) - extract(epoch from excluded.${resets})) <= 5`
  await rows(
    db,
    `budget_heard_${window}`,
    `insert into scm.sync_rate_limits as b (instance_key, tokens, rate, burst, ${remaining}, ${resets})
     values ($1, $3::int, $2, $3::int, $4, clock_timestamp() + make_interval(secs => $5::float8))
     on conflict (instance_key) do update
        set ${remaining} = case when ${same} then least(b.${remaining}, excluded.${remaining}) else excluded.${remaining} end,
            ${resets} = case when ${same} then b.${resets} else excluded.${resets} end
      where b.${resets} is null or ${same} or b.${resets} < excluded.${resets}`,
    [bucket.key, bucket.rate, bucket.burst, told.remaining, told.resetInMs / 1000],
  )
}

function milliseconds(seconds: number): number {
  return Math.min(Math.ceil(seconds * 1000), LONGEST_WAIT_MS)
}
