import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { readMetrics } from '../../../src/core/app/report/read-metrics.ts'
import { readStatus } from '../../../src/core/app/report/read-status.ts'
import { longestTurnMs, requestBudget } from '../../../src/core/app/sync/request-budget.ts'
import type { Repo } from '../../../src/core/domain/repo.ts'
import type { Budget } from '../../../src/core/sources/source.ts'
import { contextOn } from '../../helpers/context.ts'
import { admin, freshDatabase, servers, type TestDatabase } from '../../helpers/database.ts'

const HOST = 'gitlab.example.com:8443'
const REPO: Pick<Repo, 'kind' | 'instanceKey' | 'tenantId'> = {
  kind: 'gitlab',
  instanceKey: HOST,
  tenantId: 'team',
}
const ON = {
  'scm.gitlab.postgres_rate_limit_enabled': true,
  'scm.gitlab.postgres_rate_limit_rate': 0.001,
  'scm.gitlab.postgres_rate_limit_burst': 4,
}
const TENANT = {
  'scm.gitlab.tenant_rate_limit_enabled': true,
  'scm.gitlab.tenant_rate_limit_rate': 0.001,
  'scm.gitlab.tenant_rate_limit_burst': 2,
}
const PLENTY = { limit: 2000, remaining: 1999, resetInMs: 60_000 }

describe.each(servers())('the budget of a repository on the $name server', ({ url }) => {
  let db: TestDatabase
  /** Statements sent since the last look at it. */
  let sent: string[]
  beforeAll(async () => {
    db = await freshDatabase(url)
    const query = db.pool.query.bind(db.pool) as (...args: unknown[]) => unknown
    db.pool.query = ((...args: unknown[]) => {
      const [asked] = args as [{ name?: string }]
      if (asked.name?.startsWith('budget_')) sent.push(asked.name)
      return query(...args)
    }) as typeof db.pool.query
  })
  afterAll(() => db.drop())
  beforeEach(async () => {
    await db.pool.query('truncate scm.sync_rate_limits')
    sent = []
  })
  afterEach(() => {
    vi.useRealTimers()
  })

  const signal = new AbortController().signal
  const budget = (settings: Record<string, unknown> = {}, repo = REPO): Budget =>
    requestBudget(contextOn(db.pool, { settings }), repo, signal) as Budget
  const keys = async () =>
    (
      await db.pool.query(
        'select instance_key, granted from scm.sync_rate_limits order by instance_key collate "C"',
      )
    ).rows.map((r) => [r.instance_key, r.granted])
  const takes = async (b: Budget, n: number) => {
    const waits: number[] = []
    for (let i = 0; i < n; i++) waits.push(await b.take())
    return waits.map((ms) => ms > 0)
  }

  test('a kind whose requests nobody counts has none', () => {
    const ctx = contextOn(db.pool, { settings: ON })
    expect(requestBudget(ctx, { ...REPO, kind: 'git' }, signal)).toBeNull()
  })

  test('one bucket for the instance, shared by whoever has the same configuration', async () => {
    const [one, two] = [budget(ON), budget(ON, { ...REPO, tenantId: 'other' })]
    expect(await takes(one, 3)).toEqual([false, false, false])
    expect(await takes(two, 2)).toEqual([false, true])
    expect(await keys()).toEqual([[HOST, 4]])
    expect(sent).toEqual(Array(5).fill('budget_take'))
  })

  test('a tenant has its own within that of the instance', async () => {
    expect(await takes(budget({ ...ON, ...TENANT }), 3)).toEqual([false, false, true])
    const other = budget({ ...ON, ...TENANT }, { ...REPO, tenantId: 'b:c' })
    expect(await takes(other, 3)).toEqual([false, false, true])
    expect(await keys()).toEqual([
      [HOST, 4],
      [`${HOST}:tenant:b:c`, 2],
      [`${HOST}:tenant:team`, 2],
    ])
    expect(await takes(budget({ ...ON, ...TENANT }, { ...REPO, tenantId: '' }), 1)).toEqual([true])
    expect(await keys()).toHaveLength(3)
  })

  test('a tenant alone may be limited; the instance is still heeded when it pauses', async () => {
    expect(await takes(budget(TENANT), 3)).toEqual([false, false, true])
    expect(await keys()).toEqual([[`${HOST}:tenant:team`, 2]])
    await budget().pause(60_000, '429')
    expect(await budget(TENANT, { ...REPO, tenantId: 'x' }).take()).toBeGreaterThan(50_000)
  })

  test('where no rate is kept requests cost one look in five seconds, and write nothing', async () => {
    vi.useFakeTimers({ toFake: ['performance'] })
    const free = budget()
    const requests = async (n: number) => {
      for (let i = 0; i < n; i++) {
        expect(await free.take()).toBe(0)
        await free.heard({ ...PLENTY, remaining: 1999 - i })
      }
    }
    await requests(100)
    vi.advanceTimersByTime(4_999)
    await requests(100)
    expect(sent).toEqual(['budget_look'])
    expect(await keys()).toEqual([])

    await budget().pause(60_000, 'of another process')
    await requests(1)
    vi.advanceTimersByTime(1)
    expect(await free.take()).toBeGreaterThan(0)
    expect(await free.take()).toBeGreaterThan(0)
  })

  test.each([
    ['on', ON],
    ['off', {}],
  ])('a pause that one was asked for holds for all, with the rate limit %s', async (_, settings) => {
    const [one, two] = [budget(settings), budget(settings)]
    await one.take()
    await one.pause(90_000, 'HTTP 429')
    for (const b of [one, two, budget(settings)]) {
      const ms = await b.take()
      expect(ms).toBeGreaterThan(80_000)
      expect(ms).toBeLessThanOrEqual(90_000)
    }
    const { rate_limit_buckets: shown } = await readStatus(contextOn(db.pool))
    expect(shown).toMatchObject([{ instance_key: HOST, source: 'postgres', is_paused: true }])
  })

  test('no upstream can stop us for longer than an hour', async () => {
    await budget().pause(1e15, 'a lie')
    expect(await budget().take()).toBeLessThanOrEqual(3_600_000)
  })

  test('what is left of a scarce window is told to all: at first, when half of it is gone, and no more often', async () => {
    vi.useFakeTimers({ toFake: ['performance'] })
    const one = budget()
    for (let remaining = 600; remaining >= 0; remaining--)
      await one.heard({ limit: 600, remaining, resetInMs: 30_000 })
    expect(sent).toEqual(Array(7).fill('budget_heard_minute')) // 120, 59, 29, 14, 6, 2, 0
    expect(await budget().take()).toBeGreaterThan(20_000)
    vi.advanceTimersByTime(5_000)
    await one.heard({ limit: 600, remaining: 100, resetInMs: 60_000 })
    expect(sent.filter((name) => name === 'budget_heard_minute')).toHaveLength(8)
    expect(await budget().take()).toBe(0)
  })

  test("an hour's window and a minute's are told apart; one of unknown limit is told", async () => {
    await budget(ON).heard({ limit: null, remaining: 3, resetInMs: 60_000 })
    await budget(ON).heard({ limit: 7200, remaining: 2, resetInMs: 3_000_000 })
    expect(sent).toEqual(['budget_heard_minute', 'budget_heard_hour'])
    expect(await takes(budget(ON), 3)).toEqual([false, false, true])
  })

  test('an upstream that says it grants more than can be counted is no failure', async () => {
    await budget().heard({ limit: null, remaining: 1e15, resetInMs: 60_000 })
    expect(await budget().take()).toBe(0)
  })

  test('a database that fails is no permission', async () => {
    const other = await freshDatabase(url)
    await other.pool.query('drop function scm.take_turn')
    const broken = requestBudget(contextOn(other.pool, { settings: ON }), REPO, signal) as Budget
    await expect(broken.take()).rejects.toMatchObject({ name: 'SyncError' })
    await other.drop()
  })

  test('a connection that broke meanwhile is no failure', async () => {
    const one = budget(ON)
    await one.take()
    await admin(
      url,
      `select pg_terminate_backend(pid) from pg_stat_activity where datname = '${db.dsn.match(/t_[0-9a-f]{12}/)}'`,
    )
    expect(await takes(one, 4)).toEqual([false, false, false, true])
  })

  test('a request waits no longer than the shortest of its budgets allows', () => {
    const of = (settings: Record<string, unknown>) => longestTurnMs(contextOn(db.pool, { settings }).config)
    const waits = {
      'scm.gitlab.postgres_rate_limit_max_wait': 50,
      'scm.gitlab.tenant_rate_limit_max_wait': 20,
      'scm.http.backoff_max_seconds': 10,
    }
    expect([of(waits), of({ ...waits, ...ON }), of({ ...waits, ...ON, ...TENANT })]).toEqual([
      10_000, 50_000, 20_000,
    ])
  })

  test('status and metrics show the bucket as it is now, and what the upstream still grants', async () => {
    await db.pool.query(
      `insert into scm.sync_rate_limits (instance_key, tokens, rate, burst, updated_at, minute_remaining, minute_resets_at) values
         ('filled', 0, 10, 20, now() - interval '1 hour', null, null),
         ('half', 5, 0, 20, now() - interval '1 hour', 0, now() - interval '1 second'),
         ('scarce', 20, 10, 20, now(), 3, now() + interval '1 minute'),
         ('spent', 20, 10, 20, now(), 0, now() + interval '1 minute')`,
    )
    const ctx = contextOn(db.pool)
    const { rate_limit_buckets: shown } = await readStatus(ctx)
    expect(shown.map((b) => [b.instance_key, b.tokens_remaining, b.wait_seconds > 0])).toEqual([
      ['filled', 20, false],
      ['half', 5, false],
      ['scarce', 3, false],
      ['spent', 0, true],
    ])
    expect(Object.keys(shown[0] ?? {}).sort()).toEqual(
      [
        'burst',
        'instance_key',
        'is_paused',
        'pause_remaining_seconds',
        'pause_until',
        'rate',
        'source',
        'tokens_remaining',
        'wait_seconds',
      ].sort(),
    )
    const { metrics } = await readMetrics(ctx)
    const of = (name: string) =>
      metrics.find((m) => m.name === name)?.samples.map((s) => [s.labels.instance_key, s.value])
    for (const name of ['scm_rate_limit_bucket_tokens', 'scm_token_bucket_tokens_remaining'])
      expect(of(name)).toEqual([
        ['filled', 20],
        ['half', 5],
        ['scarce', 3],
        ['spent', 0],
      ])
    const waits = Object.fromEntries(of('scm_token_bucket_wait_seconds') ?? [])
    expect(waits).toMatchObject({ filled: 0, half: 0, scarce: 0 })
    expect(waits.spent).toBeGreaterThan(50)
  })
})
