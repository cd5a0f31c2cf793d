import { execFileSync, spawnSync } from 'node:child_process'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { embeddedUrl, freshDatabase, servers, type TestDatabase } from '../helpers/database.ts'
import { type GitLab, startGitLab } from '../helpers/gitlab/server.ts'
import { onServer } from '../helpers/servers.ts'
import { hasSvn, makeRepository, startServer } from '../helpers/svn.ts'
import { grow } from '../helpers/svn-scene.ts'
import { BINARIES, isBuilt, openShell, type Shell } from '../runbook/command-line.ts'
import { makeRows, type Rows, undone } from '../runbook/rows.ts'
import { filled, statementsOf } from '../runbook/statements.ts'

/**
 * The operators' guide, executed. bash: line by line, the exit code as its `# exit n` says, else 0. sql: each statement
 * has a comment, and the comment has an entry in EFFECTS. json: the keys that the command in the line above really
 * prints. toml: accepted by `config validate`. ini, yaml: units that systemd accepts and commands that run until they are
 * told to stop. Whatever is none of these fails. GitLab is a scripted one, with a project `acme/app`;
 * Subversion is svnserve.
 */
const ROOT = new URL('../..', import.meta.url).pathname
const GUIDE = readFileSync(join(ROOT, 'docs/operations.md'), 'utf8')

interface Block {
  language: string
  body: string
  /** The line above the fence that holds text. */
  lead: string
  line: number
}

function blocksOf(markdown: string): Block[] {
  const blocks: Block[] = []
  const lines = markdown.split('\n')
  for (let i = 0; i < lines.length; i++) {
    const fence = /^\s*```(.*)$/.exec(lines[i] as string)
    if (!fence) continue
    const end = lines.findIndex((l, at) => at > i && /^\s*```\s*$/.test(l))
    const lead = lines.slice(0, i).findLast((l) => l.trim() !== '') ?? ''
    blocks.push({
      language: fence[1] as string,
      body: lines.slice(i + 1, end).join('\n'),
      lead,
      line: i + 1,
    })
    i = end
  }
  return blocks
}

const BLOCKS = blocksOf(GUIDE)
const of = (language: string) => BLOCKS.filter((b) => b.language === language)

test('every block is of a kind this file can check', () => {
  expect(BLOCKS.length).toBeGreaterThan(20)
  for (const { language, line } of BLOCKS)
    expect(['bash', 'sql', 'json', 'toml', 'ini', 'yaml'], `line ${line}`).toContain(language)
})

describe('the commands', () => {
  let shell: Shell
  let repoId: number
  let gitlab: GitLab
  let svnUrl = ''
  /** Empty, on the test server: what POSTGRES_DSN of the guide stands for. */
  let external: TestDatabase
  /** On a server no newer than the pg_dump of this machine. */
  let dumpable: TestDatabase | null = null

  beforeAll(async () => {
    gitlab = await startGitLab({ token: TOKEN })
    makeProject(gitlab)
    if (hasSvn) {
      const repo = makeRepository(await startServer(), 'repo')
      grow(repo, 520)
      svnUrl = repo.url
    }
    shell = openShell({
      GITLAB_URL: gitlab.url,
      GITLAB_TOKEN: TOKEN,
      GITLAB_STAGING_TOKEN: TOKEN,
      GITLAB_ACME_TOKEN: TOKEN,
    })
    external = await freshDatabase(embeddedUrl(), { empty: true })
    const clients = majorOf('pg_dump')
    for (const { url } of servers()) {
      const major = Math.floor(await versionOf(url))
      if (clients !== null && major <= clients) dumpable ??= await freshDatabase(url)
    }
    const must = async (line: string, code = 0) => {
      const ended = await shell.run(line)
      expect(ended.code, `${line}\n${ended.stderr}`).toBe(code)
      return ended.stdout
    }
    await must('engram-scm-sync db up')
    repoId = JSON.parse(await must(`engram-scm-sync repos add git:${shell.repo.dir} --json`)).repo_id
    await must('engram-scm-sync repos add git:https://127.0.0.1:1/unreachable.git')
    await must('engram-scm-sync runner incremental --repo git:https://127.0.0.1:1/unreachable.git', 2)
    // On a slow day it would be due again before it is looked at.
    await query(`update scm.sync_jobs set not_before = now() + interval '1 day' where status = 'failed'`)
    await must(`engram-scm-sync runner incremental --repo git:${repoId}`)
    await must('engram-scm-sync repos add gitlab:acme/app')
    const budgeted = await shell.run('engram-scm-sync runner incremental --repo gitlab:acme/app', {
      env: { SCM_GITLAB_POSTGRES_RATE_LIMIT_ENABLED: 'true' },
    })
    expect(budgeted.code, budgeted.stderr).toBe(0)
  })
  afterAll(async () => {
    await shell?.close()
    await gitlab?.stop()
    await dumpable?.drop()
    await external?.drop()
  })

  const real = (text: string) =>
    filled(text, { jobId: 1, repoId })
      .replaceAll('git:/srv/project.git', `git:${shell.repo.dir}`)
      .replaceAll('https://gitlab.example.com', gitlab.url)
      .replaceAll(' gitlab.example.com ', ` ${new URL(gitlab.url).host} `)
      .replace(/ gitlab\.example\.com$/, ` ${new URL(gitlab.url).host}`)
      .replaceAll('https://svn.example.com/repo', svnUrl)
      .replaceAll('postgresql://engram@db.example.com:5432/engram', `'${external.dsn}'`)

  test.each(of('bash'))('of line $line', async ({ body }) => {
    const lines = commandsOf(body)
    expect(lines.length).toBeGreaterThan(0)
    const env: Record<string, string> = {}
    for (const { text, code } of lines) {
      const skip = reasonToSkip(text)
      if (skip !== null) {
        process.stdout.write(`not run, ${skip}: ${text}\n`)
        continue
      }
      const set = /^export (\w+)=(.*)$/.exec(real(text))
      if (set) {
        env[set[1] as string] = (set[2] as string).replace(/^'|'$/g, '')
        continue
      }
      const endless = text.includes('--loop') && !text.includes('--max-iterations')
      const given = /^pg_(dump|restore)\b/.test(text) ? { POSTGRES_DSN: dumpable?.dsn as string } : {}
      const ended = await shell.run(real(text), { stopAfterFirstLine: endless, env: { ...env, ...given } })
      expect(ended.code, `${text}\n${ended.stdout}\n${ended.stderr}`).toBe(code)
      expect(ended.stderr, text).not.toMatch(/^\s+at .*:\d+:\d+/m)
    }
  })

  function reasonToSkip(text: string): string | null {
    const words = text.split(/[\s|"$()]+/).filter(Boolean)
    const first = words[0] as string
    if (!['psql', 'pg_dump', 'pg_restore', 'ps', 'export', ...BINARIES].includes(first))
      throw new Error(`this test does not know how to check: ${text}`)
    for (const tool of ['psql', 'jq', 'pg_dump', 'pg_restore'])
      if (words.includes(tool) && majorOf(tool) === null) return `${tool} is not installed`
    if (text.includes('svn:') && !hasSvn) return 'Subversion is not installed'
    if (/^pg_/.test(first) && dumpable === null) return 'the installed client is older than every server here'
    if (BINARIES.includes(first) && !isBuilt(first)) return 'its command is not in this build'
    return null
  }

  test.each(of('json'))('print what line $line shows', async ({ body, lead }) => {
    const command = /^Output of `(engram-scm-\S+ .*--json)`:$/.exec(lead)?.[1]
    if (command === undefined) throw new Error(`no command above the block: ${lead}`)
    const shown = JSON.parse(body)
    const ended = await shell.run(real(command))
    expect(ended.code).toBe(shown.exit_code)
    expect(shapeOf(shown)).toEqual(shapeOf(JSON.parse(ended.stdout)))
  })

  test.each(of('toml'))('accept the configuration of line $line', async ({ body }) => {
    const file = join(shell.folder, 'guide.toml')
    writeFileSync(file, body, { mode: 0o600 })
    const ended = await shell.run(`engram-scm-sync config validate --config ${file} --json`)
    expect(JSON.parse(ended.stdout)).toMatchObject({ status: 'success', problems: [], warnings: [] })
  })

  test.each(of('ini'))('start and stop what the unit of line $line says', async ({ body, lead }) => {
    const name = /^Unit `(engram-scm-[a-z]+@?\.(?:service|timer))`/.exec(lead)?.[1]
    if (name === undefined) throw new Error(`no unit is named above the block: ${lead}`)
    const bin = join(shell.folder, 'bin')
    const file = join(shell.folder, name)
    writeFileSync(file, body.replaceAll('/usr/bin/', `${bin}/`).replace(/^User=.*$/m, ''))
    if (majorOf('systemd-analyze') === null)
      process.stdout.write(`not checked by systemd, it is not installed: ${name}\n`)
    else {
      // What it does not know it passes over, with a word on stderr; of the machine's own units it speaks too.
      const { status, stderr } = spawnSync('systemd-analyze', ['verify', '--man=no', file], {
        encoding: 'utf8',
      })
      expect([status, stderr.split('\n').filter((line) => line.includes(name))]).toEqual([0, []])
    }

    if (name.endsWith('.timer')) return
    const commands = [...body.matchAll(/^ExecSt(?:art|op)=\/usr\/bin\/(.*)$/gm)].map((m) => m[1] as string)
    expect(commands.length).toBeGreaterThan(0)
    if (name === 'engram-scm-verify.service')
      for (const command of commands) expect((await shell.run(command)).code, command).toBe(0)
    else if (body.includes('Type=oneshot')) {
      expect(commands).toEqual(['engram-scm-sync db up', 'engram-scm-sync db down'])
      for (const command of [...commands, 'engram-scm-sync db up'])
        expect((await shell.run(command)).code, command).toBe(0)
    } else for (const command of commands) await untilStopped(command)
  })

  test.each(of('yaml'))('start and stop what the services of line $line say', async ({ body, lead }) => {
    expect(lead).toBe('File `compose.yaml`:')
    const services = [...body.matchAll(/^ {2}(\w+):\n {4}<<: \*engram\n {4}command: (.*)$/gm)]
    expect(services.map((m) => m[1])).toEqual(['scm_sync_scheduler', 'scm_sync_worker', 'scm_sync_reaper'])
    for (const [, , command] of services) await untilStopped(command as string)
    for (const [, named] of GUIDE.matchAll(/`docker compose [^`]*?(scm_\w+)[^`]*`/g))
      expect(services.map((m) => m[1])).toContain(named)
  })

  /** As a service manager has it: it goes on until SIGTERM, and that is no failure. */
  async function untilStopped(command: string): Promise<void> {
    const program = shell.start(command, { ENGRAM_SCM_LOG_LEVEL: 'info' })
    const url = (await shell.run('engram-scm-sync db url')).stdout.trim()
    const client = new pg.Client({ connectionString: url })
    await client.connect()
    try {
      const busy = `select 1 from pg_stat_activity where application_name like 'engram-scm%' and pid <> pg_backend_pid()`
      for (let n = 0; n < 200 && (await client.query(busy)).rowCount === 0; n++)
        await new Promise((resolve) => setTimeout(resolve, 50))
      await new Promise((resolve) => setTimeout(resolve, 300))
    } finally {
      await client.end()
    }
    const ended = await Promise.race([program.ended, program.stop()])
    expect(ended.code, `${command}\n${ended.stderr}`).toBe(0)
  }

  test('a host that is silenced is not asked, and a job put off', async () => {
    const on = (sql: string) => query(sql.replace('gitlab.example.com', new URL(gitlab.url).host))
    const sync = async () =>
      JSON.parse((await shell.run('engram-scm-sync runner incremental --repo gitlab:acme/app --json')).stdout)
    await on(statementOf('Silence a host for ten minutes'))
    const before = gitlab.requests.length
    expect(await sync()).toMatchObject({
      status: 'failed',
      error: expect.stringMatching(/no turn within 60 s/),
    })
    const [bucket] = (await asked('What each host grants, and what it has said')) as {
      wait_seconds: number
    }[]
    expect(bucket?.wait_seconds).toBeGreaterThan(500)
    expect(gitlab.requests.length).toBe(before)
    await on(statementOf('Let it be asked again'))
    expect(await sync()).toMatchObject({ status: 'success' })
  })

  test('one scheduler leads, the other says what the guide says', async () => {
    const leader = shell.start('engram-scm-scheduler --loop --json')
    try {
      while (leader.reports().length === 0) await new Promise((resolve) => setTimeout(resolve, 50))
      const other = await shell.run('engram-scm-scheduler --once')
      expect(other.code).toBe(0)
      expect(GUIDE).toContain(`\`${other.stdout.trim()}\``)
      const asJson = await shell.run('engram-scm-scheduler --once --json')
      expect(JSON.parse(asJson.stdout)).toMatchObject({ leader: false })
      const [row] = await asked('Who leads, and until when if nothing more is heard')
      expect(row.lease_until > new Date()).toBe(true)
    } finally {
      expect((await leader.stop()).code).toBe(0)
    }
    const next = await shell.run('engram-scm-scheduler --once --json')
    expect(JSON.parse(next.stdout)).toMatchObject({ leader: true })
  })

  test('a look that finds nothing leaves event and audited cursor alone, and says when it looked', async () => {
    const look = async () => {
      await shell.run(`engram-scm-sync runner incremental --repo git:${repoId}`)
      const cursors = await asked('When each cursor was last moved or confirmed, the longest ago first')
      const audited = await query('select version, updated_at from ing_cursor where provenance_code = $1', [
        `git:${repoId}`,
      ])
      return {
        kept: [
          audited,
          await asked("The moves of one repository's cursor"),
          cursors.find((c) => c.key === `git_cursor:${repoId}`)?.watermark,
        ],
        at: cursors.find((c) => c.key === `git_cursor:${repoId}`)?.updated_at,
      }
    }
    const first = await look()
    const second = await look()
    expect(second.kept).toEqual(first.kept)
    expect(second.at > first.at).toBe(true)
  })

  test('a pool of the guide takes what is its own', async () => {
    const file = join(shell.folder, 'pools.toml')
    writeFileSync(file, of('toml').find((b) => b.body.includes('pools.gitlab-prod'))?.body as string, {
      mode: 0o600,
    })
    const hosts = { prod: 'gitlab.prod.example.com', other: 'gitlab.other.example.com' }
    for (const host of Object.values(hosts))
      await shell.run(`engram-scm-sync repos add git:https://${host}/x.git`)
    // Nobody is there to be asked: whose job was tried is the question.
    await shell.run('engram-scm-scheduler --once')
    await shell.run(`engram-scm-worker --drain --pool gitlab-prod --config ${file}`, {
      env: { https_proxy: 'http://127.0.0.1:1' },
    })
    const tried = await query(
      `select instance_key, attempts from ing_task where instance_key like 'gitlab.%' order by 1`,
    )
    expect(tried).toEqual([
      { instance_key: hosts.other, attempts: 0 },
      { instance_key: hosts.prod, attempts: 1 },
    ])
    const parked = await asked('Parked jobs, and until when at the latest')
    expect(parked.map((p) => p.status)).toContain('failed')
  })

  test('a worker goes on after the database was away', async () => {
    const worker = shell.start('engram-scm-worker --json --poll-interval 0.5', {
      ENGRAM_SCM_LOG_LEVEL: 'warn',
      SCM_WORKER_INSTANCE_ALLOWLIST: 'nobody',
    })
    let log = ''
    worker.heard((text) => {
      log += text
    })
    await new Promise((resolve) => setTimeout(resolve, 1500))
    await shell.run('engram-scm-sync db down')
    for (let n = 0; n < 200 && !log.includes('no claim: the database does not answer'); n++)
      await new Promise((resolve) => setTimeout(resolve, 50))
    expect(log).toContain('no claim: the database does not answer')
    await shell.run('engram-scm-sync db up')
    shell.repo.commit('after the outage')
    await query(`update logbook.kv set updated_at = now() - interval '2 hours' where key = $1`, [
      `git_cursor:${repoId}`,
    ])
    await shell.run('engram-scm-scheduler --once')
    const found = 'select 1 from scm.git_commits where repo_id = $1 and message like $2'
    for (let n = 0; n < 200 && (await query(found, [repoId, 'after the outage%'])).length === 0; n++)
      await new Promise((resolve) => setTimeout(resolve, 50))
    expect(JSON.parse((await worker.stop()).stdout)).toMatchObject({ status: 'success', jobs_completed: 1 })
  })

  let url: string | undefined
  async function query(sql: string, values: unknown[] = []) {
    url ??= (await shell.run('engram-scm-sync db url')).stdout.trim()
    const client = new pg.Client({ connectionString: url })
    await client.connect()
    try {
      return (await client.query(sql, values)).rows
    } finally {
      await client.end()
    }
  }
  const asked = (comment: string) => query(filled(statementOf(comment), { jobId: 0, repoId }))

  test('sync as the role that the grants make', async () => {
    const url = (await shell.run('engram-scm-sync db url')).stdout.trim()
    const block = of('sql').find((b) => b.body.includes('CREATE ROLE engram_sync')) as Block
    const client = new pg.Client({ connectionString: url })
    await client.connect()
    for (const { sql } of statementsOf(block.body)) await client.query(sql)
    await client.end()

    shell.repo.commit('for the role')
    const as = (role: string, line: string) =>
      shell.run(line, { env: { POSTGRES_DSN: url.replace('user=engram', `user=${role}`) } })
    const synced = await as('engram_sync', `engram-scm-sync runner incremental --repo git:${repoId} --json`)
    expect(JSON.parse(synced.stdout)).toMatchObject({ status: 'success', items_synced: 1 })
    const back = await as(
      'engram_sync',
      `engram-scm-sync runner backfill --repo git:${repoId} --last-hours 4`,
    )
    expect(back.code, back.stderr).toBe(0)
    expect((await as('engram_read', 'engram-scm-status')).code).toBe(0)
    expect((await as('engram_read', `engram-scm-sync runner incremental --repo git:${repoId}`)).code).toBe(2)
  })

  test('do what the guide says of breakers and pauses', async () => {
    const url = (await shell.run('engram-scm-sync db url')).stdout.trim()
    const client = new pg.Client({ connectionString: url })
    await client.connect()
    const guide = (comment: string) => client.query(filled(statementOf(comment), { jobId: 0, repoId }))
    const told = async (line: string) =>
      JSON.parse((await shell.run(line, { env: { SCM_SCHEDULER_CURSOR_AGE_THRESHOLD_SECONDS: '1' } })).stdout)
    const due = async () =>
      (await told('engram-scm-scheduler --dry-run --json')).enqueued_jobs.map((j: JobNamed) => j.repo_id)
    try {
      await client.query(
        `update logbook.kv set updated_at = now() - interval '2 hours' where namespace = 'scm.sync'`,
      )
      expect(await due()).toContain(repoId)
      await guide('Open the breaker: no new jobs, none claimed')
      expect(await told('engram-scm-scheduler --once --json')).toMatchObject({
        circuit_state: 'open',
        jobs_enqueued: 0,
      })
      await guide('Forget the breaker')
      await guide('Pause one repository for an hour')
      expect(await due()).not.toContain(repoId)
      await guide('End that pause')
      expect(await due()).toContain(repoId)

      await told('engram-scm-scheduler --once --json')
      await guide('Pause one repository for an hour')
      await client.query(
        `update scm.sync_jobs set not_before = now() + interval '1 day' where repo_id <> $1`,
        [repoId],
      )
      expect(await told('engram-scm-worker --drain --json')).toMatchObject({ jobs_worked: 0 })
      await guide('End that pause')
      expect(await told('engram-scm-worker --drain --json')).toMatchObject({ jobs_completed: 1 })
    } finally {
      await client.end()
    }
  })

  test('do what the guide says of an emptied repository and a cursor set back', async () => {
    const inc = async () =>
      JSON.parse((await shell.run(`engram-scm-sync runner incremental --repo git:${repoId} --json`)).stdout)
    const url = (await shell.run('engram-scm-sync db url')).stdout.trim()
    const client = new pg.Client({ connectionString: url })
    await client.connect()
    const guide = (comment: string) => client.query(filled(statementOf(comment), { jobId: 0, repoId }))
    const events = async () =>
      (await client.query('select direction_code, reason from ing_cursor_event order by id desc limit 2'))
        .rows
    try {
      await guide('Set it back to a point in time: what was committed since is read again')
      expect(await inc()).toMatchObject({ status: 'success', items_synced: 0 })
      expect(await events()).toEqual([
        { direction_code: 'FORWARD', reason: 'sync' },
        { direction_code: 'BACKFILL', reason: 'manual_reset' },
      ])
      await guide('Delete the cursor of a git repository: everything is read again')
      expect(await inc()).toMatchObject({ status: 'success', items_synced: 0 })
      const { rows } = await guide('Cursors by key')
      expect(rows[0].value_json.watermark).toMatch(/Z$/)

      const main = shell.repo.git('rev-parse', 'main')
      shell.repo.git('update-ref', '-d', 'refs/heads/main')
      expect(await inc()).toMatchObject({
        status: 'failed',
        error: expect.stringContaining('has no refs any more'),
      })
      await guide('Delete the cursor of a git repository: everything is read again')
      expect(await inc()).toMatchObject({ status: 'success', items_synced: 0 })
      const { rows: left } = await guide('Commits that no branch or tag holds any more')
      expect(left.map((r) => r.commit_sha).sort()).toEqual(shell.repo.all(main))

      shell.repo.git('update-ref', 'refs/heads/main', `${main}~1`)
      expect(await inc()).toMatchObject({ status: 'success' }) // what is held again is written again
      expect((await guide('Commits that no branch or tag holds any more')).rows).toHaveLength(1)
      shell.repo.commit('another last one', { parents: [shell.repo.git('rev-parse', 'main~1')] })
      expect(await inc()).toMatchObject({ status: 'success', items_synced: 1 })
      expect((await guide('What was forced lately')).rows).toHaveLength(1)
      expect((await guide('Commits that no branch or tag holds any more')).rows).toHaveLength(2)
    } finally {
      await client.end()
    }
  })
})

describe('the statements', () => {
  let db: TestDatabase
  let made: Rows
  beforeAll(async () => {
    db = await freshDatabase(embeddedUrl())
    made = await makeRows(db.pool)
  })
  afterAll(() => db.drop())

  const all = of('sql').flatMap((block) => {
    const statements = statementsOf(block.body)
    return statements.map(({ comment, sql }, at) => ({
      comment,
      sql,
      before: statements.slice(0, at).map((s) => s.sql),
    }))
  })

  test('each has a comment of its own and an expectation', () => {
    const comments = all.map((s) => s.comment)
    expect(new Set(comments).size).toBe(comments.length)
    expect(comments.sort()).toEqual(Object.keys(EFFECTS).sort())
  })

  test.each(all)('$comment', async ({ comment, sql, before }) => {
    const effect = EFFECTS[comment] as Effect
    const ids = { jobId: made.jobs[effect.job ?? 'dead'], repoId: made.repoId }
    await undone(db.pool, async (tx) => {
      if (effect.after) for (const earlier of before) await tx.query(filled(earlier, ids))
      const found = await tx.query(filled(sql, ids))
      expect(found.rowCount ?? 0).toBe(effect.rows)
      if (effect.leaves) {
        const { rows } = await tx.query({ text: filled(effect.leaves[0], ids), rowMode: 'array' })
        expect(rows.map((r) => r.join(' ')).join(', ')).toBe(effect.leaves[1])
      }
    })
    if (effect.foundAfter === undefined) return
    await undone(db.pool, async (tx) => {
      await tx.query(effect.foundAfter as string)
      expect((await tx.query(filled(sql, ids))).rowCount).toBe(1)
    })
  })
})

const TOKEN = 'glpat-canary-5d81f0c2e4'

/** What the guide calls `acme/app`: commits, merge requests that were spoken of, one number that is gone. */
function makeProject(gitlab: GitLab): void {
  const project = gitlab.project({ path: 'acme/app' })
  const at = Date.now() - 7 * 86_400_000
  for (let n = 1; n <= 30; n++) project.commit({ message: `commit ${n}`, at: at + n * 1000 })
  for (let n = 1; n <= 12; n++) {
    const iid = project.mr({ at: at + n * 1000 })
    project.note(iid, { author: 'someone', at: at + n * 1000 })
  }
  project.deleteMr(4)
}

interface JobNamed {
  repo_id: number
}

interface Effect {
  /** Rows found, changed or removed. */
  rows: number
  /** The job that <JOB_ID> stands for; `dead` if none is named. */
  job?: keyof Rows['jobs']
  /** A look at the database afterwards, and what it shows. */
  leaves?: [sql: string, shows: string]
  /** Of a statement that finds nothing: what makes it find one row. */
  foundAfter?: string
  /** Makes sense only after the statements above it in its block. */
  after?: true
}

const JOB = `select status, attempts, not_before <= clock_timestamp() as due, locked_by is null and locked_at is null as free,
  error_summary_json is null as clean from scm.sync_jobs where job_id = <JOB_ID>`
const STATUS = `select status, count(*) from scm.sync_jobs where status in ('pending', 'running', 'dead') group by 1 order by 1`
const CURSORS = `select key, value_json->>'watermark' from logbook.kv where namespace = 'scm.sync' and key like '%\\_cursor:%' order by key`
const BREAKER = `select count(*), min(value_json->>'state'), min(value_json->>'opened_at') from logbook.kv
  where namespace = 'scm.sync_health' and key = 'default:global'`
const BREAKER_STATE = `select count(*), min(value_json->>'state') from logbook.kv
  where namespace = 'scm.sync_health' and key = 'default:global'`
const PAUSED = `select count(*), bool_and((value_json->>'paused_until')::float8 > extract(epoch from now()) + 3500) from logbook.kv
  where namespace = 'scm.sync_pauses' and key = '<REPO_ID>:commits'`
const granted = (role: string) =>
  `select has_table_privilege('${role}', 'ing_task', 'insert'), has_table_privilege('${role}', 'scm.sync_jobs', 'select'),
          has_schema_privilege('${role}', 'logbook', 'usage'), has_sequence_privilege('${role}', 'scm.fence', 'usage'),
          has_table_privilege('${role}', 'ing_cursor_event', 'delete')`

const SILENT = `select coalesce(scm.upstream_wait(b, now()), 0) > 500 from scm.sync_rate_limits b where instance_key = 'gitlab.example.com'`
const MR = `insert into scm.mrs (repo_id, iid, status, title, author_username, created_at, updated_at, merged_at, digest, run_id, batch_id)
  values (1, 7, 'merged', 'Seven', 'author', now() - interval '2 days', now(), now(), 'd', 1, 1)`
const REVIEWED = `${MR}; insert into scm.review_events (repo_id, iid, source_event_id, kind, event_type, reviewer_username, ts, run_id, batch_id)
  values (1, 7, 'note:1', 'note', 'comment', 'someone', now(), 1, 1)`

const EFFECTS: Record<string, Effect> = {
  'Jobs by status': { rows: 6 },
  'Jobs at work, the longest first': { rows: 3 },
  'Jobs at work, by seconds since their last renewal': { rows: 3 },
  'The latest failures': { rows: 4 },
  'Every attempt at one job': { rows: 5, job: 'stormy' },
  'What was changed by hand, the latest first': {
    rows: 0,
    foundAfter: `insert into scm.operator_events (actor, action, target) values ('me@here', 'breakers open', '{}')`,
  },
  'Dead jobs': { rows: 2 },
  'Reset one dead job': { rows: 1, leaves: [JOB, 'pending 0 true true true'] },
  'Reset every dead job': { rows: 2, leaves: [STATUS, 'pending 5, running 3'] },
  'Delete what has waited for a week at low priority': {
    rows: 1,
    leaves: [STATUS, 'dead 2, pending 2, running 3'],
  },
  'Locks older than a lease': { rows: 2 },
  'Release the lock of one repository': { rows: 1, leaves: ['select count(*) from scm.sync_locks', '2'] },
  'Release every lock older than a lease': { rows: 2, leaves: ['select count(*) from scm.sync_locks', '1'] },
  'Put one running job back': {
    rows: 1,
    job: 'running10s',
    leaves: [JOB, 'pending 1 true true true'],
  },
  'Put back every job without a renewal for ten minutes': {
    rows: 2,
    leaves: [STATUS, 'dead 2, pending 5, running 1'],
  },
  'Put back every job without a renewal for half an hour, and name them': {
    rows: 1,
    leaves: [STATUS, 'dead 2, pending 4, running 2'],
  },
  Breakers: { rows: 2 },
  'Open the breaker: no new jobs, none claimed': { rows: 1, leaves: [BREAKER_STATE, '1 open'] },
  'Close the breaker by hand': { rows: 1, leaves: [BREAKER, '1 closed 1735689600'] },
  'Forget the breaker': { rows: 1, leaves: [BREAKER, '0  '] },
  Pauses: { rows: 1 },
  'Pause one repository for an hour': { rows: 1, leaves: [PAUSED, '1 true'] },
  'End that pause': { rows: 1, leaves: [PAUSED, '0 '] },
  Cursors: { rows: 2 },
  'Cursors by key': { rows: 2 },
  'Delete the cursor of a git repository: everything is read again': {
    rows: 1,
    leaves: [CURSORS, 'gitlab_cursor:1 2025-01-02T00:00:00Z'],
  },
  'Set it back to a point in time: what was committed since is read again': {
    rows: 1,
    leaves: [CURSORS, 'git_cursor:1 2024-01-01T00:00:00Z, gitlab_cursor:1 2025-01-02T00:00:00Z'],
  },
  'Delete the cursor of a GitLab project': {
    rows: 1,
    leaves: [CURSORS, 'git_cursor:1 2025-01-02T00:00:00Z'],
  },
  'Set it back': {
    rows: 1,
    leaves: [CURSORS, 'git_cursor:1 2025-01-02T00:00:00Z, gitlab_cursor:1 2024-01-01T00:00:00Z'],
  },
  'Ledger tables: eight rows': { rows: 8 },
  'Encoding: UTF8': { rows: 1 },
  'Key columns whose collation takes different text for equal: no row': {
    rows: 0,
    foundAfter: `create collation loose (provider = icu, locale = 'und-u-ks-level1', deterministic = false);
      alter table ing_plan alter column plan_key type text collate loose`,
  },
  'Unique keys that are missing or not in force: no row': {
    rows: 0,
    foundAfter: 'alter table ing_task drop constraint uk_task_idem',
  },
  'Foreign keys: no row': {
    rows: 0,
    foundAfter:
      'alter table ing_plan add constraint one foreign key (schedule_instance_id) references ing_schedule_instance',
  },
  'What a worker would take next': { rows: 3 },
  'Pages of one job, in order: each starts where the one before it ended': { rows: 2, job: 'completed' },
  "The moves of one repository's cursor": { rows: 3 },
  'Cursors that are not what their events say: no row': {
    rows: 0,
    foundAfter: `update ing_cursor set version = version + 1, cursor_value = '2025-02-01T00:00:00.000Z', normalized_instant = '2025-02-01'`,
  },
  'Queue stall: due for 15 minutes and not started': { rows: 1 },
  'Heartbeat stall: a run without a sign of life for a whole lease': { rows: 1 },
  'Runs of more than an hour': { rows: 1 },
  'Retry storm: one job tried five times in 15 minutes': { rows: 1 },
  'Cursor stall: an enabled repository whose cursor nothing has moved or confirmed for a day': { rows: 1 },
  'Who leads, and until when if nothing more is heard': {
    rows: 0,
    foundAfter: `insert into scm.leaders (duty, term, held_by, elected_at, lease_until) values ('scheduler', 1, 'h', now(), now())`,
  },
  'Parked jobs, and until when at the latest': {
    rows: 0,
    foundAfter: `update ing_task set parked_until = now() + interval '1 hour', updated_at = clock_timestamp()
      where id = (select min(id) from ing_task where status = 'failed')`,
  },
  'When each cursor was last moved or confirmed, the longest ago first': { rows: 2 },
  'A role for the syncs': { rows: 0 },
  'It may use the schemas': { rows: 0, after: true },
  'It may work with the rows': { rows: 0, after: true },
  'It may draw numbers': { rows: 0, after: true },
  'Events stay as they are, for this role too': {
    rows: 0,
    after: true,
    leaves: [granted('engram_sync'), 'true true true true false'],
  },
  'A role for those who look': { rows: 0, after: true },
  'It may use the schemas as well': { rows: 0, after: true },
  'It may read': {
    rows: 0,
    after: true,
    leaves: [granted('engram_read'), 'false true true false false'],
  },
  'What was merged in the last month, and how long it took': { rows: 0, foundAfter: MR },
  'Who reviews whom': { rows: 0, foundAfter: REVIEWED },
  'From opening to the first word of somebody else': { rows: 0, foundAfter: REVIEWED },
  'What was said and taken back': {
    rows: 0,
    foundAfter: `${REVIEWED}; update scm.review_events set deleted_at = now()`,
  },
  'Merge requests that are gone': { rows: 0, foundAfter: `${MR}; update scm.mrs set deleted_at = now()` },
  'Commits of which a part is missing, by reason': {
    rows: 0,
    foundAfter: `update scm.git_commits set degraded_reason = 'diff:timeout' where repo_id = 1`,
  },
  'Reviews of which a part is missing': {
    rows: 0,
    foundAfter: `${MR}; update scm.mrs set review_degraded = 'approvals:403'`,
  },
  'What each host grants, and what it has said': {
    rows: 0,
    foundAfter: `insert into scm.sync_rate_limits (instance_key, tokens) values ('gitlab.example.com', 3)`,
  },
  'Silence a host for ten minutes': { rows: 1, leaves: [SILENT, 'true'] },
  'Let it be asked again': { rows: 1, after: true, leaves: [SILENT, 'false'] },
  'Projects that are not plainly active': {
    rows: 0,
    foundAfter: `update scm.repos set repo_type = 'gitlab', settings = '{"state": "gone"}' where repo_id = 1`,
  },
  'What was forced lately': { rows: 1 },
  'Commits that no branch or tag holds any more': { rows: 1 },
}

describe('the words', () => {
  const sources = readdirSync(join(ROOT, 'src'), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .map((name) => readFileSync(join(ROOT, 'src', name), 'utf8'))
    .join('\n')
  const rowsUnder = (heading: string) =>
    (GUIDE.split(`\n## ${heading}\n`)[1] ?? '').split('\n## ')[0]?.match(/^\|.*\|$/gm) ?? []
  const messages = rowsUnder('Messages')
    .slice(2)
    .flatMap((row) =>
      [...(row.split(/(?<!\\)\|/)[1] as string).matchAll(/`([^`]+)`/g)].map((m) => m[1] as string),
    )

  test.each(messages.map((message) => ({ message })))('the program can say: $message', ({ message }) => {
    const pieces = message.split('…').map((piece) => piece.trim())
    expect(pieces.join('').length).toBeGreaterThan(8)
    for (const piece of pieces) expect(sources).toContain(piece)
  })

  test('every flag in a table is a flag of some command', () => {
    const manifest = JSON.parse(readFileSync(join(ROOT, 'oclif.manifest.json'), 'utf8'))
    const known = Object.values(manifest.commands as Record<string, { flags: object }>).flatMap((c) =>
      Object.keys(c.flags),
    )
    const named = [...GUIDE.matchAll(/^\|.*$/gm)].flatMap(([row]) =>
      [...row.matchAll(/`--([a-z-]+)/g)].map((m) => m[1] as string),
    )
    expect(named.length).toBeGreaterThan(10)
    for (const flag of named) expect(known, flag).toContain(flag)
  })

  test('every link inside the guide leads to a heading', () => {
    const anchors = [...GUIDE.matchAll(/^#+ (.*)$/gm)].map((m) =>
      (m[1] as string)
        .toLowerCase()
        .replace(/[^a-z0-9 -]/g, '')
        .replaceAll(' ', '-'),
    )
    for (const [, target] of GUIDE.matchAll(/\]\(#([^)]+)\)/g)) expect(anchors).toContain(target)
  })

  test('placeholders are the two that are filled in', () => {
    const found = [...GUIDE.matchAll(/<[A-Z_]+>/g)].map((m) => m[0])
    expect([...new Set(found)].sort()).toEqual(['<JOB_ID>', '<REPO_ID>'])
  })
})

/** One command a line: comments gone, continued lines joined, the exit code as its comment says. */
function commandsOf(body: string): { text: string; code: number }[] {
  return body
    .replace(/\\\n\s*/g, ' ')
    .split('\n')
    .filter((line) => line.trim() !== '' && !/^\s*#/.test(line))
    .map((line) => {
      const [, text = '', comment = ''] = /^(.*?)(?:\s+#\s*(.*))?$/.exec(line) ?? []
      if (comment !== '' && !/^exit \d$/.test(comment))
        throw new Error(`a comment that is no exit code: ${line}`)
      return { text: text.trim(), code: Number(comment.replace('exit ', '') || 0) }
    })
}

/** Keys all the way down; entries of a list together. Counts by a name are a map, whatever its keys. */
const MAPS = [
  'runs_24h_by_status',
  'repos_by_type',
  'by_scope',
  'by_instance',
  'by_tenant',
  'pauses_by_reason',
  'paused_by_reason',
]
function shapeOf(value: unknown, key = ''): unknown {
  if (Array.isArray(value))
    return value.length === 0 ? [] : [Object.assign({}, ...value.map((v) => shapeOf(v)))]
  if (value === null || typeof value !== 'object') return 'value'
  if (MAPS.includes(key)) return 'map'
  return Object.fromEntries(
    Object.keys(value)
      .sort()
      .map((k) => [k, shapeOf((value as Record<string, unknown>)[k], k)]),
  )
}

function statementOf(comment: string): string {
  const found = of('sql')
    .flatMap((b) => statementsOf(b.body))
    .find((s) => s.comment === comment)
  if (!found) throw new Error(`the guide has no statement "${comment}"`)
  return found.sql
}

/** Major version of a program on PATH; null when it is not there. */
function majorOf(tool: string): number | null {
  try {
    return Number(/\d+/.exec(execFileSync(tool, ['--version']).toString())?.[0])
  } catch {
    return null
  }
}

async function versionOf(url: string): Promise<number> {
  const client = new pg.Client({ connectionString: onServer(url, 'postgres') })
  await client.connect()
  const { rows } = await client.query(`select current_setting('server_version_num')::int / 10000.0 as v`)
  await client.end()
  return Number(rows[0].v)
}
