import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type pg from 'pg'
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest'
import { examine } from '../../../src/core/app/examine/examine.ts'
import type { Account, Examined, Introduced } from '../../../src/core/app/examine/examined.ts'
import { judgedRoom } from '../../../src/core/app/examine/folders.ts'
import { openPool } from '../../../src/core/db/connect.ts'
import { listenForJobs } from '../../../src/core/db/queue/wake.ts'
import { loadConfig } from '../../../src/core/runtime/config.ts'
import { gitVersion } from '../../../src/core/sources/git/version.ts'
import { introduce } from '../../../src/core/sources/gitlab/introduce.ts'
import { svnVersion } from '../../../src/core/sources/svn/version.ts'
import { admin, embeddedUrl, freshDatabase, servers, type TestDatabase } from '../../helpers/database.ts'
import { type GitLab, startGitLab } from '../../helpers/gitlab/server.ts'
import { onServer } from '../../helpers/servers.ts'
import { makeRows } from '../../runbook/rows.ts'

type Given = Omit<Examined, 'registered'>

const folder = mkdtempSync(join(tmpdir(), 'examine-'))
afterAll(() => rmSync(folder, { recursive: true }))
const { signal } = new AbortController()
const NO_DATABASE = { found: 'there is none', remedy: 'make one', isFailure: false }

function configOf(flags: Record<string, unknown> = {}) {
  return loadConfig({ env: {}, flags, file: null, cwd: folder, configHome: null }).config
}

/** All is well, but for what is said otherwise; without a database unless one is given. */
function given(more: Partial<Given> = {}): Given {
  const surroundings = { path: process.env.PATH ?? '', home: null }
  return {
    configuration: { file: null, problems: [], warnings: [] },
    config: configOf(),
    db: null,
    noDatabase: more.db ? null : NO_DATABASE,
    embeddedDir: null,
    dataDir: folder,
    programs: { git: () => gitVersion(surroundings, signal), svn: () => svnVersion(surroundings, signal) },
    accounts: [],
    now: () => new Date(),
    signal,
    ...more,
  }
}

/** What one check found, as `status: found`. */
async function found(check: string, more: Partial<Given>): Promise<string[]> {
  const { checks } = await examine(given(more))
  return checks.filter((c) => c.check === check).map((c) => `${c.status}: ${c.found}`)
}

describe.each(servers())('on the $name server', ({ url }) => {
  let db: TestDatabase
  beforeAll(async () => {
    db = await freshDatabase(url)
  })
  afterAll(() => db.drop())

  test('all is well, and nothing is left behind', async () => {
    const rows = () =>
      db.pool.query(
        `select (select count(*) from logbook.kv) as kv, (select last_value from scm.fence) as fence`,
      )
    const before = (await rows()).rows
    const report = await examine(given({ db: db.pool }))
    expect(report.checks.filter((c) => c.status !== 'ok')).toEqual([])
    expect(report).toMatchObject({ status: 'success', exit_code: 0, not_examined: [], failed: 0 })
    expect(report.checks.every((c) => c.remedy === null)).toBe(true)
    expect((await rows()).rows).toEqual(before)
  })

  test('an encoding that is not UTF8, and a database without our schema', async () => {
    const name = `t_${process.pid}_ascii`
    await admin(
      url,
      `create database ${name} encoding 'SQL_ASCII' template template0 lc_collate 'C' lc_ctype 'C'`,
    )
    const pool = poolTo(onServer(url, name))
    try {
      const { checks, exit_code, not_examined } = await examine(given({ db: pool }))
      expect(checks.filter((c) => c.status === 'failed').map((c) => c.found)).toEqual([
        'the encoding is SQL_ASCII',
        'there is no schema of engram-scm',
      ])
      expect(exit_code).toBe(2)
      expect(not_examined).toContain('dictionary')
      expect(await found('schema', { db: pool, embeddedDir: folder })).toEqual([
        'warning: there is no schema of engram-scm',
      ])
    } finally {
      await pool.end()
      await admin(url, `drop database ${name}`)
    }
  })

  const BREAKS: [what: string, sql: string, undo: string, check: string, says: RegExp][] = [
    [
      'a table is gone',
      'alter table scm.lanes rename to lanes_old',
      'alter table scm.lanes_old rename to lanes',
      'dictionary',
      /^failed: missing or not in force: constraint lanes_pkey of scm\.lanes, table scm\.lanes$/,
    ],
    [
      'a view is gone',
      'alter view scm.v_facts rename to old',
      'alter view scm.old rename to v_facts',
      'dictionary',
      /: view scm\.v_facts$/,
    ],
    [
      'a function is gone',
      'alter function scm.park_jobs rename to old',
      'alter function scm.old rename to park_jobs',
      'dictionary',
      /: function scm\.park_jobs$/,
    ],
    [
      'a trigger sleeps',
      'alter table ing_task disable trigger jobs_made',
      'alter table ing_task enable trigger jobs_made',
      'dictionary',
      /: trigger jobs_made of public\.ing_task$/,
    ],
    [
      'a unique key is gone',
      'alter table ing_task drop constraint uk_task_active',
      'alter table ing_task add constraint uk_task_active unique (active_key)',
      'dictionary',
      /: constraint uk_task_active of public\.ing_task$/,
    ],
    [
      'an index is gone',
      'alter index task_by_plan rename to old',
      'alter index old rename to task_by_plan',
      'dictionary',
      /: index public\.task_by_plan of public\.ing_task$/,
    ],
    [
      'events can be changed',
      'alter table ing_cursor_event disable trigger cursor_events_are_append_only',
      'alter table ing_cursor_event enable trigger cursor_events_are_append_only',
      'events',
      /^failed: .* can be changed \(update, delete\)$/,
    ],
    [
      'a key takes a for A',
      `create collation loose (provider = icu, locale = 'und-u-ks-level1', deterministic = false);
       alter table ing_plan alter column plan_key type text collate loose`,
      `alter table ing_plan alter column plan_key type text collate "default"; drop collation loose`,
      'collations',
      /^failed: .*ing_plan\.plan_key$/,
    ],
    [
      'the sorting library is another',
      `update pg_database set datcollversion = '1.0' where datname = current_database()`,
      'update pg_database set datcollversion = null where datname = current_database()',
      'collations',
      /^(warning: .* has changed|ok)/,
    ],
    [
      'an unreleased schema',
      `insert into scm.schema_migrations (hash, created_at) values ('x', 1)`,
      `delete from scm.schema_migrations where created_at = 1`,
      'schema',
      /^failed: .*newer/,
    ],
  ]
  test.each(BREAKS)('%s', async (_what, sql, undo, check, says) => {
    await db.pool.query(sql)
    try {
      expect(await found(check, { db: db.pool })).toEqual([expect.stringMatching(says)])
    } finally {
      await db.pool.query(undo)
    }
    expect(await found(check, { db: db.pool })).toEqual([expect.stringMatching(/^ok/)])
  })

  test('a role that may only look, or lacks one thing', async () => {
    const role = `r_${process.pid}`
    await db.pool.query(`create role ${role}; grant usage on schema public, scm, logbook to ${role};
      grant select on all tables in schema public, scm, logbook to ${role};
      grant usage on all sequences in schema scm to ${role}`)
    const pool = poolTo(db.dsn, `-c role=${role}`)
    try {
      expect(await found('privileges', { db: pool })).toEqual([
        expect.stringMatching(/^failed: this user may not delete logbook\.kv, .* and \d+ more$/),
      ])
      await db.pool.query(`grant insert, update, delete on all tables in schema public, scm, logbook to ${role};
        revoke update on logbook.kv from ${role}`)
      expect(await found('privileges', { db: pool })).toEqual(['failed: this user may not update logbook.kv'])
      await db.pool.query(`grant update on logbook.kv to ${role}`)
      expect(await found('privileges', { db: pool })).toEqual([expect.stringMatching(/^ok/)])
      expect(await found('events', { db: pool })).toEqual([expect.stringMatching(/^ok/)])
      // A sequence, a function: whoever may not use them may not sync.
      await db.pool.query(`revoke usage on sequence scm.fence from ${role}`)
      expect(await found('privileges', { db: pool })).toEqual(['failed: this user may not usage scm.fence'])
    } finally {
      await pool.end()
      await db.pool.query(`drop owned by ${role}; drop role ${role}`)
    }
  })

  test('a server that can only be read', async () => {
    const pool = poolTo(db.dsn, '-c default_transaction_read_only=on')
    expect(await found('server', { db: pool })).toEqual([
      expect.stringMatching(/^failed: .*can only be read$/),
    ])
    await pool.end()
  })

  test.each([
    [0, /^ok: as ours$/],
    [30, /^warning: (29|30) s behind ours$/],
    [-30, /^warning: (29|30) s ahead of ours$/],
    [3600, /^failed: 3[56]\d\d s behind ours$/],
  ])('our clock is %i s ahead of the database', async (seconds, says) => {
    const now = () => new Date(Date.now() + seconds * 1000)
    expect(await found('database_clock', { db: db.pool, now })).toEqual([expect.stringMatching(says)])
  })

  test('too few connections for the parallelism', async () => {
    const config = configOf({ 'scm.worker.parallelism': 256 })
    expect(await found('connections', { db: db.pool, config })).toEqual([
      expect.stringMatching(/^failed: .* a worker takes up to 515$/),
    ])
  })
})

describe('work', () => {
  let db: TestDatabase
  beforeAll(async () => {
    db = await freshDatabase(embeddedUrl())
    await makeRows(db.pool)
  })
  afterAll(() => db.drop())

  test('an open breaker, what the health checks find, nobody who schedules or works', async () => {
    const { checks, exit_code } = await examine(given({ db: db.pool }))
    const of = (check: string) =>
      checks.filter((c) => c.check === check).map((c) => `${c.status}: ${c.found}`)
    expect(of('breakers')).toEqual([
      'warning: default:global is open, by hand: failure rate',
      'warning: default:instance:gitlab.example.com is half open, and probes',
    ])
    expect(of('queue')).toEqual(
      expect.arrayContaining([
        expect.stringMatching(/^failed: expired_running_jobs: /),
        expect.stringMatching(/^warning: dead_jobs: 2 jobs/),
      ]),
    )
    expect(of('scheduler')).toEqual(['warning: none has ever run'])
    expect(exit_code).toBe(2)
    expect(
      await found('scheduler', { db: db.pool, config: configOf({ 'scm.sync.enabled': false }) }),
    ).toEqual([expect.stringMatching(/^ok: /)])
    const lead = `insert into scm.leaders values ('scheduler', 1, 'x', now(), now() + interval '1 min')`
    await db.pool.query(lead)
    expect(await found('scheduler', { db: db.pool })).toEqual(['ok: one leads'])
    await db.pool.query(`update scm.leaders set lease_until = now() - interval '3 hours'`)
    expect(await found('scheduler', { db: db.pool })).toEqual(['warning: none leads, since 3 h'])
  })

  test('workers that are silent, that wait, that are not there', async () => {
    const workers = () => found('workers', { db: db.pool })
    await db.pool.query(`update ing_task_run set last_heartbeat = now() - interval '2 hours'`)
    expect(await workers()).toEqual([expect.stringMatching(/^warning: 3 jobs run, and none .* for 2 h$/)])
    await db.pool.query('delete from ing_task where status = $1', ['running'])
    expect(await workers()).toEqual([expect.stringMatching(/^warning: none is seen, and \d jobs are due$/)])
    const ear = await listenForJobs(db.pool, () => {})
    expect(await workers()).toEqual(['ok: 1 wait for jobs, 0 jobs run'])
    ear.stop()
  })
})

describe('the machine', () => {
  test.each([
    [0.1, 'failed'],
    [1, 'warning'],
    [3, 'ok'],
  ])('%f GiB of room: %s', (gib, status) => {
    expect(judgedRoom('x', gib * 1024 ** 3).status).toBe(status)
  })

  test('a folder that is not there yet, and one that can never be', async () => {
    writeFileSync(join(folder, 'file'), '')
    expect(await found('data_folder', { dataDir: join(folder, 'a/b') })).toEqual([
      expect.stringMatching(/^ok: .*\/a\/b \(not made yet, in .*\) is writable/),
    ])
    for (const name of ['file', 'file/below'])
      expect(await found('data_folder', { dataDir: join(folder, name) })).toEqual([
        expect.stringMatching(/^failed: .*\/file is no folder$/),
      ])
  })

  test('no git and no svn in PATH: as grave as what is registered makes it', async () => {
    const programs = {
      git: () => gitVersion({ path: folder, home: null }, signal),
      svn: () => svnVersion({ path: folder }, signal),
    }
    expect(await found('git', { programs })).toEqual([
      expect.stringMatching(/^warning: the git program cannot be started; whether/),
    ])
    const db = await freshDatabase(embeddedUrl())
    try {
      expect(await found('svn', { programs, db: db.pool })).toEqual([
        'ok: the svn program cannot be started; no registered repository needs it',
      ])
      await db.pool.query(
        `insert into scm.repos (repo_type, url) values ('svn', 'https://svn.example.com/x'), ('git', '/srv/x.git')`,
      )
      expect(await found('svn', { programs, db: db.pool })).toEqual([
        'failed: the svn program cannot be started',
      ])
      expect(await found('git', { programs, db: db.pool })).toEqual([
        'failed: the git program cannot be started',
      ])
      const credentials = (flags: Record<string, unknown>) =>
        found('svn_credentials', { db: db.pool, config: configOf(flags) })
      expect(await credentials({})).toEqual([
        expect.stringMatching(/^warning: no user and password .* 1 registered/),
      ])
      expect(await credentials({ 'scm.svn.username': 'u' })).toEqual([
        expect.stringMatching(/^failed: a user is/),
      ])
      expect(await credentials({ 'scm.svn.username': 'u', 'scm.svn.password': 'p' })).toEqual([
        expect.stringMatching(/^ok/),
      ])
      const old = {
        git: async () => ({ version: '2.30.2', isWhole: true }),
        svn: async () => ({ version: '1.9.3', schemes: [] }),
      }
      expect(await found('git', { programs: old, db: db.pool })).toEqual(['failed: git 2.30.2 is too old'])
      expect(await found('svn', { programs: old, db: db.pool })).toEqual(['failed: svn 1.9.3 is too old'])
      const half = {
        git: async () => ({ version: '2.39.5', isWhole: false }),
        svn: async () => ({ version: '1.14.2', schemes: ['file'] }),
      }
      expect(await found('git', { programs: half, db: db.pool })).toEqual([
        expect.stringMatching(/^warning: .*git-remote-https/),
      ])
      expect(await found('svn', { programs: half, db: db.pool })).toEqual([
        expect.stringMatching(/^failed: .* cannot read https/),
      ])
    } finally {
      await db.drop()
    }
  })

  test('what does not answer is given up after ten seconds, and hides nothing else', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    try {
      const never = () => new Promise<never>(() => {})
      const report = examine(
        given({ programs: { git: never, svn: async () => ({ version: '1.14.2', schemes: [] }) } }),
      )
      await vi.advanceTimersByTimeAsync(10_000)
      const { checks } = await report
      const of = (check: string) => checks.find((c) => c.check === check)
      expect(of('git')).toMatchObject({ status: 'failed', found: 'no answer within 10 s' })
      expect(of('svn')).toMatchObject({ status: 'ok' })
      expect(of('server')).toMatchObject({
        status: 'warning',
        found: NO_DATABASE.found,
        remedy: NO_DATABASE.remedy,
      })
    } finally {
      vi.useRealTimers()
    }
  })

  test('leases: more failures than a lease has room for', async () => {
    const config = configOf({ 'scm.worker.max_renew_failures': 5 })
    expect(await found('lease', { config })).toEqual([
      expect.stringMatching(/^warning: .* 5 failed renewals take 300 s/),
    ])
  })
})

describe('GitLab', () => {
  const TOKEN = 'glpat-canary-examined'
  let gitlab: GitLab
  beforeAll(async () => {
    gitlab = await startGitLab({ token: TOKEN })
  })
  afterAll(() => gitlab.stop())
  const unhooks: (() => void)[] = []
  afterEach(() => {
    for (const unhook of unhooks.splice(0)) unhook()
  })

  const introduces = (json: object) =>
    unhooks.push(gitlab.fault((r) => (r.path.endsWith('/personal_access_tokens/self') ? { json } : null)))
  const account = (token: string | null = TOKEN, url = gitlab.url): Account => ({
    name: new URL(url).host,
    host: new URL(url).host,
    url,
    hasToken: token !== null,
    introduce: () => introduce({ url, token, timeoutMs: 300, signal }),
  })
  const seen = (one: Account, flags: Record<string, unknown> = {}) =>
    found('gitlab', { accounts: [one], config: configOf(flags) })
  const day = (n: number) => new Date(Date.now() + n * 86_400_000).toISOString().slice(0, 10)

  test('a good token', async () => {
    introduces({ active: true, scopes: ['read_api', 'read_repository'], expires_at: day(90) })
    unhooks.push(gitlab.rateLimit({ limit: 100, windowMs: 60_000 }))
    expect(await seen(account())).toEqual([
      expect.stringMatching(
        /^ok: 127\.0\.0\.1:\d+: GitLab 17\.5\.2, scopes read_api, read_repository, until .*, \d+ of 100 requests left$/,
      ),
    ])
    expect(await seen(account(), { 'scm.gitlab.commits_via': 'git' })).toEqual([expect.stringMatching(/^ok/)])
  })

  test.each<[what: string, self: object, says: RegExp, flags?: Record<string, unknown>]>([
    ['without read_api', { scopes: ['read_user'] }, /^warning: .* has scope read_user, and not read_api$/],
    ['with more than that', { scopes: ['api'] }, /^ok/],
    [
      'that may not read repositories',
      { scopes: ['read_api'] },
      /^warning: .* and not read_repository$/,
      { 'scm.gitlab.commits_via': 'git' },
    ],
    ['that expires', { scopes: ['api'], expires_at: day(3) }, /^warning: .* expires on \d{4}-/],
    ['that is revoked', { scopes: ['api'], active: false }, /^failed: .* revoked/],
    [
      'that lies',
      { scopes: ['\u001b[2J', 7], expires_at: {}, active: 'x' },
      /^warning: .*\\x1b\[2J, and not read_api$/,
    ],
  ])('a token %s', async (_what, self, says, flags) => {
    introduces(self)
    expect(await seen(account(), flags)).toEqual([expect.stringMatching(says)])
  })

  test('no `self`: an old GitLab, or no access token', async () => {
    expect(await seen(account())).toEqual([expect.stringMatching(/^ok: .* does not tell the scopes/)])
  })

  test('a wrong token, none at all, a server that hangs, nobody there: never the token itself', async () => {
    expect(await seen(account('glpat-wrong'))).toEqual([expect.stringMatching(/^failed: .*401 Unauthorized/)])
    expect(await seen(account(null))).toEqual([expect.stringMatching(/^warning: .*no token/)])
    unhooks.push(gitlab.fault(() => ({ status: 500, body: `you said ${TOKEN}` })))
    const [said] = await seen(account())
    expect(said).toMatch(/^failed: .*500 you said/)
    expect(said).not.toContain(TOKEN)
    unhooks.push(gitlab.fault(() => null))
    for (const unhook of unhooks.splice(0)) unhook()
    unhooks.push(gitlab.fault(() => ({ hang: true })))
    expect(await seen(account())).toEqual([expect.stringMatching(/^failed: .*no end of the answer/)])
    expect(await seen(account(TOKEN, 'http://127.0.0.1:9999'))).toEqual([
      expect.stringMatching(/^failed: .*ECONNREFUSED/),
    ])
  })

  test.each([
    [-3600, /^warning: .* its clock is 3[56]\d\d s behind ours$/],
    [3600, /^warning: .* its clock is 3[56]\d\d s ahead of ours$/],
    [30, /^ok/],
  ])('a Date that is %i s off', async (seconds, says) => {
    const date = new Date(Date.now() + seconds * 1000).toUTCString()
    unhooks.push(gitlab.fault(() => ({ headers: { date } })))
    expect(await seen(account())).toEqual([expect.stringMatching(says)])
  })

  test('a window that is nearly used up, and a token over http', async () => {
    const said: Introduced = {
      version: '17',
      scopes: ['api'],
      expiresAt: null,
      isActive: true,
      date: null,
      asked: { from: new Date(), until: new Date() },
      rate: { limit: 100, remaining: 3 },
    }
    const remote = { ...account(TOKEN, 'http://gitlab.example.com'), introduce: async () => said }
    expect(await seen(remote)).toEqual([
      expect.stringMatching(/^warning: .* 3 of 100 requests are left/),
      expect.stringMatching(/^warning: .* the token travels unencrypted/),
    ])
  })

  test('projects of an instance nobody configured', async () => {
    const db = await freshDatabase(embeddedUrl())
    await db.pool.query(
      `insert into scm.repos (repo_type, url, instance_key) values ('gitlab', 'https://gitlab.example.com/a/b', 'gitlab.example.com')`,
    )
    expect(await found('gitlab', { db: db.pool })).toEqual([
      'failed: gitlab.example.com has registered projects, and is not configured',
    ])
    await db.drop()
  })
})

test('a configuration that is wrong: said line by line, and the rest goes on', async () => {
  const report = await examine(
    given({
      config: null,
      dataDir: null,
      configuration: { file: 'x.toml', problems: [{ text: 'a' }, { text: 'b', hint: 'c' }], warnings: ['d'] },
    }),
  )
  const shown = report.checks.map((c) => `${c.check} ${c.status}: ${c.found}`)
  expect(shown.slice(0, 3)).toEqual([
    'configuration failed: a',
    'configuration failed: b',
    'configuration warning: d',
  ])
  expect(report.checks.map((c) => c.check)).toEqual(expect.arrayContaining(['git', 'svn', 'server']))
  expect(report).toMatchObject({ exit_code: 2, status: 'failed', failed: 2 })
})

function poolTo(dsn: string, options?: string): pg.Pool {
  const at = options ? `${dsn}${dsn.includes('?') ? '&' : '?'}options=${encodeURIComponent(options)}` : dsn
  return openPool({ dsn: at, max: 4, applicationName: 'test', statementTimeoutMs: 20_000 })
}
