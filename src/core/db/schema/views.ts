/** Views: the operators' face of the ledger, and the analysts' face of the facts. */
import { sql } from 'drizzle-orm'
import { boolean, integer, jsonb, text } from 'drizzle-orm/pg-core'
import { instant, long } from './columns.ts'
import { scm } from './scm.ts'

/** Auto-updatable: every UPDATE and DELETE of the runbook runs on it as written. */
export const syncJobs = scm
  .view('sync_jobs', {
    jobId: long('job_id'),
    repoId: long('repo_id'),
    jobType: text('job_type'),
    mode: text('mode'),
    priority: integer('priority'),
    payloadJson: jsonb('payload_json'),
    status: text('status'),
    attempts: integer('attempts'),
    maxAttempts: integer('max_attempts'),
    notBefore: instant('not_before'),
    lockedBy: text('locked_by'),
    lockedAt: instant('locked_at'),
    leaseSeconds: integer('lease_seconds'),
    errorSummaryJson: jsonb('error_summary_json'),
    lastRunId: long('last_run_id'),
    gitlabInstance: text('gitlab_instance'),
    tenantId: text('tenant_id'),
    createdAt: instant('created_at'),
    updatedAt: instant('updated_at'),
  })
  .as(sql`
    select id as job_id, repo_id, job_type, mode, priority, params as payload_json, status, attempts, max_attempts,
           scheduled_at as not_before, lease_owner as locked_by, leased_at as locked_at, lease_seconds,
           error_summary_json, last_run_id, instance_key as gitlab_instance, tenant_id, created_at, updated_at
      from public.ing_task`)

export const syncRuns = scm
  .view('sync_runs', {
    runId: long('run_id'),
    jobId: long('job_id'),
    repoId: long('repo_id'),
    jobType: text('job_type'),
    mode: text('mode'),
    attempt: integer('attempt'),
    workerId: text('worker_id'),
    startedAt: instant('started_at'),
    finishedAt: instant('finished_at'),
    lastHeartbeat: instant('last_heartbeat'),
    status: text('status'),
    syncedCount: integer('synced_count'),
    counts: jsonb('counts'),
    cursorBefore: jsonb('cursor_before'),
    cursorAfter: jsonb('cursor_after'),
    errorSummaryJson: jsonb('error_summary_json'),
    degradationJson: jsonb('degradation_json'),
  })
  .as(sql`
    select id as run_id, task_id as job_id, repo_id, job_type, mode, attempt_no as attempt, worker_id,
           started_at, finished_at, last_heartbeat,
           case status_code when 'RUNNING' then 'running' when 'PLANNED' then 'running'
             when 'SUCCEEDED' then case when coalesce((stats->>'synced_count')::int, 0) = 0 then 'no_data' else 'completed' end
             when 'CANCELLED' then 'cancelled' else 'failed' end as status,
           coalesce((stats->>'synced_count')::int, 0) as synced_count, stats as counts,
           cursor_before, cursor_after, error_summary_json, degradation_json
      from public.ing_task_run`)

/** Plain, so always fresh: there is nothing to refresh after a sync. */
export const facts = scm
  .view('v_facts', {
    sourceType: text('source_type'),
    sourceId: text('source_id'),
    repoId: long('repo_id'),
    ts: instant('ts'),
    authorRaw: text('author_raw'),
    isBulk: boolean('is_bulk'),
    bulkReason: text('bulk_reason'),
    metaJson: jsonb('meta_json'),
  })
  .as(sql`
    select 'git'::text as source_type, 'git:' || repo_id || ':' || commit_sha as source_id, repo_id, ts,
           author_name || ' <' || author_email || '>' as author_raw, is_bulk, bulk_reason,
           jsonb_build_object('message', message, 'is_merge', is_merge, 'files_changed', files_changed,
             'additions', additions, 'deletions', deletions, 'unreachable_since', unreachable_since) as meta_json
      from scm.git_commits
    union all
    select 'svn', 'svn:' || repo_id || ':' || rev_num, repo_id, ts, author, is_bulk, bulk_reason,
           jsonb_build_object('message', message, 'path_count', path_count, 'visibility', visibility)
      from scm.svn_revisions
    union all
    select 'mr', 'mr:' || repo_id || ':' || iid, repo_id, created_at, author_username, false, null,
           jsonb_build_object('title', title, 'status', status, 'updated_at', updated_at, 'deleted_at', deleted_at)
      from scm.mrs
    union all
    select 'review', 'review:' || repo_id || ':' || iid || ':' || source_event_id, repo_id, ts, reviewer_username, false, null,
           jsonb_build_object('event_type', event_type, 'deleted_at', deleted_at)
      from scm.review_events`)
