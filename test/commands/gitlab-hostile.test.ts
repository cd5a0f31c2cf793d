import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { registerRepo } from '../../src/core/app/manage/repos.ts'
import { chance, sample, say, size } from '../chaos/size.ts'
import { http, rawServer } from '../core/sources/gitlab/raw-server.ts'
import { HARMFUL, linesOf, type Ran, run, tempFolder } from '../helpers/cli.ts'
import { embeddedUrl } from '../helpers/database.ts'
import type { Fault } from '../helpers/gitlab/faults.ts'
import { mrJson } from '../helpers/gitlab/json.ts'
import type { Project, ProjectOptions } from '../helpers/gitlab/project.ts'
import type { Route } from '../helpers/gitlab/request.ts'
import { type GitLabScene, openGitLabScene } from '../helpers/gitlab/scene.ts'
import { type GitLab, startGitLab } from '../helpers/gitlab/server.ts'
import { runHere } from '../helpers/one-process.ts'

/** The built program against a GitLab that lies, breaks and attacks; the numbers are those of the fault matrix. */
const CANARY = 'glpat-cAnArY7f3e+/='
const EXCHANGED = 'glpat-nEwCaNaRy9x+/='
const FORMS = [CANARY, EXCHANGED].flatMap((token) => [
  token,
  encodeURIComponent(token),
  btoa(token).replace(/=+$/, ''),
  token.slice(0, -3), // cut off by a limit of length
])
const EVIL = '\u001b[31mred\u001b]0;title\u0007\r\b\u009b2J\u202eesrever\u2066\u2029\u007f'
const TIMEOUT_SECONDS = 1
const ATTEMPTS = 2
const MAX_RSS_KB = 150_000

let gitlab: GitLab
let scene: GitLabScene
let env: Record<string, string>
const onCommandLines: string[] = []
let sampled = 0
let sampler: NodeJS.Timeout

beforeAll(async () => {
  gitlab = await startGitLab({ token: CANARY })
  scene = await openGitLabScene(embeddedUrl(), gitlab, gitlab.project({ path: 'group/first' }))
  env = { ...environmentFor(gitlab.url), GITLAB_TOKEN: CANARY }
  sampler = setInterval(watchCommandLines, 20)
})
afterAll(async () => {
  clearInterval(sampler)
  expect(sampled).toBeGreaterThan(100)
  await scene?.drop()
  await gitlab?.stop()
})
afterEach(async () => {
  expect(onCommandLines).toEqual([])
  expect(await cellsWith(FORMS)).toEqual([])
  await scene.query('update scm.sync_rate_limits set paused_until = null')
})

function environmentFor(url: string, timeoutSeconds = TIMEOUT_SECONDS): Record<string, string> {
  const config = join(tempFolder(), 'config.toml')
  const limits = [
    `timeout_seconds = ${timeoutSeconds}`,
    `max_attempts = ${ATTEMPTS}`,
    'backoff_base_seconds = 0',
    'backoff_max_seconds = 3',
  ]
  writeFileSync(config, `[scm.http]\n${limits.join('\n')}\n`, { mode: 0o600 })
  return { POSTGRES_DSN: scene.dsn, GITLAB_URL: url, ENGRAM_SCM_CONFIG: config }
}

/** Every command line of this machine but that of the test run itself. */
function watchCommandLines(): void {
  for (const pid of readdirSync('/proc')) {
    if (!/^\d+$/.test(pid) || Number(pid) === process.pid) continue
    try {
      const line = readFileSync(`/proc/${pid}/cmdline`, 'utf8')
      sampled += 1
      if (FORMS.some((form) => line.includes(form))) onCommandLines.push(line)
    } catch {} // gone meanwhile
  }
}

/** Rows of any table that hold one of these. */
async function cellsWith(forms: string[]): Promise<string[]> {
  const tables = await scene.query<{ name: string }>(
    `select format('%I.%I', schemaname, relname) as name from pg_stat_user_tables`,
  )
  expect(tables.length).toBeGreaterThan(15)
  const any = tables.map(
    ({ name }) =>
      `select '${name}: ' || left(line, 500) as found from (select t::text as line from ${name} t offset 0) lines
        where exists (select from unnest($1::text[]) f where strpos(line, f) > 0)`,
  )
  return (await scene.query<{ found: string }>(any.join(' union all '), [forms])).map((r) => r.found)
}

let made = 0
interface Target {
  project: Project
  repo: string
  repoId: number
}

async function target(options: ProjectOptions = {}, o: { bare?: boolean } = {}): Promise<Target> {
  const project = gitlab.project({ path: `group/p${++made}`, ...options })
  if (!o.bare) {
    for (let i = 0; i < 120; i++) project.commit({ message: `c${i}`, at: Date.now() - 86_400_000 + i * 1000 })
    for (let i = 0; i < 3; i++)
      project.note(project.mr({ at: Date.now() - 7_200_000 }), { at: Date.now() - 3_600_000 })
  }
  const repo = `gitlab:${gitlab.url}/${project.path}`
  const { repo_id: repoId } = await registerRepo(scene.ctx(), { repo, projectKey: null })
  return { project, repo, repoId }
}

/** Neither token nor escape in what it printed, one line of JSON, at most one complaint. */
function clean(ran: Ran): Ran {
  for (const text of [ran.out, ran.err]) {
    expect(text).not.toMatch(HARMFUL)
    for (const form of FORMS) expect(text).not.toContain(form)
    expect(text).not.toMatch(/^\s+at /m)
  }
  return ran
}

async function sync({ repo }: Target, job: string, more: string[] = [], its = env, by = runHere) {
  const ran = clean(
    await by(['runner', 'incremental', '--repo', repo, '--job', job, '--json', ...more], { env: its }),
  )
  expect(linesOf(ran.out)).toHaveLength(1)
  return { ...ran, report: ran.json()[0]! }
}

async function stored(table: string, { repoId }: Target): Promise<number> {
  const [found] = await scene.query<{ n: number }>(
    `select count(*)::int as n from ${table} where repo_id = $1`,
    [repoId],
  )
  return found!.n
}

const cursors = ({ repoId }: Target) =>
  scene.query(
    `select 1 from ing_cursor where provenance_code = $1 union all select 1 from logbook.kv
      where namespace = 'scm.sync' and key like '%:' || $2`,
    [`gitlab:${repoId}`, repoId],
  )

/** Answers these faults to requests for that project, in turn, `null` with the truth; the last for ever. */
function faulty({ project }: Target, routes: Route[], faults: (Fault | null)[]): () => void {
  let n = 0
  const named = new Set([String(project.id), project.path])
  return gitlab.fault((request) => {
    if (!routes.includes(request.route) || !named.has(request.project ?? '')) return null
    return faults[Math.min(n++, faults.length - 1)] ?? null
  })
}

const TABLES: Record<string, string> = { commits: 'scm.git_commits', mrs: 'scm.mrs' }
const WORDS = `said: ${CANARY} ${encodeURIComponent(CANARY)} ${btoa(CANARY)} ${EVIL}`
const future = () => new Date(Date.now() + 1500).toUTCString()

/** The long form takes every row. */
const ROWS = size('GITLAB_FAULTS', 8, Number.POSITIVE_INFINITY)
const { random } = chance('gitlab, faults')

describe('is got over', () => {
  const rows: [row: number, what: string, route: Route, faults: (Fault | null)[]][] = [
    [
      25,
      '429 with seconds',
      'commits',
      [{ status: 429, headers: { 'retry-after': '1' }, body: WORDS }, null],
    ],
    [25, '429 with a date', 'mrs', [{ status: 429, headers: { 'retry-after': future() } }, null]],
    [25, '429 with neither', 'mrs', [{ status: 429 }, null]],
    [25, '429 with a negative wait', 'mrs', [{ status: 429, headers: { 'retry-after': '-5' } }, null]],
    [25, '429 with RateLimit-Reset', 'mrs', [{ status: 429, headers: { 'ratelimit-reset': '1' } }, null]],
    [26, '500', 'commits', [{ status: 500, body: WORDS }, null]],
    [26, '502', 'branches', [{ status: 502, body: { message: WORDS } }, null]],
    [26, '503', 'mrs', [{ status: 503 }, null]],
    [26, '504', 'project', [{ status: 504 }, null]],
    [29, 'a body that is cut', 'commits', [{ cutAt: 3000 }, null]],
    [29, 'a body that is cut, unseen by HTTP', 'commits', [{ cutAt: 3000, framing: 'close' }, null]],
    [30, 'a login page', 'mrs', [{ html: true }, null]],
    [37, 'a reset', 'tags', [{ reset: 'at once' }, null]],
    [37, 'a reset in a body', 'commits', [{ reset: 'mid-body' }, null]],
    [28, 'one that hangs', 'mrs', [{ hang: true }, null]],
  ]
  test.each(sample(rows, ROWS / 2, random))('B%i %s', async (_row, _what, route, faults) => {
    const at = await target()
    const unhook = faulty(at, [route], faults)
    const job = route === 'mrs' ? 'mrs' : 'commits'
    const { code, report } = await sync(at, job)
    unhook()
    expect(report).toMatchObject({ status: 'success', error: null })
    expect([code, await stored(TABLES[job]!, at)]).toEqual([0, job === 'mrs' ? 3 : 120])
  })
})

describe('ends with 2, one clear line and an unmoved cursor', () => {
  const LOCATION = `http://evil.invalid/${encodeURIComponent(CANARY)}/%1b[2J?${CANARY}`
  const rows: [
    row: number,
    what: string,
    route: Route,
    fault: Fault,
    expected: { kind: string; error: RegExp; hint?: RegExp },
  ][] = [
    [26, '500 for ever', 'commits', { status: 500, body: WORDS }, { kind: 'upstream', error: /500/ }],
    [
      26,
      '503 for ever, in JSON',
      'mrs',
      { status: 503, body: { message: { base: [WORDS] } } },
      { kind: 'upstream', error: /503/ },
    ],
    [
      27,
      '401',
      'project',
      { status: 401, body: { message: `401 ${WORDS}` } },
      { kind: 'auth', error: /401/, hint: /token/ },
    ],
    [
      27,
      '403',
      'mrs',
      { status: 403, body: { message: `403 ${WORDS}` } },
      { kind: 'permission', error: /403/, hint: /scope|role/ },
    ],
    [
      27,
      '403 that is a rate limit',
      'mrs',
      { status: 403, body: 'Retry later\n' },
      { kind: 'rate_limited', error: /403/ },
    ],
    [
      27,
      '404 of the project',
      'project',
      { status: 404 },
      { kind: 'not_found', error: /no project/, hint: /deleted/ },
    ],
    [27, '410 of a list', 'mrs', { status: 410, body: WORDS }, { kind: 'not_found', error: /410/ }],
    [
      28,
      'a byte every 50 ms',
      'commits',
      { dripMs: 50 },
      { kind: 'timeout', error: /no end of the answer after 1 s/ },
    ],
    [
      28,
      'a server that hangs',
      'project',
      { hang: true },
      { kind: 'timeout', error: /no end of the answer/ },
    ],
    [29, 'cut each time', 'commits', { cutAt: 3000 }, { kind: 'upstream', error: /cut or broken/ }],
    [
      29,
      'cut each time, chunked',
      'commits',
      { cutAt: 3000, framing: 'chunked' },
      { kind: 'upstream', error: /cut or broken/ },
    ],
    [
      29,
      'cut each time, unseen by HTTP',
      'mrs',
      { cutAt: 3000, framing: 'close' },
      { kind: 'upstream', error: /broken JSON/ },
    ],
    [30, 'a login page', 'mrs', { html: true }, { kind: 'upstream', error: /text\/html/ }],
    [30, 'another type', 'mrs', { contentType: `text/${CANARY}` }, { kind: 'upstream', error: /not JSON/ }],
    [30, 'an empty body', 'commits', { body: '' }, { kind: 'upstream', error: /empty/ }],
    [
      30,
      'an object for a list',
      'mrs',
      { json: { message: WORDS } },
      { kind: 'upstream', error: /not an array/ },
    ],
    [30, 'a list for an object', 'project', { json: [] }, { kind: 'upstream', error: /not an object/ }],
    [
      30,
      'rows of another kind',
      'mrs',
      { json: [[WORDS], 7, null] },
      { kind: 'upstream', error: /merge request/ },
    ],
    [
      30,
      'a list of commits without a sha',
      'commits',
      { json: [{ id: WORDS }] },
      { kind: 'upstream', error: /commit/ },
    ],
    [
      31,
      '301 elsewhere',
      'mrs',
      { redirect: LOCATION, redirectStatus: 301 },
      { kind: 'upstream', error: /redirect/, hint: /not followed/ },
    ],
    [
      31,
      '308 to no address',
      'mrs',
      { redirect: `http://[${CANARY}`, redirectStatus: 308 },
      { kind: 'upstream', error: /redirects nowhere/ },
    ],
    [
      32,
      'branches without end',
      'branches',
      { samePage: true },
      { kind: 'upstream', error: /repeat|no end/ },
    ],
    [
      32,
      'the same page of commits for ever',
      'commits',
      { samePage: true },
      { kind: 'upstream', error: /./ },
    ],
    [32, 'commits without end', 'commits', { endless: true }, { kind: 'upstream', error: /./ }],
    [35, '300 MB', 'mrs', { hugeBytes: 300_000_000 }, { kind: 'upstream', error: /larger than \d+ bytes/ }],
    [
      35,
      '300 MB in 300 kB',
      'commits',
      { gzipBombBytes: 300_000_000 },
      { kind: 'upstream', error: /larger than \d+ bytes|./ },
    ],
    [
      36,
      'brackets, half a million deep',
      'mrs',
      { body: '['.repeat(500_000) + ']'.repeat(500_000) },
      { kind: 'upstream', error: /./ },
    ],
    [
      36,
      'a number beyond all',
      'mrs',
      { body: '[{"id":1e400,"iid":1e308}]' },
      { kind: 'upstream', error: /./ },
    ],
  ]
  test.each(sample(rows, ROWS, random))(
    'B%i %s',
    async (_row, _what, route, fault, { kind, error, hint }) => {
      const at = await target()
      const unhook = faulty(at, [route], [fault])
      const job = ['commits', 'branches'].includes(route) ? 'commits' : 'mrs'
      const from = performance.now()
      const before = gitlab.requests.length
      let memory = 0
      const ran = clean(
        await run(['runner', 'incremental', '--repo', at.repo, '--job', job, '--json'], {
          env,
          watch: ({ pid }) => {
            const timer = setInterval(() => {
              const kb = memoryOf(pid as number)
              if (kb === null) clearInterval(timer)
              else memory = Math.max(memory, kb)
            }, 10)
          },
        }),
      )
      const ms = performance.now() - from
      const requests = gitlab.requests.length - before
      expect(linesOf(ran.out)).toHaveLength(1)
      const report = ran.json()[0]!
      expect(report, JSON.stringify(report)).toMatchObject({ status: 'failed', kind, exit_code: 2 })
      expect(report.error).toMatch(error)
      if (hint) expect(report.hint).toMatch(hint)
      expect(ran.code).toBe(2)
      expect(await cursors(at)).toEqual([])
      expect(memory).toBeGreaterThan(20_000)
      expect(memory).toBeLessThan(MAX_RSS_KB)
      // Every request of such a run has its deadline; the rest is what a process takes to start on a busy machine.
      expect(ms).toBeLessThan((requests + 1) * TIMEOUT_SECONDS * 1000 + 15_000)

      // For a person too: what is wrong, and what to do.
      if (hint) {
        const text = clean(await runHere(['runner', 'incremental', '--repo', at.repo, '--job', job], { env }))
        expect(text.code).toBe(2)
        expect(text.out + text.err).toMatch(hint)
      }
      unhook()
    },
  )
})

function memoryOf(pid: number): number | null {
  try {
    return Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) || null
  } catch {
    return null
  }
}

test('B25 a wait of years is one of a quarter of an hour, for all processes', async () => {
  const at = await target()
  const unhook = faulty(at, ['mrs'], [{ status: 429, headers: { 'retry-after': '1000000000' }, body: WORDS }])
  const first = await sync(at, 'mrs')
  unhook()
  expect(first.report).toMatchObject({ status: 'failed', kind: 'rate_limited', exit_code: 2 })
  const [due] = await scene.query<{ paused: number; job: number }>(
    `select (select max(extract(epoch from paused_until - now())) from scm.sync_rate_limits)::float8 as paused,
            (select extract(epoch from scheduled_at - now()) from ing_task where repo_id = $1)::float8 as job`,
    [at.repoId],
  )
  expect(due!.paused).toBeGreaterThan(800)
  expect(due!.paused).toBeLessThanOrEqual(901)
  // Up to a fifth later, so that not all come back at once; and the attempt is not counted.
  expect(due!.job).toBeGreaterThan(800)
  expect(due!.job).toBeLessThanOrEqual(1081)
  const before = gitlab.requests.length
  expect((await sync(await target(), 'mrs')).report).toMatchObject({ kind: 'rate_limited' })
  expect(gitlab.requests.length).toBe(before)
})

test('B27 a review of a merge request that is gone meanwhile is left out; one that is forbidden is told', async () => {
  const at = await target()
  const [first] = at.project.mrs.keys()
  const unhook = gitlab.fault(({ route, of, project }) =>
    project === String(at.project.id) && (route === 'discussions' || route === 'mr') && of === String(first)
      ? { status: 404 }
      : null,
  )
  expect((await sync(at, 'mrs')).code).toBe(0)
  expect(await sync(at, 'reviews')).toMatchObject({ code: 0 })
  unhook()
  expect(await stored('scm.review_events', at)).toBe(2)
})

test.each([302, 308])(
  'B31 %i to another host, with escapes in its address: that host sees no connection',
  async (status) => {
    await using other = await rawServer((_, socket) => socket.write(http(200, '[]')))
    await using first = await rawServer((_, socket) =>
      socket.write(http(status, `${WORDS}`, { location: `${other.url}/${EVIL.replace(/[\r\n]/g, '')}` })),
    )
    const repo = `gitlab:${first.url}/group/app`
    const its = { ...environmentFor(first.url), GITLAB_TOKEN: CANARY }
    clean(await runHere(['repos', 'add', repo], { env: its }))
    for (const more of [['--json'], [], ['--dry-run'], ['--verbose']]) {
      const ran = clean(await runHere(['runner', 'incremental', '--repo', repo, ...more], { env: its }))
      expect(ran.code).toBe(2)
    }
    expect(first.asked.length).toBeGreaterThanOrEqual(4)
    expect(other.opened()).toBe(0)
  },
)

describe('B37 what is below HTTP', () => {
  test.each<[what: string, url: () => string, kind: string, error: RegExp]>([
    ['no such name', () => 'http://gitlab.invalid', 'network', /ENOTFOUND|EAI_AGAIN|gitlab\.invalid/],
    ['nobody listens', () => 'http://127.0.0.1:9', 'config', /bad port|refused/i],
    ['nobody listens, on a port of ours', () => `http://127.0.0.1:${closedPort}`, 'network', /ECONNREFUSED/],
    ['no TLS there', () => gitlab.url.replace('http:', 'https:'), 'network', /./],
  ])('%s', async (_what, url, kind, error) => {
    const its = { ...environmentFor(url()), GITLAB_TOKEN: CANARY }
    const repo = `gitlab:${url()}/group/app`
    clean(await runHere(['repos', 'add', repo], { env: its }))
    const ran = clean(await runHere(['runner', 'incremental', '--repo', repo, '--json'], { env: its }))
    expect([ran.code, ran.json()[0]]).toMatchObject([2, { status: 'failed', kind }])
    expect(ran.json()[0]!.error).toMatch(error)
  })

  let closedPort = 0
  beforeAll(async () => {
    await using gone = await rawServer(() => {})
    closedPort = gone.port
  })
})

describe('B36 text that no table or terminal should have', () => {
  test('is stored clean, and shown escaped', async () => {
    const at = await target({}, { bare: true })
    const { project } = at
    const odd = `${EVIL}\u0000\ud800 __proto__`
    project.commit({ message: odd, author: { name: odd, email: odd } })
    project.branch(`b\u009b2J\u202eesrever`)
    const iid = project.mr({
      title: odd,
      description: odd,
      source: 'b\u009b2J',
      author: odd,
      labels: [odd, '__proto__'],
    })
    project.note(iid, { body: odd, author: odd })
    const repo = ['--repo', at.repo]
    for (const job of ['commits', 'mrs', 'reviews']) expect((await sync(at, job, ['--verbose'])).code).toBe(0)
    for (const ask of [
      ['runner', 'incremental', ...repo, '--dry-run'],
      ['runner', 'incremental', ...repo, '--job', 'mrs', '--verbose'],
      ['runner', 'backfill', ...repo, '--job', 'reviews', '--last-hours', '1', '--verbose'],
      ['repos', 'list'],
      ['status'],
      ['admin', 'verify', ...repo],
    ])
      for (const more of [[], ['--json']]) clean(await runHere([...ask, ...more], { env }))
    expect([
      await stored('scm.git_commits', at),
      await stored('scm.mrs', at),
      await stored('scm.review_events', at),
    ]).toEqual([1, 1, 1])
  })

  test('invalid UTF-8, a key twice, __proto__, numbers beyond all: stored, or refused in one line', async () => {
    const at = await target()
    const row = JSON.stringify({ ...JSON.parse(mrRow(at)), title: 'T' })
    const bodies: [Buffer, number][] = [
      [Buffer.from(row.replace('"T"', '"\xff\xfe"'), 'latin1'), 0],
      [
        Buffer.from(
          row.replace('"title"', '"__proto__":{"admin":true},"constructor":1,"title":"first","title"'),
        ),
        0,
      ],
      [Buffer.from(row.replace('"T"', '"\\u0000\\ud800"')), 0],
      [Buffer.from(row.replace(/"iid":\d+/, '"iid":1e308')), 2],
      [Buffer.from(row.replace(/"updated_at":"[^"]*"/, '"updated_at":"+275760-09-13T00:00:00.000Z"')), 2],
    ]
    for (const [body, code] of bodies) {
      const unhook = faulty(
        at,
        ['mrs'],
        [{ body: Buffer.concat([Buffer.from('['), body, Buffer.from(']')]) }],
      )
      const ran = await sync(at, 'mrs')
      unhook()
      expect([body.toString().slice(0, 60), ran.code], JSON.stringify(ran.report)).toEqual([
        body.toString().slice(0, 60),
        code,
      ])
      await scene.query(`delete from logbook.kv where namespace = 'scm.sync' and key like '%:' || $1`, [
        at.repoId,
      ])
    }
  })

  function mrRow({ project }: Target): string {
    return mrJson(project, [...project.mrs.values()][0]!)
  }
})

test('a token that is exchanged while it is in use is read again; neither it nor the new one is told', async () => {
  const at = await target()
  const file = join(tempFolder(), 'token')
  writeFileSync(file, `${CANARY}\n`, { mode: 0o600 })
  const its = { ...environmentFor(gitlab.url), GITLAB_TOKEN_FILE: file }
  const unhook = gitlab.beforeEach(({ route }) => {
    if (route !== 'commits' || gitlab.token === EXCHANGED) return
    gitlab.token = EXCHANGED
    writeFileSync(file, `${EXCHANGED}\n`, { mode: 0o600 })
  })
  const unfault = faulty(at, ['commits'], [null, { status: 500, body: `${WORDS} ${EXCHANGED}` }, null])
  try {
    const ran = await sync(at, 'commits', ['--verbose'], its, run)
    expect(ran.report, ran.err).toMatchObject({ status: 'success', items_synced: 120 })
    expect(gitlab.requests.some(({ status }) => status === 401)).toBe(true)

    // What the server says of it in the end, it says of the new one.
    faulty(at, ['mrs'], [null, { status: 500, body: `${EXCHANGED} ${btoa(EXCHANGED)}` }])
    writeFileSync(file, `${CANARY}\n`, { mode: 0o600 })
    const once = gitlab.beforeEach(() => writeFileSync(file, `${EXCHANGED}\n`, { mode: 0o600 }))
    expect((await sync(at, 'mrs', ['--verbose'], its, run)).code).toBe(2)
    once()
  } finally {
    gitlab.token = CANARY
    unhook()
    unfault()
  }
})

describe('a project that', () => {
  const state = async ({ repoId }: Target) => {
    const ran = clean(await runHere(['repos', 'list', '--json'], { env }))
    const { repos } = ran.json()[0] as { repos: { repo_id: number; state: string | null }[] }
    return repos.find((repo) => repo.repo_id === repoId)?.state
  }
  /** Synced once; what was remembered of it is a day old. */
  const synced = async (): Promise<Target> => {
    const at = await target()
    for (const job of ['commits', 'mrs', 'reviews']) expect((await sync(at, job)).code).toBe(0)
    return at
  }
  const aDayLater = ({ repoId }: Target) =>
    scene.query(
      `update scm.repos set settings = settings || '{"looked_at": "2020-01-01T00:00:00Z"}' where repo_id = $1`,
      [repoId],
    )
  const all = async (at: Target) => ({
    commits: await stored('scm.git_commits', at),
    left: (
      await scene.query(
        'select 1 from scm.git_commits where repo_id = $1 and unreachable_since is not null',
        [at.repoId],
      )
    ).length,
    mrs: (await scene.query('select 1 from scm.mrs where repo_id = $1 and deleted_at is null', [at.repoId]))
      .length,
    events: (
      await scene.query('select 1 from scm.review_events where repo_id = $1 and deleted_at is null', [
        at.repoId,
      ])
    ).length,
  })
  const ALL = { commits: 120, left: 0, mrs: 3, events: 3 }

  test('was deleted', async () => {
    const at = await synced()
    at.project.delete()
    for (const job of ['commits', 'mrs', 'reviews'])
      expect(await sync(at, job)).toMatchObject({
        code: 2,
        report: { kind: 'not_found', hint: expect.stringMatching(/deleted/) },
      })
    expect([await state(at), await all(at)]).toEqual(['gone', ALL])
  })

  test('was renamed: no new one, nothing is read again', async () => {
    const at = await synced()
    at.project.rename(`group/other-${made}`)
    await aDayLater(at)
    at.project.commit()
    expect(await sync(at, 'commits')).toMatchObject({ code: 0, report: { items_synced: 1 } })
    expect(await sync(at, 'mrs')).toMatchObject({ code: 0, report: { status: 'success' } })
    expect([await state(at), await all(at)]).toEqual(['active', { ...ALL, commits: 121 }])
  })

  test('is archived, or about to be deleted', async () => {
    const at = await synced()
    at.project.archive()
    at.project.commit()
    await aDayLater(at)
    expect(await sync(at, 'commits')).toMatchObject({ code: 0, report: { items_synced: 1 } })
    expect(await state(at)).toBe('archived')
    at.project.markForDeletion('2030-01-01')
    await aDayLater(at)
    expect(await sync(at, 'commits')).toMatchObject({ code: 0 })
    expect([await state(at), await all(at)]).toEqual(['deletion_scheduled', { ...ALL, commits: 121 }])
  })

  test.each([403, 404] as const)('has its repository switched off (%i), and on again', async (status) => {
    const at = await synced()
    at.project.repositoryOff(status)
    expect(await sync(at, 'commits')).toMatchObject({ code: 0, report: { items_synced: 0 } })
    expect([await state(at), await all(at)]).toEqual(['repository_off', ALL])
    expect((await sync(at, 'mrs')).code).toBe(0)
    at.project.repositoryOn()
    at.project.commit()
    expect(await sync(at, 'commits')).toMatchObject({ code: 0, report: { items_synced: 1 } })
    expect([await state(at), await all(at)]).toEqual(['active', { ...ALL, commits: 121 }])
  })

  test('has its merge requests switched off, and on again', async () => {
    const at = await synced()
    at.project.mergeRequestsOff()
    for (const job of ['mrs', 'reviews'])
      expect(await sync(at, job)).toMatchObject({ code: 0, report: { items_synced: 0 } })
    expect(await all(at)).toEqual(ALL)
    at.project.mergeRequestsOn()
    at.project.mr()
    expect(await sync(at, 'mrs')).toMatchObject({ code: 0, report: { items_synced: 1 } })
    expect(await all(at)).toEqual({ ...ALL, mrs: 4 })
  })

  test('is empty, and then is not', async () => {
    const at = await target({}, { bare: true })
    for (const job of ['commits', 'mrs', 'reviews'])
      expect(await sync(at, job)).toMatchObject({ code: 0, report: { status: 'success', items_synced: 0 } })
    expect(await state(at)).toBe('empty')
    at.project.commit()
    expect(await sync(at, 'commits')).toMatchObject({ code: 0, report: { items_synced: 1 } })
    expect(await state(at)).toBe('active')
  })

  test('may not be seen with this token', async () => {
    const at = await target()
    const unhook = gitlab.fault(({ path }) =>
      path.includes(encodeURIComponent(at.project.path)) ? { status: 404 } : null,
    )
    expect(await sync(at, 'commits')).toMatchObject({
      code: 2,
      report: { kind: 'not_found', hint: expect.stringMatching(/token/) },
    })
    unhook()
  })
})

describe('C a server that wants our memory', () => {
  const NOTES = size('GITLAB_NOTES', 300, 10_000)
  const MESSAGES = size('GITLAB_MESSAGES', 6, 30)

  /** Peak of the process, in kB. */
  async function peak(at: Target, job: string): Promise<Ran> {
    const its = { ...environmentFor(gitlab.url, 20), GITLAB_TOKEN: CANARY }
    let kb = 0
    const ran = clean(
      await run(['runner', 'incremental', '--repo', at.repo, '--job', job, '--json'], {
        env: its,
        watch: ({ pid }) => {
          const timer = setInterval(() => {
            const now = memoryOf(pid as number)
            if (now === null) clearInterval(timer)
            else kb = Math.max(kb, now)
          }, 10)
        },
      }),
    )
    say(`${job}: ${Math.round(kb / 1024)} MB at most`)
    expect(kb).toBeLessThan(MAX_RSS_KB)
    return ran
  }

  test('messages of 1.5 MB', async () => {
    const at = await target({}, { bare: true })
    for (let i = 0; i < MESSAGES; i++) at.project.commit({ message: `${i} ${'x'.repeat(1_500_000)}` })
    const ran = await peak(at, 'commits')
    expect(ran.json()[0], ran.out).toMatchObject({ status: 'success', items_synced: MESSAGES })
  })

  test(`${NOTES} notes of 100 kB`, async () => {
    const at = await target({}, { bare: true })
    const iid = at.project.mr()
    for (let i = 0; i < NOTES; i++) at.project.note(iid, { body: `${i} ${'n'.repeat(100_000)}` })
    expect((await sync(at, 'mrs')).code).toBe(0)
    const ran = await peak(at, 'reviews')
    expect(ran.json()[0], JSON.stringify(ran.json()[0])).toMatchObject({ status: 'success' })
    expect(await stored('scm.review_events', at)).toBe(NOTES)
  })

  test('eight such reviews side by side', async () => {
    const at = await target({}, { bare: true })
    for (let m = 0; m < 8; m++) {
      const iid = at.project.mr()
      for (let i = 0; i < NOTES / 4; i++) at.project.note(iid, { body: `${i} ${'n'.repeat(100_000)}` })
    }
    const ran = await peak(at, 'reviews')
    expect(ran.json()[0], JSON.stringify(ran.json()[0])).toMatchObject({ status: 'success' })
  })

  test('discussions without end', async () => {
    const at = await target()
    expect((await sync(at, 'mrs')).code).toBe(0)
    const unhook = faulty(at, ['discussions'], [{ endless: true }])
    const ran = await peak(at, 'reviews')
    unhook()
    expect(ran).toMatchObject({ code: 2 })
  })
})
