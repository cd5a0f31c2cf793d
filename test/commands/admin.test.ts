import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { COMMANDS, HARMFUL, linesOf, run } from '../helpers/cli.ts'
import { embeddedUrl, freshDatabase, type TestDatabase } from '../helpers/database.ts'
import { makeRepo } from '../helpers/git-repo.ts'
import { runHere } from '../helpers/one-process.ts'
import { makeRows, type Rows } from '../runbook/rows.ts'

/** `admin` as an operator meets it: what it prints, what it refuses, how it ends. What it does is in core/app/by-hand. */
const EVIL = '\u001b[31mred\u009b2J\u202eesrever'

let db: TestDatabase
let made: Rows
let git: string
beforeAll(async () => {
  db = await freshDatabase(embeddedUrl())
  made = await makeRows(db.pool)
  const repo = makeRepo()
  repo.commit('first')
  git = `git:${repo.dir}`
  await must(['repos', 'add', git])
  await must(['runner', 'incremental', '--repo', git])
})
afterAll(() => db.drop())

const env = () => ({ env: { POSTGRES_DSN: db.dsn, SUDO_USER: 'alice' } })
const must = async (args: string[], code = 0) => {
  const ran = await runHere(args, env())
  expect(ran.code, `${args.join(' ')}\n${ran.out}${ran.err}`).toBe(code)
  return ran
}
const admin = async (line: string, code = 0) => {
  const words = line.split(' ').map((word) => (word === 'GIT' ? git : word))
  const ran = await must(['admin', ...words, '--json'], code)
  expect(linesOf(ran.out)).toHaveLength(1)
  const [report = {}] = ran.json()
  expect(report.exit_code).toBe(code)
  return report
}
const keysOf = (of: unknown) =>
  Object.keys(of as object)
    .sort()
    .join(' ')

test('every recipe of the runbook has its command', () => {
  expect(COMMANDS.map((c) => c.id).filter((id) => id.startsWith('admin:'))).toEqual(
    [
      ...['close', 'list', 'open', 'reset'].map((verb) => `admin:breakers:${verb}`),
      ...['list', 'pause', 'unpause'].map((verb) => `admin:buckets:${verb}`),
      ...['delete', 'get', 'history', 'list', 'replay', 'set'].map((verb) => `admin:cursors:${verb}`),
      'admin:history',
      ...['list', 'mark-dead', 'prune', 'reset-dead', 'reset-stuck'].map((verb) => `admin:jobs:${verb}`),
      ...['force-release', 'list', 'list-expired'].map((verb) => `admin:locks:${verb}`),
      ...['list', 'set', 'unset'].map((verb) => `admin:pauses:${verb}`),
      'admin:verify',
    ].sort(),
  )
})

test('what it prints is what scripts were told', async () => {
  const shapes: [line: string, keys: string][] = [
    ['jobs list', 'count exit_code jobs status'],
    ['jobs reset-dead --all --dry-run', 'dry_run exit_code refused reset_count reset_jobs status'],
    ['locks list', 'count exit_code locks status'],
    ['locks list-expired', 'count exit_code expired_locks status'],
    ['pauses list', 'count exit_code pauses status'],
    ['pauses set --repo GIT --duration 60 --dry-run', 'dry_run exit_code job_type pause repo repo_id status'],
    ['cursors list', 'count cursors exit_code status'],
    ['cursors get --repo GIT', 'cursor exit_code found status'],
    ['cursors replay --repo GIT', 'cursors_checked differences events_folded exit_code status'],
    ['cursors history --repo GIT', 'count events exit_code job_type repo repo_id status'],
    ['buckets list', 'buckets count exit_code status'],
    ['breakers list', 'breakers count exit_code status'],
    ['history', 'count events exit_code status'],
  ]
  const reports = await Promise.all(shapes.map(([line]) => admin(line)))
  expect(reports.map((report) => keysOf(report))).toEqual(shapes.map(([, keys]) => keys))
  const [jobs] = reports as unknown as [{ jobs: unknown[] }]
  expect(keysOf(jobs.jobs[0])).toBe(
    'attempts created_at error_summary_json job_id job_type locked_at locked_by max_attempts mode not_before priority repo repo_id status updated_at',
  )
})

test('who did what and why is kept', async () => {
  await admin(`jobs reset-dead ${made.jobs.dead}`)
  await must(['admin', 'breakers', 'open', '--by', EVIL, '--reason', `${EVIL} it's; drop table x --`])
  await admin('breakers close')
  const { events } = (await admin('history --limit 3')) as { events: { by: string; action: string }[] }
  expect(events.map((e) => e.action)).toEqual(['breakers close', 'breakers open', 'jobs reset-dead'])
  expect(events[0]?.by).toMatch(/^alice@./)
  expect(events[1]).toMatchObject({ by: EVIL, reason: `${EVIL} it's; drop table x --` })
  expect(events[2]).toMatchObject({ target: { job_id: made.jobs.dead }, before: { status: 'dead' } })
})

test('what somebody wrote reaches no terminal as it is', async () => {
  await db.pool.query(
    `update ing_task set lease_owner = $1, error_summary_json = jsonb_build_object('error_message', $1::text) where status in ('dead', 'running')`,
    [EVIL],
  )
  await db.pool.query(`update scm.sync_locks set locked_by = $1`, [EVIL])
  await db.pool.query(
    `insert into logbook.kv select ns, $1, jsonb_build_object('last_failure_reason', $1::text, 'reason', $1::text, 'paused_until', 1e10, 'state', 'open')
       from unnest(array['scm.sync_health', 'scm.sync_pauses']) ns`,
    [EVIL],
  )
  await db.pool.query(`insert into logbook.kv values ('scm.sync', $1, '"x"')`, [`${EVIL}_cursor:9`])
  await db.pool.query(`insert into scm.sync_rate_limits (instance_key, tokens) values ($1, 0)`, [EVIL])
  const asked = [
    ['jobs', 'list'],
    ['locks', 'list'],
    ['breakers', 'list'],
    ['pauses', 'list'],
    ['cursors', 'list'],
    ['buckets', 'list'],
    ['history'],
    ['jobs', 'reset-stuck', '--older-than', '1ms', '--dry-run'],
    ['locks', 'force-release', '--expired', '--dry-run'],
    ['buckets', 'unpause', EVIL],
  ]
  const all = await Promise.all(asked.map((words) => runHere(['admin', ...words], env())))
  for (const [i, ran] of all.entries()) {
    expect([asked[i], ran.code, ran.err]).toEqual([asked[i], 0, ''])
    expect(ran.out).not.toMatch(HARMFUL)
    expect(ran.out, asked[i]?.join(' ')).toContain('\\u202eesrever')
  }
})

describe('refused with 2, the thing and the remedy named', () => {
  test.each([
    ['jobs reset-dead', /which dead jobs are meant/],
    ['jobs reset-dead x', /"x" is not the number of a job/],
    ['jobs mark-dead', /Missing 1 required arg/],
    ['jobs list --status gone', /--status/],
    ['jobs list --repo git:99', /git:99 is not registered/],
    ['jobs list --repo-id 99', /there is no repository 99/],
    ['jobs list --repo-id 9223372036854775808', /--repo-id/],
    ['jobs reset-stuck --older-than soon', /"soon" is not a duration/],
    ['jobs prune --older-than 99y', /not a duration/],
    ['locks force-release', /which lock is meant/],
    ['breakers open global', /"global" is not the key of a breaker/],
    ['breakers open default:instance:typo', /no repository is of the instance "typo"/],
    ['pauses set --repo GIT --duration', /--duration expects a value/],
    ['pauses set --repo GIT --job mrs --duration 1h', /has no mrs/],
    ['cursors set --repo GIT --watermark gestern', /"gestern" is not a time/],
    ['buckets pause typo --duration 1h', /no repository is synced from typo/],
  ])('%s', async (line, says) => {
    const { kind, error, hint } = await admin(line, 2)
    expect(kind).toMatch(/usage|not_found/)
    expect(error).toMatch(says)
    expect(hint === null || typeof hint === 'string').toBe(true)
  })

  // Nobody sits at a terminal here.
  test.each([
    'jobs prune',
    'jobs reset-dead --all',
    'cursors delete --repo GIT',
    'locks force-release --expired',
  ])('%s without --yes', async (line) => {
    const before = await db.pool.query('select count(*) from scm.operator_events')
    expect(await admin(line, 2)).toMatchObject({ kind: 'usage', hint: expect.stringContaining('--yes') })
    expect((await db.pool.query('select count(*) from scm.operator_events')).rows).toEqual(before.rows)
  })
})

test('the breakers are those of the project', async () => {
  const acme = { env: { ...env().env, PROJECT_KEY: 'acme' } }
  const ran = await run(['admin', 'breakers', 'open', '--json'], acme)
  expect(ran.json()).toMatchObject([{ key: 'acme:global', after: { state: 'open', by_hand: true } }])
  const other = await run(['admin', 'breakers', 'open', 'default:global', '--json'], acme)
  expect([other.code, other.json()[0]?.hint]).toEqual([
    2,
    'acme:global, acme:instance:<host> or acme:tenant:<id>',
  ])
})

test('1 where nothing of it is there, or part of it was refused', async () => {
  for (const [line, status] of [
    ['jobs mark-dead 9999', 'not_found'],
    [`jobs mark-dead ${made.jobs.completed} ${made.jobs.failed}`, 'partial'],
    ['locks force-release --repo GIT', 'not_found'],
    ['breakers close default:tenant:none', 'not_found'],
    ['pauses unset --repo GIT', 'not_found'],
    ['buckets unpause none', 'not_found'],
  ] as const)
    expect(await admin(line, 1), line).toMatchObject({ status })
})

test('a job that is named twice is one', async () => {
  expect(await admin('jobs mark-dead 9999 9999', 1)).toMatchObject({ refused: [{ job_id: 9999 }] })
})

test('replay ends with 2 and names the cursor', async () => {
  await db.pool.query(`update ing_cursor set version = version + 1 where provenance_code = 'git:1'`)
  const report = await admin('cursors replay', 2)
  expect(report).toMatchObject({ status: 'failed', differences: [{ wrong: 'value' }] })
  const text = await run(['admin', 'cursors', 'replay'], env())
  expect(text).toMatchObject({ code: 2, out: '', err: expect.stringContaining('its events say') })
})
