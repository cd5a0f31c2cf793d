import type pg from 'pg'
import { sha256 } from '../../src/core/domain/ledger.ts'

export const ZEROS = '0'.repeat(64)

export interface Rows {
  repoId: number
  otherRepoId: number
  /** Of the first repository; `dead` and `deadToo` are of the same kind. */
  jobs: Record<
    | 'dead'
    | 'deadToo'
    | 'failed'
    | 'running10s'
    | 'running700s'
    | 'running2000s'
    | 'pendingOldLow'
    | 'pendingOldHigh'
    | 'pendingNewLow'
    | 'completed'
    | 'cancelled'
    | 'stormy',
    number
  >
  planId: number
  runs: { fresh: number; silent: number; done: number }
}

/** A state of affairs with one row of everything an operator's statement may have to tell apart. */
export async function makeRows(db: pg.Pool | pg.PoolClient): Promise<Rows> {
  const one = async (sql: string, values: unknown[] = []) =>
    Number(Object.values((await db.query(sql, values)).rows[0])[0])
  const repo = (url: string) =>
    one(`insert into scm.repos (repo_type, url) values ('git', $1) returning repo_id`, [url])
  const repoId = await repo('/srv/project.git')
  const otherRepoId = await repo('/srv/other.git')
  const provenance = `git:${repoId}`
  const hash = sha256('anything')

  const instanceId = await one(
    `insert into ing_schedule_instance (provenance_code, cursor_key, provenance_config_snapshot)
     values ($1, 'commits', '{"git": {"tier": "none"}}') returning id`,
    [provenance],
  )
  const planId = await one(
    `insert into ing_plan (schedule_instance_id, plan_key, request_hash, provenance_code, operation_code, cursor_key,
            expr_proto_hash, expr_proto_snapshot, window_spec, slice_strategy_code, update_watermark, status_code)
     values ($1, 'HARVEST:one', $2, $3, 'HARVEST', 'commits', $2, '{}', '{}', 'TIME', true, 'READY') returning id`,
    [instanceId, hash, provenance],
  )

  let made = 0
  let sliceId = 0
  const job = async (given: Record<string, string>) => {
    made += 1
    sliceId = await one(
      `insert into ing_plan_slice (plan_id, slice_no, slice_signature_hash, slice_spec, expr_hash, expr_snapshot, status_code)
       values ($1, $2, $3, '{"window": {}}', $3, '{}', 'DISPATCHED') returning id`,
      [planId, made, sha256(`slice ${made}`)],
    )
    const columns: Record<string, string> = {
      schedule_instance_id: String(instanceId),
      plan_id: String(planId),
      slice_id: String(sliceId),
      provenance_code: `'${provenance}'`,
      operation_code: `'HARVEST'`,
      repo_id: String(repoId),
      job_type: `'commits'`,
      mode: `'incremental'`,
      idempotent_key: `'${sha256(`task ${made}`)}'`,
      expr_hash: `'${hash}'`,
      updated_at: `now() - interval '${100 - made} minutes'`,
      ...given,
    }
    return one(
      `insert into ing_task (${Object.keys(columns).join(', ')}) values (${Object.values(columns).join(', ')}) returning id`,
    )
  }
  const error = `'{"error_category": "network", "error_message": "no route to host"}'`
  const ended = (status: string, attempts: number) =>
    job({
      status: `'${status}'`,
      attempts: String(attempts),
      finished_at: 'now()',
      error_summary_json: error,
    })
  const held = (seconds: number, fence: number) =>
    job({
      status: `'running'`,
      attempts: '1',
      lease_owner: `'host-${fence}-00000000'`,
      leased_at: `now() - interval '${seconds} seconds'`,
      lease_until: `now() - interval '${seconds - 300} seconds'`,
      fence: String(fence),
    })
  const waiting = (age: string, priority: number, due: string) =>
    job({
      status: `'pending'`,
      priority: String(priority),
      created_at: `now() - interval '${age}'`,
      scheduled_at: due,
    })

  const jobs: Rows['jobs'] = {
    dead: await ended('dead', 3),
    deadToo: await ended('dead', 3),
    failed: await ended('failed', 1),
    running10s: await held(10, 1001),
    running700s: await held(700, 1002),
    running2000s: await held(2000, 1003),
    pendingOldLow: await waiting('8 days', 600, `now() - interval '8 days'`),
    pendingOldHigh: await waiting('8 days', 100, `now() - interval '1 minute'`),
    pendingNewLow: await waiting('1 hour', 600, `now() + interval '1 hour'`),
    completed: await job({ status: `'completed'`, attempts: '1', finished_at: 'now()' }),
    cancelled: await job({ status: `'cancelled'`, finished_at: 'now()' }),
    stormy: await job({ status: `'failed'`, attempts: '2', scheduled_at: `now() + interval '1 hour'` }),
  }

  let fence = 2000
  const run = (task: number, attempt: number, status: string, more = '') => {
    fence += 1
    const over = status !== 'RUNNING'
    return one(
      `insert into ing_task_run (task_id, plan_id, slice_id, attempt_no, fence, worker_id, repo_id, job_type, mode,
              provenance_code, operation_code, expr_hash, status_code, finished_at, last_heartbeat)
       values ($1, $2, $3, $4, $5, 'host-1-00000000', $6, 'commits', 'incremental', $7, 'HARVEST', $8, $9,
               ${over ? 'now()' : 'null'}, now() - interval '${more || '1 second'}') returning id`,
      [task, planId, sliceId, attempt, fence, repoId, provenance, hash, status],
    )
  }
  const runs = {
    done: await run(jobs.completed, 1, 'SUCCEEDED'),
    fresh: await run(jobs.running10s, 1, 'RUNNING'),
    silent: await run(jobs.running2000s, 1, 'RUNNING', '2000 seconds'),
  }
  for (let attempt = 1; attempt <= 5; attempt++) await run(jobs.stormy, attempt, 'FAILED')

  const batch = (no: number, before: string, after: string) =>
    one(
      `insert into ing_task_run_batch (run_id, task_id, slice_id, plan_id, expr_hash, batch_no, before_token, after_token,
              idempotent_key, record_count, status_code, committed_at)
       values ($1, $2, $3, $4, $5, $6, $7, $8, $9, 50, 'SUCCEEDED', now()) returning id`,
      [runs.done, jobs.completed, sliceId, planId, hash, no, before, after, sha256(`batch ${no}`)],
    )
  await db.query(`update ing_task_run set started_at = now() - interval '2 hours' where id = $1`, [
    runs.silent,
  ])
  await batch(1, '', '50:aa')
  await batch(2, '50:aa', '100:bb')

  const mark = '2025-01-02T00:00:00.000Z'
  await db.query(
    `insert into ing_cursor_event (provenance_code, operation_code, cursor_key, namespace_scope_code, namespace_key,
            cursor_type_code, prev_value, new_value, direction_code, reason, cursor_version, idempotent_key, run_id)
     values ($1, 'HARVEST', 'commits', 'GLOBAL', $2, 'TIME', null, '2025-01-01T00:00:00.000Z', 'FORWARD', 'sync', 1, 'e1', $4),
            ($1, 'HARVEST', 'commits', 'GLOBAL', $2, 'TIME', '2025-01-01T00:00:00.000Z', $3, 'FORWARD', 'sync', 2, 'e2', $4),
            ($1, 'HARVEST', 'commits', 'GLOBAL', $2, 'TIME', $3, '2024-01-01T00:00:00.000Z', 'BACKFILL', 'manual_reset', null, 'e3', null)`,
    [provenance, ZEROS, mark, runs.done],
  )
  await db.query(
    `insert into ing_cursor (provenance_code, operation_code, cursor_key, cursor_type_code, cursor_value,
            normalized_instant, version, last_run_id, updated_at)
     values ($1, 'HARVEST', 'commits', 'TIME', $2::text, $2::timestamptz, 2, $3, now() - interval '3 days')`,
    [provenance, mark, runs.done],
  )

  await db.query(
    `insert into scm.sync_locks (repo_id, job_type, locked_by, locked_at, fence, job_id)
     values ($1, 'commits', 'host-1003-00000000', now() - interval '400 seconds', 1003, $3),
            ($2, 'commits', 'host-1001-00000000', now() - interval '10 seconds', 1001, $4),
            ($2, 'mrs', 'host-1002-00000000', now() - interval '1000 seconds', 1002, $5)`,
    [repoId, otherRepoId, jobs.running2000s, jobs.running10s, jobs.running700s],
  )
  await db.query(
    `insert into logbook.kv (namespace, key, value_json) values
       ('scm.sync_health', 'default:global', '{"state": "open", "opened_at": 1735689600, "last_failure_reason": "failure rate"}'),
       ('scm.sync_health', 'default:instance:gitlab.example.com', '{"state": "half_open"}'),
       ('scm.sync_pauses', $1 || ':commits', jsonb_build_object('repo_id', $1::bigint, 'job_type', 'commits',
          'reason', 'manual_pause', 'reason_code', 'maintenance', 'paused_at', extract(epoch from now()),
          'paused_until', extract(epoch from now()) + 3600)),
       ('scm.sync', 'gitlab_cursor:' || $1, '{"watermark": "2025-01-02T00:00:00Z", "run_id": "1"}'),
       ('scm.sync', 'git_cursor:' || $1, '{"watermark": "2025-01-02T00:00:00Z", "run_id": "1"}'),
       ('scm.sync', 'something else', '{}')`,
    [String(repoId)],
  )
  await db.query(
    `update logbook.kv set updated_at = now() - interval '3 days' where namespace = 'scm.sync' and key = 'git_cursor:' || $1`,
    [String(repoId)],
  )
  await db.query(
    `insert into scm.git_refs (repo_id, ref_name, kind, sha, run_id) values ($1, 'refs/heads/main', 'branch', 'aa', $2)`,
    [repoId, runs.done],
  )
  await db.query(
    `insert into scm.git_ref_events (repo_id, ref_name, event, old_sha, new_sha, run_id)
     values ($1, 'refs/heads/main', 'forced', 'aa', 'bb', $2)`,
    [repoId, runs.done],
  )
  await db.query(
    `insert into scm.git_commits (repo_id, commit_sha, parent_shas, author_name, author_email, author_tz_minutes, committer_name,
            committer_email, committer_tz_minutes, message, is_merge, tier, unreachable_since, run_id, batch_id)
     values ($1, 'aa', '{}', 'A', 'a@b', 0, 'A', 'a@b', 0, 'left behind', false, 'none', now(), $2, 1),
            ($1, 'bb', '{}', 'A', 'a@b', 0, 'A', 'a@b', 0, 'reachable', false, 'none', null, $2, 1)`,
    [repoId, runs.done],
  )
  return { repoId, otherRepoId, jobs, planId, runs }
}

/** Runs `work` in a transaction that leaves no trace. */
export async function undone<T>(pool: pg.Pool, work: (tx: pg.PoolClient) => Promise<T>): Promise<T> {
  const tx = await pool.connect()
  try {
    await tx.query('begin')
    return await work(tx)
  } finally {
    await tx.query('rollback')
    tx.release()
  }
}
