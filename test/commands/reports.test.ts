import { readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { COMMANDS, HARMFUL, linesOf, run, tempFolder } from '../helpers/cli.ts'
import { embeddedUrl, freshDatabase, type TestDatabase } from '../helpers/database.ts'
import { makeRepo, type TestRepo } from '../helpers/git-repo.ts'
import { type GitLab, startGitLab } from '../helpers/gitlab/server.ts'
import { runHere } from '../helpers/one-process.ts'

/** What each command prints under --json, key by key: a promise to every script that reads it. */
const REPO = 'repo_id repo project_key instance tenant enabled state'
const DATABASE =
  'status server running url schema version pid data_dir log_file action migrations_applied exit_code'
const INCREMENTAL =
  'phase repo job status items_synced message error kind hint started_at finished_at vfacts_refreshed exit_code'
const BACKFILL = `phase repo job status total_chunks success_chunks partial_chunks failed_chunks total_items_synced
  total_items_skipped total_items_failed chunk_results errors watermark_updated watermark_before watermark_after
  vfacts_refreshed message started_at finished_at exit_code`
const STATUS = `status checked_at repos_count repos_by_type jobs_by_status jobs_estimated queue_oldest_due_seconds
  run_heartbeat_age_seconds runs_24h_by_status window_stats by_instance by_tenant jobs_by_dimensions retry_backoff_jobs jobs
  runs locks expired_locks cursors_count cursors top_lag_repos facts facts_counted_to circuit_breakers circuit_breaker_states
  error_budget rate_limit_buckets token_bucket_states pauses_by_reason paused_by_reason paused_repos_count paused_details
  exit_code`
const HEALTH = 'healthy exit_code checked_at total_checks passed_checks failed_checks violations'
const SCHEDULER = `status scheduled_at leader repos_scanned candidates_selected jobs_enqueued jobs_skipped
  tenant_paused_count instance_paused_count circuit_state budget_snapshot errors enqueued_jobs skipped_jobs dry_run exit_code`
const REAPER = 'status jobs runs locks reservations retention total_processed total_errors dry_run exit_code'
const WORKER = `status worker_id jobs_worked jobs_completed jobs_failed jobs_released jobs_cancelled items_synced errors
  started_at finished_at exit_code`

const CHANGED = 'status exit_code dry_run'
const JOB = `job_id repo_id repo job_type mode status priority attempts max_attempts not_before locked_by locked_at created_at
  updated_at error_summary_json`
const BREAKER = 'key state by_hand opened_at reason value'
const CURSOR = 'key repo_id job_type value audited audited_version repo watermark updated_at'
const HISTORY = 'status repo repo_id job_type events count exit_code'
const PLAN = `plan_id repo job_type operation window status created_at trigger_id correlation_id slices slices_succeeded`
const RUN = `run_id plan_id slice_no job_id repo job_type mode attempt status started_at finished_at last_heartbeat pages synced
  error worker trigger_id correlation_id`
const BATCH = 'batch_id batch_no before_token after_token record_count status committed_at error'
const TRIGGER = `trigger_id scheduler_code scheduler_job_id scheduler_log_id trigger_type triggered_at trigger_params
  correlation_id`

/** In this order: each row may need the ones before it. `inner` names the first element of a list, or an object. */
const ROWS: [args: string, keys: string, inner?: Record<string, string>, code?: number][] = [
  ['repos list', 'status repos count exit_code'],
  ['repos add git:REPO', `${REPO} status created exit_code`],
  ['repos list', 'status repos count exit_code', { repos: `${REPO} items last_sync_at last_status` }],
  [
    'runner incremental --repo git:1 --dry-run',
    'phase repo job status dry_run since refetch_since resumes_job items_found pages refs message exit_code',
    { refs: 'total moved' },
  ],
  ['runner incremental --repo git:1', INCREMENTAL],
  ['runner incremental --repo git:1 --loop --max-iterations 1', `${INCREMENTAL} iteration`],
  [
    'runner backfill --repo git:1 --last-hours 5 --dry-run',
    'phase repo job status dry_run since until total_chunks chunks update_watermark message exit_code',
    { chunks: 'chunk_index since until items_found' },
  ],
  [
    'runner backfill --repo git:1 --last-hours 5',
    BACKFILL,
    {
      chunk_results:
        'chunk_index chunk_total status synced_count skipped_count failed_count window_type since until error',
    },
  ],
  ['runner backfill --repo git:1 --last-hours 1 --update-watermark', BACKFILL],
  [
    'status',
    STATUS,
    {
      facts: 'repo_id repo commits unreachable refs merge_requests review_events revisions',
      cursors: 'key repo watermark age_seconds',
      runs: 'run_id job_id repo_id job_type mode attempt status synced_count started_at finished_at error',
      jobs_by_status: 'pending reserved running failed completed dead cancelled',
      circuit_breakers: 'by_scope total_count total_open total_half_open',
      error_budget: 'window_minutes samples total_requests completed_runs failure rate_limit_429 timeout',
      window_stats: `window_minutes total_runs completed_runs failed_runs failed_rate total_429_hits total_requests
        rate_limit_rate`,
      top_lag_repos: 'repo_id repo_type url project_key job_type last_status last_finished_at lag_seconds',
    },
  ],
  ['status --health', HEALTH],
  ['status --health --include-details --grace-seconds 0', HEALTH],
  ['scheduler --once', SCHEDULER],
  ['worker --drain', WORKER],
  ['reaper --once', REAPER],
  ['admin jobs list --status completed', 'status jobs count exit_code', { jobs: JOB }],
  ['admin jobs reset-dead --all --yes', `${CHANGED} reset_count reset_jobs refused`],
  [
    'admin jobs mark-dead 1',
    `${CHANGED} dead_count dead_jobs refused reason`,
    { refused: 'job_id job_status' },
    1,
  ],
  ['admin jobs reset-stuck', `${CHANGED} reset_count reset_jobs`],
  ['admin jobs prune --yes', `${CHANGED} pruned_count`],
  ['admin locks list', 'status locks count exit_code'],
  ['admin locks list-expired', 'status expired_locks count exit_code'],
  ['admin locks force-release --expired --yes', `${CHANGED} released_count released_locks`],
  ['admin breakers open', `${CHANGED} key before after`, { after: BREAKER }],
  ['admin breakers list', 'status breakers count exit_code', { breakers: BREAKER }],
  ['admin breakers close', `${CHANGED} key before after`, { before: BREAKER, after: BREAKER }],
  ['admin breakers reset --dry-run', `${CHANGED} key before after`, { before: BREAKER }],
  [
    'admin pauses set --repo git:1 --duration 1h',
    `${CHANGED} repo_id job_type repo pause`,
    { pause: 'repo_id job_type reason reason_code paused_at paused_until' },
  ],
  [
    'admin pauses list',
    'status pauses count exit_code',
    {
      pauses:
        'key repo_id job_type reason reason_code paused_at paused_until remaining_seconds is_expired repo',
    },
  ],
  ['admin pauses unset --repo git:1 --dry-run', `${CHANGED} repo_id job_type repo pause`],
  ['admin cursors list', 'status cursors count exit_code', { cursors: CURSOR }],
  ['admin cursors get --repo git:1', 'status found cursor exit_code', { cursor: CURSOR }],
  [
    'admin cursors set --repo git:1 --watermark 2024-01-01',
    `${CHANGED} key repo repo_id job_type before after`,
  ],
  ['admin cursors delete --repo git:1 --yes --dry-run', `${CHANGED} key repo repo_id job_type before after`],
  ['admin cursors history --repo git:1', HISTORY],
  ['admin cursors replay', 'status cursors_checked events_folded differences exit_code'],
  [
    'admin history',
    'status events count exit_code',
    { events: 'id at by action target reason before after' },
  ],
  ['plans list', 'status plans count exit_code', { plans: PLAN }],
  [
    'plans show 1',
    'status plan trigger slices missing remarks exit_code',
    {
      plan: `${PLAN} plan_key strategy update_watermark`,
      slices: 'slice_no window status expr_hash job_id job_status attempts last_run_id error',
      trigger: TRIGGER,
    },
  ],
  ['runs list', 'status runs count exit_code', { runs: RUN }],
  [
    'runs show 1',
    'status run trigger batches cursor_events exit_code',
    { run: RUN, batches: BATCH, cursor_events: 'event_id direction reason from to at', trigger: TRIGGER },
  ],
  [
    'lineage HEAD --repo git:1',
    'status kind id repo written_at batch_id run_id batch run plan trigger planned_by cursor_events message exit_code',
    { batch: BATCH, run: RUN, plan: PLAN, trigger: TRIGGER },
  ],
  [
    'doctor',
    'status checked_at checks ok warnings failed not_examined exit_code',
    { checks: 'check status found remedy' },
    1,
  ],
  ['repos add gitlab:group/project', `${REPO} status created exit_code`],
  [
    'admin verify --repo gitlab:group/project',
    `phase repo dry_run status merge_requests_checked missing stale note_counts deleted gaps degraded_commits degraded_reviews
     repairs_queued total_requests message exit_code`,
    { missing: 'count iids' },
  ],
  ['admin buckets pause GITLAB --duration 1m', `${CHANGED} instance_key paused_until was_paused_until`],
  ['admin buckets list', 'status buckets count exit_code'],
  ['admin buckets unpause GITLAB', `${CHANGED} instance_key paused_until was_paused_until`],
  ['repos remove git:1', `${REPO} status created exit_code`],
  ['db status', DATABASE],
  ['db url', DATABASE],
  ['db migrate', DATABASE],
  ['config show', 'status file values warnings exit_code', { values: 'key value source where' }],
  ['config validate', 'status file problems warnings exit_code'],
]

let db: TestDatabase
let repo: TestRepo
let gitlab: GitLab
let data: string
const env = () => ({ POSTGRES_DSN: db.dsn, ENGRAM_SCM_DATA_DIR: data, GITLAB_URL: gitlab.url })
const MEANT: Record<string, () => string> = {
  'git:REPO': () => `git:${repo.dir}`,
  HEAD: () => repo.git('rev-parse', 'HEAD').trim(),
  GITLAB: () => new URL(gitlab.url).host,
}
const words = (args: string) => args.split(' ').map((w) => MEANT[w]?.() ?? w)
const sorted = (keys: string) => keys.split(/\s+/).sort()

beforeAll(async () => {
  db = await freshDatabase(embeddedUrl())
  data = tempFolder()
  repo = makeRepo()
  gitlab = await startGitLab()
  gitlab.project({ path: 'group/project' })
  for (const n of [1, 2, 3])
    repo.commit(`commit ${n}`, { date: Math.floor(Date.now() / 1000) - 3600 * (4 - n) })
})
afterAll(async () => {
  await gitlab.stop()
  await db.drop()
})

describe.sequential('every command', () => {
  const here = ROWS.filter(([args]) => COMMANDS.some((c) => args.startsWith(c.id.replaceAll(':', ' '))))

  test.each(here)(
    '%s --json is one line with these keys, and its exit code',
    async (args, keys, inner = {}, code = 0) => {
      const ran = await runHere([...words(args), '--json'], { env: env() })

      expect(linesOf(ran.out), ran.err).toHaveLength(1)
      expect(ran.out.endsWith('\n')).toBe(true)
      expect(ran.out).not.toMatch(HARMFUL)
      const [report = {}] = ran.json()
      expect(Object.keys(report).sort()).toEqual(sorted(keys))
      for (const [key, names] of Object.entries(inner)) {
        const value = report[key]
        const one = Array.isArray(value) ? value[0] : value
        expect(Object.keys(one ?? {}).sort(), key).toEqual(sorted(names))
      }
      expect(report.exit_code).toBe(ran.code)
      expect(ran.code, ran.out).toBe(code)
      for (const line of linesOf(ran.err))
        expect(JSON.parse(line)).toMatchObject({ level: expect.any(Number) })
    },
  )

  test.each(here)(
    '%s in words holds no escapes, and with --quiet nothing at all',
    async (args, _keys, _inner, code = 0) => {
      const o = { env: { ...env(), FORCE_COLOR: '1', NO_COLOR: '1', TERM: 'xterm-256color' } }
      const ran = await run(words(args), o)
      expect(ran.code, ran.err).toBe(code)
      expect(ran.out).not.toMatch(HARMFUL)
      expect(ran.err).not.toMatch(HARMFUL)
      expect(await runHere([...words(args), '--quiet'], o)).toMatchObject({
        code,
        out: code === 0 ? '' : expect.anything(),
        err: code === 0 ? '' : expect.anything(),
      })
    },
  )

  test('every command of the manifest has a row', () => {
    const named = (id: string) => ROWS.some(([args]) => `${args} `.startsWith(`${id.replaceAll(':', ' ')} `))
    // Two manage the embedded server; what they print is printed by their neighbours too. One never ends by itself.
    const missing = COMMANDS.map((c) => c.id).filter(
      (id) => !named(id) && !['db:up', 'db:down', 'executor'].includes(id),
    )
    expect(missing).toEqual([])
  })
})

test('JSON stays JSON when a secret reads like a part of it', async () => {
  for (const word of ['true', 'success', 'null', 'status']) {
    const ran = await run(['status', '--json'], { env: { ...env(), SCM_GIT_PASSWORD: word } })
    expect(ran.json()).toHaveLength(1)
    expect(ran.code).toBe(0)
  }
})

describe('a dry run writes nothing', () => {
  const asks = [
    'runner incremental --repo git:1000 --dry-run',
    'runner backfill --repo git:1000 --last-days 2 --dry-run',
    'runner backfill --repo git:1000 --last-days 2 --update-watermark --dry-run',
    'scheduler --dry-run',
    'reaper --dry-run',
  ].filter((ask) => COMMANDS.some((c) => ask.startsWith(c.id.replaceAll(':', ' '))))

  test.each(asks)('%s', async (ask) => {
    await db.pool.query(
      `insert into scm.repos (repo_id, repo_type, url) overriding system value values (1000, 'git', $1)
       on conflict do nothing`,
      [`${repo.dir}/.git/..`],
    )
    await db.pool.query(`update scm.repos set url = $1, enabled = true where repo_id = 1000`, [other.dir])
    const before = await everything()
    const ran = await runHere([...ask.split(' '), '--json'], { env: env() })
    expect(ran.json()).toMatchObject([{ dry_run: true, exit_code: 0 }])
    expect(await everything()).toEqual(before)
  })

  let other: TestRepo
  beforeAll(() => {
    other = makeRepo()
    other.commit('unseen')
  })

  /** Rows of every table, sequences, and the names and times below the data folder. */
  async function everything() {
    const { rows: tables } = await db.pool.query<{ name: string }>(
      `select format('%I.%I', schemaname, relname) as name from pg_stat_user_tables order by 1`,
    )
    const rows: Record<string, unknown> = {}
    for (const { name } of tables) {
      const { rows: found } = await db.pool.query(
        `select count(*)::int as n, coalesce(md5(string_agg(t::text, '' order by t::text)), '') as sum from ${name} t`,
      )
      rows[name] = found[0]
    }
    const { rows: sequences } = await db.pool.query(
      `select sequencename, last_value from pg_sequences order by 1`,
    )
    const files = readdirSync(data, { recursive: true }).map((path) => {
      const { mtimeMs, size } = statSync(join(data, String(path)))
      return [path, mtimeMs, size]
    })
    return { rows, sequences, files }
  }
})
