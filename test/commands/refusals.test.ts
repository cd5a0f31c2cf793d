import { execFileSync } from 'node:child_process'
import { chmodSync, chownSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import {
  COMMANDS,
  HARMFUL,
  linesOf,
  type Options,
  type Ran,
  run,
  tempFolder,
  wordsOf,
} from '../helpers/cli.ts'
import { embeddedUrl, freshDatabase, type TestDatabase } from '../helpers/database.ts'
import { makeRepo } from '../helpers/git-repo.ts'
import { runHere } from '../helpers/one-process.ts'

/**
 * Every way to be refused ends alike: exit 2, nothing on stdout, one line that begins with `error:`, at most one line
 * with the remedy. Under --json one object on stdout says the same.
 */
let db: TestDatabase
let repo: string
beforeAll(async () => {
  db = await freshDatabase(embeddedUrl())
  const git = makeRepo()
  git.commit('first')
  repo = git.dir
  await run(['repos', 'add', `git:${repo}`], { env: { POSTGRES_DSN: db.dsn } })
})
afterAll(() => db.drop())

async function refused(args: string[], says: RegExp, kind: string | RegExp = 'usage', o: Options = {}) {
  const [text, json] = await Promise.all([runHere(args, o), runHere([...args, '--json'], o)])
  expectOneError(text, says)
  expectOneObject(json, says, kind)
}

function expectOneError(ran: Ran, says: RegExp) {
  expect({ code: ran.code, signal: ran.signal, out: ran.out }, ran.err).toEqual({
    code: 2,
    signal: null,
    out: '',
  })
  const lines = linesOf(ran.err).filter((line) => !line.startsWith('{"level"'))
  expect(lines[0]).toMatch(/^error: /)
  expect(lines[0]).toMatch(says)
  if (lines.length > 1) expect(lines.slice(1)).toEqual([expect.stringMatching(/^ {2}→ \S/)])
  expect(ran.err).not.toMatch(/^\s+at .*:\d+:\d+/m)
  expect(ran.err).not.toMatch(HARMFUL)
}

function expectOneObject(ran: Ran, says: RegExp, kind: string | RegExp) {
  expect({ code: ran.code, signal: ran.signal }, ran.err).toEqual({ code: 2, signal: null })
  expect(ran.json()).toEqual([
    {
      status: 'failed',
      error: expect.stringMatching(says),
      kind: expect.stringMatching(kind),
      hint: ran.json()[0]?.hint === null ? null : expect.any(String),
      exit_code: 2,
    },
  ])
  for (const line of linesOf(ran.err)) expect(() => JSON.parse(line), line).not.toThrow()
  expect(ran.out).not.toMatch(HARMFUL)
}

test.each<[kind: string, args: string[], says: RegExp, dsn?: string]>([
  ['usage', ['runner', 'incremental', '--bogus'], /--bogus/],
  ['config', ['status', '--config', '/no/such.toml'], /no such file/],
  ['not_found', ['runner', 'incremental', '--repo', 'git:4711'], /git:4711 is not registered/],
  ['database', ['status'], /ECONNREFUSED/, 'postgresql://u:hushhush@127.0.0.1:1/x'],
])('a process of its own that ends with %s; what follows is asked in one', async (kind, args, says, dsn) => {
  const o = { env: { POSTGRES_DSN: dsn ?? db.dsn } }
  expectOneError(await run(args, o), says)
  expectOneObject(await run([...args, '--json'], o), says, kind)
})

describe('misuse', () => {
  test.each<[what: string, args: string[], says: RegExp]>([
    ['an unknown flag', ['runner', 'incremental', '--bogus'], /--bogus/],
    ['a missing flag', ['runner', 'incremental'], /Missing required flag repo/],
    ['a missing argument', ['repos', 'add'], /Missing 1 required arg: repo/],
    ['a flag without its value', ['status', '--config'], /--config expects a value/],
    ['a value for a switch', ['status', '--quiet=yes'], /Unexpected argument|quiet/],
    [
      'a text for a number',
      ['runner', 'backfill', '--repo', 'git:1', '--last-hours', 'x'],
      /--last-hours: Expected an integer/,
    ],
    [
      'a word that is no option',
      ['runner', 'incremental', '--repo', 'git:1', '--job', 'x'],
      /--job=x to be one of: commits/,
    ],
    [
      'two flags at odds',
      ['runner', 'backfill', '--repo', 'git:1', '--last-hours', '1', '--last-days', '1'],
      /--last-days/,
    ],
    [
      'rounds without a loop',
      ['runner', 'incremental', '--repo', 'git:1', '--max-iterations', '1'],
      /--loop/,
    ],
    ['an argument too many', ['config', 'show', 'extra'], /^(error: )?extra is one argument too many/],
    ['an argument too many after one', ['repos', 'add', 'git:/x', 'extra'], /extra is one argument too many/],
    ['an unknown command', ['bogus'], /^(error: )?bogus is not a command/],
    ['an unknown command in a topic', ['runner', 'bogus'], /runner bogus is not a command/],
    ['a flag before the command', ['--quiet', 'status'], /no command is given/],
    ['help for what is not there', ['help', 'bogus'], /bogus is not a command/],
    [
      'revisions of a git repository',
      ['runner', 'backfill', '--repo', 'git:1', '--start-rev', '1'],
      /git has no revisions/,
    ],
    [
      'revisions reversed',
      ['runner', 'backfill', '--repo', 'svn:http://h/r', '--start-rev', '5', '--end-rev', '3'],
      /5 is after/,
    ],
    ...['--last-hours', '--last-days', '--since', '--until'].map((time): [string, string[], RegExp] => [
      `revisions and ${time}`,
      ['runner', 'backfill', '--repo', 'svn:http://h/r', '--end-rev', '5', time, '1'],
      new RegExp(`${time}=1 cannot also be provided when using --end-rev`),
    ]),
    [
      'a revision beyond what Subversion counts to',
      ['runner', 'backfill', '--repo', 'svn:http://h/r', '--end-rev', '2147483648'],
      /--end-rev/,
    ],
    ['revision zero', ['runner', 'backfill', '--repo', 'svn:http://h/r', '--start-rev', '0'], /--start-rev/],
  ])('%s', async (_what, args, says) => {
    await refused(args, says)
  })

  test.each([
    ['runer incremental', 'did you mean: engram-scm-sync runner incremental'],
    ['runner incremntal', 'did you mean: engram-scm-sync runner incremental'],
    ['repos lst', 'did you mean: engram-scm-sync repos list'],
    ['statsu', 'did you mean: engram-scm-sync status'],
    ['zzzzzzzzzzzz', 'see engram-scm-sync --help'],
  ])('%s: %s', async (typed, hint) => {
    const [object] = (await runHere([...typed.split(' '), '--json'])).json()
    expect(object).toMatchObject({ kind: 'usage', hint })
  })

  test.each([
    ...new Set(COMMANDS.filter((c) => c.id.includes(':')).map((c) => c.id.split(':')[0] as string)),
  ])('the bare topic %s is no success for a timer, and help for a person who asks', async (topic) => {
    await refused([topic], /alone is not a command/)
    expect(await runHere([topic, '--help'])).toMatchObject({ code: 0, err: '' })
  })

  test('at a terminal a bare topic shows its help', async () => {
    const { out, code } = await atTerminal('runner')
    expect(out).toContain('runner incremental')
    expect(code).toBe(0)
  })

  test('no command at all', async () => {
    await refused([], /no command is given/)
  })
})

/** `script` gives the child a terminal. */
async function atTerminal(args: string) {
  const { ROOT, environment } = await import('../helpers/cli.ts')
  const command = `${process.execPath} ${ROOT}bin/engram-scm-sync.js ${args}`
  try {
    const out = execFileSync('script', ['-qec', command, '/dev/null'], { env: environment() }).toString()
    return { out, code: 0 }
  } catch (error) {
    return { out: String((error as { stdout: Buffer }).stdout), code: (error as { status: number }).status }
  }
}

const NO_NUMBERS = ['-1', '1e99', 'NaN', '0x10', '99999999999999999999', '']
const ZERO_IS_FINE = ['grace-seconds', 'retry-delay', 'max-iterations', 'lock-wait']
const NO_TIMES = [
  '2025-02-30',
  'yesterday',
  '1700000000',
  '2025-01-01T25:00:00Z',
  '2025-01-01T00:00:00+99:99',
  '',
]
/** Any text is a value of these. A flag that is not here and has no options is taken for a number. */
const TEXTS = [
  'config',
  'dsn',
  'repo',
  'project-key',
  'worker-id',
  'pool',
  'job-types',
  'instances',
  'tenants',
  'instance',
  'tenant',
  'instance-allowlist',
  'tenant-allowlist',
  'reason',
  'by',
  'watermark',
  'scheduler-job-id',
  'scheduler-log-id',
  'correlation-id',
  'trigger-params',
  'shard',
  'deadline',
  'output',
  'listen',
  'by',
  'admin',
  'app-name',
  'address',
  'correlation-id',
  'scheduler-job-id',
  'scheduler-log-id',
  'trigger-params',
  'watermark',
]

describe('every value that cannot be', () => {
  const rows = COMMANDS.flatMap((command) =>
    Object.values(command.flags)
      .filter((flag) => flag.type === 'option')
      // The same for all, so tried with one.
      .filter((flag) => !['config', 'dsn'].includes(flag.name) || command.id === 'status')
      .flatMap((flag) => wrongValues(flag).map((value) => ({ command, flag: flag.name, value }))),
  )

  function wrongValues(flag: { name: string; options?: string[] }): string[] {
    if (flag.options) return ['bogus', '']
    if (['since', 'until'].includes(flag.name)) return NO_TIMES
    if (TEXTS.includes(flag.name)) return ['']
    return ZERO_IS_FINE.includes(flag.name) ? NO_NUMBERS : ['0', ...NO_NUMBERS]
  }

  test('the manifest has flags to try', () => expect(rows.length).toBeGreaterThan(30))

  function argsOf({ command, flag, value }: (typeof rows)[number]): string[] {
    const required = Object.values(command.flags).filter((f) => f.required && f.name !== flag)
    return [
      ...wordsOf(command),
      ...Object.values(command.args).map(() => 'git:1'),
      ...required.flatMap((f) => [`--${f.name}`, 'git:1']),
      ...(command.flags[flag]?.dependsOn ?? []).map((name) => `--${name}`),
      `--${flag}=${value}`,
      '--json',
    ]
  }

  /** A time is understood where the database is known; everything else is refused before it is asked. */
  const asksDatabase = ({ value }: { value: string }) => NO_TIMES.includes(value) && value !== ''

  let ran: Ran[]
  beforeAll(async () => {
    const env = { POSTGRES_DSN: db.dsn }
    ran = await Promise.all(rows.map((row) => runHere(argsOf(row), asksDatabase(row) ? { env } : {})))
  })
  test.each(rows.map((row, i) => ({ ...row, i })))('$command.id --$flag "$value"', ({ i }) => {
    expectOneObject(ran[i] as Ran, /./, /usage|config/)
  })
})

describe('the time window', () => {
  test.each([
    ['reversed', ['--since', '2025-01-02', '--until', '2025-01-01']],
    ['empty', ['--since', '2025-01-01', '--until', '2025-01-01']],
    ['from after now', ['--since', '2999-01-01']],
  ])('%s', async (_what, flags) => {
    await refused(['runner', 'backfill', '--repo', `git:1`, ...flags], /is not before/, 'usage', {
      env: { POSTGRES_DSN: db.dsn },
    })
  })
})

test.each([
  ['the run', []],
  ['its dry run', ['--dry-run']],
])('a window of a century is refused before its chunks are made: %s', async (_what, more) => {
  const args = ['runner', 'backfill', '--repo', `git:1`, '--last-hours', '878400', ...more]
  await refused(args, /more than the \d+ allowed/, 'usage', { env: { POSTGRES_DSN: db.dsn } })
})

describe('repositories', () => {
  const sync = (ref: string) => ['runner', 'incremental', '--repo', ref]
  const here = () => ({ env: { POSTGRES_DSN: db.dsn } })

  test.each<[what: string, ref: () => string, says: RegExp, kind: string]>([
    ['one that was never registered', () => `git:${tempFolder()}`, /is not registered/, 'not_found'],
    ['a number nobody has', () => 'git:4711', /git:4711 is not registered/, 'not_found'],
    ['a kind nobody knows', () => 'cvs:/srv/x', /is not of the form/, 'usage'],
    ['no kind at all', () => '/srv/x', /is not of the form/, 'usage'],
    ['a path that is not there', () => 'git:/no/such/path', /no such path/, 'not_found'],
    ['what git would take for an option', () => 'git:--upload-pack=x', /looks like an option/, 'usage'],
    ['a helper to run', () => 'git:ext::sh -c id', /helper program/, 'usage'],
    [
      'credentials in the address',
      () => 'git:https://u:p@h.invalid/x',
      /carries a user or a password/,
      'usage',
    ],
  ])('%s', async (_what, ref, says, kind) => {
    await refused(sync(ref()), says, kind, here())
  })

  /** What only the reading finds out is a run that failed: a report, with the same codes. */
  async function failing(ref: string, says: RegExp, o: Options = here()) {
    await runHere(['repos', 'add', ref], here())
    const ran = await runHere([...sync(ref), '--json'], o)
    expect(ran.json()).toMatchObject([{ status: 'failed', error: expect.stringMatching(says), exit_code: 2 }])
    expect(ran.code).toBe(2)
  }

  test('a folder without a repository', () => failing(`git:${tempFolder()}`, /is not a git repository/))

  test('a server that refuses', () => failing('git:http://127.0.0.1:1/x.git', /127\.0\.0\.1/))

  test('a shallow clone', async () => {
    const folder = join(tempFolder(), 'shallow')
    const deep = makeRepo()
    deep.commit('one')
    deep.commit('two')
    execFileSync('git', ['clone', '-q', '--depth=1', `file://${deep.dir}`, folder])
    await failing(`git:${folder}`, /shallow clone/)
  })

  test('git itself missing', async () => {
    const path = tempFolder()
    await failing(`git:${repo}`, /the git program cannot be started/, {
      env: { POSTGRES_DSN: db.dsn, PATH: path },
    })
  })

  test.runIf(process.getuid?.() === 0)('no permission', async () => {
    const closed = makeRepo()
    closed.commit('secret')
    chmodSync(closed.dir, 0o700)
    const [added] = (await runHere(['repos', 'add', `git:${closed.dir}`, '--json'], here())).json()
    // By number, so that the address is not looked at before it is read.
    // The account of the database server is the one that may reach its socket.
    const { uid } = statSync(new URL(db.dsn).searchParams.get('host') ?? '')
    const data = tempFolder()
    chownSync(data, uid, uid)
    const o = { env: { POSTGRES_DSN: db.dsn, ENGRAM_SCM_DATA_DIR: data }, uid }
    const ran = await run([...sync(`git:${added?.repo_id}`), '--json'], o)
    expect(ran.json()).toMatchObject([
      { status: 'failed', error: expect.stringMatching(/permission/), exit_code: 2 },
    ])
    expect(ran.code).toBe(2)
  })

  test('an empty repository is no failure', async () => {
    const empty = makeRepo()
    await runHere(['repos', 'add', `git:${empty.dir}`], here())
    const ran = await runHere([...sync(`git:${empty.dir}`), '--json'], here())
    expect(ran.json()).toMatchObject([{ status: 'success', items_synced: 0, exit_code: 0 }])
    expect(ran.code).toBe(0)
  })
})

describe('the configuration', () => {
  const file = (text: string, mode = 0o600) => {
    const path = join(tempFolder(), 'config.toml')
    writeFileSync(path, text, { mode })
    return path
  }

  test.each<[what: string, env: Record<string, string>, says: RegExp]>([
    ['a text for a number', { SCM_GIT_PAGE_SIZE: 'many' }, /SCM_GIT_PAGE_SIZE.*whole number/],
    ['a number out of range', { SCM_GIT_PAGE_SIZE: '0' }, /SCM_GIT_PAGE_SIZE.*from 1 to/],
    ['a word that is no level', { ENGRAM_SCM_LOG_LEVEL: 'loud' }, /ENGRAM_SCM_LOG_LEVEL.*one of/],
    ['no URL', { POSTGRES_DSN: 'nonsense' }, /POSTGRES_DSN.*postgresql:\/\//],
  ])('in the environment: %s', (_what, env, says) => refused(['status'], says, 'config', { env }))

  test.each<[what: string, toml: string, says: RegExp]>([
    [
      'a text for a number',
      '[scm.git]\npage_size = "many"',
      /config\.toml: scm\.git\.page_size must be a whole number/,
    ],
    ['a table for a number', '[scm.git.page_size]\nx = 1', /page_size/],
    ['an unknown key', '[scm.git]\npage_sise = 1', /page_sise is not a key/],
    ['no TOML', '[scm.git', /config\.toml:1:\d+/],
  ])('in the file: %s', (_what, toml, says) => refused(['status', '--config', file(toml)], says, 'config'))

  test('a file that is not there', () =>
    refused(['status', '--config', '/no/such.toml'], /no such file/, 'config'))

  test('a folder for a file', () => refused(['status', '-c', tempFolder()], /folder/, 'config'))

  test('a file for another', async () => {
    const folder = tempFolder()
    writeFileSync(join(folder, 'config.toml'), '[scm.git]\npage_size = "found beside"')
    await refused(['status'], /page_size/, 'config', { cwd: folder })
  })
})

describe('the database', () => {
  test.each<[what: string, dsn: string, says: RegExp]>([
    ['nobody listens', 'postgresql://u:hushhush@127.0.0.1:1/x', /ECONNREFUSED/],
    ['the host has no address', 'postgresql://u:hushhush@no-such-host.invalid/x', /ENOTFOUND|EAI_AGAIN/],
    ['no such socket', 'postgresql:///x?host=/no/such/folder&user=u&password=hushhush', /ENOENT/],
  ])('%s', async (_what, dsn, says) => {
    await refused(['status'], says, 'database', { env: { POSTGRES_DSN: dsn } })
    const ran = await runHere(['repos', 'list', '--verbose'], { env: { POSTGRES_DSN: dsn } })
    expect(ran.out + ran.err).not.toContain('hushhush')
  })

  test('no such database', () =>
    refused(['status'], /does not exist/, 'database', {
      env: { POSTGRES_DSN: embeddedUrl().replace('DATABASE', 'no_such_database') },
    }))

  test('one without our schema says how to get it', async () => {
    const empty = await freshDatabase(embeddedUrl(), { empty: true })
    const o = { env: { POSTGRES_DSN: empty.dsn } }
    await refused(['status'], /has no engram-scm schema/, 'config', o)
    expect((await runHere(['status'], o)).err).toContain('engram-scm-sync db migrate')
    expect((await runHere(['db', 'migrate', '--json'], o)).json()).toMatchObject([
      { schema: 'current', exit_code: 0 },
    ])
    expect((await runHere(['status'], o)).code).toBe(0)
    await empty.drop()
  })

  test('one from the future is left alone', async () => {
    const newer = await freshDatabase(embeddedUrl())
    await newer.pool.query(
      `insert into scm.schema_migrations (hash, created_at) values ('future', ${Date.UTC(2999, 0)})`,
    )
    const o = { env: { POSTGRES_DSN: newer.dsn } }
    await refused(['status'], /newer than this program/, 'config', o)
    await refused(['db', 'migrate'], /newer than this program/, 'config', o)
    await newer.drop()
  })

  test('an external one is neither started nor stopped from here', async () => {
    const o = { env: { POSTGRES_DSN: db.dsn } }
    await refused(['db', 'up'], /external database/, 'usage', o)
    await refused(['db', 'down'], /external database/, 'usage', o)
  })

  test('the embedded one, not running: 1 and nothing on stdout, and stopping it is no failure', async () => {
    const o = { env: { POSTGRES_DSN: undefined, ENGRAM_SCM_DATA_DIR: tempFolder() } }
    expect(await runHere(['db', 'url'], o)).toMatchObject({ code: 1, out: '', err: '' })
    expect((await runHere(['db', 'status', '--json'], o)).json()).toMatchObject([
      { running: false, exit_code: 1 },
    ])
    expect((await runHere(['db', 'down', '--json'], o)).json()).toMatchObject([
      { running: false, exit_code: 0 },
    ])
    expect((await runHere(['db', 'down'], o)).code).toBe(0)
  })
})
