/** A harness that never failed proves nothing: each of these wrong ways to store a page has to be found by it. */
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest'
import type * as pages from '../../src/core/app/sync/store-page.ts'
import type * as complete from '../../src/core/db/queue/complete.ts'
import type * as jobs from '../../src/core/db/queue/jobs.ts'
import type * as batches from '../../src/core/db/queue/pages.ts'
import { crash, INCREMENTAL, pointsOf, writesOf } from './crash.ts'
import { say } from './size.ts'
import { makeWorld, type World } from './world.ts'
import { zombie } from './zombie.ts'

const planted = vi.hoisted(() => ({
  storePage: null as typeof pages.storePage | null,
  renewLeases: null as typeof jobs.renewLeases | null,
  anyEnd: false,
  closeBatch: null as ((real: typeof batches.closeBatch) => typeof batches.closeBatch) | null,
}))

vi.mock('../../src/core/app/sync/store-page.ts', async (original) => {
  const real = await original<typeof pages>()
  return {
    ...real,
    storePage: (...args: Parameters<typeof pages.storePage>) =>
      (planted.storePage ?? real.storePage)(...args),
  }
})
vi.mock('../../src/core/db/queue/jobs.ts', async (original) => {
  const real = await original<typeof jobs>()
  return {
    ...real,
    renewLeases: (...args: Parameters<typeof jobs.renewLeases>) =>
      (planted.renewLeases ?? real.renewLeases)(...args),
  }
})
vi.mock('../../src/core/db/queue/complete.ts', async (original) => {
  const real = await original<typeof complete>()
  return {
    ...real,
    completeJobs: async (...args: Parameters<typeof complete.completeJobs>) => {
      const ended = await real.completeJobs(...args)
      return planted.anyEnd ? new Set(args[1].map((e) => e.held.jobId)) : ended
    },
  }
})
vi.mock('../../src/core/db/queue/pages.ts', async (original) => {
  const real = await original<typeof batches>()
  return {
    ...real,
    closeBatch: (...args: Parameters<typeof batches.closeBatch>) =>
      (planted.closeBatch?.(real.closeBatch) ?? real.closeBatch)(...args),
  }
})

const { transaction } = await import('../../src/core/db/connect.ts')
const { storeFacts } = await import('../../src/core/app/sync/ready-page.ts')
const { markUnreachable } = await import('../../src/core/db/facts/commits.ts')
const { closeBatch, openBatch } = await import('../../src/core/db/queue/pages.ts')
const { moveHeads } = await import('../../src/core/db/facts/refs.ts')
const { completeJobs } = await import('../../src/core/db/queue/complete.ts')
const { renewLeases } = await import('../../src/core/db/queue/jobs.ts')
const { landCursor } = await import('../../src/core/app/sync/land-cursor.ts')
const { statsOf, tallied } = await import('../../src/core/domain/tally.ts')
const { rows } = await import('../../src/core/db/connect.ts')

type StorePage = typeof pages.storePage
type Args = Parameters<StorePage>

const mine = async (tx: Parameters<typeof renewLeases>[0], held: Args[1]) => {
  if (!(await renewLeases(tx, [held])).has(held.jobId)) throw new Error('lease lost')
}
const close = (
  tx: Parameters<typeof closeBatch>[0],
  [, held, { page, counts }, { before, tally }]: Args,
  batchId: number,
  synced: number,
  pagesDone: number,
) =>
  closeBatch(tx, held, batchId, {
    beforeToken: before,
    afterToken: page.token,
    records: counts.scanned,
    stats: { synced, skipped: counts.scanned - synced },
    checkpoint: { token: page.token, pages: pagesDone, done: page.done },
    runStats: {},
    pinned: tally.pages === 0 ? page.pinned : null,
    last: page.landing !== undefined,
  })

/** Heads and cursor in a transaction of their own, before the rows of the last page. */
const cursorFirst: StorePage = async (...args) => {
  const [ctx, held, { page, payload, counts }, { before, batchId: opened, tally }, limits] = args
  const landing = page.landing?.heads
  const next = tallied(tally, counts, counts.scanned)
  let cursor: Awaited<ReturnType<typeof landCursor>> = null
  if (landing)
    await transaction(ctx.db, limits, async (tx) => {
      await mine(tx, held)
      const batchId = opened ?? (await openBatch(tx, held, before))
      await markUnreachable(tx, held.repoId, landing.unreachable)
      await moveHeads(tx, held, landing.refs, landing.moves)
      cursor = await landCursor(ctx, tx, { ...held, batchId }, null, null)
    })
  return transaction(ctx.db, limits, async (tx) => {
    await mine(tx, held)
    const batchId = opened ?? (await openBatch(tx, held, before))
    const synced = await storeFacts(tx, { ...held, batchId }, payload)
    const stored = await close(tx, args, batchId, synced, next.pages)
    const stats = statsOf(tallied(tally, counts, synced))
    if (landing) await completeJobs(tx, [{ held, stats, cursorAfter: cursor }])
    return { ...stored, tally: tallied(tally, counts, synced) }
  })
}

/** The rows are committed, and only then what says that they are there. `fenced`: both transactions ask whose job it is. */
const twoTransactions =
  (fenced: boolean): StorePage =>
  async (...args) => {
    const [ctx, held, { page, payload, counts }, { before, batchId: opened, tally }, limits] = args
    const { batchId, synced } = await transaction(ctx.db, limits, async (tx) => {
      if (fenced) await mine(tx, held)
      const batchId = opened ?? (await openBatch(tx, held, before))
      return { batchId, synced: await storeFacts(tx, { ...held, batchId }, payload) }
    })
    return transaction(ctx.db, limits, async (tx) => {
      await mine(tx, held)
      const next = tallied(tally, counts, synced)
      const stored = await close(tx, args, batchId, synced, next.pages)
      if (page.landing?.heads) {
        await markUnreachable(tx, held.repoId, page.landing.heads.unreachable)
        await moveHeads(tx, held, page.landing.heads.refs, page.landing.heads.moves)
        const cursorAfter = await landCursor(ctx, tx, { ...held, batchId }, null, null)
        await completeJobs(tx, [{ held, stats: statsOf(next), cursorAfter }])
      }
      return { ...stored, tally: next }
    })
  }

/** Asks whose job it is, and holds nothing while the page is written. */
const unlockedFence: typeof jobs.renewLeases = async (db, [held]) => {
  const found = await rows<{ jobId: number }>(
    db,
    'job_renew',
    `select t.id as "jobId" from ing_task t join ing_task_run r on r.id = $3 where t.id = $1 and t.fence = $2 and t.status = 'running' and r.status_code = 'RUNNING'`,
    [held?.jobId, held?.fence, held?.runId],
  )
  return new Set(found.map((f) => f.jobId))
}

/** A batch that somebody else has ended is no reason to stop. */
const anyBatch =
  (real: typeof batches.closeBatch): typeof batches.closeBatch =>
  async (...args) => {
    const [tx] = args
    await tx.query('savepoint here')
    return real(...args).catch(async () => {
      await tx.query('rollback to here')
      return { nextBatchId: null, storedBefore: null }
    })
  }

describe('the harness finds', () => {
  let world: World
  beforeAll(async () => {
    world = await makeWorld({ fresh: false })
  })
  afterEach(() =>
    Object.assign(planted, { storePage: null, renewLeases: null, closeBatch: null, anyEnd: false }),
  )
  afterAll(() => world.drop())

  /** From the end of the run backwards, where the last page is; stops at the first find. */
  async function cutsUntilFound(): Promise<string[]> {
    const points = (await pointsOf(world, INCREMENTAL, true)).filter((p) => p.how !== 'half').reverse()
    for (const [i, point] of points.entries()) {
      const { broken } = await crash(world, INCREMENTAL, point)
      if (broken.length > 0) {
        say(`found after ${i + 1} cuts: ${broken[0]}`)
        return broken
      }
    }
    return []
  }

  /** Stopped before writes whose text is `what`, the last first. A long lease: the server must not end the matter. */
  async function zombiesUntilFound(what: string): Promise<string[]> {
    const sent = await writesOf(world, INCREMENTAL)
    const points = sent.flatMap((text, i) => (text.includes(what) ? [i + 1] : [])).reverse()
    for (const [i, at] of points.entries()) {
      const { broken } = await zombie(world, INCREMENTAL, at, 6)
      if (broken.length > 0) {
        say(`found after ${i + 1} zombies: ${broken.join('; ')}`)
        return broken
      }
    }
    return []
  }

  test('a cursor that is moved before the rows: a commit is missing', async () => {
    planted.storePage = cursorFirst
    expect(await cutsUntilFound()).toContainEqual(expect.stringMatching(/a commit is missing/))
  })

  test('rows and cursor in two transactions: a row names a page that was never stored', async () => {
    planted.storePage = twoTransactions(true)
    expect(await cutsUntilFound()).toContainEqual(expect.stringMatching(/names a batch that did not succeed/))
  })

  test('rows written without asking whose job it is: a zombie still writes', async () => {
    planted.storePage = twoTransactions(false)
    expect(await zombiesUntilFound('commit_upsert')).toContainEqual(
      expect.stringMatching(/the zombie still wrote/),
    )
  })

  test('a fence that is read without a lock: the job is taken over from under its owner', async () => {
    planted.renewLeases = unlockedFence
    expect(await zombiesUntilFound('commit_upsert')).toContainEqual(expect.stringMatching(/behind the fence/))
  })

  test('the same, where nothing else stands in the way: the heads go back', async () => {
    planted.renewLeases = unlockedFence
    planted.closeBatch = anyBatch
    planted.anyEnd = true
    expect(await zombiesUntilFound('commit_upsert')).toContainEqual(
      expect.stringMatching(/scm.git_refs is not what the repository has/),
    )
  })
})
