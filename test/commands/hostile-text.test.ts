import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { COMMANDS, ended, HARMFUL, linesOf, type Options, run, start, tempFolder } from '../helpers/cli.ts'
import { embeddedUrl, freshDatabase, type TestDatabase } from '../helpers/database.ts'
import { serveGit } from '../helpers/git-http.ts'
import { makeRepo, repoAt } from '../helpers/git-repo.ts'
import { runHere } from '../helpers/one-process.ts'

/** What commit authors, branch names, paths and servers may say: nothing of it may reach a terminal as it is. */
const EVIL = '\u001b[31mred\u001b]0;title\u0007\r\b\u009b2J\u202eesrever\u2066\u2029\u007f'
/** Of it, what a path or a ref name of git may hold. */
const QUIET_EVIL = '\u009b2J\u202eesrever\u2066x'

let db: TestDatabase
beforeAll(async () => {
  db = await freshDatabase(embeddedUrl())
})
afterAll(() => db.drop())

const known = (args: readonly string[]) =>
  COMMANDS.some((c) => args.join(' ').startsWith(c.id.replaceAll(':', ' ')))

describe('upstream text', () => {
  let evil: string
  beforeAll(async () => {
    const dir = join(tempFolder(), `repo ${'\u202eesrever\u2066'}`)
    mkdirSync(dir)
    const repo = repoAt(dir)
    const tree = repo.feed('', 'mktree')
    const sha = repo.rawCommit(
      `tree ${tree}\nauthor ${EVIL} <${EVIL}> 1700000000 +0000\ncommitter ${EVIL} <e@x> 1700000000 +0000\n\n${EVIL}\n${EVIL}\n`,
    )
    repo.git('update-ref', `refs/heads/${QUIET_EVIL}`, sha)
    evil = `git:${dir}`
    const added = await runHere(['repos', 'add', evil, '--project-key', `${EVIL}/x`], here())
    expect(added.code, added.err).toBe(0)
  })

  const here = (): Options => ({ env: { POSTGRES_DSN: db.dsn } })
  const asks = [
    ['repos', 'list'],
    ['runner', 'incremental', '--repo', 'git:1', '--dry-run'],
    ['runner', 'incremental', '--repo', 'EVIL', '--verbose'],
    ['runner', 'backfill', '--repo', 'EVIL', '--since', '2023-11-14', '--until', '2023-11-15', '--verbose'],
    ['runner', 'backfill', '--repo', 'EVIL', '--last-hours', '1', '--dry-run'],
    ['scheduler', '--once', '--verbose'],
    ['worker', '--drain', '--verbose', '--worker-id', EVIL],
    ['reaper', '--once', '--verbose'],
    ['status'],
    ['repos', 'add', 'EVIL'],
    ['repos', 'remove', 'EVIL'],
  ].filter(known)

  test.each(asks.flatMap((ask) => [ask, [...ask, '--json']]).map((ask) => [ask]))('%j', async (ask) => {
    const ran = await runHere(
      ask.map((word) => (word === 'EVIL' ? evil : word)),
      here(),
    )
    expect(ran.out).not.toMatch(HARMFUL)
    expect(ran.err).not.toMatch(HARMFUL)
    // A line of the log stays a line.
    for (const line of linesOf(ran.err)) expect(line).toMatch(/^(\{.*\}|error: .*| {2}→ .*)$/)
    if (ask[0] !== 'worker') expect(ran.code, ran.err).toBe(0)
  })

  test('is shown, though: escaped, not swallowed', async () => {
    expect((await runHere(['repos', 'list'], here())).out).toContain('\\u202eesrever')
    const listed = (await runHere(['repos', 'list', '--json'], here())).json()
    expect(listed[0]).toMatchObject({ repos: [{ repo: evil }] })
    const { rows } = await db.pool.query('select message from scm.git_commits where repo_id = 1')
    expect(rows[0].message).toContain(EVIL)
  })

  test('what a server says', async () => {
    const server = await serveGit(tempFolder(), (request, response) => {
      response.writeHead(request.url?.startsWith('/evil') ? 403 : 500, { 'content-type': 'text/plain' })
      response.end(`${EVIL}\nfatal: ${EVIL}\n`)
      return true
    })
    for (const path of ['/evil.git', '/other.git']) {
      const ref = `git:${server.origin}${path}`
      await runHere(['repos', 'add', ref], here())
      for (const more of [[], ['--json'], ['--dry-run'], ['--verbose']]) {
        const by = more.length === 0 ? run : runHere
        const ran = await by(['runner', 'incremental', '--repo', ref, ...more], here())
        expect(ran.code).toBe(2)
        expect(ran.out + ran.err).not.toMatch(HARMFUL)
      }
    }
    for (const ask of [['status'], ['status', '--json'], ['repos', 'list']])
      expect((await runHere(ask, here())).out).not.toMatch(HARMFUL)
  })
})

describe('typed text', () => {
  test.each<[what: string, args: string[], o?: Options]>([
    ['a command', [EVIL]],
    ['a flag', ['status', `--${EVIL}`]],
    ['an argument too many', ['status', EVIL]],
    ['a repository', ['runner', 'incremental', '--repo', EVIL]],
    ['a path', ['repos', 'add', `git:/srv/${EVIL}`]],
    ['a number', ['runner', 'backfill', '--repo', 'git:1', '--last-hours', EVIL]],
    ['a time', ['runner', 'backfill', '--repo', 'git:1', '--since', EVIL]],
    ['a file', ['status', '--config', `/srv/${EVIL}`]],
    ['a DSN', ['status', '--dsn', `postgresql:///${encodeURIComponent(EVIL)}?host=/no`]],
    ['a DSN that is none', ['status', '--dsn', EVIL]],
    ['a setting', ['status'], { env: { SCM_GIT_TIER: EVIL } }],
    ['a name in the environment', ['config', 'validate'], { env: { [`ENGRAM_SCM_${QUIET_EVIL}`]: 'x' } }],
    [
      'a folder',
      ['db', 'status'],
      { env: { POSTGRES_DSN: undefined, ENGRAM_SCM_DATA_DIR: `/tmp/${QUIET_EVIL}` } },
    ],
  ])('%s', async (_what, args, o = {}) => {
    const both = { ...o, env: { POSTGRES_DSN: db.dsn, ...o.env } }
    for (const ran of await Promise.all([runHere(args, both), runHere([...args, '--json'], both)])) {
      expect(ran.out + ran.err).not.toMatch(HARMFUL)
      expect(linesOf(ran.err).length).toBeLessThanOrEqual(2)
      expect(ran.err).not.toMatch(/^\s+at /m)
    }
  })

  test('in a configuration file', async () => {
    const file = join(tempFolder(), 'config.toml')
    writeFileSync(file, `[scm.git]\n"${QUIET_EVIL}" = 1\ntier = "${QUIET_EVIL}"\n`, { mode: 0o600 })
    for (const args of [['config', 'validate'], ['config', 'validate', '--json'], ['status']]) {
      const ran = await runHere([...args, '--config', file])
      expect(ran.code).toBe(2)
      expect(ran.out + ran.err).not.toMatch(HARMFUL)
    }
  })
})

describe('secrets', () => {
  const CANARY = 'cAnArY-7f3e9b/+x'
  const DSN_CANARY = 'dSnCaNaRy5150'
  const FORMS = [
    CANARY,
    encodeURIComponent(CANARY),
    btoa(CANARY).replace(/=+$/, ''),
    btoa(`robot:${CANARY}`),
    DSN_CANARY,
  ]

  test('are in no output, no log line, no table and no command line', async () => {
    const root = tempFolder()
    const upstream = makeRepo()
    upstream.commit('first')
    repoAt(root, null).git('clone', '-q', '--bare', upstream.dir, join(root, 'x.git'))
    const wanted = `Basic ${btoa(`robot:${CANARY}`)}`
    const server = await serveGit(root, (request, response) => {
      if (request.headers.authorization === wanted && !request.url?.startsWith('/locked')) return false
      response.writeHead(401, { 'www-authenticate': 'Basic realm="x"', 'content-type': 'text/plain' })
      response.end(`no: ${request.headers.authorization} ${CANARY}`)
      return true
    })
    const env = {
      POSTGRES_DSN: `${db.dsn}&password=${DSN_CANARY}`,
      SCM_GIT_PASSWORD: CANARY,
      SCM_GIT_USERNAME: 'robot',
      SCM_GIT_CREDENTIAL_HOST: server.host,
    }

    const seen: string[] = []
    let lines = 0
    const watched = async (args: string[]) => {
      const child = start(args, { env })
      const timer = setInterval(() => {
        const all = commandLines()
        lines += all.length
        seen.push(...all.filter((line) => FORMS.some((form) => line.includes(form))))
      }, 5)
      const ran = await ended(child)
      clearInterval(timer)
      for (const form of FORMS) expect(ran.out + ran.err, `${args.join(' ')}: ${form}`).not.toContain(form)
      return ran
    }

    const ref = `git:${server.origin}/x.git`
    await watched(['repos', 'add', ref])
    const synced = await watched(['runner', 'incremental', '--repo', ref, '--json', '--verbose'])
    expect(synced.json()).toMatchObject([{ status: 'success', items_synced: 1 }])
    expect(server.seen.some((s) => s.authorization === wanted)).toBe(true)

    const locked = `git:${server.origin}/locked.git`
    await watched(['repos', 'add', locked])
    for (const more of [['--json'], ['--verbose'], ['--dry-run']]) {
      const ran = await watched(['runner', 'incremental', '--repo', locked, ...more])
      expect(ran.code).toBe(2)
    }
    const asks = [
      ['runner', 'backfill', '--repo', ref, '--last-hours', '2', '--json'],
      ['scheduler', '--once', '--verbose'],
      ['worker', '--drain', '--verbose'],
      ['reaper', '--once'],
      ['status', '--json'],
      ['status'],
      ['config', 'show', '--origin'],
      ['config', 'show', '--json'],
      ['config', 'validate', '--json'],
      ['db', 'status', '--json'],
      ['db', 'url'],
    ]
    for (const ask of asks.filter(known)) await watched(ask)

    expect(lines).toBeGreaterThan(100)
    expect(seen).toEqual([])
    expect(await cellsWith(FORMS)).toEqual([])
  })

  test('are hidden at the last door, whichever way they came', async () => {
    const word = 'known-by-another-road'
    const env = { POSTGRES_DSN: db.dsn }
    await runHere(['repos', 'add', 'git:https://h.invalid/x.git', '--project-key', word], { env })
    for (const more of [[], ['--json']]) {
      const list = ['repos', 'list', ...more]
      expect((await runHere(list, { env })).out).toContain(word)
      const hidden = await runHere(list, { env: { ...env, SCM_GIT_PASSWORD: word } })
      expect(hidden.out).not.toContain(word)
      expect(hidden.out).toContain('[redacted]')
    }
    const failed = await runHere(['runner', 'incremental', '--repo', `git:/${word}`], {
      env: { ...env, SCM_GIT_PASSWORD: word },
    })
    expect(failed.err).toContain('[redacted]')
    expect(failed.err).not.toContain(word)
  })

  test.each(
    [
      'git:https://u:SECRET@h.invalid/x.git',
      'git:https://u:SECRET@h.invalid/x.git?private_token=SECRET',
      'git:https://oauth2:pa@SECRET@h.invalid/x.git',
      'git:SECRET@h.invalid/x',
      'git:u:SECRET@h.invalid:x.git',
      'git:ssh://u:SECRET@h.invalid/x',
      'https://u:SECRET@h.invalid/x.git',
      'foo:https://u:pa@SECRET@h.invalid/x.git',
    ].map((form) => [form]),
  )('typed into an address: %s', async (form) => {
    const url = form.replaceAll('SECRET', DSN_CANARY)
    const env = { POSTGRES_DSN: db.dsn }
    for (const args of [
      ['repos', 'add', url],
      ['repos', 'remove', url],
      ['runner', 'incremental', '--repo', url],
      ['runner', 'backfill', '--repo', url, '--last-hours', '1'],
      ...(form.includes('://')
        ? [[url], ['status', url], ['runner', 'incremental', '--repo', 'git:1', '--job', url]]
        : []),
    ]) {
      const ran = await runHere([...args, '--json', '--verbose'], { env })
      expect(ran.code).toBe(2)
      expect(ran.out + ran.err, args.join(' ')).not.toContain(DSN_CANARY)
    }
    expect(await cellsWith([DSN_CANARY])).toEqual([])
  })

  test.each([
    ['refused', 'postgresql://u:SECRET@127.0.0.1:1/x'],
    ['with an @ in it', 'postgresql://u:pa@SECRET@127.0.0.1:1/x'],
    ['as a parameter', 'postgresql://127.0.0.1:1/x?user=u&password=SECRET'],
    ['of another kind', 'mysql://u:SECRET@h/x'],
    ['not a URL', 'host=h user=u password=SECRET'],
  ])('a DSN %s', async (_what, dsn) => {
    const env = { POSTGRES_DSN: dsn.replaceAll('SECRET', DSN_CANARY) }
    for (const args of [
      ['status'],
      ['status', '--json'],
      ['config', 'show'],
      ['config', 'validate'],
      ['db', 'status', '--json'],
      ['db', 'migrate'],
    ]) {
      const ran = await runHere(args, { env })
      expect(ran.out + ran.err, args.join(' ')).not.toContain(DSN_CANARY)
    }
  })

  /** Every command line of this machine but those of the test run itself. */
  function commandLines(): string[] {
    return readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
      .map((pid) => {
        try {
          return readFileSync(`/proc/${pid}/cmdline`, 'utf8')
        } catch {
          return ''
        }
      })
      .filter(Boolean)
  }

  /** Tables with a row that holds one of these. */
  async function cellsWith(forms: string[]): Promise<string[]> {
    const { rows: tables } = await db.pool.query<{ name: string }>(
      `select format('%I.%I', schemaname, relname) as name from pg_stat_user_tables`,
    )
    expect(tables.length).toBeGreaterThan(15)
    const found: string[] = []
    for (const { name } of tables) {
      const { rows } = await db.pool.query(
        `select t::text as row from ${name} t where exists (select from unnest($1::text[]) f where strpos(t::text, f) > 0)`,
        [forms],
      )
      found.push(...rows.map((r) => `${name}: ${r.row}`))
    }
    return found
  }
})
