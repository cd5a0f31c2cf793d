import { spawnSync } from 'node:child_process'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { SyncError } from '../../../src/core/domain/errors.ts'
import { workerName } from '../../helpers/context.ts'
import { isFirst, servers } from '../../helpers/database.ts'
import { violations } from '../../helpers/oracle.ts'
import { openScene, type Scene } from '../../helpers/scene.ts'
import { afterPages, watched } from '../../helpers/watched-source.ts'

describe.each(servers())('several who want the same repository, on the $name server', ({ url }) => {
  const once = test.skipIf(!isFirst(url))
  let scene: Scene
  beforeEach(async () => {
    scene = await openScene(url, { 'scm.git.page_size': 2 }, 30)
    for (let i = 0; i < 8; i++) scene.repo.commit(`commit ${i}`)
  })
  afterEach(() => scene.drop())

  /** A worker that has stored one page and then is not heard of again, until `end`. */
  const stuck = async (worker: string) => {
    const paused = gate()
    const over = gate()
    const sources = afterPages(scene, 1, () => {
      paused.open()
      return over.opened
    })
    const ending = scene.incremental(scene.ctx({ worker, sources }))
    await paused.opened
    return {
      end: () => {
        over.open()
        return ending
      },
    }
  }
  const age = () =>
    Promise.all([
      scene.query(
        `update ing_task set leased_at = leased_at - interval '1 day', lease_until = lease_until - interval '1 day', updated_at = clock_timestamp() where status = 'running'`,
      ),
      scene.query(`update scm.sync_locks set locked_at = locked_at - interval '1 day'`),
    ])
  const deadPid = () => spawnSync('true').pid

  test('a lock held by a live worker is refused after the time one was ready to wait, and named', async () => {
    const owner = workerName()
    const other = await stuck(owner)
    const from = performance.now()
    const refused = await scene.incremental(scene.ctx(), 1).catch((error: SyncError) => error)
    expect(refused).toBeInstanceOf(SyncError)
    expect(refused).toMatchObject({ kind: 'lock_held', message: expect.stringContaining(owner) })
    expect(performance.now() - from).toBeGreaterThan(900)
    expect(performance.now() - from).toBeLessThan(3000)

    expect(await other.end()).toMatchObject({ status: 'success' })
    expect(await violations(scene)).toEqual([])
  })

  once('whoever waits long enough gets the lock, and finds the work done', async () => {
    const other = await stuck(workerName())
    const waiting = scene.incremental(scene.ctx(), 30)
    await other.end()
    expect(await waiting).toMatchObject({ status: 'success', items_synced: 0 })
    expect(await violations(scene)).toEqual([])
  })

  once('the lock of a process of this host that is gone is taken over at once', async () => {
    const zombie = await stuck(workerName(deadPid()))
    expect(await scene.incremental()).toMatchObject({ status: 'success', items_synced: 6 })
    expect((await zombie.end()).error).toMatch(/no longer ours/)
    expect(await violations(scene)).toEqual([])
  })

  once('the lock of another host is not: nobody here can know', async () => {
    const other = await stuck(`elsewhere-${deadPid()}-0123abcd`)
    await expect(scene.incremental()).rejects.toMatchObject({ kind: 'lock_held' })
    await other.end()
  })

  test('a lease that is over is taken over, and its late owner writes nothing any more', async () => {
    const zombie = await stuck(workerName())
    await age()
    expect(await scene.incremental()).toMatchObject({ status: 'success', items_synced: 6 })
    const state = () => scene.query('select * from ing_task order by id')
    const after = await state()

    expect(await zombie.end()).toMatchObject({
      status: 'failed',
      error: expect.stringMatching(/no longer ours/),
    })
    expect(await state()).toEqual(after)
    expect(await violations(scene)).toEqual([])
  })

  test('an owner whose lease was taken over hears of it at its next renewal', async () => {
    let heard: unknown
    const never = new Promise<never>(() => {})
    const sources = watched((_, n) => (n === 1 ? never : undefined))
    const real = sources.git.open
    sources.git.open = (access) => {
      access.signal.addEventListener('abort', () => {
        heard = access.signal.reason
      })
      return real(access)
    }
    void scene.incremental(scene.ctx({ sources, lease: 1 }))
    while ((await scene.query(`select 1 from ing_task_run_batch where status_code = 'SUCCEEDED'`)).length < 1)
      await pause(10)
    await scene.query(`update ing_task set fence = nextval('scm.fence'), updated_at = clock_timestamp()`)
    for (let i = 0; i < 100 && heard === undefined; i++) await pause(20)
    expect(heard).toMatchObject({ kind: 'lease_lost' })
  })

  test('two at once are one effect and no error', async () => {
    const both = await Promise.all([scene.incremental(scene.ctx(), 30), scene.incremental(scene.ctx(), 30)])
    expect(both.map((r) => r.status)).toEqual(['success', 'success'])
    expect(both.reduce((n, r) => n + r.items_synced, 0)).toBe(8)
    expect(await violations(scene)).toEqual([])
  })

  once('twenty at once are one effect and no error', async () => {
    const all = await Promise.all(Array.from({ length: 20 }, () => scene.incremental(scene.ctx(), 50)))
    expect(new Set(all.map((r) => r.status))).toEqual(new Set(['success']))
    expect(all.reduce((n, r) => n + r.items_synced, 0)).toBe(8)
    expect(await violations(scene)).toEqual([])
  })

  function gate() {
    let open = () => {}
    const opened = new Promise<void>((resolve) => {
      open = resolve
    })
    return { open, opened }
  }

  const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))
})
