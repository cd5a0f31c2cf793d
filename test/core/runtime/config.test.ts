import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { parse, stringify } from 'smol-toml'
import { afterAll, beforeEach, describe, expect, test } from 'vitest'
import { CONFIG, redactedView, secretsOf } from '../../../src/core/contracts/config.ts'
import { keysOf, pathText } from '../../../src/core/contracts/config-key.ts'
import { SyncError } from '../../../src/core/domain/errors.ts'
import { type ConfigRequest, inspectConfig, loadConfig } from '../../../src/core/runtime/config.ts'
import { type CheckError, checkConfig } from '../../../src/core/runtime/config-check.ts'

const root = mkdtempSync(join(tmpdir(), 'config-'))
let cwd = root
let count = 0

beforeEach(() => {
  cwd = join(root, String(count++))
  mkdirSync(cwd)
})
afterAll(() => rmSync(root, { recursive: true, force: true }))

type Asked = Partial<ConfigRequest> & { toml?: string; mode?: number }

function ask({ toml, mode, ...request }: Asked): ConfigRequest {
  if (toml !== undefined) write('config.toml', toml, mode)
  return { env: {}, cwd, configHome: null, ...request }
}

function write(name: string, text: string | Uint8Array, mode = 0o644): string {
  const path = join(cwd, name)
  writeFileSync(path, text)
  chmodSync(path, mode)
  return path
}

const load = (asked: Asked = {}) => loadConfig(ask(asked))

/** What an operator reads: the message, and the hint behind it. */
function refusal(asked: Asked): string {
  try {
    load(asked)
  } catch (error) {
    if (!(error instanceof SyncError) || error.kind !== 'config') throw error
    return error.hint === undefined ? error.message : `${error.message} [${error.hint}]`
  }
  throw new Error('was not refused')
}

/** The leaves of a configuration by TOML path. */
function leaves(tree: unknown, path: string[] = []): Record<string, unknown> {
  if (typeof tree !== 'object' || tree === null || Array.isArray(tree)) return { [pathText(path)]: tree }
  return Object.assign({}, ...Object.entries(tree).map(([name, inner]) => leaves(inner, [...path, name])))
}

const DEFAULTS = leaves(load().config)

/** Not obeyed by a terminal. */
function isPlain(char: string): boolean {
  const code = char.charCodeAt(0)
  return code >= 0x20 && (code < 0x7f || code > 0x9f)
}

function changes(asked: Asked): Record<string, unknown> {
  const now = leaves(load(asked).config)
  return Object.fromEntries(
    Object.entries(now).filter(([path, value]) => JSON.stringify(value) !== JSON.stringify(DEFAULTS[path])),
  )
}

/** The names of the operators' runbooks and of the contract: environment, a text, the key, what it becomes. */
const ENVIRONMENT: [name: string, text: string, path: string, value: unknown][] = [
  ['ENGRAM_SCM_SYNC_ENABLED', 'false', 'scm.sync.enabled', false],
  ['LOGBOOK_DSN', 'postgres://a/b', 'postgres.dsn', 'postgres://a/b'],
  ['POSTGRES_DSN', 'postgresql://a/b', 'postgres.dsn', 'postgresql://a/b'],
  ['DATABASE_URL', 'postgres://a/b', 'postgres.dsn', 'postgres://a/b'],
  ['ENGRAM_PG_STATEMENT_TIMEOUT_MS', '5000', 'postgres.statement_timeout_ms', 5000],
  ['ENGRAM_PG_DIR', '/pg', 'postgres.embedded_dir', '/pg'],
  ['ENGRAM_SCM_DATA_DIR', '/data', 'storage.data_dir', '/data'],
  ['ENGRAM_SCM_LOG_LEVEL', 'DEBUG', 'log.level', 'debug'],
  ['PROJECT_KEY', 'team/a', 'project.project_key', 'team/a'],
  ['SCM_GIT_TIER', 'patch', 'scm.git.tier', 'patch'],
  ['SCM_GIT_PAGE_SIZE', '10', 'scm.git.page_size', 10],
  ['SCM_GIT_TIMEOUT_SECONDS', '10', 'scm.git.timeout_seconds', 10],
  ['SCM_GIT_USERNAME', 'oauth2', 'scm.git.username', 'oauth2'],
  ['SCM_GIT_PASSWORD', ' p w ', 'scm.git.password', ' p w '],
  ['SCM_GIT_CREDENTIAL_HOST', 'git.example.com:8443', 'scm.git.credential_host', 'git.example.com:8443'],
  ['SCM_HEALTH_QUEUE_STALL_SECONDS', '60', 'scm.health.queue_stall_seconds', 60],
  ['SCM_HEALTH_HEARTBEAT_GRACE_SECONDS', '0', 'scm.health.heartbeat_grace_seconds', 0],
  ['SCM_HEALTH_RETRY_STORM_RUNS', '10', 'scm.health.retry_storm_runs', 10],
  ['SCM_HEALTH_RETRY_STORM_SECONDS', '60', 'scm.health.retry_storm_seconds', 60],
  ['SCM_HEALTH_CURSOR_STALL_SECONDS', '3600', 'scm.health.cursor_stall_seconds', 3600],
  ['SCM_SCHEDULER_GLOBAL_CONCURRENCY', '20', 'scm.scheduler.global_concurrency', 20],
  ['SCM_SCHEDULER_MAX_RUNNING', '10', 'scm.scheduler.max_running', 10],
  ['SCM_SCHEDULER_PER_INSTANCE_CONCURRENCY', '5', 'scm.scheduler.per_instance_concurrency', 5],
  ['SCM_SCHEDULER_PER_TENANT_CONCURRENCY', '3', 'scm.scheduler.per_tenant_concurrency', 3],
  ['SCM_SCHEDULER_SCAN_INTERVAL_SECONDS', '30', 'scm.scheduler.scan_interval_seconds', 30],
  ['SCM_SCHEDULER_MAX_ENQUEUE_PER_SCAN', '50', 'scm.scheduler.max_enqueue_per_scan', 50],
  ['SCM_SCHEDULER_ERROR_BUDGET_THRESHOLD', '0.5', 'scm.scheduler.error_budget_threshold', 0.5],
  ['SCM_SCHEDULER_ERROR_BUDGET_WINDOW_SIZE', '20', 'scm.scheduler.error_budget_window_size', 20],
  ['SCM_SCHEDULER_RATE_LIMIT_HIT_THRESHOLD', '.2', 'scm.scheduler.rate_limit_hit_threshold', 0.2],
  ['SCM_SCHEDULER_PAUSE_DURATION_SECONDS', '600', 'scm.scheduler.pause_duration_seconds', 600],
  ['SCM_SCHEDULER_CURSOR_AGE_THRESHOLD_SECONDS', '60', 'scm.scheduler.cursor_age_threshold_seconds', 60],
  ['SCM_SCHEDULER_BACKFILL_REPAIR_WINDOW_HOURS', '48', 'scm.scheduler.backfill_repair_window_hours', 48],
  ['SCM_SCHEDULER_MAX_BACKFILL_WINDOW_HOURS', '72', 'scm.scheduler.max_backfill_window_hours', 72],
  ['SCM_SCHEDULER_ENABLE_TENANT_FAIRNESS', 'TRUE', 'scm.scheduler.enable_tenant_fairness', true],
  ['SCM_SCHEDULER_TENANT_FAIRNESS_MAX_PER_ROUND', '2', 'scm.scheduler.tenant_fairness_max_per_round', 2],
  ['SCM_SCHEDULER_MVP_MODE_ENABLED', 'yes', 'scm.scheduler.mvp_mode_enabled', true],
  [
    'SCM_SCHEDULER_MVP_JOB_TYPE_ALLOWLIST',
    'commits, mrs,',
    'scm.scheduler.mvp_job_type_allowlist',
    ['commits', 'mrs'],
  ],
  ['SCM_WORKER_LEASE_SECONDS', '600', 'scm.worker.lease_seconds', 600],
  ['SCM_WORKER_RENEW_INTERVAL_SECONDS', '30', 'scm.worker.renew_interval_seconds', 30],
  ['SCM_WORKER_MAX_RENEW_FAILURES', '2', 'scm.worker.max_renew_failures', 2],
  ['SCM_WORKER_POLL_INTERVAL', '2.5', 'scm.worker.poll_interval', 2.5],
  ['SCM_WORKER_PARALLELISM', '2', 'scm.worker.parallelism', 2],
  ['SCM_WORKER_BATCH_SIZE', '100', 'scm.worker.batch_size', 100],
  [
    'SCM_WORKER_INSTANCE_ALLOWLIST',
    'a.example, b.example',
    'scm.worker.instance_allowlist',
    ['a.example', 'b.example'],
  ],
  [
    'SCM_WORKER_TENANT_ALLOWLIST',
    'tenant-vip-001,tenant-vip-002',
    'scm.worker.tenant_allowlist',
    ['tenant-vip-001', 'tenant-vip-002'],
  ],
  [
    'SCM_EXECUTOR_ADMIN_ADDRESSES',
    'http://a/x,http://b/x',
    'scm.executor.admin_addresses',
    ['http://a/x', 'http://b/x'],
  ],
  ['SCM_EXECUTOR_APP_NAME', 'sync', 'scm.executor.app_name', 'sync'],
  ['SCM_EXECUTOR_ACCESS_TOKEN', 'abc', 'scm.executor.access_token', 'abc'],
  ['SCM_EXECUTOR_LISTEN', ':9998', 'scm.executor.listen', ':9998'],
  ['SCM_EXECUTOR_ADDRESS', 'http://a:9998', 'scm.executor.address', 'http://a:9998'],
  ['SCM_EXECUTOR_PROTOCOL', '3.5', 'scm.executor.protocol', '3.5'],
  ['SCM_EXECUTOR_PARALLELISM', '2', 'scm.executor.parallelism', 2],
  ['SCM_EXECUTOR_LOG_RETENTION_DAYS', '7', 'scm.executor.log_retention_days', 7],
  ['SCM_REAPER_INTERVAL_SECONDS', '30', 'scm.reaper.interval_seconds', 30],
  ['SCM_REAPER_JOB_GRACE_SECONDS', '0', 'scm.reaper.job_grace_seconds', 0],
  ['SCM_REAPER_LOCK_GRACE_SECONDS', '240', 'scm.reaper.lock_grace_seconds', 240],
  ['SCM_REAPER_RUN_MAX_SECONDS', '1800', 'scm.reaper.run_max_seconds', 1800],
  ['SCM_CB_FAILURE_RATE_THRESHOLD', '0.5', 'scm.circuit_breaker.failure_rate_threshold', 0.5],
  ['SCM_CB_RATE_LIMIT_THRESHOLD', '0.1', 'scm.circuit_breaker.rate_limit_threshold', 0.1],
  ['SCM_CB_TIMEOUT_RATE_THRESHOLD', '1', 'scm.circuit_breaker.timeout_rate_threshold', 1],
  ['SCM_CB_MIN_SAMPLES', '3', 'scm.circuit_breaker.min_samples', 3],
  ['SCM_CB_ENABLE_SMOOTHING', 'off', 'scm.circuit_breaker.enable_smoothing', false],
  ['SCM_CB_SMOOTHING_ALPHA', '0.3', 'scm.circuit_breaker.smoothing_alpha', 0.3],
  ['SCM_CB_WINDOW_COUNT', '30', 'scm.circuit_breaker.window_count', 30],
  ['SCM_CB_WINDOW_MINUTES', '15', 'scm.circuit_breaker.window_minutes', 15],
  ['SCM_CB_OPEN_DURATION_SECONDS', '180', 'scm.circuit_breaker.open_duration_seconds', 180],
  ['SCM_CB_HALF_OPEN_MAX_REQUESTS', '4', 'scm.circuit_breaker.half_open_max_requests', 4],
  ['SCM_CB_RECOVERY_SUCCESS_COUNT', '1', 'scm.circuit_breaker.recovery_success_count', 1],
  ['SCM_CB_DEGRADED_BATCH_SIZE', '5', 'scm.circuit_breaker.degraded_batch_size', 5],
  ['SCM_CB_DEGRADED_FORWARD_WINDOW_SECONDS', '60', 'scm.circuit_breaker.degraded_forward_window_seconds', 60],
  ['SCM_CB_BACKFILL_ONLY_MODE', '0', 'scm.circuit_breaker.backfill_only_mode', false],
  ['SCM_CB_BACKFILL_INTERVAL_SECONDS', '60', 'scm.circuit_breaker.backfill_interval_seconds', 60],
  ['SCM_CB_PROBE_BUDGET_PER_INTERVAL', '1', 'scm.circuit_breaker.probe_budget_per_interval', 1],
  ['SCM_CB_PROBE_JOB_TYPES_ALLOWLIST', 'mrs', 'scm.circuit_breaker.probe_job_types_allowlist', ['mrs']],
  ['GITLAB_URL', 'https://gitlab.example.com/', 'scm.gitlab.url', 'https://gitlab.example.com/'],
  ['GITLAB_TOKEN', 'glpat-1', 'scm.gitlab.token', 'glpat-1'],
  ['GITLAB_PRIVATE_TOKEN', 'glpat-2', 'scm.gitlab.token', 'glpat-2'],
  ['SCM_GITLAB_COMMITS_VIA', 'git', 'scm.gitlab.commits_via', 'git'],
  ['SCM_GITLAB_TIER', 'patch', 'scm.gitlab.tier', 'patch'],
  ['SCM_GITLAB_MAX_CONCURRENCY', '3', 'scm.gitlab.max_concurrency', 3],
  ['SCM_SVN_TIER', 'patch', 'scm.svn.tier', 'patch'],
  ['SCM_GITLAB_POSTGRES_RATE_LIMIT_ENABLED', '1', 'scm.gitlab.postgres_rate_limit_enabled', true],
  ['SCM_GITLAB_POSTGRES_RATE_LIMIT_RATE', '5.0', 'scm.gitlab.postgres_rate_limit_rate', 5],
  ['SCM_GITLAB_POSTGRES_RATE_LIMIT_BURST', '10', 'scm.gitlab.postgres_rate_limit_burst', 10],
  ['SVN_USERNAME', 'svn_user', 'scm.svn.username', 'svn_user'],
  ['SVN_PASSWORD', 'svn_password', 'scm.svn.password', 'svn_password'],
]

/** TOML only, or TOML as the runbook writes it. */
const TOML: [line: string, path: string, value: unknown][] = [
  ['scm.scheduler.global_concurrency = 20', 'scm.scheduler.global_concurrency', 20],
  ['scm.scheduler.max_queue_depth = 20', 'scm.scheduler.global_concurrency', 20],
  ['scm.scheduler.max_running = 10', 'scm.scheduler.max_running', 10],
  ['scm.scheduler.per_instance_concurrency = 5', 'scm.scheduler.per_instance_concurrency', 5],
  ['scm.scheduler.per_tenant_concurrency = 3', 'scm.scheduler.per_tenant_concurrency', 3],
  ['scm.scheduler.scan_interval_seconds = 30', 'scm.scheduler.scan_interval_seconds', 30],
  ['scm.scheduler.max_enqueue_per_scan = 50', 'scm.scheduler.max_enqueue_per_scan', 50],
  ['scm.scheduler.error_budget_threshold = 0.4', 'scm.scheduler.error_budget_threshold', 0.4],
  ['scm.scheduler.pause_duration_seconds = 30', 'scm.scheduler.pause_duration_seconds', 30],
  ['scm.scheduler.cursor_age_threshold_seconds = 60', 'scm.scheduler.cursor_age_threshold_seconds', 60],
  ['scm.scheduler.backfill_repair_window_hours = 12', 'scm.scheduler.backfill_repair_window_hours', 12],
  ['scm.scheduler.enable_tenant_fairness = true', 'scm.scheduler.enable_tenant_fairness', true],
  ['scm.worker.lease_seconds = 600', 'scm.worker.lease_seconds', 600],
  ['scm.worker.renew_interval_seconds = 30', 'scm.worker.renew_interval_seconds', 30],
  ['scm.worker.max_renew_failures = 5', 'scm.worker.max_renew_failures', 5],
  ['scm.worker.poll_interval = 1', 'scm.worker.poll_interval', 1],
  ['scm.worker.pools.vip.job_types = ["mrs"]', 'scm.worker.pools.vip.job_types', ['mrs']],
  ['scm.circuit_breaker.failure_rate_threshold = 0.4', 'scm.circuit_breaker.failure_rate_threshold', 0.4],
  ['scm.circuit_breaker.rate_limit_threshold = 0.4', 'scm.circuit_breaker.rate_limit_threshold', 0.4],
  ['scm.circuit_breaker.timeout_rate_threshold = 0.4', 'scm.circuit_breaker.timeout_rate_threshold', 0.4],
  ['scm.circuit_breaker.min_samples = 10', 'scm.circuit_breaker.min_samples', 10],
  ['scm.circuit_breaker.enable_smoothing = false', 'scm.circuit_breaker.enable_smoothing', false],
  ['scm.circuit_breaker.smoothing_alpha = 0.01', 'scm.circuit_breaker.smoothing_alpha', 0.01],
  ['scm.circuit_breaker.window_count = 10', 'scm.circuit_breaker.window_count', 10],
  ['scm.circuit_breaker.window_minutes = 10', 'scm.circuit_breaker.window_minutes', 10],
  ['scm.circuit_breaker.open_duration_seconds = 10', 'scm.circuit_breaker.open_duration_seconds', 10],
  ['scm.circuit_breaker.half_open_max_requests = 2', 'scm.circuit_breaker.half_open_max_requests', 2],
  ['scm.circuit_breaker.recovery_success_count = 3', 'scm.circuit_breaker.recovery_success_count', 3],
  ['scm.circuit_breaker.degraded_batch_size = 1', 'scm.circuit_breaker.degraded_batch_size', 1],
  ['scm.circuit_breaker.backfill_only_mode = false', 'scm.circuit_breaker.backfill_only_mode', false],
  ['scm.degradation.min_batch_size = 5', 'scm.degradation.min_batch_size', 5],
  ['scm.degradation.max_batch_size = 400', 'scm.degradation.max_batch_size', 400],
  ['scm.degradation.default_batch_size = 50', 'scm.degradation.default_batch_size', 50],
  ['scm.degradation.batch_shrink_factor = 0.25', 'scm.degradation.batch_shrink_factor', 0.25],
  ['scm.degradation.batch_grow_factor = 2', 'scm.degradation.batch_grow_factor', 2],
  [
    'scm.degradation.default_forward_window_seconds = 1800',
    'scm.degradation.default_forward_window_seconds',
    1800,
  ],
  ['scm.degradation.min_forward_window_seconds = 60', 'scm.degradation.min_forward_window_seconds', 60],
  ['scm.degradation.max_forward_window_seconds = 7200', 'scm.degradation.max_forward_window_seconds', 7200],
  ['scm.degradation.window_shrink_factor = 0.25', 'scm.degradation.window_shrink_factor', 0.25],
  ['scm.degradation.window_grow_factor = 2', 'scm.degradation.window_grow_factor', 2],
  ['scm.degradation.rate_limit_threshold = 4', 'scm.degradation.rate_limit_threshold', 4],
  ['scm.degradation.timeout_threshold = 4', 'scm.degradation.timeout_threshold', 4],
  ['scm.degradation.content_too_large_threshold = 4', 'scm.degradation.content_too_large_threshold', 4],
  ['scm.degradation.base_sleep_seconds = 2.0', 'scm.degradation.base_sleep_seconds', 2],
  ['scm.degradation.max_sleep_seconds = 100.0', 'scm.degradation.max_sleep_seconds', 100],
  ['scm.degradation.recovery_success_count = 4', 'scm.degradation.recovery_success_count', 4],
  ['scm.gitlab.url = "https://gitlab.example.com"', 'scm.gitlab.url', 'https://gitlab.example.com'],
  ['scm.gitlab.commits_via = "git"', 'scm.gitlab.commits_via', 'git'],
  ['scm.gitlab.postgres_rate_limit_max_wait = 1', 'scm.gitlab.postgres_rate_limit_max_wait', 1],
  ['scm.gitlab.tenant_rate_limit_enabled = true', 'scm.gitlab.tenant_rate_limit_enabled', true],
  ['scm.gitlab.tenant_rate_limit_rate = 2.5', 'scm.gitlab.tenant_rate_limit_rate', 2.5],
  ['scm.gitlab.tenant_rate_limit_burst = 3', 'scm.gitlab.tenant_rate_limit_burst', 3],
  ['scm.gitlab.tenant_rate_limit_max_wait = 3', 'scm.gitlab.tenant_rate_limit_max_wait', 3],
  ['scm.http.timeout_seconds = 30', 'scm.http.timeout_seconds', 30],
  ['scm.http.max_attempts = 5', 'scm.http.max_attempts', 5],
  ['scm.http.backoff_base_seconds = 0.5', 'scm.http.backoff_base_seconds', 0.5],
  ['scm.http.backoff_max_seconds = 30', 'scm.http.backoff_max_seconds', 30],
  ['scm.svn.batch_size = 10', 'scm.svn.batch_size', 10],
  ['scm.svn.trust_server_cert = true', 'scm.svn.trust_server_cert', true],
  ['scm.svn.command_timeout = 60', 'scm.svn.command_timeout', 60],
  ['scm.bulk_thresholds.svn_changed_paths = 1', 'scm.bulk_thresholds.svn_changed_paths', 1],
  ['scm.bulk_thresholds.git_total_changes = 1', 'scm.bulk_thresholds.git_total_changes', 1],
  ['scm.bulk_thresholds.git_files_changed = 1', 'scm.bulk_thresholds.git_files_changed', 1],
  ['scm.bulk_thresholds.diff_size_bytes = 1', 'scm.bulk_thresholds.diff_size_bytes', 1],
  ['scm.backfill.repair_window_hours = 48', 'scm.backfill.repair_window_hours', 48],
  ['scm.backfill.chunk_hours = 1', 'scm.backfill.chunk_hours', 1],
  ['scm.backfill.chunk_revisions = 10', 'scm.backfill.chunk_revisions', 10],
  ['scm.backfill.max_total_window_seconds = 60', 'scm.backfill.max_total_window_seconds', 60],
  ['scm.backfill.max_chunks_per_request = 6', 'scm.backfill.max_chunks_per_request', 6],
  ['scm.incremental.loop_interval_seconds = 30', 'scm.incremental.loop_interval_seconds', 30],
  ['scm.incremental.max_iterations = 3', 'scm.incremental.max_iterations', 3],
]

describe('names', () => {
  test.each(ENVIRONMENT)('%s=%s changes %s and nothing else', (name, text, path, value) => {
    expect(changes({ env: { [name]: text } })).toEqual({ [path]: value })
    expect(load({ env: { [name]: text } }).origins[path]).toEqual({ source: 'env', where: name })
  })

  test.each(TOML)('%s changes one key and nothing else', (line, path, value) => {
    const changed = changes({ toml: line })
    // A new table entry brings its other keys, at their defaults.
    expect(changed).toMatchObject({ [path]: value })
    const others = Object.keys(changed).filter((other) => other !== path)
    expect(others.every((other) => other.startsWith(path.split('.').slice(0, -1).join('.')))).toBe(true)
    if (!path.includes('pools')) expect(others).toEqual([])
    const spelled = line.split(' ')[0]
    expect(load().origins[path]).toEqual({ source: 'toml', where: `config.toml:${spelled}` })
  })

  test('every declared name in the environment is in the list above', () => {
    const declared = keysOf(CONFIG).flatMap(({ key }) => key.env)
    const listed = [...ENVIRONMENT.map(([name]) => name), 'GITLAB_TOKEN_FILE', 'ENGRAM_SCM_PRESET']
    expect(declared.toSorted()).toEqual(listed.toSorted())
  })

  const runbooks = new URL('../../../../shared/runbooks/', import.meta.url)
  test.skipIf(!existsSync(runbooks))(
    'the runbooks name nothing that is not listed (skipped without them)',
    () => {
      const text = readdirSync(runbooks)
        .map((name) => readFileSync(new URL(name, runbooks), 'utf8'))
        .join('\n')
      const names = text.match(
        /\b(ENGRAM_SCM|SCM_(SCHEDULER|WORKER|REAPER|CB|GITLAB)|GITLAB|SVN|POSTGRES|LOGBOOK)_[A-Z_]*[A-Z]\b(?!\])/g,
      )
      const env = new Set(ENVIRONMENT.map(([name]) => name))
      expect([...new Set(names)].filter((name) => !env.has(name))).toEqual([])
      expect(new Set(names).size).toBeGreaterThan(45)

      const blocks = [...text.matchAll(/```toml\n([\s\S]*?)```/g)].map((match) => match[1] ?? '')
      expect(blocks).not.toEqual([])
      for (const block of blocks) {
        const listed = new Set(TOML.map(([line]) => line.split(' ')[0]))
        expect(Object.keys(leaves(parse(block))).filter((path) => !listed.has(path))).toEqual([])
        load({ toml: block })
      }
      // The .env examples: one value each, in the order of the page.
      for (const block of text.matchAll(/```bash\n([\s\S]*?)```/g)) {
        const env = Object.fromEntries(
          [...(block[1] ?? '').matchAll(/^ *(?:export )?([A-Z_]+)=("?)([^"\s#]*)\2/gm)].map((m) => [
            m[1],
            m[3],
          ]),
        )
        expect(loadConfig({ env, cwd: root, configHome: null }).warnings).toEqual([])
      }
    },
  )
})

describe('precedence', () => {
  const toml = 'scm.worker.parallelism = 2'
  const env = { SCM_WORKER_PARALLELISM: '3' }
  const flags = { 'scm.worker.parallelism': 4 }
  test.each([
    ['the default', {}, 1, { source: 'default', where: '' }],
    ['the file', { toml }, 2, { source: 'toml', where: 'config.toml:scm.worker.parallelism' }],
    ['the environment', { toml, env }, 3, { source: 'env', where: 'SCM_WORKER_PARALLELISM' }],
    ['the flag', { toml, env, flags }, 4, { source: 'flag', where: '--parallelism' }],
    [
      'not an undefined flag',
      { env, flags: { 'scm.worker.parallelism': undefined } },
      3,
      { source: 'env', where: 'SCM_WORKER_PARALLELISM' },
    ],
    [
      'not an empty variable',
      { toml, env: { SCM_WORKER_PARALLELISM: ' ' } },
      2,
      { source: 'toml', where: 'config.toml:scm.worker.parallelism' },
    ],
  ])('%s decides', (_, asked, value, origin) => {
    const { config, origins } = load(asked)
    expect(config.scm.worker.parallelism).toBe(value)
    expect(origins['scm.worker.parallelism']).toEqual(origin)
  })

  test('an empty list in the environment means no limit, whatever the file says', () => {
    const asked = { toml: 'scm.worker.tenant_allowlist = ["a"]', env: { SCM_WORKER_TENANT_ALLOWLIST: '' } }
    expect(load(asked).config.scm.worker.tenant_allowlist).toEqual([])
  })

  test('the database: --dsn, LOGBOOK_DSN, POSTGRES_DSN, DATABASE_URL, file', () => {
    const env: Record<string, string> = {
      LOGBOOK_DSN: 'postgres://1',
      POSTGRES_DSN: 'postgres://2',
      DATABASE_URL: 'postgres://3',
    }
    const file = { toml: 'postgres.dsn = "postgres://4"' }
    const seen = [load({ env, ...file, flags: { 'postgres.dsn': 'postgres://0' } })]
    for (const name of ['', ...Object.keys(env)]) {
      delete env[name]
      seen.push(load({ env, ...file }))
    }
    expect(seen.map(({ config }) => config.postgres.dsn)).toEqual(
      [0, 1, 2, 3, 4].map((n) => `postgres://${n}`),
    )
    expect(seen[0]?.origins['postgres.dsn']?.where).toBe('--dsn')
  })

  test('files: --config, ENGRAM_SCM_CONFIG, ENGRAM_LOGBOOK_CONFIG, ./config.toml, configHome', () => {
    mkdirSync(join(cwd, 'home/engram-scm'), { recursive: true })
    const files = ['flag.toml', 'env.toml', 'old.toml', 'config.toml', 'home/engram-scm/config.toml']
    files.forEach((name, i) => {
      write(name, `scm.worker.parallelism = ${i + 10}`)
    })
    const env: Record<string, string> = {
      ENGRAM_SCM_CONFIG: 'env.toml',
      ENGRAM_LOGBOOK_CONFIG: join(cwd, 'old.toml'),
    }
    const configHome = join(cwd, 'home')
    const found = () => {
      const { config, file } = load({ env, configHome })
      return [config.scm.worker.parallelism, file]
    }

    expect(load({ env, configHome, file: 'flag.toml' }).config.scm.worker.parallelism).toBe(10)
    expect(found()).toEqual([11, join(cwd, 'env.toml')])
    delete env.ENGRAM_SCM_CONFIG
    expect(found()).toEqual([12, join(cwd, 'old.toml')])
    delete env.ENGRAM_LOGBOOK_CONFIG
    expect(found()).toEqual([13, join(cwd, 'config.toml')])
    rmSync(join(cwd, 'config.toml'))
    expect(found()).toEqual([14, join(cwd, 'home/engram-scm/config.toml')])
    rmSync(join(cwd, 'home/engram-scm/config.toml'))
    expect(found()).toEqual([1, null])
  })

  const PRESET = 'preset = "medium"\n[scm.worker]\nparallelism = 7'
  test('a preset: below flag, environment and file, above the defaults', () => {
    const env = { SCM_SCHEDULER_MAX_RUNNING: '9' }
    const { config, origins } = load({ toml: `[scm]\n${PRESET}`, env })
    const { scheduler, worker } = config.scm
    expect([scheduler.global_concurrency, scheduler.max_running, worker.parallelism]).toEqual([20, 9, 7])
    expect(origins['scm.scheduler.global_concurrency']).toEqual({ source: 'preset', where: 'medium' })
    expect(origins['scm.scheduler.max_running']).toEqual({
      source: 'env',
      where: 'SCM_SCHEDULER_MAX_RUNNING',
    })
    expect(origins['scm.scheduler.max_enqueue_per_scan']).toEqual({ source: 'default', where: '' })
    expect(load({ env: { ENGRAM_SCM_PRESET: 'SMALL' } }).config.scm.scheduler.max_running).toBe(3)
    expect(load({ env: { ENGRAM_SCM_PRESET: 'none' } }).config.scm.scheduler.max_running).toBe(5)
  })

  test('every key has an origin', () => {
    const { config, origins } = load({ toml: '[scm.worker.pools.vip]' })
    const paths = Object.keys(leaves(config)).filter((path) => !/instances|tenants$/.test(path))
    expect(paths.filter((path) => !(path in origins))).toEqual([])
  })
})

describe('refusals', () => {
  const SECRET = 'glpat-very-secret'
  test.each<[Asked, string]>([
    [
      { env: { SCM_WORKER_PARALLELISM: 'abc' } },
      'SCM_WORKER_PARALLELISM: scm.worker.parallelism must be a whole number from 1 to 256 (jobs), not "abc" [leave it out for 1]',
    ],
    [
      { env: { SCM_WORKER_PARALLELISM: '2.5' } },
      'SCM_WORKER_PARALLELISM: scm.worker.parallelism must be a whole number from 1 to 256 (jobs), not "2.5" [leave it out for 1]',
    ],
    [
      { env: { SCM_WORKER_PARALLELISM: '0x10' } },
      'SCM_WORKER_PARALLELISM: scm.worker.parallelism must be a whole number from 1 to 256 (jobs), not "0x10" [leave it out for 1]',
    ],
    [
      { env: { SCM_WORKER_PARALLELISM: '-1' } },
      'SCM_WORKER_PARALLELISM: scm.worker.parallelism must be a whole number from 1 to 256 (jobs), not -1 [leave it out for 1]',
    ],
    [
      { env: { SCM_CB_SMOOTHING_ALPHA: '0' } },
      'SCM_CB_SMOOTHING_ALPHA: scm.circuit_breaker.smoothing_alpha must be a number from 0.01 to 1, not 0 [leave it out for 0.5]',
    ],
    [
      { env: { SCM_CB_ENABLE_SMOOTHING: 'maybe' } },
      'SCM_CB_ENABLE_SMOOTHING: scm.circuit_breaker.enable_smoothing must be true or false, not "maybe" [leave it out for true]',
    ],
    [
      { env: { SCM_GIT_TIER: 'all' } },
      'SCM_GIT_TIER: scm.git.tier must be one of none, paths, numstat, patch, not "all" [leave it out for "none"]',
    ],
    [
      { env: { ENGRAM_SCM_PRESET: 'mediun' } },
      'ENGRAM_SCM_PRESET: scm.preset must be one of none, small, medium, large, not "mediun" [did you mean "medium"?]',
    ],
    [
      { toml: 'scm.scheduler.mvp_job_type_allowlist = ["commit"]' },
      'config.toml: scm.scheduler.mvp_job_type_allowlist must be a list of commits, mrs, reviews, not ["commit"] [did you mean "commits"?]',
    ],
    [
      { env: { ENGRAM_SCM_PRESET: 'large', SCM_WORKER_RENEW_INTERVAL_SECONDS: '300' } },
      'scm.worker.renew_interval_seconds (300 s, SCM_WORKER_RENEW_INTERVAL_SECONDS) must be below half of scm.worker.lease_seconds (600 s, preset large) [change one of the two]',
    ],
    [
      { env: { SCM_SCHEDULER_MVP_JOB_TYPE_ALLOWLIST: 'commits,bugs' } },
      'SCM_SCHEDULER_MVP_JOB_TYPE_ALLOWLIST: scm.scheduler.mvp_job_type_allowlist must be a list of commits, mrs, reviews, not ["commits", "bugs"] [leave it out for ["commits"]]',
    ],
    [
      { env: { GITLAB_URL: `https://oauth2:${SECRET}@git.example` } },
      'GITLAB_URL: scm.gitlab.url must be an http or https URL without a user name, not "https://[REDACTED]@git.example" [leave it out]',
    ],
    [
      { env: { GITLAB_TOKEN: `${SECRET}\n` } },
      'GITLAB_TOKEN: scm.gitlab.token must be printable ASCII without spaces [leave it out]',
    ],
    [
      { env: { POSTGRES_DSN: `host=a password=${SECRET}` } },
      'POSTGRES_DSN: postgres.dsn must be a postgresql:// URL [leave it out]',
    ],
    [
      { env: { PROJECT_KEY: '\u001b[2J\u009b\u202e' } },
      'PROJECT_KEY: project.project_key must be letters, digits and . _ - /, at most 100, not "\\u001b[2J\\u009b\\u202e" [leave it out for "default"]',
    ],
    [
      { flags: { 'scm.worker.poll_interval': 'soon' } },
      '--poll-interval: scm.worker.poll_interval must be a number from 0.01 to 3600 (seconds), not "soon" [leave it out for 10]',
    ],
    [
      { toml: 'scm.worker.parallelism = "2"' },
      'config.toml: scm.worker.parallelism must be a whole number from 1 to 256 (jobs), not "2" [leave it out for 1]',
    ],
    [
      { toml: 'scm.worker.parallelism = inf' },
      'config.toml: scm.worker.parallelism must be a whole number from 1 to 256 (jobs), not Infinity [leave it out for 1]',
    ],
    [
      { toml: 'scm.gitlab.url = 2020-01-01' },
      'config.toml: scm.gitlab.url must be an http or https URL without a user name, not a date [leave it out]',
    ],
    [{ toml: 'scm = 2020-01-01' }, 'config.toml: scm must be a table, not a date'],
    [{ toml: `scm.gitlab = "${SECRET}"` }, 'config.toml: scm.gitlab must be a table, not a string'],
    [{ toml: '[[scm.worker]]' }, 'config.toml: scm.worker must be a table, not a list'],
    [
      { toml: `scm.gitlab.token = ["${SECRET}"]`, mode: 0o600 },
      'config.toml: scm.gitlab.token must be printable ASCII without spaces [leave it out]',
    ],
    [
      { toml: 'scm.worker.tenant_allowlist = ["a", 2020-01-01]' },
      'config.toml: scm.worker.tenant_allowlist must be a list of texts, not ["a", a date] [leave it out for []]',
    ],
    [
      { toml: 'scm.scheduler.max_runing = 3' },
      'config.toml: scm.scheduler.max_runing is not a key [did you mean scm.scheduler.max_running?]',
    ],
    [
      { toml: '[scm.shceduler]\nmax_running = 3' },
      'config.toml: scm.shceduler is not a key [did you mean scm.scheduler?]',
    ],
    [
      { toml: '[scheduler]\nmax_running = 3' },
      'config.toml: scheduler is not a key [did you mean scm.scheduler?]',
    ],
    [
      { toml: 'gitlab.url = "https://a.example"' },
      'config.toml: gitlab is not a key [did you mean scm.gitlab?]',
    ],
    [
      { toml: '"a b\\u001b".c = 1' },
      'config.toml: "a b\\u001b" is not a key [config.toml.example lists every key]',
    ],
    [
      { toml: 'scm.worker.pools.vip.job_type = []' },
      'config.toml: scm.worker.pools.vip.job_type is not a key [did you mean scm.worker.pools.vip.job_types?]',
    ],
    [
      { toml: '[scm.worker.pools."a b"]' },
      'config.toml: scm.worker.pools."a b": a name here is 1 to 100 letters, digits and . _ : -',
    ],
    [{ toml: '__proto__.polluted = 1' }, 'config.toml: __proto__: no key may be called __proto__'],
    [
      { toml: '[scm.worker.pools.constructor]' },
      'config.toml: scm.worker.pools.constructor: no key may be called constructor',
    ],
    [{ toml: '[scm.prototype]' }, 'config.toml: scm.prototype: no key may be called prototype'],
    [
      { toml: 'scm.scheduler.max_queue_depth = 5\nscm.scheduler.global_concurrency = 6' },
      'config.toml: scm.scheduler.global_concurrency and its other name are both given [keep scm.scheduler.global_concurrency]',
    ],
    [
      { toml: 'a = 1\nb = [1,\nc = 2' },
      'config.toml:3:1: invalid value [see config.toml.example for the form]',
    ],
    [
      { toml: `scm.gitlab.token = "${SECRET}`, mode: 0o600 },
      'config.toml:1:20: unfinished string [see config.toml.example for the form]',
    ],
    [
      { toml: `scm.gitlab.token = "${SECRET}"` },
      'config.toml: scm.gitlab.token is a secret, and the file can be read by others (mode 0644) [chmod 600 config.toml, or take the secret from the environment]',
    ],
    [
      { toml: `postgres.dsn = "postgres://u:${SECRET}@h/d"`, mode: 0o640 },
      'config.toml: postgres.dsn is a secret, and the file can be read by others (mode 0640) [chmod 600 config.toml, or take the secret from the environment]',
    ],
    [{ file: 'no.toml' }, 'no.toml: there is no such file [it is named by --config]'],
    [
      { env: { ENGRAM_SCM_CONFIG: 'no.toml' } },
      'no.toml: there is no such file [it is named by ENGRAM_SCM_CONFIG]',
    ],
    [{ file: '.' }, '.: is a folder, not a configuration file'],
    [
      { env: { GITLAB_TOKEN_FILE: '/no/such' } },
      'GITLAB_TOKEN_FILE: scm.gitlab.token_file: /no/such: there is no such file',
    ],
    [
      { toml: '[scm.gitlab.instances.staging]' },
      'scm.gitlab.instances.staging has no url, and its name is no host [add url = "https://…" to [scm.gitlab.instances.staging]]',
    ],
    [{ toml: 'scm.svn.password_file = "/"' }, 'config.toml: scm.svn.password_file: / is not a file'],
    [
      { toml: 'scm.gitlab.instances."g.example".token_env = "T"', env: { T: 'a b' } },
      'config.toml: scm.gitlab.instances."g.example".token_env: T must hold printable ASCII without spaces',
    ],
    [
      { env: { SCM_WORKER_LEASE_SECONDS: '120' } },
      'scm.worker.renew_interval_seconds (60 s, the default) must be below half of scm.worker.lease_seconds (120 s, SCM_WORKER_LEASE_SECONDS) [change one of the two]',
    ],
    [
      { env: { ENGRAM_PG_STATEMENT_TIMEOUT_MS: '150000' } },
      'postgres.statement_timeout_ms (150000 ms, ENGRAM_PG_STATEMENT_TIMEOUT_MS) must be below half of scm.worker.lease_seconds (300 s, the default) [change one of the two]',
    ],
    [
      { toml: 'scm.degradation.min_batch_size = 101' },
      'scm.degradation.min_batch_size (101, config.toml:scm.degradation.min_batch_size) must be at most scm.degradation.default_batch_size (100, the default) [change one of the two]',
    ],
    [
      { env: { SCM_CB_RECOVERY_SUCCESS_COUNT: '4' } },
      'scm.circuit_breaker.recovery_success_count (4, SCM_CB_RECOVERY_SUCCESS_COUNT) must be at most scm.circuit_breaker.half_open_max_requests (3, the default) [change one of the two]',
    ],
    [
      { toml: 'scm.git.page_size = 0\nscm.git.tier = "x"' },
      'config.toml: scm.git.tier must be one of none, paths, numstat, patch, not "x" (and 1 more problem) [leave it out for "none"]',
    ],
    [
      { toml: 'scm.git.page_size = 0\nx = 1', env: { SCM_GIT_TIER: 'x' } },
      'config.toml: x is not a key (and 2 more problems) [config.toml.example lists every key]',
    ],
  ])('%j', (asked, message) => {
    expect(refusal(asked)).toBe(message)
    expect(message).not.toContain(SECRET)
  })

  test('a file that is not UTF-8, or far too large', () => {
    write('config.toml', new Uint8Array([0x61, 0xff]))
    expect(refusal({})).toBe('config.toml: is not UTF-8 text')
    write('config.toml', ' '.repeat(1_048_577))
    expect(refusal({})).toBe('config.toml: is larger than 1048576 bytes')
  })

  test('a key that nobody declared is a mistake of the program', () => {
    expect(() => load({ flags: { 'scm.nothing': 1 } })).toThrow(TypeError)
  })

  test('every problem is found', () => {
    const { loaded, problems } = inspectConfig(
      ask({ toml: 'a = 1\nb = 2\nscm.git.page_size = 0', env: { SCM_GIT_TIER: 'x', GITLAB_URL: 'y' } }),
    )
    expect(loaded).toBeNull()
    expect(problems).toHaveLength(5)
  })

  test('two figures that do not go together are found beside a value that is wrong by itself, but not because of it', () => {
    const problems = (toml: string) => inspectConfig(ask({ toml })).problems.map(({ text }) => text)
    const renewal = 'scm.worker.renew_interval_seconds = 200'
    expect(problems(`scm.git.tier = "x"\n${renewal}`)).toEqual([
      expect.stringMatching(/scm\.git\.tier must be one of/),
      expect.stringMatching(/renew_interval_seconds \(200 s, .*must be below half of/),
    ])
    expect(problems(`scm.worker.lease_seconds = "x"\n${renewal}`)).toEqual([
      expect.stringMatching(/scm\.worker\.lease_seconds must be a whole number/),
    ])
    expect(problems('scm.worker.lease_seconds = { a = 1 }')).toHaveLength(1)
    expect(problems('scm.worker = 3\nscm.scheduler = []')).toHaveLength(2)
    expect(problems(`[\n${renewal}`)).toHaveLength(1)
  })

  test('nothing an error carries shows the line with the secret', () => {
    for (const toml of [`token = "${SECRET}`, `token = ${SECRET}`, `[scm.gitlab]\ntoken = '${SECRET}' x`]) {
      try {
        load({ toml })
        expect.unreachable()
      } catch (error) {
        expect(
          JSON.stringify([error, (error as Error).message, (error as Error).cause, (error as Error).stack]),
        ).not.toContain(SECRET)
      }
    }
  })
})

describe('warnings', () => {
  test('an unknown name with our prefix, with the nearest known one; never its value', () => {
    const env = {
      SCM_SHEDULER_MAX_RUNNING: 'x',
      SCM_HOME: 'y',
      ENGRAM_SCM_CONFIG: '',
      GITLAB_TOKN: 'z',
      SCM_PROD: 't',
    }
    const { warnings, config } = load({ env, toml: 'scm.gitlab.token_env = "SCM_PROD"' })
    expect(config.scm.gitlab.token).toBe('t')
    expect(warnings).toEqual([
      'SCM_HOME is set, but no key has that name',
      'SCM_SHEDULER_MAX_RUNNING is set, but no key has that name; did you mean SCM_SCHEDULER_MAX_RUNNING?',
    ])
  })

  test('token_env that names nothing, since only the worker needs the token', () => {
    const { warnings, config } = load({ toml: 'scm.gitlab.instances."a.example".token_env = "NOT_SET"' })
    expect(config.scm.gitlab.instances['a.example']?.token).toBeNull()
    expect(warnings).toEqual([
      'config.toml: scm.gitlab.instances."a.example".token_env names NOT_SET, which is not set',
    ])
  })
})

describe('secrets', () => {
  test('a token comes from the environment, then by token_env, token_file, and last from the file itself', () => {
    write('a', 'from-file\r\n')
    write('b', 'from-env-file\n')
    const toml = [
      'scm.gitlab.token = "from-toml"',
      'scm.gitlab.token_file = "a"',
      'scm.gitlab.token_env = "T"',
    ]
    const env: Record<string, string> = {
      GITLAB_TOKEN: 'from-env',
      GITLAB_PRIVATE_TOKEN: 'private',
      GITLAB_TOKEN_FILE: 'b',
      T: 'by-name',
    }
    const token = () => {
      const { config, origins } = load({ env, toml: toml.join('\n'), mode: 0o600 })
      return [config.scm.gitlab.token, origins['scm.gitlab.token']?.where]
    }

    expect(token()).toEqual(['from-env', 'GITLAB_TOKEN'])
    delete env.GITLAB_TOKEN
    expect(token()).toEqual(['private', 'GITLAB_PRIVATE_TOKEN'])
    delete env.GITLAB_PRIVATE_TOKEN
    expect(token()).toEqual(['from-env-file', 'GITLAB_TOKEN_FILE'])
    delete env.GITLAB_TOKEN_FILE
    expect(token()).toEqual(['by-name', 'T'])
    toml.pop()
    expect(token()).toEqual(['from-file', 'config.toml:scm.gitlab.token_file'])
    toml.pop()
    expect(token()).toEqual(['from-toml', 'config.toml:scm.gitlab.token'])
  })

  test('only one newline at the end of a secret file is not part of it, and an empty one is refused', () => {
    write('p', 'two words\n')
    expect(load({ toml: 'scm.git.password_file = "p"' }).config.scm.git.password).toBe('two words')
    write('p', '\n')
    expect(refusal({})).toBe(`config.toml: scm.git.password_file: ${join(cwd, 'p')} is empty`)
    write('p', 'x\n\n')
    expect(refusal({})).toBe(
      `config.toml: scm.git.password_file: ${join(cwd, 'p')} must hold one line of text`,
    )
  })

  test('a secret file nobody asks for is not read', () => {
    expect(
      load({ toml: 'scm.gitlab.token_file = "/no/such"', env: { GITLAB_TOKEN: 't' } }).config.scm.gitlab
        .token,
    ).toBe('t')
  })

  test('a DSN without a password may stand in a file everyone reads', () => {
    expect(load({ toml: 'postgres.dsn = "postgres://u@h/d"' }).config.postgres.dsn).toBe('postgres://u@h/d')
  })

  test('secretsOf and redactedView know every secret, inside tables and inside URLs', () => {
    const { config } = load({
      env: {
        POSTGRES_DSN: 'postgres://u:p%40ss@h/d?sslpassword=key',
        GITLAB_TOKEN: 'glpat-one',
        SVN_PASSWORD: 'svn-pw',
        SCM_GIT_PASSWORD: 'git-pw',
        A: 'glpat-instance',
        B: 'glpat-tenant',
      },
      toml: 'scm.gitlab.instances."g.example".token_env = "A"\nscm.gitlab.tenants.t.token_env = "B"',
    })
    const secrets = [
      'glpat-instance',
      'glpat-tenant',
      'glpat-one',
      'p%40ss',
      'git-pw',
      'svn-pw',
      'p@ss',
      'key',
    ]
    expect(secretsOf(config)).toEqual(secrets)

    const view = redactedView(config)
    for (const secret of secrets) expect(JSON.stringify(view.scm) + view.postgres.dsn).not.toContain(secret)
    expect(view.postgres.dsn).toBe('postgres://u:[REDACTED]@h/d?sslpassword=[REDACTED]')
    expect(view.scm.gitlab.token).toBe('[REDACTED]')
    expect(view.scm.git.username).toBeNull()
    expect(config.scm.gitlab.token).toBe('glpat-one')
  })

  test.each([
    ['postgres://u:a@b:c@h/d', 'a@b:c', 'postgres://u:[REDACTED]@h/d'],
    ['postgres://u:a/b@h/d', 'a/b', 'postgres://u:[REDACTED]@h/d'],
    ['postgres://h/d?password=x%20y&a=b', 'x y', 'postgres://h/d?password=[REDACTED]&a=b'],
  ])('the password of %s is found', (dsn, password, shown) => {
    const { config } = load({ env: { POSTGRES_DSN: dsn } })
    expect(secretsOf(config)).toContain(password)
    expect(redactedView(config).postgres.dsn).toBe(shown)
  })
})

describe('the result', () => {
  test('is frozen to the last leaf and shares nothing with the declarations', () => {
    const { config } = load({ toml: '[scm.worker.pools.vip]' })
    const thaw = (value: unknown): boolean =>
      typeof value === 'object' &&
      value !== null &&
      (!Object.isFrozen(value) || Object.values(value).some(thaw))
    expect(thaw(config)).toBe(false)
    expect(Object.isFrozen(CONFIG.properties.scm.properties.worker.properties.tenant_allowlist.default)).toBe(
      false,
    )
  })

  test('knows no tenant that nobody wrote', () => {
    const { tenants } = load().config.scm.gitlab
    for (const name of ['constructor', 'toString', '__proto__']) expect(tenants[name]).toBeUndefined()
  })

  test('has absolute paths: from the file beside it, from the environment where we stand, ~ at home', () => {
    mkdirSync(join(cwd, 'etc'))
    write('etc/c.toml', 'storage.data_dir = "data"\npostgres.embedded_dir = "~/pg"')
    const asked = { file: 'etc/c.toml', env: { HOME: '/home/op' } }
    expect(load(asked).config.storage.data_dir).toBe(join(cwd, 'etc/data'))
    expect(load(asked).config.postgres.embedded_dir).toBe('/home/op/pg')
    expect(load({ env: { ENGRAM_SCM_DATA_DIR: 'data' } }).config.storage.data_dir).toBe(join(cwd, 'data'))
  })

  test('config.toml.example gives the defaults', () => {
    const example = readFileSync(new URL('../../../config.toml.example', import.meta.url), 'utf8')
    expect(changes({ toml: example })).toEqual({})
  })
})

describe('hostile input', () => {
  const name = fc.oneof(
    fc.constantFrom(
      'scm',
      'worker',
      'pools',
      'gitlab',
      'instances',
      'token',
      'url',
      'parallelism',
      '__proto__',
      'constructor',
      'toString',
    ),
    fc.string({ maxLength: 8 }),
  )
  const { tree } = fc.letrec((tie) => ({
    tree: fc.dictionary(name, fc.oneof({ maxDepth: 5 }, tie('leaf'), tie('tree')), { maxKeys: 4 }),
    leaf: fc.oneof(
      fc.string(),
      fc.integer(),
      fc.double({ noNaN: true }),
      fc.boolean(),
      fc.date({ noInvalidDate: true, min: new Date(0), max: new Date(1e12) }),
      fc.array(fc.string()),
    ),
  }))
  const document = fc.oneof(
    fc.string({ unit: 'binary', maxLength: 60 }),
    fc
      .array(
        fc.constantFrom(
          '[',
          ']',
          '[[',
          '=',
          '.',
          '"',
          "'",
          '"""',
          '\n',
          'scm',
          'worker',
          '1',
          '-',
          '{',
          '}',
          ',',
          '#',
          '2020-01-01',
          'inf',
          'é',
        ),
      )
      .map((parts) => parts.join('')),
    (tree as fc.Arbitrary<Record<string, unknown>>).map((value) => stringify(value)),
  )

  test('no text in the file brings anything but an answer or a SyncError of one line', () => {
    fc.assert(
      fc.property(document, (toml) => {
        try {
          load({ toml, mode: 0o600 })
        } catch (error) {
          expect(error).toBeInstanceOf(SyncError)
          expect((error as Error).message).toSatisfy(
            (text: string) => text.length > 0 && text.length < 500 && [...text].every(isPlain),
          )
        }
        expect(Object.hasOwn(Object.prototype, 'polluted')).toBe(false)
      }),
      { numRuns: 1500, seed: Date.now() & 0x7fffffff }, // a failure prints the seed
    )
  })

  test('deep nesting is refused, not a stack overflow', () => {
    expect(refusal({ toml: `a = ${'['.repeat(100_000)}` })).toMatch(/^config\.toml/)
    expect(refusal({ toml: `${'a.'.repeat(100_000)}b = 1` })).toMatch(/^config\.toml/)
  })
})

describe('the check of the built product', () => {
  test('says what the check of the sources says', async () => {
    const { standaloneConfigCheck } = await import(
      new URL('../../../build-standalone.mjs', import.meta.url).href
    )
    const source: string = await standaloneConfigCheck()
    expect(source).not.toMatch(/\brequire\(|^import /m)
    const url = `data:text/javascript;base64,${Buffer.from(source).toString('base64')}`
    const built: { checkConfig: (data: unknown) => CheckError[] } = await import(/* @vite-ignore */ url)

    const odd = fc.oneof(
      fc.constantFrom(
        -1,
        0,
        0.5,
        1e12,
        Number.NaN,
        '',
        'x',
        '\u0000',
        null,
        true,
        [],
        ['x'],
        [1],
        {},
        { a: 1 },
      ),
      fc.anything({ maxDepth: 2 }),
    )
    const one = fc
      .tuple(fc.constantFrom(...keysOf(CONFIG)), odd, fc.boolean(), fc.nat(5))
      .map(([{ path }, value, slip, cut]) => {
        const to = path.slice(0, Math.max(1, path.length - (cut === 0 ? 1 : 0)))
        return (slip ? [...to.slice(0, -1), `${to.at(-1)}x`] : to).reduceRight<unknown>(
          (inner, part) => ({ [part]: inner }),
          value,
        )
      })
    const bad = fc.oneof(
      one,
      odd,
      fc.tuple(one, one).map(([a, b]) => ({ ...(a as object), ...(b as object) })),
    )

    let wrong = 0
    fc.assert(
      fc.property(bad, (data) => {
        const expected = checkConfig(data)
        if (expected.length > 0) wrong++
        expect(built.checkConfig(data)).toEqual(expected)
      }),
      { numRuns: 300, seed: Date.now() & 0x7fffffff },
    )
    expect(wrong).toBeGreaterThan(50)
  })
})
