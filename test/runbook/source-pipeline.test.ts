import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { type Ended, isBuilt, type Running } from './command-line.ts'
import { B, blocksOf, here, linesOf, sayIfAbsent } from './printed.ts'
import { openSystem, type System, until } from './system.ts'

/** What the runbook prints for scheduler, worker, reaper and status, run as it stands there. */
sayIfAbsent()

const isOurs = (line: string) => /^engram-scm-(scheduler|worker|reaper|status|sync)\b/.test(line)
const isSetting = (line: string) => /^(export )?[A-Z_]+=/.test(line)
/** Blocks of settings only, each as a shell would take it. */
const SETTINGS = blocksOf(B)
  .filter(({ language, body }) => language === 'bash' && settingsIn(body).length > 0)
  .map(({ body }) => ({
    body,
    names: settingsIn(body).map((line) => /([A-Z_]+)=/.exec(line)?.[1] as string),
  }))

function settingsIn(body: string): string[] {
  return body
    .split('\n')
    .map((line) => line.trim())
    .filter(isSetting)
}

/** `| NAME | value | …` of the tables of recommended values, table by table. */
const PRESETS = [...B.matchAll(/^### (\S+环境（[^\n]*)\n([\s\S]*?)```bash/gm)].map((m) => ({
  size: /\d+/.exec(m[1] as string)?.[0] as string,
  rows: [...(m[2] as string).matchAll(/^\| `(\w+)` \| `([^`]+)` \|/gm)].map(
    (r) => [r[1], r[2]] as [string, string],
  ),
}))

describe.skipIf(!here)('the lines of the runbook for the pipeline', () => {
  let s: System
  beforeAll(async () => {
    s = await openSystem()
    await s.add('one')
    await s.db.pool.query(`insert into logbook.kv (namespace, key, value_json)
      values ('scm.sync_health', 'default:global', '{"state": "closed", "failure_count": 0}')`)
  })
  afterAll(() => s?.close())
  const answer = ({ code, stdout, stderr }: Ended) => {
    expect(code, stderr).toBe(0)
    return JSON.parse(stdout)
  }

  test('every line of a shell block is of a kind that is known here', () => {
    const kinds = {
      ours: isOurs,
      settings: isSetting,
      // The runner's, tested in source.test.ts. Otherwise Python: the SQL in it is tested, its functions are not ours.
      module: (line: string) => line.startsWith('python -m engram.logbook.cli.scm_sync '),
      processes: (line: string) => line.startsWith('ps aux'),
      containers: (line: string) => line.startsWith('docker '),
    }
    const found: Record<string, number> = {}
    for (const line of linesOf(B.replace(/python -c "(?:\\[\s\S]|[^"\\])*"/g, ''))) {
      const kind = Object.entries(kinds).find(([, is]) => is(line))?.[0] ?? line
      found[kind] = (found[kind] ?? 0) + 1
    }
    expect(found).toEqual({ ours: 17, settings: 100, module: 13, processes: 2, containers: 3 })
  })

  const programs = linesOf(B).filter((line) => isOurs(line) && line.includes('[args]'))
  test.each(programs.map((line) => ({ line })))('$line', async ({ line }) => {
    const { code, stdout } = await s.shell.run(`${line.replace(/<.*|\[args\]/g, '')} --help`)
    expect(code).toBe(0)
    expect(stdout).toContain('USAGE')
  })

  const rounds = linesOf(B).filter((line) => /^engram-scm-sync (scheduler|reaper) /.test(line))
  test('four lines of rounds', () => expect(rounds).toHaveLength(4))
  test.each(rounds.map((line) => ({ line })))('$line', async ({ line }) => {
    const loops = line.includes('--loop')
    const ended = await s.shell.run(line, { stopAfterFirstLine: loops })
    expect(ended.code, ended.stderr).toBe(0)
    if (!line.includes('--json')) return
    const [first, ...more] = ended.stdout.trimEnd().split('\n')
    expect(JSON.parse(first as string)).toMatchObject({ status: 'success', iteration: 1, exit_code: 0 })
    expect(more).toEqual([])
  })

  const statuses = linesOf(B).filter((line) => /^engram-scm-status /.test(line) && !line.includes('[args]'))
  const SHAPES: Record<string, unknown> = {
    '.jobs_by_status': { pending: expect.any(Number), running: expect.any(Number), dead: 0 },
    '.circuit_breakers': { total_count: 1, total_open: 0, by_scope: expect.any(Object) },
    '.error_budget.rate_limit_429': { count: 0, rate: 0 },
    '.rate_limit_buckets': [],
    '.error_budget': { failure: { count: 0, rate: 0 }, timeout: { count: 0, rate: 0 } },
  }
  test.each([...new Set(statuses)].map((line) => ({ line })))('$line', async ({ line }) => {
    const ended = await s.shell.run(line)
    if (line.endsWith('--prometheus'))
      return expect([ended.code, ended.stdout]).toEqual([0, expect.stringMatching(/^# HELP scm_/)])
    const path = /jq '(.*)'/.exec(line)?.[1]
    if (path === undefined) return expect(answer(ended)).toMatchObject({ status: 'success', repos_count: 1 })
    const shape = SHAPES[path]
    expect(shape, path).toBeDefined()
    const told = answer(ended)
    if (Array.isArray(shape)) expect(told).toEqual(shape)
    else expect(told).toMatchObject(shape as object)
  })

  test('every metric of the alerts is exposed, with its labels', async () => {
    const page = (await s.shell.run('engram-scm-status --prometheus')).stdout
    const table = [...B.matchAll(/^\| `(scm_\w+(?:\{[^}]*\})?)` \|/gm)].map((m) => m[1] as string)
    const rules = [...B.matchAll(/expr: (scm_\w+(?:\{[^}]*\})?) /g)].map((m) => m[1] as string)
    expect([table.length, rules.length]).toEqual([7, 5])
    await s.shell.run('engram-scm-scheduler --once')
    await s.shell.run('engram-scm-worker --drain')
    const synced = (await s.shell.run('engram-scm-status --prometheus')).stdout
    for (const wanted of new Set([...table, ...rules])) {
      const [, name, label] = /^(\w+)(?:\{(.*)\})?$/.exec(wanted) as unknown as [string, string, string?]
      const series = (page + synced)
        .split('\n')
        .filter((line) => line.startsWith(`${name}{`) || line.startsWith(`${name} `))
      expect(
        series.filter((line) => label === undefined || line.includes(label)),
        wanted,
      ).not.toEqual([])
    }
  })

  test('a running worker is found among the processes as the runbook looks for it', async () => {
    const worker = s.worker()
    await until('it runs', async () => {
      const found = await s.shell.run(
        linesOf(B).find((l) => l === 'ps aux | grep engram-scm-worker') as string,
      )
      return found.stdout.split('\n').some((line) => line.split(/\s+/)[1] === String(worker.pid))
    })
    const listens = `select 1 from pg_stat_activity where datname = current_database() and query = 'listen scm_jobs'`
    await until('it waits for work', async () => (await s.column(listens)).length > 0)
    expect((await worker.stop()).code).toBe(0)
  })
})

describe.skipIf(!here)('the settings of the runbook', () => {
  let s: System
  beforeAll(async () => {
    s = await openSystem({
      SCM_WORKER_LEASE_SECONDS: '',
      SCM_WORKER_RENEW_INTERVAL_SECONDS: '',
      SCM_WORKER_POLL_INTERVAL: '',
      SCM_SCHEDULER_ERROR_BUDGET_THRESHOLD: '',
    })
  })
  afterAll(() => s?.close())

  /** The values in force when a shell has read these lines. */
  async function inForce(
    lines: string,
  ): Promise<Map<string, { value: unknown; source: string; where: string }>> {
    const file = join(s.shell.folder, 'settings.sh')
    writeFileSync(file, lines)
    const ended = await s.shell.run(`set -a; . ${file}; set +a; engram-scm-sync config show --json`)
    expect(ended.code, ended.stdout + ended.stderr).toBe(0)
    const { values, warnings } = JSON.parse(ended.stdout)
    expect(warnings).toEqual([])
    return new Map(
      values
        .filter((v: { source: string }) => v.source === 'env')
        .map((v: { where: string }) => [v.where, v]),
    )
  }
  const asText = (value: unknown) => (Array.isArray(value) ? value.join(',') : String(value))

  test('there are fourteen blocks of them', () => expect(SETTINGS).toHaveLength(14))
  test.each(SETTINGS.map((b) => ({ ...b, first: b.names[0] })))(
    'the block that begins with $first is in force once read',
    async ({ body, names }) => {
      const found = await inForce(body.replace(/^ +/gm, ''))
      // Of names that come twice in a block the last one holds, in any shell.
      for (const name of names) {
        const [, set = ''] =
          [...body.matchAll(new RegExp(`^ *(?:export )?${name}=(\\S*)`, 'gm'))].at(-1) ?? []
        const wanted = set.replace(/^"|"$/g, '')
        if (wanted === '') expect(asText(found.get(name)?.value ?? ''), name).toBe('')
        else if (/TOKEN|PASSWORD/.test(name))
          expect(asText(found.get(name)?.value), name).not.toContain(wanted)
        else if (/^[\d.]+$/.test(wanted)) expect(Number(found.get(name)?.value), name).toBe(Number(wanted))
        else expect(asText(found.get(name)?.value), name).toBe(wanted)
      }
    },
  )

  test.each(PRESETS)('the table of recommended values for $size repositories', async ({ rows }) => {
    expect(rows.length).toBeGreaterThan(5)
    const found = await inForce(rows.map(([name, value]) => `${name}=${value}`).join('\n'))
    for (const [name, value] of rows) expect(asText(found.get(name)?.value)).toBe(value)
  })

  test('the file of settings is accepted whole', async () => {
    const [toml] = blocksOf(B).filter((b) => b.language === 'toml')
    const file = join(s.shell.folder, 'runbook.toml')
    writeFileSync(file, (toml as { body: string }).body, { mode: 0o600 })
    const ended = await s.shell.run(`engram-scm-sync config validate --config ${file} --json`)
    expect(JSON.parse(ended.stdout)).toMatchObject({ status: 'success', problems: [], warnings: [] })
    const shown = await s.shell.run(`engram-scm-sync config show --config ${file} --json`)
    const fromFile = JSON.parse(shown.stdout).values.filter((v: { source: string }) => v.source === 'toml')
    expect(fromFile).toHaveLength([...(toml as { body: string }).body.matchAll(/^\w+ =/gm)].length)
  })
})

describe.skipIf(!here || !isBuilt('engram-scm-scheduler'))('the settings at work', () => {
  let s: System
  beforeAll(async () => {
    s = await openSystem()
    // Due, and never asked: what a scan would make of them is the question.
    await s.db.pool.query(`insert into scm.repos (repo_type, url, instance_key, tenant_id)
      select 'git', 'https://host-' || i % 12 || '/' || i || '.git', 'host-' || i % 12, 'tenant-' || i % 12 from generate_series(1, 120) i`)
  })
  afterAll(() => s?.close())
  const scan = async (env: Record<string, string>) => {
    const { stdout } = await s.shell.run('engram-scm-scheduler --dry-run --json', { env })
    const jobs: { repo_id: number }[] = JSON.parse(stdout).enqueued_jobs
    return jobs.map((job) => job.repo_id % 12)
  }

  // Small: the queue is 5 deep. Medium: 20. Large: 50, of each tenant 5.
  test.each([
    { size: '10', places: 5, ofOne: 3 },
    { size: '10-100', places: 20, ofOne: 5 },
    { size: '100', places: 50, ofOne: 5 },
  ])('a scan with the values for $size repositories makes $places jobs', async ({ size, places, ofOne }) => {
    const env = Object.fromEntries(PRESETS[['10', '10-100', '100'].indexOf(size)]?.rows ?? [])
    expect(await scan(env)).toHaveLength(places)
    await s.db.pool.query(`update scm.repos set enabled = instance_key = 'host-1'`)
    expect(await scan(env)).toHaveLength(ofOne)
    await s.db.pool.query('update scm.repos set enabled = true')
  })

  test('fewer of one host, as for a GitLab that answers 429; tenants take turns', async () => {
    const of = (name: string) => SETTINGS.filter((b) => b.names.includes(name)).map((b) => b.body)
    const settings = (body: string) =>
      Object.fromEntries(
        settingsIn(body).map((l) => l.replace(/^export |\s+#.*$/g, '').split('=') as [string, string]),
      )
    const few = settings(
      of('SCM_SCHEDULER_PER_INSTANCE_CONCURRENCY').find((b) => b.includes('export')) as string,
    )
    await s.db.pool.query(`update scm.repos set enabled = instance_key = 'host-1'`)
    expect(await scan(few)).toHaveLength(2)
    await s.db.pool.query('update scm.repos set enabled = true')

    const fair = settings(
      of('SCM_SCHEDULER_ENABLE_TENANT_FAIRNESS').find((b) => b.startsWith('# 按实例')) as string,
    )
    expect(fair).toMatchObject({ SCM_SCHEDULER_ENABLE_TENANT_FAIRNESS: 'true' })
    const tenants = await scan({ ...fair, SCM_SCHEDULER_GLOBAL_CONCURRENCY: '12' })
    expect(new Set(tenants).size).toBe(12)
  })
})

describe.skipIf(!here)('the settings of workers and reaper at work', () => {
  test('so many jobs at once, for so long a lease, within so many; the reaper waits its grace', async () => {
    const [small, , large] = PRESETS.map((p) => Object.fromEntries(p.rows))
    const s = await openSystem()
    onTestFinished(() => s.close())
    for (let i = 0; i < 6; i++) await s.add(`repo-${i}`)
    await s.db.pool.query(`update scm.repos set instance_key = ''`)
    expect(await s.scan()).toBe(6)
    s.upstream.holds = true
    const running = () => s.column(`select lease_seconds from scm.sync_jobs where status = 'running'`)
    const worker = s.shell.start('engram-scm-worker --json', { ...large, SCM_WORKER_POLL_INTERVAL: '0.1' })
    await until('four run', async () => (await running()).length === 4)
    // Three may run, and four do: this one takes nothing.
    const other = await s.shell.run('engram-scm-worker --once --json', { env: small ?? {} })
    expect(JSON.parse(other.stdout)).toMatchObject({ jobs_worked: 0 })
    expect(await running()).toEqual([600, 600, 600, 600])
    expect(await s.column('select distinct lease_seconds from scm.sync_locks')).toEqual([600])

    worker.signal('SIGKILL')
    await worker.ended
    const whole = SETTINGS.find((b) => b.names.includes('SCM_REAPER_JOB_GRACE_SECONDS'))?.body ?? ''
    const env = Object.fromEntries(settingsIn(whole).map((line) => line.split('=') as [string, string]))
    const found = async (secondsAfter: number) => {
      await s.db.pool.query(
        `update ing_task set lease_until = now() - make_interval(secs => $1), updated_at = clock_timestamp() where status = 'running'`,
        [secondsAfter],
      )
      await s.db.pool.query(`update scm.sync_locks set locked_at = now() - make_interval(secs => $1 + 600)`, [
        secondsAfter,
      ])
      const { jobs, locks } = JSON.parse(
        (await s.shell.run('engram-scm-reaper --dry-run --json', { env })).stdout,
      )
      return [jobs.processed, locks.processed]
    }
    expect([await found(50), await found(70), await found(130)]).toEqual([
      [0, 0],
      [4, 0],
      [4, 4],
    ])
  })
})

describe.skipIf(!here)('the pools of the runbook', () => {
  const block = SETTINGS.find((b) => b.body.includes('# Pool: gitlab-prod'))?.body ?? ''
  const pools = Object.fromEntries(
    block
      .split(/^# Pool: /m)
      .slice(1)
      .map((text) => {
        const pairs = settingsIn(text).map((l) =>
          l
            .replace(/\s+#.*$/, '')
            .replaceAll('"', '')
            .split('='),
        )
        return [/^[\w-]+/.exec(text)?.[0], Object.fromEntries(pairs)]
      }),
  )

  test('at work beside each other take only what is theirs', async () => {
    const s = await openSystem()
    onTestFinished(() => s.close())
    const WHERE: Record<string, [instance: string, tenant: string]> = {
      prod: ['gitlab.prod.example.com', 'tenant-a'],
      staging: ['gitlab.staging.example.com', 'tenant-a'],
      vip: ['gitlab.other.example.com', 'tenant-vip-002'],
      nobody: ['gitlab.other.example.com', 'tenant-a'],
    }
    const ids: Record<string, number> = {}
    for (const [name, [instance, tenant]] of Object.entries(WHERE)) {
      ids[name] = (await s.add(name)).repoId
      await s.db.pool.query('update scm.repos set instance_key = $2, tenant_id = $3 where repo_id = $1', [
        ids[name],
        instance,
        tenant,
      ])
    }
    expect(await s.scan()).toBe(4)
    const workers: Running[] = ['gitlab-prod', 'gitlab-staging', 'tenant-vip'].map((pool) =>
      s.shell.start(`engram-scm-worker --json --worker-id ${pool}`, pools[pool]),
    )
    await until(
      'three are done',
      async () => (await s.column(`select 1 from scm.sync_jobs where status = 'completed'`)).length === 3,
    )
    for (const worker of workers)
      expect(JSON.parse((await worker.stop()).stdout)).toMatchObject({ jobs_worked: 1, jobs_completed: 1 })
    const by = await s.db.pool.query('select repo_id, worker_id from scm.sync_runs order by repo_id')
    expect(by.rows).toEqual([
      { repo_id: ids.prod, worker_id: 'gitlab-prod' },
      { repo_id: ids.staging, worker_id: 'gitlab-staging' },
      { repo_id: ids.vip, worker_id: 'tenant-vip' },
    ])
    expect(await s.column(`select repo_id from scm.sync_jobs where status = 'pending'`)).toEqual([ids.nobody])
  })
})

describe.skipIf(!here)('many workers, as the runbook deploys them', () => {
  test('one scheduler, three workers, one reaper: each repository is synced once, and all end with 0', async () => {
    const s = await openSystem({
      SCM_SCHEDULER_GLOBAL_CONCURRENCY: '20',
      SCM_SCHEDULER_MAX_RUNNING: '10',
      SCM_WORKER_PARALLELISM: '2',
    })
    onTestFinished(() => s.close())
    const repos = []
    for (let i = 0; i < 8; i++) repos.push(await s.add(`repo-${i}`, 5))
    // One host of all of them: without this no more than three would run.
    await s.db.pool.query(`update scm.repos set instance_key = ''`)
    const crew = ['scheduler --loop', 'worker', 'worker', 'worker', 'reaper --loop'].map((line) =>
      s.shell.start(`engram-scm-${line} --json`),
    )
    await until(
      'all are done',
      async () =>
        (await s.column(`select 1 from scm.sync_jobs where status = 'completed'`)).length === repos.length,
    )
    for (const program of crew) expect((await program.stop()).code).toBe(0)
    expect(await s.column('select count(*) from scm.sync_runs group by repo_id')).toEqual(Array(8).fill(1))
    for (const r of repos) expect(await s.violations(r)).toEqual([])
  })
})
