/** What operators look at (jobs, runs, locks, limits, kv) and the facts themselves. */
import { sql } from 'drizzle-orm'
import {
  boolean,
  check,
  doublePrecision,
  index,
  integer,
  jsonb,
  pgSchema,
  primaryKey,
  smallint,
  text,
  unique,
} from 'drizzle-orm/pg-core'
import { createdAt, id, instant, long, updatedAt } from './columns.ts'

export const scm = pgSchema('scm')
export const logbook = pgSchema('logbook')

/** One number line for every hold of a job: a greater fence always means a later owner. */
export const fence = scm.sequence('fence')

/** Operators' state, edited by hand or by command: cursors, breakers, pauses, in the runbook's key and value forms. */
export const kv = logbook.table(
  'kv',
  {
    namespace: text('namespace').notNull(),
    key: text('key').notNull(),
    valueJson: jsonb('value_json').notNull(),
    updatedAt: updatedAt(),
  },
  (t) => [primaryKey({ name: 'kv_pkey', columns: [t.namespace, t.key] })],
)

export const repos = scm.table(
  'repos',
  {
    repoId: long('repo_id').primaryKey().generatedAlwaysAsIdentity(),
    repoType: text('repo_type').notNull(),
    url: text('url').notNull(),
    projectKey: text('project_key'),
    instanceKey: text('instance_key').notNull().default(''),
    tenantId: text('tenant_id').notNull().default(''),
    enabled: boolean('enabled').notNull().default(true),
    settings: jsonb('settings').notNull().default({}),
    createdAt: createdAt(),
    updatedAt: updatedAt(),
  },
  (t) => [
    unique('uk_repo_url').on(t.repoType, t.url),
    check('ck_repo_type', sql`repo_type in ('git', 'gitlab', 'svn')`),
    check('ck_repo_url_without_secret', sql`url !~ '://[^/@]*:[^/@]*@'`),
  ],
)

/** Tenant x instance with work: the claim walks these instead of the backlog. Carries no counters, so nothing can drift. */
export const lanes = scm.table(
  'lanes',
  {
    tenantId: text('tenant_id').notNull(),
    instanceKey: text('instance_key').notNull(),
    createdAt: createdAt(),
  },
  (t) => [primaryKey({ name: 'lanes_pkey', columns: [t.tenantId, t.instanceKey] })],
)

/**
 * Who leads a duty of which there may be only one (`scheduler`). `term` is issued here and only grows: a leader writes
 * under its term, so one that slept through its lease changes nothing. A row, because session locks break behind pgbouncer.
 */
export const leaders = scm.table(
  'leaders',
  {
    duty: text('duty').primaryKey(),
    term: long('term').notNull(),
    heldBy: text('held_by').notNull(),
    electedAt: instant('elected_at').notNull().default(sql`now()`),
    leaseUntil: instant('lease_until').notNull(),
  },
  () => [check('ck_leader_term', sql`term > 0`)],
)

/** Who syncs a (repo, job type). No row = free; the row ends by itself at locked_at + lease_seconds. */
export const locks = scm.table(
  'sync_locks',
  {
    lockId: long('lock_id').primaryKey().generatedAlwaysAsIdentity(),
    repoId: long('repo_id').notNull(),
    jobType: text('job_type').notNull(),
    lockedBy: text('locked_by').notNull(),
    lockedAt: instant('locked_at').notNull().default(sql`now()`),
    leaseSeconds: integer('lease_seconds').notNull().default(300),
    fence: long('fence').notNull(),
    jobId: long('job_id').notNull(),
    createdAt: createdAt(),
  },
  (t) => [unique('uk_lock').on(t.repoId, t.jobType)],
)

/** What people changed through `admin`: one row a thing, written with the change and never touched again. */
export const operatorEvents = scm.table('operator_events', {
  id: id(),
  at: instant('at').notNull().default(sql`clock_timestamp()`),
  actor: text('actor').notNull(),
  /** The command's words: `jobs reset-dead`. */
  action: text('action').notNull(),
  target: jsonb('target').notNull(),
  reason: text('reason'),
  beforeJson: jsonb('before_json'),
  afterJson: jsonb('after_json'),
})

/** The request budget that all processes share, by instance key or `<instance>:tenant:<id>`. */
export const rateLimits = scm.table('sync_rate_limits', {
  instanceKey: text('instance_key').primaryKey(),
  /** As of updated_at; scm.bucket_tokens() tells them as of now. */
  tokens: doublePrecision('tokens').notNull(),
  rate: doublePrecision('rate').notNull().default(10),
  burst: integer('burst').notNull().default(20),
  pausedUntil: instant('paused_until'),
  /** What the upstream last said it still grants, less what was taken since. */
  minuteRemaining: integer('minute_remaining'),
  minuteResetsAt: instant('minute_resets_at'),
  hourRemaining: integer('hour_remaining'),
  hourResetsAt: instant('hour_resets_at'),
  /** Turns granted, and times the upstream asked for silence, since the row was made. */
  granted: long('granted').notNull().default(0),
  limited: long('limited').notNull().default(0),
  /** Of the last pause: last_429_at, last_retry_after (s), pause_reason. */
  metaJson: jsonb('meta_json').notNull().default({}),
  updatedAt: updatedAt(),
})

export const commits = scm.table(
  'git_commits',
  {
    repoId: long('repo_id').notNull(),
    commitSha: text('commit_sha').notNull(),
    parentShas: text('parent_shas').array().notNull(),
    authorName: text('author_name').notNull(),
    authorEmail: text('author_email').notNull(),
    authoredAt: instant('authored_at'),
    authorTzMinutes: smallint('author_tz_minutes').notNull(),
    committerName: text('committer_name').notNull(),
    committerEmail: text('committer_email').notNull(),
    /** Committed at; null when the repository's number cannot be a date. */
    ts: instant('ts'),
    committerTzMinutes: smallint('committer_tz_minutes').notNull(),
    message: text('message').notNull(),
    isMerge: boolean('is_merge').notNull(),
    isBulk: boolean('is_bulk').notNull().default(false),
    bulkReason: text('bulk_reason'),
    tier: text('tier').notNull(),
    degradedReason: text('degraded_reason'),
    filesChanged: integer('files_changed'),
    additions: integer('additions'),
    deletions: integer('deletions'),
    paths: jsonb('paths'),
    /** Names of the fields that were cleaned because PostgreSQL could not hold them as they were. */
    sanitized: text('sanitized').array(),
    /** Set when no ref reaches the commit any more (forced push, deleted branch); rows are never deleted. */
    unreachableSince: instant('unreachable_since'),
    /** Run and batch that wrote the row as it is. */
    runId: long('run_id').notNull(),
    batchId: long('batch_id').notNull(),
    createdAt: createdAt(),
    updatedAt: updatedAt(),
  },
  (t) => [
    primaryKey({ name: 'git_commits_pkey', columns: [t.repoId, t.commitSha] }),
    index('git_commits_by_time').on(t.repoId, t.ts),
    check('ck_commit_tier', sql`tier in ('none', 'paths', 'numstat', 'patch')`),
  ],
)

/** Where every ref stood when its commits were stored: the cursor of commits. */
export const refs = scm.table(
  'git_refs',
  {
    repoId: long('repo_id').notNull(),
    refName: text('ref_name').notNull(),
    kind: text('kind').notNull(),
    sha: text('sha').notNull(),
    runId: long('run_id').notNull(),
    updatedAt: updatedAt(),
  },
  (t) => [primaryKey({ name: 'git_refs_pkey', columns: [t.repoId, t.refName] })],
)

export const refEvents = scm.table(
  'git_ref_events',
  {
    refEventId: long('ref_event_id').primaryKey().generatedAlwaysAsIdentity(),
    repoId: long('repo_id').notNull(),
    refName: text('ref_name').notNull(),
    event: text('event').notNull(),
    oldSha: text('old_sha'),
    newSha: text('new_sha'),
    runId: long('run_id').notNull(),
    seenAt: instant('seen_at').notNull().default(sql`now()`),
  },
  (t) => [
    index('git_ref_events_by_ref').on(t.repoId, t.refName, t.refEventId),
    check('ck_ref_event', sql`event in ('created', 'moved', 'forced', 'deleted')`),
  ],
)

export const svnRevisions = scm.table(
  'svn_revisions',
  {
    repoId: long('repo_id').notNull(),
    revNum: long('rev_num').notNull(),
    author: text('author'),
    ts: instant('ts'),
    dateRaw: text('date_raw'),
    message: text('message'),
    /** full, partial (paths hidden by authz) or none (the revision is hidden). */
    visibility: text('visibility').notNull().default('full'),
    pathCount: integer('path_count'),
    paths: jsonb('paths'),
    isBulk: boolean('is_bulk').notNull().default(false),
    bulkReason: text('bulk_reason'),
    tier: text('tier').notNull().default('paths'),
    degradedReason: text('degraded_reason'),
    metaJson: jsonb('meta_json').notNull().default({}),
    sanitized: text('sanitized').array(),
    runId: long('run_id').notNull(),
    batchId: long('batch_id').notNull(),
    createdAt: createdAt(),
    updatedAt: updatedAt(),
  },
  (t) => [
    primaryKey({ name: 'svn_revisions_pkey', columns: [t.repoId, t.revNum] }),
    index('svn_revisions_by_time').on(t.repoId, t.ts),
    check('ck_svn_visibility', sql`visibility in ('full', 'partial', 'none')`),
  ],
)

export const mrs = scm.table(
  'mrs',
  {
    repoId: long('repo_id').notNull(),
    iid: long('iid').notNull(),
    sourceId: long('source_mr_id'),
    status: text('status').notNull(),
    title: text('title').notNull(),
    description: text('description'),
    authorUsername: text('author_username'),
    sourceBranch: text('source_branch'),
    targetBranch: text('target_branch'),
    headSha: text('head_sha'),
    mergeCommitSha: text('merge_commit_sha'),
    draft: boolean('draft'),
    url: text('url'),
    userNotesCount: integer('user_notes_count'),
    createdAtSource: instant('created_at').notNull(),
    updatedAtSource: instant('updated_at').notNull(),
    mergedAt: instant('merged_at'),
    closedAt: instant('closed_at'),
    deletedAt: instant('deleted_at'),
    metaJson: jsonb('meta_json').notNull().default({}),
    /** Of everything a listing says: the same again, and nothing has changed. */
    digest: text('digest').notNull(),
    /** The digest its review was last read for, whole; null = to be read. */
    reviewedAs: text('reviewed_as'),
    reviewDegraded: text('review_degraded'),
    sanitized: text('sanitized').array(),
    runId: long('run_id').notNull(),
    batchId: long('batch_id').notNull(),
    syncedAt: instant('synced_at').notNull().default(sql`now()`),
  },
  (t) => [
    primaryKey({ name: 'mrs_pkey', columns: [t.repoId, t.iid] }),
    index('mrs_by_update').on(t.repoId, t.updatedAtSource, t.iid),
    check('ck_mr_status', sql`status in ('open', 'closed', 'merged', 'locked')`),
  ],
)

export const reviewEvents = scm.table(
  'review_events',
  {
    repoId: long('repo_id').notNull(),
    iid: long('iid').notNull(),
    sourceEventId: text('source_event_id').notNull(),
    kind: text('kind').notNull(),
    eventType: text('event_type').notNull(),
    reviewerUsername: text('reviewer_username'),
    ts: instant('ts'),
    body: text('body'),
    payloadJson: jsonb('payload_json').notNull().default({}),
    deletedAt: instant('deleted_at'),
    sanitized: text('sanitized').array(),
    runId: long('run_id').notNull(),
    batchId: long('batch_id').notNull(),
    createdAt: createdAt(),
    updatedAt: updatedAt(),
  },
  (t) => [
    primaryKey({ name: 'review_events_pkey', columns: [t.repoId, t.iid, t.sourceEventId] }),
    index('review_events_by_time').on(t.repoId, t.ts),
    check('ck_review_kind', sql`kind in ('note', 'state', 'approval')`),
  ],
)

/** Diffs, kept once per content. `source_key` is the commit sha or the revision number. */
export const patchBlobs = scm.table(
  'patch_blobs',
  {
    repoId: long('repo_id').notNull(),
    sourceKey: text('source_key').notNull(),
    format: text('format').notNull(),
    content: text('content').notNull(),
    sha256: text('sha256').notNull(),
    sizeBytes: long('size_bytes').notNull(),
    degradedReason: text('degraded_reason'),
    runId: long('run_id').notNull(),
    createdAt: createdAt(),
    updatedAt: updatedAt(),
  },
  (t) => [
    primaryKey({ name: 'patch_blobs_pkey', columns: [t.repoId, t.sourceKey] }),
    check('ck_patch_format', sql`format in ('diff', 'diffstat', 'ministat')`),
    check('ck_patch_hash', sql`length(sha256) = 64`),
  ],
)
