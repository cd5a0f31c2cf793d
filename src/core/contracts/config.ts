import type { Infer } from './config-key.ts'
import { bool, choice, dsn, group, int, list, num, path, secret, table, text } from './config-key.ts'
import { hidden, secretParts, secretsIn } from './config-secret.ts'

/**
 * Every key of the configuration, declared once: its type, range, default, unit, names and reason.
 * The check, the README table and config.toml.example are made from it.
 */

const JOB_TYPES = ['commits', 'mrs', 'reviews'] as const
const DAY = 86_400
const YEAR = 366 * DAY

const ENV_NAME = { pattern: '^[A-Za-z_][A-Za-z0-9_]*$', expected: 'the name of an environment variable' }
const HTTP_URL = {
  pattern: '^https?://[^\\s/?#@\\u0000-\\u001f]+(/[^\\s?#@\\u0000-\\u001f]*)?$',
  expected: 'an http or https URL without a user name',
}
// A token travels in a header and a password in git's line protocol; a newline in either would forge a line.
const TOKEN = { pattern: '^[\\u0021-\\u007e]+$', expected: 'printable ASCII without spaces' }
const PASSWORD = { pattern: '^[^\\u0000\\r\\n]+$', expected: 'one line of text' }

const project = group('Project', {
  project_key: text({
    default: 'default',
    env: 'PROJECT_KEY',
    pattern: '^[A-Za-z0-9_][A-Za-z0-9_./-]{0,99}$',
    expected: 'letters, digits and . _ - /, at most 100',
    about: 'First half of the breaker key; "default" makes it default:global, the key the runbook edits.',
  }),
})

const postgres = group('Database', {
  dsn: dsn({
    env: ['LOGBOOK_DSN', 'POSTGRES_DSN', 'DATABASE_URL'],
    flag: '--dsn',
    pattern: '^postgres(ql)?://[^\\s\\u0000-\\u001f]*$',
    expected: 'a postgresql:// URL',
    example: 'postgresql://engram@db.example.com:5432/engram',
    about: 'The database; without one the program runs its own embedded PostgreSQL.',
  }),
  statement_timeout_ms: int({
    default: null,
    min: 1,
    max: 3_600_000,
    unit: 'ms',
    example: 60_000,
    env: 'ENGRAM_PG_STATEMENT_TIMEOUT_MS',
    about:
      'Longest a statement may run; must stay below half a lease, and without it the program chooses such a figure.',
  }),
  embedded_dir: path({
    env: 'ENGRAM_PG_DIR',
    example: '/var/lib/engram/pg17',
    about: "Where the embedded PostgreSQL keeps its data; without it, the user's data folder.",
  }),
})

const storage = group('Storage', {
  data_dir: path({
    env: 'ENGRAM_SCM_DATA_DIR',
    example: '/var/lib/engram-scm',
    about:
      "The embedded database, what is owed to XXL-Job, and mirrors; only `mirrors/` can be made again. Without it, the user's data folder.",
  }),
})

const log = group('Log', {
  level: choice({
    of: ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'],
    default: 'info',
    env: 'ENGRAM_SCM_LOG_LEVEL',
    flag: '--log-level',
    about: 'The least important line that is written; info tells every transition and no more.',
  }),
})

const sync = group('Main switch', {
  enabled: bool({
    default: true,
    env: 'ENGRAM_SCM_SYNC_ENABLED',
    about: 'Whether the scheduler makes jobs; on, because whoever installs a sync wants one.',
  }),
})

const git = group('git repositories', {
  tier: choice({
    of: ['none', 'paths', 'numstat', 'patch'],
    default: 'none',
    env: 'SCM_GIT_TIER',
    about: 'How much of a commit is read; none needs no file contents, so a blobless mirror is enough.',
  }),
  page_size: int({
    default: 1000,
    min: 1,
    max: 10_000,
    unit: 'commits',
    env: 'SCM_GIT_PAGE_SIZE',
    about: 'Commits stored in one transaction; 1000 makes the transaction cheap and a crash forgettable.',
  }),
  timeout_seconds: int({
    default: 1800,
    min: 1,
    max: DAY,
    unit: 'seconds',
    env: 'SCM_GIT_TIMEOUT_SECONDS',
    about: 'Longest one git command may take; half an hour lets a large first clone finish.',
  }),
  username: text({
    default: null,
    env: 'SCM_GIT_USERNAME',
    ...PASSWORD,
    example: 'oauth2',
    about: 'Who git logs in as over https; GitLab takes any name beside a token.',
  }),
  password: secret({
    env: 'SCM_GIT_PASSWORD',
    from_file: 'password_file',
    ...PASSWORD,
    about: 'Password or token git logs in with, given only to credential_host.',
  }),
  password_file: path({
    example: '/run/secrets/git-password',
    about: 'File that holds the password, so that it stands in no environment.',
  }),
  credential_host: text({
    default: null,
    env: 'SCM_GIT_CREDENTIAL_HOST',
    pattern: '^([A-Za-z0-9.-]+|\\[[0-9A-Fa-f:.]+\\])(:[0-9]{1,5})?$',
    expected: 'a host name, with :port if it has one',
    example: 'git.example.com',
    about: 'The one host the password may be sent to; without it, to none.',
  }),
})

const incremental = group('Runner: incremental', {
  loop_interval_seconds: int({
    default: 60,
    min: 1,
    max: DAY,
    unit: 'seconds',
    flag: '--loop-interval',
    about: 'Pause between rounds of --loop; a minute, as the scheduler scans.',
  }),
  max_iterations: int({
    default: 0,
    min: 0,
    max: 1_000_000_000,
    unit: 'rounds',
    flag: '--max-iterations',
    about: 'Rounds of --loop before it ends; 0 goes on until it is stopped.',
  }),
})

const backfill = group('Runner: backfill', {
  repair_window_hours: int({
    default: 24,
    min: 1,
    max: 8784,
    unit: 'hours',
    about: 'Window of a backfill that names none; a day covers a night nobody watched.',
  }),
  chunk_hours: int({
    default: 4,
    min: 1,
    max: 8784,
    unit: 'hours',
    about: 'Length of one time chunk; 4 makes a day six chunks, each small enough to retry alone.',
  }),
  chunk_revisions: int({
    default: 100,
    min: 1,
    max: 1_000_000,
    unit: 'revisions',
    about: 'Length of one revision chunk; 100 revisions come back from a slow server well within a lease.',
  }),
  max_total_window_seconds: int({
    default: YEAR,
    min: 1,
    max: 100 * YEAR,
    unit: 'seconds',
    about:
      'Longest window one request may name; a leap year, to catch a mistyped date and still allow a whole year.',
  }),
  max_chunks_per_request: int({
    default: 10_000,
    min: 1,
    max: 10_000_000,
    unit: 'chunks',
    about: 'Most chunks one request may make; 10000 is a year of hours or a million revisions.',
  }),
})

const scheduler = group('Scheduler', {
  global_concurrency: int({
    default: 10,
    min: 1,
    max: 1_000_000,
    unit: 'jobs',
    env: 'SCM_SCHEDULER_GLOBAL_CONCURRENCY',
    alias: 'max_queue_depth',
    about: 'Queue depth, pending and running together; 10 keeps the queue short enough to re-order.',
  }),
  max_running: int({
    default: 5,
    min: 1,
    max: 100_000,
    unit: 'jobs',
    env: 'SCM_SCHEDULER_MAX_RUNNING',
    about: 'Nothing new starts while this many run; 5 suits one small installation.',
  }),
  per_instance_concurrency: int({
    default: 3,
    min: 1,
    max: 100_000,
    unit: 'jobs',
    env: 'SCM_SCHEDULER_PER_INSTANCE_CONCURRENCY',
    about: 'Active jobs per upstream host, so that one GitLab is never overrun.',
  }),
  per_tenant_concurrency: int({
    default: 5,
    min: 1,
    max: 100_000,
    unit: 'jobs',
    env: 'SCM_SCHEDULER_PER_TENANT_CONCURRENCY',
    about: 'Active jobs per tenant, so that a large tenant cannot starve the others.',
  }),
  scan_interval_seconds: int({
    default: 60,
    min: 1,
    max: DAY,
    unit: 'seconds',
    env: 'SCM_SCHEDULER_SCAN_INTERVAL_SECONDS',
    flag: '--interval-seconds',
    about: 'Pause between scans of --loop; a minute, far below the age at which a cursor counts as old.',
  }),
  max_enqueue_per_scan: int({
    default: 100,
    min: 1,
    max: 1_000_000,
    unit: 'jobs',
    env: 'SCM_SCHEDULER_MAX_ENQUEUE_PER_SCAN',
    about: 'Most jobs one scan makes, which bounds its transaction.',
  }),
  error_budget_threshold: num({
    default: 0.3,
    min: 0,
    max: 1,
    env: 'SCM_SCHEDULER_ERROR_BUDGET_THRESHOLD',
    about: "Share of failed runs that pauses a repository; the breaker's figure, for one repository.",
  }),
  error_budget_window_size: int({
    default: 10,
    min: 1,
    max: 1000,
    unit: 'runs',
    env: 'SCM_SCHEDULER_ERROR_BUDGET_WINDOW_SIZE',
    about: 'Latest runs the error budget looks at; 10 forgets a bad hour within one.',
  }),
  rate_limit_hit_threshold: num({
    default: 0.1,
    min: 0,
    max: 1,
    env: 'SCM_SCHEDULER_RATE_LIMIT_HIT_THRESHOLD',
    about: 'Share of requests answered 429 from which a repository goes to the back of the queue.',
  }),
  pause_duration_seconds: int({
    default: 300,
    min: 1,
    max: 30 * DAY,
    unit: 'seconds',
    env: 'SCM_SCHEDULER_PAUSE_DURATION_SECONDS',
    about: 'Pause after a spent error budget; as long as the breaker stays open.',
  }),
  cursor_age_threshold_seconds: int({
    default: 3600,
    min: 1,
    max: YEAR,
    unit: 'seconds',
    env: 'SCM_SCHEDULER_CURSOR_AGE_THRESHOLD_SECONDS',
    about: 'A repository is due when its cursor is older; an hour is fresh enough for reports.',
  }),
  backfill_repair_window_hours: int({
    default: 24,
    min: 1,
    max: 8784,
    unit: 'hours',
    env: 'SCM_SCHEDULER_BACKFILL_REPAIR_WINDOW_HOURS',
    about: 'A repository without a good sync for this long has that time read again by date; once within it.',
  }),
  max_backfill_window_hours: int({
    default: 168,
    min: 1,
    max: 87_840,
    unit: 'hours',
    env: 'SCM_SCHEDULER_MAX_BACKFILL_WINDOW_HOURS',
    about: 'The furthest back such a repair reads by itself; a week, more is for a person to ask.',
  }),
  enable_tenant_fairness: bool({
    default: false,
    env: 'SCM_SCHEDULER_ENABLE_TENANT_FAIRNESS',
    about: 'Takes turns between tenants when jobs are made; off, since one tenant needs none.',
  }),
  tenant_fairness_max_per_round: int({
    default: 1,
    min: 1,
    max: 1000,
    unit: 'jobs',
    env: 'SCM_SCHEDULER_TENANT_FAIRNESS_MAX_PER_ROUND',
    about: 'Jobs a tenant gets before the next one has its turn.',
  }),
  mvp_mode_enabled: bool({
    default: false,
    env: 'SCM_SCHEDULER_MVP_MODE_ENABLED',
    about: 'Makes jobs of the listed types only, for a careful first roll-out.',
  }),
  mvp_job_type_allowlist: list({
    of: JOB_TYPES,
    default: ['commits'],
    env: 'SCM_SCHEDULER_MVP_JOB_TYPE_ALLOWLIST',
    about: 'The types of that mode; commits, on which all else rests.',
  }),
})

const pool = group('Worker pool', {
  job_types: list({
    of: JOB_TYPES,
    default: [],
    example: ['commits'],
    about: 'Job types this pool takes; empty means all.',
  }),
  instance_allowlist: list({
    default: [],
    example: ['gitlab.prod.example.com'],
    about: 'Upstream hosts this pool serves; empty means all.',
  }),
  tenant_allowlist: list({
    default: [],
    example: ['tenant-vip-001', 'tenant-vip-002'],
    about: 'Tenants this pool serves; empty means all.',
  }),
  parallelism: int({
    default: null,
    min: 1,
    max: 256,
    unit: 'jobs',
    example: 4,
    about: "Jobs at the same time in one process of this pool; without it, the worker's own figure.",
  }),
})

const worker = group('Worker', {
  lease_seconds: int({
    default: 300,
    min: 1,
    max: DAY,
    unit: 'seconds',
    env: 'SCM_WORKER_LEASE_SECONDS',
    about: 'How long a job stays with a silent worker; 300 survives four missed renewals.',
  }),
  renew_interval_seconds: int({
    default: 60,
    min: 1,
    max: DAY,
    unit: 'seconds',
    env: 'SCM_WORKER_RENEW_INTERVAL_SECONDS',
    flag: '--renew-interval',
    about:
      'Pause between renewals; must stay below half the lease, so that one may fail, and counts as a third of it where it is longer.',
  }),
  max_renew_failures: int({
    default: 3,
    min: 1,
    max: 1000,
    unit: 'failures',
    env: 'SCM_WORKER_MAX_RENEW_FAILURES',
    about: 'Failed renewals in a row after which the worker gives the job up; 3 end before the lease does.',
  }),
  poll_interval: num({
    default: 10,
    min: 0.01,
    max: 3600,
    unit: 'seconds',
    env: 'SCM_WORKER_POLL_INTERVAL',
    about: 'Longest sleep of an idle worker; 10, because a new job wakes it anyway.',
  }),
  parallelism: int({
    default: 1,
    min: 1,
    max: 256,
    unit: 'jobs',
    env: 'SCM_WORKER_PARALLELISM',
    about: 'Jobs at the same time in one process; 1 is the least load on an upstream.',
  }),
  batch_size: int({
    default: 50,
    min: 1,
    max: 10_000,
    unit: 'records',
    env: 'SCM_WORKER_BATCH_SIZE',
    about:
      'Most records of GitLab stored in one transaction; how many are asked for at a time does not depend on it.',
  }),
  instance_allowlist: list({
    default: [],
    env: 'SCM_WORKER_INSTANCE_ALLOWLIST',
    example: ['gitlab.example.com'],
    about: 'Upstream hosts this worker serves; empty means all.',
  }),
  tenant_allowlist: list({
    default: [],
    env: 'SCM_WORKER_TENANT_ALLOWLIST',
    example: ['tenant-vip-001'],
    about: 'Tenants this worker serves; empty means all.',
  }),
  pools: table('gitlab-prod', pool),
})

const health = group('Health checks', {
  queue_stall_seconds: int({
    default: 900,
    min: 1,
    max: 30 * DAY,
    unit: 'seconds',
    env: 'SCM_HEALTH_QUEUE_STALL_SECONDS',
    about:
      'A job due for longer, while none runs, is a stall; several scans and the first tries of a worker.',
  }),
  heartbeat_grace_seconds: int({
    default: 60,
    min: 0,
    max: DAY,
    unit: 'seconds',
    env: 'SCM_HEALTH_HEARTBEAT_GRACE_SECONDS',
    about: 'Time a lease, a lock and a heartbeat keep after their end; one renewal.',
  }),
  retry_storm_runs: int({
    default: 5,
    min: 2,
    max: 1_000,
    unit: 'runs',
    env: 'SCM_HEALTH_RETRY_STORM_RUNS',
    about: 'So many runs of one job in the time below are a storm; its backoff alone allows fewer.',
  }),
  retry_storm_seconds: int({
    default: 900,
    min: 1,
    max: DAY,
    unit: 'seconds',
    env: 'SCM_HEALTH_RETRY_STORM_SECONDS',
    about: 'Time in which the runs of a storm are counted.',
  }),
  cursor_stall_seconds: int({
    default: 86_400,
    min: 1,
    max: 365 * DAY,
    unit: 'seconds',
    env: 'SCM_HEALTH_CURSOR_STALL_SECONDS',
    about: 'A cursor that nobody moved or confirmed for longer stands still; also where every sync fails.',
  }),
})

const reaper = group('Reaper', {
  interval_seconds: int({
    default: 60,
    min: 1,
    max: DAY,
    unit: 'seconds',
    env: 'SCM_REAPER_INTERVAL_SECONDS',
    about: 'Pause between rounds of --loop; a fifth of a lease.',
  }),
  job_grace_seconds: int({
    default: 60,
    min: 0,
    max: DAY,
    unit: 'seconds',
    env: 'SCM_REAPER_JOB_GRACE_SECONDS',
    about: 'Time a job keeps after its lease ended; one renewal, for a worker that is only slow.',
  }),
  lock_grace_seconds: int({
    default: 120,
    min: 0,
    max: DAY,
    unit: 'seconds',
    env: 'SCM_REAPER_LOCK_GRACE_SECONDS',
    about: 'The same for a lock; longer, so that the job goes first.',
  }),
  run_max_seconds: int({
    default: 3600,
    min: 1,
    max: 30 * DAY,
    unit: 'seconds',
    env: 'SCM_REAPER_RUN_MAX_SECONDS',
    flag: '--max-duration-seconds',
    about: 'A run that has stored no page for this long is taken from its worker, however alive that is.',
  }),
})

const breaker = group('Circuit breaker', {
  failure_rate_threshold: num({
    default: 0.3,
    min: 0,
    max: 1,
    env: 'SCM_CB_FAILURE_RATE_THRESHOLD',
    about: 'Share of failed runs that opens the breaker; below it single bad repositories are at fault.',
  }),
  rate_limit_threshold: num({
    default: 0.2,
    min: 0,
    max: 1,
    env: 'SCM_CB_RATE_LIMIT_THRESHOLD',
    about: 'Share of requests answered 429 that opens it; at a fifth waiting costs more than work.',
  }),
  timeout_rate_threshold: num({
    default: 0.2,
    min: 0,
    max: 1,
    env: 'SCM_CB_TIMEOUT_RATE_THRESHOLD',
    about: 'Share of runs ended by a timeout that opens it; each one holds a worker for a minute.',
  }),
  min_samples: int({
    default: 5,
    min: 1,
    max: 10_000,
    unit: 'runs',
    env: 'SCM_CB_MIN_SAMPLES',
    about:
      'Runs since it was closed that are needed before it may open; with fewer, one failure would be a rate.',
  }),
  enable_smoothing: bool({
    default: true,
    env: 'SCM_CB_ENABLE_SMOOTHING',
    about: 'Judges a moving average instead of the last window, against flapping.',
  }),
  smoothing_alpha: num({
    default: 0.5,
    min: 0.01,
    max: 1,
    env: 'SCM_CB_SMOOTHING_ALPHA',
    about: 'Weight of the newest window in that average; a half follows an outage in two scans.',
  }),
  window_count: int({
    default: 20,
    min: 1,
    max: 10_000,
    unit: 'runs',
    env: 'SCM_CB_WINDOW_COUNT',
    about: 'Most runs a window holds; 20 makes one failure five percent.',
  }),
  window_minutes: int({
    default: 30,
    min: 1,
    max: 10_080,
    unit: 'minutes',
    env: 'SCM_CB_WINDOW_MINUTES',
    about: 'Oldest run a window holds; half an hour forgets an outage that is over.',
  }),
  open_duration_seconds: int({
    default: 300,
    min: 1,
    max: 30 * DAY,
    unit: 'seconds',
    env: 'SCM_CB_OPEN_DURATION_SECONDS',
    about: 'How long it stays open before it probes; a GitLab restart fits in.',
  }),
  half_open_max_requests: int({
    default: 3,
    min: 1,
    max: 1000,
    unit: 'probes',
    env: 'SCM_CB_HALF_OPEN_MAX_REQUESTS',
    about: 'Probes it tries before it opens again; one more than recovery needs.',
  }),
  recovery_success_count: int({
    default: 2,
    min: 1,
    max: 1000,
    unit: 'probes',
    env: 'SCM_CB_RECOVERY_SUCCESS_COUNT',
    about: 'Good probes that close it; two, because one may be luck.',
  }),
  degraded_batch_size: int({
    default: 10,
    min: 1,
    max: 10_000,
    unit: 'records',
    env: 'SCM_CB_DEGRADED_BATCH_SIZE',
    about: 'Most records stored in one transaction of a job that it lets through; a tenth of the usual.',
  }),
  degraded_forward_window_seconds: int({
    default: 300,
    min: 1,
    max: YEAR,
    unit: 'seconds',
    env: 'SCM_CB_DEGRADED_FORWARD_WINDOW_SECONDS',
    about: 'Chunk of a repair that is made while it is not closed; short enough to come to an end.',
  }),
  backfill_only_mode: bool({
    default: true,
    env: 'SCM_CB_BACKFILL_ONLY_MODE',
    about: 'Lets small repairs go on while it is open; a breaker opened by hand stops them too.',
  }),
  backfill_interval_seconds: int({
    default: 600,
    min: 1,
    max: DAY,
    unit: 'seconds',
    env: 'SCM_CB_BACKFILL_INTERVAL_SECONDS',
    about: 'Pause between those repairs; twice the time it stays open.',
  }),
  probe_budget_per_interval: int({
    default: 2,
    min: 1,
    max: 1000,
    unit: 'jobs',
    env: 'SCM_CB_PROBE_BUDGET_PER_INTERVAL',
    about: 'Jobs let through per scan while it probes; as many as recovery needs.',
  }),
  probe_job_types_allowlist: list({
    of: JOB_TYPES,
    default: ['commits'],
    env: 'SCM_CB_PROBE_JOB_TYPES_ALLOWLIST',
    about:
      'Job types that probe first; others do when none of these waits. Commits are the cheapest to ask for.',
  }),
})

const degradation = group('Degradation', {
  min_batch_size: int({
    default: 10,
    min: 1,
    max: 10_000,
    unit: 'records',
    about: 'Smallest batch under pressure; below 10 a transaction costs more than its records.',
  }),
  max_batch_size: int({
    default: 500,
    min: 1,
    max: 10_000,
    unit: 'records',
    about: 'Largest batch, however large batch_size is; 500 stays well within one transaction.',
  }),
  default_batch_size: int({
    default: 100,
    min: 1,
    max: 10_000,
    unit: 'records',
    about: "What a larger batch_size begins with; GitLab's largest page.",
  }),
  batch_shrink_factor: num({
    default: 0.5,
    min: 0.01,
    max: 1,
    about: 'Factor on the batch after a 429 or timeout; halving finds the bearable size quickly.',
  }),
  batch_grow_factor: num({
    default: 1.2,
    min: 1,
    max: 100,
    about: 'Factor on the batch after enough successes; slow, so that it does not swing.',
  }),
  default_forward_window_seconds: int({
    default: 3600,
    min: 1,
    max: YEAR,
    unit: 'seconds',
    about: 'Chunk of a repair after trouble; the age at which a cursor is due.',
  }),
  min_forward_window_seconds: int({
    default: 300,
    min: 1,
    max: YEAR,
    unit: 'seconds',
    about: 'Shortest such chunk, however much went wrong.',
  }),
  max_forward_window_seconds: int({
    default: DAY,
    min: 1,
    max: YEAR,
    unit: 'seconds',
    about: 'Chunk of a repair in calm weather; a day, so that one visit is enough for a night.',
  }),
  window_shrink_factor: num({
    default: 0.5,
    min: 0.01,
    max: 1,
    about: 'Factor on the chunk for each of the latest runs that failed; as for the batch.',
  }),
  window_grow_factor: num({
    default: 1.5,
    min: 1,
    max: 100,
    about:
      'Factor on the chunk for enough good runs among the latest; faster than the batch, since time is cheap.',
  }),
  rate_limit_threshold: int({
    default: 3,
    min: 1,
    max: 1000,
    unit: 'answers',
    about: '429 answers in a row after which patches are left out.',
  }),
  timeout_threshold: int({
    default: 3,
    min: 1,
    max: 1000,
    unit: 'timeouts',
    about: 'Timeouts in a row after which a failed job waits longer than its backoff.',
  }),
  content_too_large_threshold: int({
    default: 5,
    min: 1,
    max: 1000,
    unit: 'answers',
    about: 'Refused large contents in a row after which patches are left out.',
  }),
  base_sleep_seconds: num({
    default: 1,
    min: 0,
    max: 3600,
    unit: 'seconds',
    about:
      'Sleep before the next page after a 429 that named no time, doubled with each further page of that.',
  }),
  max_sleep_seconds: num({
    default: 300,
    min: 0,
    max: DAY,
    unit: 'seconds',
    about: 'Longest such sleep, and longest such wait; as long as a lease, which is renewed meanwhile.',
  }),
  recovery_success_count: int({
    default: 5,
    min: 1,
    max: 1000,
    unit: 'batches',
    about: 'Good batches in a row before it grows again and diffs are asked for again.',
  }),
})

function gitlabToken(names: { env?: readonly string[]; envOfFile?: string }) {
  return {
    token: secret({
      ...(names.env && { env: names.env }),
      from_env: 'token_env',
      from_file: 'token_file',
      ...TOKEN,
      about: 'Access token with scope read_api; better from the environment or a file.',
    }),
    token_env: text({
      default: null,
      ...ENV_NAME,
      example: 'GITLAB_PROD_TOKEN',
      about: 'Environment variable that holds the token, where several tokens are needed.',
    }),
    token_file: path({
      ...(names.envOfFile && { env: names.envOfFile }),
      example: '/run/secrets/gitlab-token',
      about: 'File that holds the token, so that it stands in no environment.',
    }),
  }
}

const gitlab = group('GitLab', {
  url: text({
    default: null,
    env: 'GITLAB_URL',
    ...HTTP_URL,
    example: 'https://gitlab.example.com',
    about: 'The instance of a repository that names none, as in gitlab:123.',
  }),
  ...gitlabToken({ env: ['GITLAB_TOKEN', 'GITLAB_PRIVATE_TOKEN'], envOfFile: 'GITLAB_TOKEN_FILE' }),
  commits_via: choice({
    of: ['api', 'git'],
    default: 'api',
    env: 'SCM_GITLAB_COMMITS_VIA',
    about: 'How commits are read; api needs no disk, git is faster for large histories.',
  }),
  tier: choice({
    of: ['none', 'paths', 'numstat', 'patch'],
    default: 'none',
    env: 'SCM_GITLAB_TIER',
    about:
      'How much of a commit is read; numstat costs the server a diff a commit, paths and patch a request a commit besides.',
  }),
  max_concurrency: int({
    default: 8,
    min: 1,
    max: 100,
    unit: 'requests',
    env: 'SCM_GITLAB_MAX_CONCURRENCY',
    about:
      'Requests to one instance side by side in one process, at most; it begins with 2 and grows while that is borne.',
  }),
  postgres_rate_limit_enabled: bool({
    default: false,
    env: 'SCM_GITLAB_POSTGRES_RATE_LIMIT_ENABLED',
    about: 'Shares one request budget per instance between all workers; off until a GitLab complains.',
  }),
  postgres_rate_limit_rate: num({
    default: 10,
    min: 0.001,
    max: 100_000,
    unit: 'requests/s',
    env: 'SCM_GITLAB_POSTGRES_RATE_LIMIT_RATE',
    about: 'Requests per second of that budget; GitLab.com allows about 33, a small server less.',
  }),
  postgres_rate_limit_burst: int({
    default: 20,
    min: 1,
    max: 1_000_000,
    unit: 'requests',
    env: 'SCM_GITLAB_POSTGRES_RATE_LIMIT_BURST',
    about: 'Requests that may come at once; two seconds of the rate.',
  }),
  postgres_rate_limit_max_wait: num({
    default: 60,
    min: 0,
    max: 3600,
    unit: 'seconds',
    about: 'Longest a request waits for its turn before the job is put off.',
  }),
  tenant_rate_limit_enabled: bool({
    default: false,
    about: 'Gives each tenant a budget of its own within that of the instance.',
  }),
  tenant_rate_limit_rate: num({
    default: 5,
    min: 0.001,
    max: 100_000,
    unit: 'requests/s',
    about: "Requests per second of a tenant; half of the instance's.",
  }),
  tenant_rate_limit_burst: int({
    default: 10,
    min: 1,
    max: 1_000_000,
    unit: 'requests',
    about: 'Requests of a tenant that may come at once; two seconds of its rate.',
  }),
  tenant_rate_limit_max_wait: num({
    default: 30,
    min: 0,
    max: 3600,
    unit: 'seconds',
    about: 'Longest a request waits for the turn of its tenant.',
  }),
  instances: table(
    'gitlab_example_com',
    group('GitLab instance', {
      url: text({
        default: null,
        ...HTTP_URL,
        example: 'https://gitlab.example.com',
        about: 'Address of the instance, where its name alone does not tell.',
      }),
      ...gitlabToken({}),
    }),
  ),
  tenants: table('tenant-vip-001', group('GitLab tenant', gitlabToken({}))),
})

const http = group('HTTP', {
  timeout_seconds: num({
    default: 60,
    min: 0.1,
    max: 3600,
    unit: 'seconds',
    about:
      'Longest one request may take in all, body included; a minute, since GitLab itself gives up there.',
  }),
  max_attempts: int({
    default: 3,
    min: 1,
    max: 100,
    unit: 'attempts',
    about: 'Tries of one request before its job fails; further tries belong to the job.',
  }),
  backoff_base_seconds: num({
    default: 1,
    min: 0,
    max: 3600,
    unit: 'seconds',
    about: 'First wait before another try, doubled each time, with jitter.',
  }),
  backoff_max_seconds: num({
    default: 60,
    min: 0,
    max: 3600,
    unit: 'seconds',
    about: 'Longest such wait; a worker should not sleep through a renewal.',
  }),
})

const svn = group('SVN', {
  tier: choice({
    of: ['paths', 'numstat', 'patch'],
    default: 'paths',
    env: 'SCM_SVN_TIER',
    about:
      'How much of a revision is read; paths come with the log, numstat and patch cost the server a diff each.',
  }),
  username: text({
    default: null,
    env: 'SVN_USERNAME',
    ...PASSWORD,
    example: 'svn_user',
    about: 'Who svn logs in as; without it, anonymously.',
  }),
  password: secret({
    env: 'SVN_PASSWORD',
    from_env: 'password_env',
    from_file: 'password_file',
    ...PASSWORD,
    about: 'Password, handed to svn through stdin and never as an argument.',
  }),
  password_env: text({
    default: null,
    ...ENV_NAME,
    example: 'SVN_PROD_PASSWORD',
    about: 'Environment variable that holds the password.',
  }),
  password_file: path({
    example: '/run/secrets/svn-password',
    about: 'File that holds the password, so that it stands in no environment.',
  }),
  batch_size: int({
    default: 100,
    min: 1,
    max: 100_000,
    unit: 'revisions',
    about:
      'Revisions stored in one transaction; how many are asked for at a time adapts to how fast they come.',
  }),
  trust_server_cert: bool({
    default: false,
    about: 'Accepts a certificate of an unknown authority; off, as it opens the door to anyone between.',
  }),
  command_timeout: int({
    default: 120,
    min: 1,
    max: DAY,
    unit: 'seconds',
    about: 'Longest one svn command may take; below half a lease.',
  }),
})

const executor = group('XXL-Job executor', {
  admin_addresses: list({
    default: [],
    env: 'SCM_EXECUTOR_ADMIN_ADDRESSES',
    flag: '--admin',
    example: ['http://xxl-job.example.com:8080/xxl-job-admin'],
    about: 'Addresses of the XXL-Job admins; what one accepts the others need not hear.',
  }),
  app_name: text({
    default: 'engram-scm',
    env: 'SCM_EXECUTOR_APP_NAME',
    pattern: '^[A-Za-z0-9][A-Za-z0-9_-]{3,63}$',
    expected: '4 to 64 letters, digits, - or _',
    about: 'AppName of the executor, as it is registered in the admin.',
  }),
  access_token: secret({
    env: 'SCM_EXECUTOR_ACCESS_TOKEN',
    from_file: 'access_token_file',
    ...TOKEN,
    about: 'Access token, sent to the admins and demanded of them; needed to listen beyond this machine.',
  }),
  access_token_file: path({
    example: '/run/secrets/xxl-job-token',
    about: 'File that holds the access token, so that it stands in no environment.',
  }),
  listen: text({
    default: '127.0.0.1:9999',
    env: 'SCM_EXECUTOR_LISTEN',
    about: 'Where the admin reaches the executor; on this machine alone until another address is given.',
  }),
  address: text({
    default: null,
    env: 'SCM_EXECUTOR_ADDRESS',
    ...HTTP_URL,
    example: 'http://sync-1.example.com:9999',
    about: 'What is registered, where the admin does not see the address that is listened on.',
  }),
  protocol: choice({
    of: ['auto', '3.4', '3.5'],
    default: 'auto',
    env: 'SCM_EXECUTOR_PROTOCOL',
    about:
      'Form of the callbacks: 3.4 is also that of 2.x; auto answers in the form in which the trigger came.',
  }),
  parallelism: int({
    default: 4,
    min: 1,
    max: 100,
    unit: 'triggers',
    env: 'SCM_EXECUTOR_PARALLELISM',
    about: 'Triggers run at the same time, each of another job; the next ones wait their turn.',
  }),
  log_retention_days: int({
    default: 30,
    min: 1,
    max: 3650,
    unit: 'days',
    env: 'SCM_EXECUTOR_LOG_RETENTION_DAYS',
    about:
      "How long the log of a trigger is kept, and a callback that no admin takes; XXL-Job's own default.",
  }),
})

const bulk = group('Bulk thresholds (a commit above one counts as bulk)', {
  svn_changed_paths: int({
    default: 100,
    min: 0,
    max: 1_000_000_000,
    unit: 'paths',
    about: 'Changed paths of an SVN revision; more is a branch or an import.',
  }),
  git_total_changes: int({
    default: 1000,
    min: 0,
    max: 1_000_000_000,
    unit: 'lines',
    about: 'Added and deleted lines of a commit; more is rarely written by hand.',
  }),
  git_files_changed: int({
    default: 50,
    min: 0,
    max: 1_000_000_000,
    unit: 'files',
    about: 'Files of a commit; more is a sweep.',
  }),
  diff_size_bytes: int({
    default: 1_048_576,
    min: 0,
    max: 1_073_741_824,
    unit: 'bytes',
    about: 'Size of a diff; more is an import. Above one MiB its summary is kept instead.',
  }),
})

export const CONFIG = group('engram-scm', {
  project,
  postgres,
  storage,
  log,
  scm: group('Sync', {
    preset: choice({
      of: ['none', 'small', 'medium', 'large'],
      default: 'none',
      env: 'ENGRAM_SCM_PRESET',
      about:
        'Defaults for under 10, 10 to 100 or over 100 repositories; any key that is set goes before it, and the default chooses nothing for you.',
    }),
    sync,
    git,
    incremental,
    backfill,
    scheduler,
    worker,
    reaper,
    health,
    circuit_breaker: breaker,
    degradation,
    gitlab,
    http,
    svn,
    executor,
    bulk_thresholds: bulk,
  }),
})

export type Config = Infer<typeof CONFIG>

/** Every secret text of a configuration, the longest first, for redaction by value. */
export function secretsOf(config: Config): string[] {
  const parts = secretsIn(CONFIG, config).flatMap(({ key, value }) => secretParts(key, value))
  return [...new Set(parts)].sort((a, b) => b.length - a.length)
}

/** The configuration as it may be shown: where a secret is set, only that it is. */
export function redactedView(config: Config): Config {
  const view = structuredClone(config)
  for (const { path, key, value } of secretsIn(CONFIG, config)) {
    const holder = path
      .slice(0, -1)
      .reduce<unknown>((at, name) => (at as Record<string, unknown>)[name], view)
    ;(holder as Record<string, unknown>)[path.at(-1) ?? ''] = hidden(key, value)
  }
  return view
}
