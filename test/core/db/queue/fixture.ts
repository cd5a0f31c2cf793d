import type pg from 'pg'
import { type Claiming, claimJobs } from '../../../../src/core/db/queue/claim.ts'
import type { HeldJob } from '../../../../src/core/db/queue/jobs.ts'

export interface SeedJob {
  repo?: number
  type?: string
  tenant?: string
  instance?: string
  priority?: number
  status?: string
  attempts?: number
  /** Seconds from now. */
  due?: number
  mode?: string
}

/** Jobs with plan, slice and lane, straight into the tables; their ids in order. */
export async function seedJobs(pool: pg.Pool, jobs: SeedJob[]): Promise<number[]> {
  const { rows } = await pool.query(
    `with ask as (
       select n, coalesce((j->>'repo')::bigint, 1000000 + nextval('scm.fence')) as repo, coalesce(j->>'type', 'commits') as type, coalesce(j->>'tenant', '') as tenant,
              coalesce(j->>'instance', '') as instance, coalesce((j->>'priority')::int, 100) as priority,
              coalesce(j->>'status', 'pending') as status, coalesce((j->>'attempts')::int, 0) as attempts,
              coalesce((j->>'due')::int, -1) as due, coalesce(j->>'mode', 'incremental') as mode, gen_random_uuid()::text as key
         from jsonb_array_elements($1::jsonb) with ordinality as x(j, n)),
     plan as (
       insert into ing_plan (schedule_instance_id, plan_key, request_hash, provenance_code, operation_code, cursor_key, expr_proto_hash,
              expr_proto_snapshot, window_spec, slice_strategy_code, update_watermark, status_code)
       select 1, key, 'h', 'git:' || repo, 'HARVEST', type, 'h', '{}', '{}', 'SINGLE', true, 'READY' from ask returning id, plan_key),
     slice as (
       insert into ing_plan_slice (plan_id, slice_no, slice_signature_hash, slice_spec, expr_hash, expr_snapshot, status_code)
       select id, 0, repeat('0', 64), '{"window": {"from": null, "to": "2026-01-01T00:00:00.000Z"}}', repeat('0', 64), '{}', 'DISPATCHED'
         from plan returning id, plan_id),
     task as (
       insert into ing_task (schedule_instance_id, plan_id, slice_id, provenance_code, operation_code, repo_id, job_type, mode, instance_key,
              tenant_id, idempotent_key, expr_hash, priority, status, scheduled_at, attempts, active_key)
       select 1, p.id, s.id, 'git:' || repo, 'HARVEST', repo, type, mode, instance, tenant, encode(sha256(convert_to(key, 'UTF8')), 'hex'),
              repeat('0', 64), priority, status, case when status <> 'reserved' then now() + make_interval(secs => due) end, attempts,
              case when mode = 'incremental' and status in ('pending', 'failed', 'running') then repo || ':' || type end
         from ask join plan p on p.plan_key = ask.key join slice s on s.plan_id = p.id order by n
       returning id)
     select id from task order by id`,
    [JSON.stringify(jobs)],
  )
  return rows.map((r) => r.id)
}

export const WIDE = { running: 1000, perInstance: 1000, perTenant: 1000 }

export function claim(pool: pg.Pool, more: Partial<Claiming> = {}): Promise<HeldJob[]> {
  return claimJobs(pool, {
    project: 'default',
    count: 1,
    worker: 'w1',
    leaseSeconds: 300,
    jobTypes: null,
    instances: null,
    tenants: null,
    limits: WIDE,
    ...more,
  })
}

export async function one(pool: pg.Pool, sql: string, values: unknown[] = []) {
  return (await pool.query(sql, values)).rows[0]
}

export async function jobOf(pool: pg.Pool, id: number) {
  return one(pool, 'select * from ing_task where id = $1', [id])
}

/** The lease of a job, its lock and its run ended so many seconds ago; what was parked until then is due. */
export async function expire(pool: pg.Pool, id: number, seconds = 1000): Promise<void> {
  await pool.query(
    `with t as (update ing_task set leased_at = now() - make_interval(secs => lease_seconds + $2), lease_until = now() - make_interval(secs => $2),
            updated_at = clock_timestamp() where id = $1 returning repo_id, job_type, lease_seconds),
     p as (update ing_task o set parked_until = now(), updated_at = clock_timestamp() from t
            where o.repo_id = t.repo_id and o.job_type = t.job_type and o.parked_until is not null),
     r as (update ing_task_run set last_heartbeat = now() - make_interval(secs => $2) where task_id = $1 and status_code = 'RUNNING')
     update scm.sync_locks l set locked_at = now() - make_interval(secs => t.lease_seconds + $2) from t
      where l.repo_id = t.repo_id and l.job_type = t.job_type`,
    [id, seconds],
  )
}
