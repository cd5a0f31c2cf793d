import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { embeddedUrl, freshDatabase, type TestDatabase } from '../helpers/database.ts'
import { openShell, type Shell } from './command-line.ts'
import { B, blocksOf, here, sayIfAbsent } from './printed.ts'
import { makeRows, type Rows } from './rows.ts'

/** The runbook's python one-liners call a module that there never was; each has a command of `admin` or `status` in its place. */
sayIfAbsent()

let db: TestDatabase
let shell: Shell
let made: Rows
beforeAll(async () => {
  db = await freshDatabase(embeddedUrl())
  made = await makeRows(db.pool)
  shell = openShell({ POSTGRES_DSN: db.dsn })
})
afterAll(async () => {
  await shell.close()
  await db.drop()
})

// biome-ignore lint/suspicious/noExplicitAny: each command has a report of its own
type Report = Record<string, any>
const told = async (line: string, code = 0): Promise<Report> => {
  const ended = await shell.run(line)
  expect(ended.code, ended.stderr + ended.stdout).toBe(code)
  return JSON.parse(ended.stdout)
}
const rows = async (sql: string, values: unknown[] = []) => (await db.pool.query(sql, values)).rows
const kv = async (namespace: string, key: string) =>
  (
    await rows('select value_json as value from logbook.kv where namespace = $1 and key = $2', [
      namespace,
      key,
    ])
  )[0]?.value ?? null
const statusOf = async (job: number) =>
  (await rows('select status from scm.sync_jobs where job_id = $1', [job]))[0]?.status
const expiredLocks = () =>
  rows(`select 1 from scm.sync_locks where locked_at + make_interval(secs => lease_seconds) < now()`)
const git = () => `git:${made.repoId}`

/** In the order of the runbook, by the comment it prints above; each leaves the rows as the python would. */
const EQUIVALENTS: [printed: string, does: () => Promise<void>][] = [
  [
    '查看 dead 任务',
    async () => {
      const { jobs } = await told('engram-scm-sync admin jobs list --status dead --limit 100 --json')
      expect(jobs).toMatchObject(
        [made.jobs.deadToo, made.jobs.dead].map((job_id) => ({
          job_id,
          repo_id: made.repoId,
          job_type: 'commits',
          error_summary_json: { error_category: 'network' },
        })),
      )
    },
  ],
  [
    '重置单个 dead 任务',
    async () => {
      expect(await told(`engram-scm-sync admin jobs reset-dead ${made.jobs.dead} --json`)).toMatchObject({
        reset_count: 1,
      })
      expect([await statusOf(made.jobs.dead), await statusOf(made.jobs.deadToo)]).toEqual(['pending', 'dead'])
    },
  ],
  [
    '重置所有 dead 任务（谨慎使用）',
    async () => {
      await told('engram-scm-sync admin jobs reset-dead --all --json', 2) // not without being asked
      expect(await told('engram-scm-sync admin jobs reset-dead --all --yes --json')).toMatchObject({
        reset_count: 1,
      })
      expect(await statusOf(made.jobs.deadToo)).toBe('pending')
    },
  ],
  [
    '列出过期锁',
    async () => {
      const { expired_locks } = await told('engram-scm-sync admin locks list-expired --limit 100 --json')
      expect(expired_locks).toHaveLength((await expiredLocks()).length)
      for (const lock of expired_locks as object[])
        expect(Object.keys(lock)).toEqual(
          expect.arrayContaining(['repo_id', 'job_type', 'locked_by', 'locked_at']),
        )
    },
  ],
  [
    '释放特定仓库的锁',
    async () => {
      const [lock] = await rows('select repo_id, job_type from scm.sync_locks order by lock_id limit 1')
      expect(
        await told(
          `engram-scm-sync admin locks force-release --repo-id ${lock.repo_id} --job ${lock.job_type} --yes --json`,
        ),
      ).toMatchObject({ released_count: 1 })
      expect(
        await rows('select 1 from scm.sync_locks where repo_id = $1 and job_type = $2', [
          lock.repo_id,
          lock.job_type,
        ]),
      ).toEqual([])
    },
  ],
  [
    '释放所有过期锁',
    async () => {
      await db.pool.query(
        `insert into scm.sync_locks (repo_id, job_type, locked_by, locked_at, lease_seconds, fence, job_id) values (901, 'mrs', 'w', now() - interval '1 hour', 300, 9901, 1)`,
      )
      await told('engram-scm-sync admin locks force-release --expired --yes --json')
      expect(await expiredLocks()).toEqual([])
    },
  ],
  [
    '查看所有熔断器状态',
    async () => {
      const { breakers } = await told('engram-scm-sync admin breakers list --json')
      expect(breakers).toHaveLength(
        (await rows(`select 1 from logbook.kv where namespace = 'scm.sync_health'`)).length,
      )
      for (const breaker of breakers as object[])
        expect(Object.keys(breaker)).toEqual(expect.arrayContaining(['key', 'state', 'opened_at', 'reason']))
    },
  ],
  [
    '强制熔断所有同步',
    async () => {
      await told('engram-scm-sync admin breakers open --reason manual_pause_for_maintenance --json')
      expect(await kv('scm.sync_health', 'default:global')).toMatchObject({
        state: 'open',
        last_failure_reason: 'manual_pause_for_maintenance',
      })
    },
  ],
  [
    '强制恢复同步',
    async () => {
      await told('engram-scm-sync admin breakers close --json')
      expect(await kv('scm.sync_health', 'default:global')).toMatchObject({ state: 'closed' })
    },
  ],
  [
    '暂停特定 (repo_id, job_type) 组合',
    async () => {
      await told(
        `engram-scm-sync admin pauses set --repo ${git()} --job commits --duration 1h --reason manual_pause --json`,
      )
      const pause = await kv('scm.sync_pauses', `${made.repoId}:commits`)
      expect(pause).toMatchObject({ repo_id: made.repoId, job_type: 'commits', reason: 'manual_pause' })
      expect(pause.paused_until - pause.paused_at).toBeCloseTo(3600, 3)
    },
  ],
  [
    '解除特定暂停',
    async () => {
      await told(`engram-scm-sync admin pauses unset --repo ${git()} --job commits --json`)
      expect(await kv('scm.sync_pauses', `${made.repoId}:commits`)).toBeNull()
    },
  ],
  [
    '查看所有游标',
    async () => {
      const { cursors } = await told('engram-scm-sync admin cursors list --json')
      const keys = (
        await rows(
          `select key from logbook.kv where namespace = 'scm.sync' and key like '%_cursor:%' order by key`,
        )
      ).map((r) => r.key)
      expect((cursors as { key: string }[]).map((c) => c.key).sort()).toEqual(keys)
    },
  ],
  [
    '重置特定仓库的 commits 游标',
    async () => {
      await db.pool.query(
        `insert into logbook.kv values ('scm.sync', 'git_cursor:' || $1::text, '{"watermark": "2026-01-01T00:00:00Z"}') on conflict (namespace, key) do nothing`,
        [made.repoId],
      )
      await told(`engram-scm-sync admin cursors delete --repo ${git()} --job commits --yes --json`)
      expect(await kv('scm.sync', `git_cursor:${made.repoId}`)).toBeNull()
    },
  ],
  [
    '设置游标到特定时间点',
    async () => {
      await told(
        `engram-scm-sync admin cursors set --repo ${git()} --job commits --watermark 2024-01-01T00:00:00Z --yes --json`,
      )
      expect(new Date((await kv('scm.sync', `git_cursor:${made.repoId}`)).watermark).toISOString()).toBe(
        '2024-01-01T00:00:00.000Z',
      )
    },
  ],
  [
    '查看熔断原因',
    async () => {
      await told('engram-scm-sync admin breakers open --reason down --json')
      const { stdout } = await shell.run(
        `engram-scm-sync admin breakers list --json | jq -r '.breakers[] | select(.key == "default:global").reason'`,
      )
      expect(stdout).toBe('down\n')
    },
  ],
  [
    '检查 running 任务时长',
    async () => {
      const { jobs } = await told('engram-scm-sync admin jobs list --status running --json')
      expect((jobs as { job_id: number }[]).map((j) => j.job_id).sort()).toEqual(
        [made.jobs.running10s, made.jobs.running700s, made.jobs.running2000s].sort(),
      )
    },
  ],
  [
    '重置卡住的任务',
    async () => {
      const { reset_jobs } = await told('engram-scm-sync admin jobs reset-stuck --older-than 1800s --json')
      expect(reset_jobs).toMatchObject([{ job_id: made.jobs.running2000s }])
      expect([await statusOf(made.jobs.running2000s), await statusOf(made.jobs.running700s)]).toEqual([
        'pending',
        'running',
      ])
    },
  ],
]

test.skipIf(!here)('every python one-liner of the runbook is in the table, in its order', () => {
  const found = blocksOf(B)
    .filter((b) => b.language === 'bash' && b.body.includes('python -c'))
    .flatMap((b) => [...b.body.matchAll(/# ([^\n]*)\n\s*python -c "\n/g)].map((m) => m[1]))
  expect(found).toEqual(EQUIVALENTS.map(([printed]) => printed))
})

describe('in place of the one-liner', () => {
  test.each(EQUIVALENTS)('%s', async (_, does) => does())
})
