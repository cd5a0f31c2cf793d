import { setTimeout as sleep } from 'node:timers/promises'
import type pg from 'pg'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { openPool } from '../../../../src/core/db/connect.ts'
import {
  type Bucket,
  heardWindow,
  pauseBudget,
  takeTurn,
  upstreamWait,
} from '../../../../src/core/db/queue/budgets.ts'
import { freshDatabase, servers, type TestDatabase } from '../../../helpers/database.ts'

const HOST = 'gitlab.example.com'
const instance = (rate: number, burst: number): Bucket => ({ key: HOST, rate, burst })
const tenant = (rate: number, burst: number, id = 'a'): Bucket => ({
  key: `${HOST}:tenant:${id}`,
  rate,
  burst,
})
/** So slow that no test lasts until its next token. */
const NEVER = 0.001

interface Row {
  tokens: number
  rate: number
  burst: number
  granted: number
  limited: number
  minute_remaining: number | null
  hour_remaining: number | null
  paused: number
  now: number
  meta_json: Record<string, unknown>
}

describe.each(servers())('the shared request budget on the $name server', ({ url }) => {
  let db: TestDatabase
  beforeAll(async () => {
    db = await freshDatabase(url)
  })
  afterAll(() => db.drop())
  beforeEach(() => db.pool.query('truncate scm.sync_rate_limits'))

  const sql = (text: string, values: unknown[] = []) => db.pool.query(text, values).then((r) => r.rows)
  const row = async (key = HOST): Promise<Row> =>
    (
      await sql(
        `select *, scm.seconds_left(paused_until, clock_timestamp()) as paused, scm.bucket_tokens(b, clock_timestamp()) as now
           from scm.sync_rate_limits b where instance_key = $1`,
        [key],
      )
    )[0]
  const clock = async (): Promise<number> =>
    Number((await sql('select extract(epoch from clock_timestamp()) as now'))[0].now)
  const granted = async (buckets: Bucket[], most = 100, pool: pg.Pool = db.pool): Promise<number> => {
    let n = 0
    while (n < most && (await takeTurn(pool, buckets)).waitMs === 0) n += 1
    return n
  }

  /** Takes as fast as eight connections can for so long; what was granted, and in which time of the database's clock. */
  async function race(ms: number, buckets: (taker: number) => Bucket[]) {
    const pools = Array.from({ length: 8 }, () =>
      openPool({ dsn: db.dsn, max: 1, applicationName: 'taker', statementTimeoutMs: 60_000 }),
    )
    await Promise.all(pools.map((pool) => pool.query('select 1')))
    const startedAt = await clock()
    const until = performance.now() + ms
    const turns = await Promise.all(
      pools.map(async (pool, taker) => {
        let [yes, no] = [0, 0]
        while (performance.now() < until) {
          if ((await takeTurn(pool, buckets(taker))).waitMs === 0) yes += 1
          else no += 1
        }
        return { yes, no }
      }),
    )
    const seconds = (await clock()) - startedAt
    await Promise.all(pools.map((pool) => pool.end()))
    const sum = (of: 'yes' | 'no') => turns.reduce((n, t) => n + t[of], 0)
    return { granted: sum('yes'), denied: sum('no'), seconds, each: turns.map((t) => t.yes) }
  }

  test('a bucket nobody has used begins full, and then grants its rate', async () => {
    expect(await granted([instance(NEVER, 3)])).toBe(3)
    const turn = await takeTurn(db.pool, [instance(NEVER, 3)])
    expect(turn.key).toBe(HOST)
    expect(turn.waitMs).toBeGreaterThan(990_000)
    expect(turn.waitMs).toBeLessThanOrEqual(1_000_000)
    expect(await row()).toMatchObject({ rate: NEVER, burst: 3, granted: 3, limited: 0 })
  })

  test('whoever waits as long as it was told is granted a turn', async () => {
    await granted([instance(20, 1)])
    for (let i = 0; i < 5; i++) {
      const { waitMs } = await takeTurn(db.pool, [instance(20, 1)])
      expect(waitMs).toBeLessThanOrEqual(50)
      await sleep(waitMs + 2) // a timer of Node's may be early by one
      expect((await takeTurn(db.pool, [instance(20, 1)])).waitMs).toBe(0)
    }
  })

  test('it fills while nobody asks, up to the burst', async () => {
    await granted([instance(NEVER, 5)])
    await sql(`update scm.sync_rate_limits set updated_at = clock_timestamp() - interval '3.5 seconds'`)
    expect(await granted([instance(1, 5)])).toBe(3)
    await sql(`update scm.sync_rate_limits set updated_at = clock_timestamp() - interval '1 hour'`)
    expect(await granted([instance(1, 5)])).toBe(5)
  })

  test('eight connections are never granted more than rate × time + burst', async () => {
    const [rate, burst] = [200, 30]
    const { granted: n, denied, seconds } = await race(2_000, () => [instance(rate, burst)])
    expect(n).toBeLessThanOrEqual(rate * seconds + burst)
    expect(n).toBeGreaterThan(burst)
    expect(denied).toBeGreaterThan(0)
    expect((await row()).granted).toBe(n)
  })

  test('eight connections that make the bucket at once make one', async () => {
    for (let round = 0; round < 10; round++) {
      await sql('truncate scm.sync_rate_limits')
      const { granted: n } = await race(30, () => [instance(NEVER, 7), tenant(NEVER, 100)])
      expect(n).toBe(7)
      expect(await row(tenant(1, 1).key)).toMatchObject({ granted: 7 })
    }
  })

  test('a tenant and its instance both grant, or neither does', async () => {
    expect(await granted([instance(NEVER, 10), tenant(NEVER, 3)])).toBe(3)
    expect(await takeTurn(db.pool, [instance(NEVER, 10), tenant(NEVER, 3)])).toMatchObject({
      key: tenant(1, 1).key,
    })
    expect(await granted([instance(NEVER, 10), tenant(NEVER, 100, 'b')])).toBe(7)
    expect(await takeTurn(db.pool, [instance(NEVER, 10), tenant(NEVER, 100, 'b')])).toMatchObject({
      key: HOST,
    })
    expect([(await row()).granted, (await row(tenant(1, 1, 'b').key)).granted]).toEqual([10, 7])
  })

  test('two tenants of one instance, and takers who know only one of both, do not wait for each other', async () => {
    const both = (id: string) => [instance(400, 5), tenant(150, 5, id)]
    const takers = [both('a'), both('b'), both('a'), both('b'), [instance(400, 5)], [tenant(150, 5, 'a')]]
    const { granted: n, each, seconds } = await race(1_500, (taker) => takers[taker % 6] as Bucket[])
    const [all, a, b] = [await row(), await row(tenant(1, 1, 'a').key), await row(tenant(1, 1, 'b').key)]
    expect(all.granted).toBeLessThanOrEqual(400 * seconds + 5)
    expect(a.granted).toBeLessThanOrEqual(150 * seconds + 5)
    expect(b.granted).toBeLessThanOrEqual(150 * seconds + 5)
    const [onlyInstance, onlyTenant] = [each[4] as number, each[5] as number]
    expect(all.granted).toBe(n - onlyTenant)
    expect(a.granted + b.granted).toBe(n - onlyInstance)
  })

  test('while the upstream asked for silence nobody is granted a turn, and a shorter pause ends no longer one', async () => {
    const bucket = instance(NEVER, 5)
    await pauseBudget(db.pool, bucket, 60_000, 'HTTP 429 "Retry later"')
    await pauseBudget(db.pool, bucket, 1_000, 'again')
    const { waitMs, key } = await takeTurn(db.pool, [bucket, tenant(NEVER, 5)])
    expect(key).toBe(HOST)
    expect(waitMs).toBeGreaterThan(55_000)
    expect(waitMs).toBeLessThanOrEqual(60_000)
    expect(await upstreamWait(db.pool, HOST)).toBeGreaterThan(55_000)
    expect(await row()).toMatchObject({
      granted: 0,
      limited: 2,
      tokens: 5,
      meta_json: { pause_reason: 'again', last_retry_after: 1 },
    })
    await sql(`update scm.sync_rate_limits set paused_until = clock_timestamp() - interval '1 ms'`)
    expect(await granted([bucket, tenant(NEVER, 5)])).toBe(5)
    expect(await upstreamWait(db.pool, HOST)).toBe(0)
  })

  test.each(['minute', 'hour'] as const)(
    'what the upstream still grants this %s is granted, and no more',
    async (window) => {
      const bucket = instance(NEVER, 50)
      const resetInMs = window === 'minute' ? 40_000 : 2_400_000
      await heardWindow(db.pool, bucket, window, { remaining: 4, resetInMs })
      expect((await row()).now).toBe(4)
      expect(await granted([bucket])).toBe(4)
      const { waitMs } = await takeTurn(db.pool, [bucket])
      expect(waitMs).toBeGreaterThan(resetInMs - 10_000)
      expect(waitMs).toBeLessThanOrEqual(resetInMs)
      expect(await upstreamWait(db.pool, HOST)).toBeGreaterThan(0)

      await sql(`update scm.sync_rate_limits set ${window}_resets_at = clock_timestamp()`)
      expect(await granted([bucket])).toBe(46)
      expect(await row()).toMatchObject({ [`${window}_remaining`]: null })
    },
  )

  test('both windows hold at once', async () => {
    const bucket = instance(NEVER, 50)
    await heardWindow(db.pool, bucket, 'minute', { remaining: 8, resetInMs: 30_000 })
    await heardWindow(db.pool, bucket, 'hour', { remaining: 5, resetInMs: 3_000_000 })
    expect(await granted([bucket])).toBe(5)
    await heardWindow(db.pool, bucket, 'hour', { remaining: 100, resetInMs: 3_600_000 })
    expect(await granted([bucket])).toBe(3)
    expect(await row()).toMatchObject({ minute_remaining: 0, hour_remaining: 97 })
  })

  test('an answer from before the turns taken since gives nothing back, nor does one about an earlier window', async () => {
    const bucket = instance(NEVER, 50)
    await heardWindow(db.pool, bucket, 'minute', { remaining: 6, resetInMs: 30_000 })
    await granted([bucket], 4)
    await heardWindow(db.pool, bucket, 'minute', { remaining: 6, resetInMs: 31_000 })
    expect((await row()).minute_remaining).toBe(2)
    await heardWindow(db.pool, bucket, 'minute', { remaining: 900, resetInMs: 1_000 })
    expect((await row()).minute_remaining).toBe(2)
    await heardWindow(db.pool, bucket, 'minute', { remaining: 1, resetInMs: 29_000 })
    expect(await granted([bucket])).toBe(1)
    await heardWindow(db.pool, bucket, 'minute', { remaining: 9, resetInMs: 60_000 })
    expect(await granted([bucket])).toBe(9)
  })

  test('a pause and a window leave the filling of the bucket alone', async () => {
    await granted([instance(NEVER, 10)])
    await sql(`update scm.sync_rate_limits set updated_at = clock_timestamp() - interval '4.5 seconds'`)
    await pauseBudget(db.pool, instance(1, 10), 0, 'none')
    await heardWindow(db.pool, instance(1, 10), 'minute', { remaining: 100, resetInMs: 9_000 })
    expect(await granted([instance(1, 10)])).toBe(4)
  })

  test("an operator's hand: a pause is obeyed, rate and burst are the configuration's, a deleted row begins anew", async () => {
    await granted([instance(NEVER, 5)], 2)
    await sql(`update scm.sync_rate_limits set rate = 1e6, burst = 1000000, tokens = 1e6`)
    expect(await granted([instance(NEVER, 5)])).toBe(5)
    expect(await row()).toMatchObject({ rate: NEVER, burst: 5 })

    await sql(`update scm.sync_rate_limits set tokens = 5, paused_until = 'infinity'`)
    expect((await takeTurn(db.pool, [instance(NEVER, 5)])).waitMs).toBe(86_400_000)
    expect(await upstreamWait(db.pool, HOST)).toBe(86_400_000)
    await sql(`update scm.sync_rate_limits set paused_until = null`)
    expect(await granted([instance(NEVER, 5)])).toBe(5)

    await sql('delete from scm.sync_rate_limits')
    expect(await upstreamWait(db.pool, HOST)).toBe(0)
    expect(await granted([instance(NEVER, 5)])).toBe(5)
  })

  test.each([
    ['negative tokens', `tokens = -1e300`],
    ['no number', `tokens = 'NaN', rate = 'NaN'`],
    ['a time that has not come', `tokens = 0, updated_at = clock_timestamp() + interval '1 day'`],
    ['no time', `tokens = 0, updated_at = 'infinity'`],
    ['the beginning of time', `updated_at = '-infinity'`],
    ['a window without an end', `minute_remaining = 0, minute_resets_at = null, hour_resets_at = 'infinity'`],
  ])('a row that holds %s does not stop an instance for good', async (_, edit) => {
    await granted([instance(50, 2)], 1)
    await sql(`update scm.sync_rate_limits set ${edit}`)
    for (let i = 0; i < 20; i++) {
      const { waitMs } = await takeTurn(db.pool, [instance(50, 2)])
      expect(waitMs).toBeLessThanOrEqual(20)
      await sleep(waitMs + 1)
    }
    expect((await row()).granted).toBeGreaterThan(5)
  })

  test('a request that is refused writes no row', async () => {
    await granted([instance(NEVER, 1)])
    const before = await sql('select ctid, * from scm.sync_rate_limits')
    await takeTurn(db.pool, [instance(NEVER, 1)])
    expect(await sql('select ctid, * from scm.sync_rate_limits')).toEqual(before)
  })

  test('two thousand turns leave no trail of dead rows', async () => {
    const pagesAfterwards = async () => {
      await sql('vacuum full scm.sync_rate_limits')
      await granted([instance(1e5, 2_000), tenant(1e5, 2_000)], 2_000)
      const [{ pages }] = await sql(
        `select pg_relation_size('scm.sync_rate_limits') / current_setting('block_size')::int as pages`,
      )
      return pages
    }
    // 4,000 versions are 50 pages. While somebody writes in another database of the server for long, PostgreSQL does not
    // look anew at what may go, so one of five has to be undisturbed.
    let pages = await pagesAfterwards()
    for (let again = 0; again < 4 && pages > 10; again++) pages = await pagesAfterwards()
    expect(pages).toBeLessThanOrEqual(10)
  })
})
