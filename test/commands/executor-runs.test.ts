import { afterAll, beforeAll, expect, test } from 'vitest'
import { registerRepo } from '../../src/core/app/manage/repos.ts'
import { serveExecutor } from '../../src/shell/executor/serve-executor.ts'
import { contextOn } from '../helpers/context.ts'
import { embeddedUrl, freshDatabase, type TestDatabase } from '../helpers/database.ts'
import { makeRepo, type TestRepo, tempFolder } from '../helpers/git-repo.ts'
import { freePort, openAdmin, type XxlAdmin } from '../helpers/xxl-admin.ts'

let db: TestDatabase
let admin: XxlAdmin
let stop: () => Promise<unknown>
const repos = new Map<number, TestRepo>()

beforeAll(async () => {
  db = await freshDatabase(embeddedUrl())
  admin = await openAdmin()
  const stopping = new AbortController()
  const ctx = contextOn(db.pool, {
    signal: stopping.signal,
    settings: {
      'storage.data_dir': tempFolder(),
      'scm.executor.admin_addresses': [admin.url],
      'scm.executor.listen': `127.0.0.1:${await freePort()}`,
    },
  })
  for (let n = 0; n < 4; n++) {
    const repo = makeRepo('--bare')
    repo.commit(`of ${n}`)
    const { repo_id } = await registerRepo(ctx, { repo: `git:${repo.dir}`, projectKey: null })
    repos.set(repo_id, repo)
  }
  const served = serveExecutor(ctx, () => {})
  stop = () => {
    stopping.abort()
    return served
  }
})
afterAll(async () => {
  await stop()
  await admin.close()
  await db.drop()
})

async function done(wish: Parameters<XxlAdmin['trigger']>[0]) {
  const { logId, code, msg } = await admin.trigger(wish)
  expect(code, String(msg)).toBe(200)
  return { logId, ...(await admin.end(logId)) }
}

const reposOf = async (logId: number) =>
  (
    await db.pool.query(
      `select split_part(provenance_code, ':', 2)::int as id, trigger_params from ing_schedule_instance
        where scheduler_code = 'XXL' and scheduler_log_id = $1 order by 1`,
      [String(logId)],
    )
  ).rows.map((row) => row.id)

test('a broadcast: each shard runs its part of all repositories, and together they run each once', async () => {
  const shards = await Promise.all(
    [0, 1, 2].map((index) => done({ jobId: 20 + index, params: '--all', shard: [index, 3] })),
  )
  expect(shards.map(({ code }) => code)).toEqual([200, 200, 200])
  for (const [index, { logId }] of shards.entries())
    expect(await reposOf(logId)).toEqual([...repos.keys()].filter((id) => id % 3 === index))
  const none = await done({
    params: `--repo git:${[...repos.keys()].find((id) => id % 3 !== 2)}`,
    shard: [2, 3],
  })
  expect(none).toMatchObject({ code: 200, msg: 'no repository is of this shard' })
  expect(await reposOf(none.logId)).toEqual([])
})

test('several repositories, of which one cannot be read: the others are synced, the end is partial and names it', async () => {
  const [first, second] = [...repos.keys()] as [number, number]
  const broken = `git:${tempFolder()}`
  await registerRepo(contextOn(db.pool), { repo: broken, projectKey: null })
  const params = JSON.stringify({ repo: [`git:${first}`, broken, `git:${second}`], 'lock-wait': 0 })
  const { code, msg, logId } = await done({ params })
  expect(code).toBe(500)
  expect(msg).toMatch(/^partial: 2 of 3 repositories succeeded\nerror: /)
  expect(msg.split('\n')[1]).toContain(broken)
  expect(await reposOf(logId)).toEqual(expect.arrayContaining([first, second]))
})

test('a backfill by flags, and by the same as JSON', async () => {
  const [id] = [...repos.keys()]
  const byFlags = await done({
    handler: 'backfill',
    params: `--repo git:${id} --since 2023-11-14T00:00:00Z --until 2023-11-15T00:00:00Z`,
  })
  expect(byFlags).toMatchObject({ code: 200, msg: expect.stringMatching(/success, 6 of 6 chunks/) })
  const params = JSON.stringify({
    repo: `git:${id}`,
    since: '2023-11-14T00:00:00Z',
    until: '2023-11-15T00:00:00Z',
  })
  expect(await done({ handler: 'backfill', params })).toMatchObject({ code: 200 })
})

test('the scheduler, the reaper, and what is not there to be verified', async () => {
  expect(await done({ handler: 'scheduler' })).toMatchObject({
    code: 200,
    msg: expect.stringMatching(/enqueued/),
  })
  expect(await done({ handler: 'reaper' })).toMatchObject({ code: 200 })
  const [id] = [...repos.keys()]
  expect(await done({ handler: 'verify', params: `--repo git:${id}` })).toMatchObject({
    code: 500,
    msg: expect.stringMatching(/has no mrs/),
  })
})

test('twenty triggers of twenty jobs for one repository: one effect, every one told', async () => {
  const [id, repo] = [...repos][0] as [number, TestRepo]
  for (let n = 0; n < 30; n++) repo.commit(`more ${n}`)
  const ends = await Promise.all(
    Array.from({ length: 20 }, (_, n) => done({ jobId: 100 + n, params: `--repo git:${id} --lock-wait 60` })),
  )
  expect(ends.map(({ code, msg }) => (code === 200 ? 200 : msg))).toEqual(Array(20).fill(200))
  const { rows } = await db.pool.query(
    `select (select count(*)::int from scm.git_commits where repo_id = $1) as commits,
            (select count(*)::int from scm.sync_locks where repo_id = $1) as locks,
            (select sum(record_count)::int from ing_task_run_batch b join ing_task_run r on r.id = b.run_id
              where r.repo_id = $1 and r.operation_code = 'HARVEST') as read`,
    [id],
  )
  expect(rows).toEqual([{ commits: 31, locks: 0, read: 31 }])
})
