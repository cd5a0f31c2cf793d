import { execFileSync } from 'node:child_process'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { readHealth } from '../../../src/core/app/report/read-health.ts'
import { readMetrics } from '../../../src/core/app/report/read-metrics.ts'
import { readStatus } from '../../../src/core/app/report/read-status.ts'
import type { StatusReport } from '../../../src/core/contracts/status.ts'
import { exposition } from '../../../src/shell/text/metrics.ts'
import { statusText } from '../../../src/shell/text/status.ts'
import { contextOn } from '../../helpers/context.ts'
import { freshDatabase, isFirst, servers, type TestDatabase } from '../../helpers/database.ts'
import { makeRows } from '../../runbook/rows.ts'
import { claim, expire, seedJobs } from '../db/queue/fixture.ts'

/** As a scraper reads it; throws at whatever the format does not allow. */
interface Series {
  name: string
  labels: Record<string, string>
  value: number
}

function parsed(text: string): { series: Series[]; types: Record<string, string> } {
  const types: Record<string, string> = {}
  const helps = new Set<string>()
  const series: Series[] = []
  const seen = new Set<string>()
  let current = ''
  if (!text.endsWith('\n')) throw new Error('no newline at the end')
  for (const line of text.slice(0, -1).split('\n')) {
    const [, word, about = '', rest = ''] = /^# (HELP|TYPE) ([a-z_0-9]+) (.+)$/.exec(line) ?? []
    if (word === 'HELP') {
      if (helps.has(about)) throw new Error(`a second HELP: ${line}`)
      helps.add(about)
      current = about
      continue
    }
    if (word === 'TYPE') {
      if (about !== current || !/^(gauge|untyped)$/.test(rest))
        throw new Error(`a TYPE out of place: ${line}`)
      types[about] = rest
      continue
    }
    const match =
      /^([a-z_][a-z_0-9]*)(?:\{((?:[a-z_][a-z_0-9]*="(?:[^"\\\n]|\\["\\n])*",?)*)\})? (-?\d+(?:\.\d+)?(?:e[+-]\d+)?)$/.exec(
        line,
      )
    if (!match) throw new Error(`no sample: ${line}`)
    const [, name = '', labels = '', value] = match
    if (name !== current || types[name] === undefined)
      throw new Error(`a sample without HELP and TYPE: ${line}`)
    if (seen.has(`${name}{${labels}}`)) throw new Error(`a second sample: ${line}`)
    seen.add(`${name}{${labels}}`)
    const pairs = [...labels.matchAll(/([a-z_0-9]+)="((?:[^"\\]|\\.)*)"/g)].map(([, key, escaped = '']) => [
      key,
      escaped.replace(/\\(.)/g, (_, c) => (c === 'n' ? '\n' : c)),
    ])
    series.push({ name, labels: Object.fromEntries(pairs), value: Number(value) })
  }
  return { series, types }
}

const promtool = (() => {
  try {
    execFileSync('promtool', ['--version'], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
})()

// Cursor events cannot be removed by anybody; these are.
const EMPTIED = `alter table ing_cursor_event disable trigger user; truncate ing_task, ing_plan, ing_plan_slice, ing_task_run, ing_task_run_batch, ing_schedule_instance, ing_cursor,
  ing_cursor_event, scm.lanes, scm.sync_locks, scm.sync_rate_limits, scm.repos, scm.git_commits, scm.git_refs,
  scm.git_ref_events, logbook.kv restart identity;
  alter table ing_cursor_event enable trigger user`

describe.each(servers())(
  `on the $name server${promtool ? '' : ' (without promtool, which is not installed)'}`,
  ({ url }) => {
    const once = test.skipIf(!isFirst(url))
    let db: TestDatabase
    beforeAll(async () => {
      db = await freshDatabase(url)
    })
    afterAll(() => db.drop())
    beforeEach(() => db.pool.query(EMPTIED))

    const sql = (text: string, values: unknown[] = []) => db.pool.query(text, values)
    const status = () => readStatus(contextOn(db.pool))
    const metrics = async () => {
      const text = `${exposition((await readMetrics(contextOn(db.pool))).metrics)}\n`
      if (promtool) execFileSync('promtool', ['check', 'metrics'], { input: text, stdio: 'pipe' })
      return parsed(text)
    }
    const samples = async (name: string) => {
      const { series } = await metrics()
      return series.filter((s) => s.name === name).map(({ labels, value }) => [labels, value])
    }
    const addRepo = async (repoUrl: string, more = '') =>
      (
        await sql(
          `insert into scm.repos (repo_type, url ${more && ', enabled'}) values ('git', $1 ${more}) returning repo_id`,
          [repoUrl],
        )
      ).rows[0].repo_id as number
    const kv = (namespace: string, key: string, value: unknown, age = '0 s') =>
      sql(
        `insert into logbook.kv (namespace, key, value_json, updated_at) values ($1, $2, $3, now() - $4::interval)`,
        [namespace, key, JSON.stringify(value), age],
      )

    describe('the status', () => {
      test('of the scene that has one of everything', async () => {
        const { repoId, otherRepoId } = await makeRows(db.pool)
        const r = await status()
        expect(r).toMatchObject({
          repos_by_type: { git: 2 },
          jobs_by_status: {
            pending: 3,
            reserved: 0,
            running: 3,
            failed: 2,
            completed: 1,
            dead: 2,
            cancelled: 1,
          },
          jobs_estimated: [],
          by_instance: { _unknown_: 8 },
          by_tenant: { _unknown_: 8 },
          window_stats: { window_minutes: 60, total_runs: 6, completed_runs: 1, failed_runs: 5 },
          circuit_breakers: { total_count: 2, total_open: 1, total_half_open: 1 },
          pauses_by_reason: { maintenance: 1 },
          paused_by_reason: { maintenance: 1 },
          paused_repos_count: 1,
        })
        expect(r.jobs_by_dimensions).toContainEqual({
          instance_key: '_unknown_',
          tenant_id: '_unknown_',
          job_type: 'commits',
          status: 'dead',
          count: 2,
        })
        expect(r.retry_backoff_jobs).toMatchObject([{ job_type: 'commits', count: 1 }])
        expect(r.retry_backoff_jobs[0]?.backoff_seconds).toBeGreaterThan(3590)
        expect(
          r.circuit_breaker_states.map((b) => [
            b.parsed_key.scope_type,
            b.parsed_key.scope_value,
            b.state.state,
          ]),
        ).toEqual([
          ['global', null, 'open'],
          ['instance', 'gitlab.example.com', 'half_open'],
        ])
        expect(r.paused_details).toMatchObject([
          {
            repo_id: repoId,
            job_type: 'commits',
            reason: 'manual_pause',
            reason_code: 'maintenance',
            is_expired: false,
          },
        ])
        expect(new Set(r.top_lag_repos.map((l) => l.repo_id))).toEqual(new Set([repoId, otherRepoId]))
        expect(r.run_heartbeat_age_seconds).toBeGreaterThan(1999)
        expect(r.facts.find((f) => f.repo_id === repoId)).toMatchObject({
          commits: 2,
          unreachable: 1,
          refs: 1,
        })
      })

      once('a due job ages the queue, unless a pause or a lock is what it waits for', async () => {
        const oldest = async () => Math.round((await status()).queue_oldest_due_seconds ?? -1)
        expect(await oldest()).toBe(-1)
        await seedJobs(db.pool, [
          { repo: 1, due: -500 },
          { repo: 2, due: -100 },
          { repo: 3, due: 900 },
        ])
        expect(await oldest()).toBeGreaterThanOrEqual(500)
        await kv('scm.sync_pauses', '1:commits', { paused_until: Date.now() / 1000 + 60 })
        expect(await oldest()).toBeLessThan(200)
        await sql(
          `insert into scm.sync_locks (repo_id, job_type, locked_by, fence, job_id) values (2, 'commits', 'w', 1, 1)`,
        )
        expect(await oldest()).toBe(-1)
      })

      test('finished jobs are counted, and past a hundred thousand estimated and called so', async () => {
        await seedJobs(db.pool, [{ repo: 1 }, { repo: 2, status: 'cancelled' }])
        await sql(`insert into ing_task (schedule_instance_id, plan_id, slice_id, provenance_code, operation_code, repo_id, job_type, mode,
                   idempotent_key, expr_hash, status)
                 select 1, i, i, 'git:1', 'HARVEST', 1, 'commits', 'incremental', lpad(i::text, 64, '0'), repeat('0', 64), 'completed'
                   from generate_series(1, 110000) i`)
        const of = ({ jobs_by_status: { completed, pending, cancelled }, jobs_estimated }: StatusReport) => ({
          completed,
          pending,
          cancelled,
          jobs_estimated,
        })
        await sql('analyze ing_task')
        const r = of(await status())
        expect(r).toMatchObject({ pending: 1, cancelled: 1, jobs_estimated: ['completed'] })
        expect(r.completed).toBeGreaterThan(105_000)
        expect(r.completed).toBeLessThan(115_000)
        expect(statusText(await status())).toMatch(/about 1\d{5} completed/)
        await sql(`delete from ing_task where status = 'completed' and id % 2 = 0`)
        expect(of(await status())).toEqual({
          completed: 55_000,
          pending: 1,
          cancelled: 1,
          jobs_estimated: [],
        })
      })

      once('lists end: 100 jobs, 100 locks, 50 pauses, 20 repositories, 10 of those behind', async () => {
        for (let n = 1; n <= 25; n++) await addRepo(`/srv/${n}.git`)
        await seedJobs(
          db.pool,
          Array.from({ length: 120 }, (_, i) => ({ repo: i + 1, instance: `h${i}.example.com` })),
        )
        await sql(`insert into scm.sync_locks (repo_id, job_type, locked_by, fence, job_id, locked_at)
                 select i, 'commits', 'w', i, i, now() - make_interval(secs => case when i > 110 then 1000 else 0 end) from generate_series(1, 220) i`)
        for (let n = 1; n <= 60; n++)
          await kv('scm.sync_pauses', `${n}:commits`, { paused_until: n % 2 ? 1e12 : 1 })
        const r = await status()
        const sizes = [
          r.jobs,
          r.locks,
          r.expired_locks,
          r.jobs_by_dimensions,
          r.paused_details,
          r.facts,
          r.top_lag_repos,
        ]
        expect(sizes.map((list) => list.length)).toEqual([100, 100, 100, 100, 50, 20, 10])
        expect(r.paused_details.map((p) => p.is_expired)).toEqual([
          ...Array(30).fill(false),
          ...Array(20).fill(true),
        ])
        expect(r).toMatchObject({ paused_repos_count: 30, facts_counted_to: 10_000 })
        const page = statusText(r)
        expect(page.split('\n').length).toBeLessThan(30)
        expect(page).toContain('and 15 more repositories')
      })

      once('what stands before an @ in an address is not shown', async () => {
        const id = await addRepo('https://s3cr3t-token@example.com/x.git')
        await kv('scm.sync', `git_cursor:${id}`, { watermark: '2025-01-01T00:00:00Z' })
        const r = await status()
        expect(JSON.stringify(r)).not.toContain('s3cr3t')
        expect(r.top_lag_repos[0]?.url).toBe('https://***@example.com/x.git')
      })

      once.each([
        ['no object', 'text'],
        ['no numbers', { paused_until: 'soon', state: 7, opened_at: {} }],
        [
          'numbers no calendar has',
          { paused_until: 1e300, paused_at: -1e300, state: 'open', opened_at: 1e300 },
        ],
        ['null', null],
      ])('rows edited by hand, and wrongly: %s', async (_what, value) => {
        for (const key of ['1:commits', 'x', 'a:b:c', '']) {
          await kv('scm.sync_pauses', key, value)
          await kv('scm.sync_health', key, value)
          await kv('scm.sync', `git_cursor:${key}`, value)
        }
        expect((await status()).circuit_breakers.total_count).toBe(4)
        await metrics()
        await readHealth(contextOn(db.pool), { graceSeconds: 60, includeDetails: true })
      })

      once.each([
        ['ISO 8601', '2100-01-01T00:00:00Z'],
        ['as PostgreSQL prints it', '2100-01-01 08:00:00+08'],
        ['seconds as text', '4102444800'],
      ])('a pause whose end is text lasts until then: %s', async (_how, paused_until) => {
        await kv('scm.sync_pauses', '1:commits', { paused_until })
        expect(await status()).toMatchObject({
          paused_repos_count: 1,
          paused_details: [{ paused_until: '2100-01-01T00:00:00.000Z', is_expired: false }],
        })
      })

      once('a number too large for a float is a pause without an end', async () => {
        await sql(
          `insert into logbook.kv (namespace, key, value_json) values ('scm.sync_pauses', '1:commits', '{"paused_until": 1e400}')`,
        )
        expect(await status()).toMatchObject({ paused_repos_count: 1 })
      })
    })

    describe('the metrics', () => {
      test("have the runbook's names and labels", async () => {
        const { repoId } = await makeRows(db.pool)
        const { series, types } = await metrics()
        const of = (name: string) => series.filter((s) => s.name === name)
        const byStatus = Object.fromEntries(of('scm_jobs_by_status').map((s) => [s.labels.status, s.value]))
        expect(byStatus).toEqual({
          pending: 3,
          reserved: 0,
          running: 3,
          failed: 2,
          completed: 1,
          dead: 2,
          cancelled: 1,
        })
        expect(of('scm_expired_locks')).toEqual([{ name: 'scm_expired_locks', labels: {}, value: 2 }])
        expect(of('scm_error_budget_failure_rate')).toMatchObject([{ labels: {}, value: 5 / 6 }])
        expect(of('scm_error_budget_429_rate')).toMatchObject([{ labels: {}, value: 0 }])
        expect(of('scm_circuit_breaker_state').map(({ labels, value }) => [labels, value])).toEqual([
          [{ key: 'default:global', state: 'closed' }, 0],
          [{ key: 'default:global', state: 'open' }, 1],
          [{ key: 'default:global', state: 'half_open' }, 0],
          [{ key: 'default:instance:gitlab.example.com', state: 'closed' }, 0],
          [{ key: 'default:instance:gitlab.example.com', state: 'open' }, 0],
          [{ key: 'default:instance:gitlab.example.com', state: 'half_open' }, 1],
        ])
        // Of the two cursors with its number one is of another kind: not this repository's.
        expect(of('scm_cursors_age_seconds')).toMatchObject([
          { labels: { repo_id: String(repoId), job_type: 'commits' } },
        ])
        for (const name of Object.keys(types)) {
          const suffixed = /_(total|count)$/.test(name)
          expect(types[name], name).toBe(suffixed ? 'untyped' : 'gauge')
        }
      })

      test('every one of the full list is there, on an empty database too, with no label but those allowed', async () => {
        const listed =
          `scm_repos_total scm_repos_by_type scm_jobs_total scm_locks_total scm_expired_locks scm_cursors_total
        scm_runs_24h_total scm_window_failed_rate scm_window_rate_limit_rate scm_window_runs_total scm_window_429_hits_total
        scm_window_requests_total scm_queue_by_instance scm_queue_by_tenant scm_retry_backoff_seconds scm_repo_lag_seconds
        scm_error_budget_samples scm_error_budget_failure_count scm_error_budget_failure_rate scm_error_budget_429_count
        scm_error_budget_429_rate scm_error_budget_timeout_count scm_error_budget_timeout_rate scm_circuit_breakers_by_scope
        scm_circuit_breakers_total_failures scm_breaker_state scm_breaker_failure_count scm_breaker_success_count
        scm_circuit_breaker_state scm_circuit_breaker_failure_count scm_circuit_breaker_success_count
        scm_rate_limit_bucket_tokens scm_rate_limit_bucket_paused scm_rate_limit_bucket_pause_seconds scm_rate_limit_pause_until
        scm_token_bucket_tokens_remaining scm_token_bucket_wait_seconds scm_token_bucket_is_paused
        scm_token_bucket_pause_remaining_seconds scm_paused_repos_total scm_pauses_by_reason scm_jobs_by_status
        scm_cursors_age_seconds scm_queue_oldest_due_seconds scm_retry_storm_jobs scm_run_heartbeat_age_seconds`.split(
            /\s+/,
          )
        const { types, series } = await metrics()
        expect(Object.keys(types).sort()).toEqual([...listed].sort())
        const quiet = Object.fromEntries(series.map((s) => [`${s.name} ${Object.values(s.labels)}`, s.value]))
        expect(quiet).toMatchObject({
          'scm_jobs_by_status dead': 0,
          'scm_runs_24h_total failed': 0,
          'scm_circuit_breaker_state default:global,open': 0,
          'scm_circuit_breaker_state default:global,closed': 1,
        })

        await makeRows(db.pool)
        await sql(
          `insert into scm.sync_rate_limits (instance_key, tokens, paused_until) values ('h', 0, now() + interval '1 minute')`,
        )
        const labels = new Set((await metrics()).series.flatMap((s) => Object.keys(s.labels)))
        const allowed =
          `instance_key tenant_id job_type status repo_type repo_id reason_code source scope state window_minutes key
        instance tenant`.split(/\s+/)
        expect([...labels].filter((label) => !allowed.includes(label))).toEqual([])
        expect(await samples('scm_rate_limit_bucket_paused')).toEqual([
          [{ instance_key: 'h', source: 'postgres' }, 1],
        ])
        expect((await samples('scm_token_bucket_wait_seconds'))[0]?.[1]).toBeGreaterThan(50)
      })

      once('a hostile label stays one label', async () => {
        const evil = 'a"} 1\nscm_jobs_total{x="\\n\\'
        await seedJobs(db.pool, [
          { repo: 1, tenant: evil, instance: 'i\\' },
          { repo: 2, tenant: 'red\u001b[31m\u202e\u0085' },
        ])
        await kv('scm.sync_pauses', '1:commits', { paused_until: 1e12, reason_code: evil })
        expect(await samples('scm_queue_by_tenant')).toEqual(
          expect.arrayContaining([
            [{ tenant: evil }, 1],
            [{ tenant: 'red\\u001b[31m\\u202e\\u0085' }, 1],
          ]),
        )
        expect(await samples('scm_pauses_by_reason')).toEqual([[{ reason_code: evil }, 1]])
      })

      once('two breakers of one upstream host are one series, the worse of them', async () => {
        await kv('scm.sync_health', 'p:instance:h', { state: 'closed' })
        await kv('scm.sync_health', 'q:instance:h', { state: 'open', failure_count: 3 })
        expect(await samples('scm_breaker_state')).toContainEqual([{ instance_key: 'h' }, 1])
        expect(await samples('scm_breaker_failure_count')).toContainEqual([{ instance_key: 'h' }, 3])
      })

      test('a cursor ages for its own, enabled repository; one without a cursor only lags', async () => {
        const [synced, never, gone] = [
          await addRepo('/a'),
          await addRepo('/b'),
          await addRepo('/c', ', false'),
        ]
        await sql(`update scm.repos set created_at = now() - interval '1 hour'`)
        for (const id of [synced, gone]) await kv('scm.sync', `git_cursor:${id}`, {}, '2 days')
        const ages = await samples('scm_cursors_age_seconds')
        expect(ages).toEqual([
          [{ repo_id: String(synced), job_type: 'commits' }, expect.closeTo(172_800, -2)],
        ])
        expect(await samples('scm_repo_lag_seconds')).toEqual([
          [{ repo_id: String(synced), repo_type: 'git', job_type: 'commits' }, expect.closeTo(172_800, -2)],
          [{ repo_id: String(never), repo_type: 'git', job_type: 'commits' }, expect.closeTo(3_600, -2)],
        ])
      })
    })

    describe('health', () => {
      const health = (graceSeconds = 60, includeDetails = false) =>
        readHealth(contextOn(db.pool), { graceSeconds, includeDetails })
      const found = async (graceSeconds?: number) => {
        const { violations, exit_code } = await health(graceSeconds)
        return [violations.map((v) => `${v.check_id} ${v.count}`).join(', '), exit_code]
      }
      const running = async (more: object = {}) => {
        const [id] = await seedJobs(db.pool, [{ repo: 1, ...more }])
        await claim(db.pool)
        return id as number
      }

      test('of nothing, and of a job at work, is good', async () => {
        expect(await health()).toMatchObject({
          healthy: true,
          exit_code: 0,
          total_checks: 12,
          passed_checks: 12,
          failed_checks: 0,
          violations: [],
        })
        await running()
        expect(await found()).toEqual(['', 0])
      })

      /** What is done, and what is found; each with its neighbour that finds nothing. */
      test.each<[what: string, make: () => Promise<unknown>, says: string, code: number]>([
        [
          'a lease over for 61 s',
          async () => expire(db.pool, await running(), 61),
          'expired_running_jobs 1',
          2,
        ],
        ['a lease over for 59 s', async () => expire(db.pool, await running(), 59), '', 0],
        [
          'due for 16 min, nothing runs',
          () => seedJobs(db.pool, [{ repo: 2, due: -960 }]),
          'queue_stall 1',
          2,
        ],
        ['due for 14 min', () => seedJobs(db.pool, [{ repo: 2, due: -840 }]), '', 0],
        [
          'due for 16 min, while another runs',
          async () => {
            await running()
            await seedJobs(db.pool, [{ repo: 2, due: -960 }])
          },
          '',
          0,
        ],
        [
          'due for 16 min, and paused',
          async () => {
            await seedJobs(db.pool, [{ repo: 2, due: -960 }])
            await kv('scm.sync_pauses', '2:commits', { paused_until: 1e12 })
          },
          '',
          0,
        ],
        [
          'failed for good, 16 min ago',
          () => seedJobs(db.pool, [{ repo: 2, due: -960, status: 'failed', attempts: 3 }]),
          '',
          0,
        ],
        ['dead', () => seedJobs(db.pool, [{ status: 'dead' }]), 'dead_jobs 1', 1],
        [
          'a lock nobody works under',
          () =>
            sql(
              `insert into scm.sync_locks (repo_id, job_type, locked_by, fence, job_id) values (9, 'commits', 'w', 1, 1)`,
            ),
          'orphan_locks 1',
          1,
        ],
        [
          'a run that outlived its job',
          async () => {
            const id = await running()
            await sql(`update ing_task_run set last_heartbeat = now() - interval '361 seconds'`)
            await sql(`delete from ing_task where id = $1`, [id])
            await sql(`delete from scm.sync_locks`)
          },
          'run_heartbeat_stall 1',
          1,
        ],
        [
          'a heartbeat within lease and grace',
          async () => {
            await running()
            await sql(`update ing_task_run set last_heartbeat = now() - interval '350 seconds'`)
          },
          '',
          0,
        ],
        ['a job tried five times in 15 min', () => tries(5), 'retry_storm 1', 1],
        ['a job tried four times', () => tries(4), '', 0],
        ['a cursor still for 25 h', () => stillCursor('25 hours'), 'cursor_stall 1', 1],
        ['a cursor still for 23 h', () => stillCursor('23 hours'), '', 0],
        ['a still cursor of a removed repository', () => stillCursor('25 hours', ', false'), '', 0],
        [
          'a GitLab job without an instance',
          () => gitlabJob({ tenant: 't' }),
          'gitlab_jobs_missing_dimensions 1',
          1,
        ],
        ['a GitLab job without a tenant, where there are none', () => gitlabJob({ instance: 'h' }), '', 0],
        [
          'a GitLab job without a tenant, where there are some',
          async () => {
            await sql(`insert into scm.repos (repo_type, url, tenant_id) values ('git', '/x', 't')`)
            await gitlabJob({ instance: 'h' })
          },
          'gitlab_jobs_missing_dimensions 1',
          1,
        ],
        ['a GitLab job with both', () => gitlabJob({ instance: 'h', tenant: 't' }), '', 0],
        ['a git job with neither', () => seedJobs(db.pool, [{ repo: 3 }]), '', 0],
        [
          'a breaker in no known state',
          () => kv('scm.sync_health', 'k', { state: 'ajar' }),
          'circuit_breaker_inconsistencies 1',
          1,
        ],
        [
          'a breaker open since nobody knows when',
          () => kv('scm.sync_health', 'k', { state: 'open' }),
          'circuit_breaker_inconsistencies 1',
          1,
        ],
        [
          'a breaker that is no object',
          () => kv('scm.sync_health', 'k', ['open']),
          'circuit_breaker_inconsistencies 1',
          1,
        ],
        ['an open breaker', () => kv('scm.sync_health', 'k', { state: 'open', opened_at: 1 }), '', 0],
        ['a breaker without a state', () => kv('scm.sync_health', 'k', {}), '', 0],
        [
          'a pause that is over',
          () => kv('scm.sync_pauses', '1:commits', { paused_until: 1 }),
          'expired_pauses 1',
          0,
        ],
        [
          'a pause that the scheduler made and that is over: it looks at it once more',
          () => kv('scm.sync_pauses', '1:commits', { paused_until: 1, reason_code: 'error_budget' }),
          '',
          0,
        ],
        [
          'a pause whose end is text, and over',
          () => kv('scm.sync_pauses', '1:commits', { paused_until: '2020-01-01 00:00:00+00' }),
          'expired_pauses 1',
          0,
        ],
        [
          'a pause whose end is text',
          () => kv('scm.sync_pauses', '1:commits', { paused_until: '2100-01-01T00:00:00Z' }),
          '',
          0,
        ],
        [
          'a pause whose end is no time',
          () => kv('scm.sync_pauses', '1:commits', { paused_until: 'tomorrow' }),
          'pause_inconsistencies 1',
          1,
        ],
        [
          'a pause without an end',
          () => kv('scm.sync_pauses', '1:commits', {}),
          'pause_inconsistencies 1',
          1,
        ],
        [
          'a pause that is no object',
          () => kv('scm.sync_pauses', '1:commits', 'x'),
          'pause_inconsistencies 1',
          1,
        ],
        ['a breaker in capitals', () => kv('scm.sync_health', 'k', { state: 'OPEN', opened_at: 1 }), '', 0],
        ['a pause that lasts', () => kv('scm.sync_pauses', '1:commits', { paused_until: 1e12 }), '', 0],
      ])('%s', async (_what, make, says, code) => {
        await make()
        expect(await found()).toEqual([says, code])
      })

      async function tries(times: number) {
        const id = await running()
        await sql(
          `insert into ing_task_run (task_id, plan_id, slice_id, attempt_no, fence, worker_id, repo_id, job_type, mode, provenance_code,
                operation_code, expr_hash, status_code, finished_at)
         select $1, 1, 1, 100 + i, 100000 + i, 'w', 1, 'commits', 'incremental', 'git:1', 'HARVEST', 'h', 'FAILED', now()
           from generate_series(2, $2) i`,
          [id, times],
        )
      }
      async function stillCursor(age: string, more?: string) {
        await kv('scm.sync', `git_cursor:${await addRepo('/srv/x', more)}`, {}, age)
      }
      async function gitlabJob(more: object) {
        await seedJobs(db.pool, [{ repo: 5, ...more }])
        await sql(`update ing_task set provenance_code = 'gitlab:5'`)
      }

      test('a unique key that is gone', async () => {
        await sql('alter table ing_task drop constraint uk_task_idem')
        try {
          expect(await found()).toEqual(['unique_keys 1', 2])
        } finally {
          await sql('alter table ing_task add constraint uk_task_idem unique (idempotent_key)')
        }
      })

      once('the grace is as long as asked', async () => {
        await expire(db.pool, await running(), 10)
        expect(await found(5)).toEqual(['expired_running_jobs 1', 2])
        expect(await found(15)).toEqual(['', 0])
      })

      test('details only when asked for, and ten at most', async () => {
        await seedJobs(
          db.pool,
          Array.from({ length: 12 }, () => ({ status: 'dead' })),
        )
        const [plain] = (await health()).violations
        expect(plain).toEqual({
          check_id: 'dead_jobs',
          name: 'Dead jobs',
          severity: 'warning',
          count: 12,
          description: expect.stringMatching(/^12 jobs /),
          remediation_hint: expect.any(String),
        })
        const [detailed] = (await health(60, true)).violations
        expect(detailed?.details).toHaveLength(10)
        expect(detailed?.details?.[0]).toMatchObject({ job_id: expect.any(Number), job_type: 'commits' })
      })
    })
  },
)
