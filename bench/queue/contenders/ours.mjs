import * as ours from '../ours.mjs'
import { connect } from '../server.mjs'
import { loops } from './loops.mjs'

const CHUNK = 5000

const BACKLOG = `with ask as materialized (
   select n as repo, case when n <= $3::int then 'tenant1' else 'tenant' || n % 15 end as tenant,
          case when n <= $3::int then 'host1' else 'host' || n / 15 % 20 end as instance, encode(sha256(n::text::bytea), 'hex') as hash
     from generate_series($1::int, $2::int) n),
 plan as (
   insert into ing_plan (schedule_instance_id, plan_key, request_hash, provenance_code, operation_code, cursor_key, expr_proto_hash,
          expr_proto_snapshot, window_spec, slice_strategy_code, update_watermark, status_code)
   select 1, hash, hash, 'git:' || repo, 'HARVEST', 'commits', hash, '{}', '{}', 'SINGLE', true, 'READY' from ask returning id, plan_key),
 slice as (
   insert into ing_plan_slice (plan_id, slice_no, slice_signature_hash, slice_spec, expr_hash, expr_snapshot, status_code)
   select id, 0, plan_key, '{"window": {"from": null, "to": "2026-01-01T00:00:00.000Z"}}', plan_key, '{}', 'DISPATCHED' from plan returning id, plan_id),
 task as (
   insert into ing_task (schedule_instance_id, plan_id, slice_id, provenance_code, operation_code, repo_id, job_type, mode, instance_key,
          tenant_id, idempotent_key, expr_hash, status, scheduled_at, active_key)
   select 1, p.id, s.id, 'git:' || repo, 'HARVEST', repo, 'commits', 'incremental', instance, tenant, hash, hash, 'pending',
          now() - interval '1 day' + repo * interval '1 ms', repo || ':commits'
     from ask join plan p on p.plan_key = ask.hash join slice s on s.plan_id = p.id
   returning tenant_id, instance_key)
 insert into scm.lanes (tenant_id, instance_key) select distinct tenant_id, instance_key from task on conflict do nothing`

/** The program's worker as it is, over jobs whose upstream has nothing new. */
async function worker(dsn, concurrency, handled, engine) {
  const stop = new AbortController()
  const ctx = ours.contextOn(engine, dsn, {
    parallelism: concurrency,
    opened: () => handled(1),
    signal: stop.signal,
  })
  const ended = engine.work(ctx, { once: false, drain: true, jobTypes: [], pool: null })
  return async () => {
    const report = await ended
    await ctx.db.end()
    if (report.jobs_failed > 0) throw new Error(report.errors.join('\n'))
  }
}

/** The queue alone: claim, and complete all that was claimed in one transaction. */
const core = (batch) => async (dsn, concurrency, handled, engine) => {
  const ctx = ours.contextOn(engine, dsn, { parallelism: concurrency })
  return loops(
    concurrency,
    () => ctx.db.end(),
    async () => {
      const jobs = await ours.claim(engine, ctx.db, batch)
      if (jobs.length === 0) return false
      handled(jobs.length)
      await ours.complete(engine, ctx.db, jobs)
      return true
    },
  )
}

export default {
  name: 'engram-scm',
  async install(dsn, engine) {
    const ctx = ours.contextOn(engine, dsn)
    await engine.migrate(ctx.db)
    await ctx.db.end()
  },
  async fill(dsn, count, { engine }) {
    const ctx = ours.contextOn(engine, dsn)
    const plans = ours.plansFor(engine, await ours.seedRepos(dsn, count))
    for (let from = 0; from < count; from += CHUNK) {
      await ours.insert(engine, ctx, plans.slice(from, from + CHUNK))
    }
    await ctx.db.end()
  },
  /** The busy ones are all of one tenant on one instance. Rows as the scheduler makes them, but by SQL: a million take a minute. */
  async backlog(dsn, count, busy) {
    const db = await connect(dsn)
    await db.query('set synchronous_commit = off')
    for (let from = 0; from < count; from += 50_000) {
      await db.query(BACKLOG, [from + 1, Math.min(count, from + 50_000), busy])
    }
    await db.end()
  },
  async listen(dsn, started, { engine, jobs }) {
    const stop = new AbortController()
    const ctx = ours.contextOn(engine, dsn, { opened: started, signal: stop.signal })
    const plans = ours.plansFor(engine, await ours.seedRepos(dsn, jobs))
    const ended = engine.work(ctx, { once: false, drain: false, jobTypes: [], pool: null })
    return {
      send: (n) => ours.insert(engine, ctx, [plans[n]]),
      end: async () => {
        stop.abort()
        await ended
        await ctx.db.end()
        await ours.verify(dsn, jobs)
      },
    }
  },
  left: `select count(*)::int as n from ing_task where status <> 'completed'`,
  verify: ours.verify,
  drains: {
    'engram-scm worker': { jobs: 2000, drain: worker },
    'engram-scm core n=1': { jobs: 1200, drain: core(1) },
    'engram-scm core n=10': { jobs: 4000, drain: core(10) },
    'engram-scm core n=100': { jobs: 8000, drain: core(100) },
  },
}
