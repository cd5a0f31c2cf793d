-- The queue's two functions. They are functions because each needs several statements in one round trip:
-- a snapshot is older than a lock it waited for, so whoever counts must count in a statement that starts after it.

CREATE TYPE scm.held_job AS (
  job_id bigint, plan_id bigint, slice_id bigint, repo_id bigint, job_type text, mode text, provenance text,
  operation text, expr_hash text, schedule_instance_id bigint, attempt int, max_attempts int, fence bigint,
  lease_seconds int, run_id bigint, batch_id bigint, spec jsonb, checkpoint jsonb, pinned jsonb);
--> statement-breakpoint
-- Takes jobs by id: each with its (repo, job type) lock, a new fence, the run left behind failed, the next run and its
-- first batch opened where the last unfinished run stood. Left out: whatever is not in one of from_states, is held by
-- a live owner, or whose lock is. Every row is reached by its key, whatever the statistics of a young table say.
CREATE FUNCTION scm.hold_jobs(job_ids bigint[], by_worker text, for_seconds int, from_states text[], gone_owner text)
RETURNS SETOF scm.held_job LANGUAGE plpgsql
SET search_path = public, pg_catalog SET jit = off SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_nestloop = on AS $$
BEGIN
  RETURN QUERY
  with job as (
    select * from ing_task
     where id = any(job_ids)
       and (status = any(from_states) or (status = 'running' and (lease_until < now() or lease_owner = gone_owner)))
     order by id for update),
  lock as (
    insert into scm.sync_locks (repo_id, job_type, locked_by, locked_at, lease_seconds, fence, job_id)
    select distinct on (repo_id, job_type) repo_id, job_type, by_worker, now(), for_seconds, nextval('scm.fence'), id
      from job order by repo_id, job_type, priority, id
    on conflict (repo_id, job_type) do update
       set locked_by = excluded.locked_by, locked_at = excluded.locked_at, lease_seconds = excluded.lease_seconds,
           fence = excluded.fence, job_id = excluded.job_id
     where sync_locks.locked_at + make_interval(secs => sync_locks.lease_seconds) < now() or sync_locks.locked_by = gone_owner
    returning fence, job_id),
  stale as (
    update ing_task_run r set status_code = 'FAILED', finished_at = now(), error = 'lease lost: taken over by ' || by_worker,
           error_summary_json = jsonb_build_object('error_category', 'lease_lost', 'error_message', 'taken over by ' || by_worker)
      from lock where r.task_id = lock.job_id and r.status_code = 'RUNNING' returning r.id),
  stale_batch as (
    update ing_task_run_batch b set status_code = 'FAILED', error = 'the run was taken over'
      from stale where b.run_id = stale.id and b.status_code = 'RUNNING'),
  next as (
    select job.*, lock.fence as new_fence, last.attempt_no, s.slice_spec,
           case when last.status_code <> 'SUCCEEDED' then last.checkpoint end as last_checkpoint,
           case when last.status_code <> 'SUCCEEDED' then last.pinned end as last_pinned
      from lock join job on job.id = lock.job_id join ing_plan_slice s on s.id = job.slice_id
      left join lateral (select r.attempt_no, r.status_code, r.checkpoint, r.pinned from ing_task_run r
                          where r.task_id = job.id order by r.attempt_no desc limit 1) last on true),
  run as (
    insert into ing_task_run (task_id, plan_id, slice_id, attempt_no, fence, worker_id, repo_id, job_type, mode,
           provenance_code, operation_code, expr_hash, window_from, window_to, checkpoint, pinned,
           cursor_before, correlation_id)
    select n.id, n.plan_id, n.slice_id, coalesce(n.attempt_no, 0) + 1, n.new_fence, by_worker, n.repo_id, n.job_type,
           n.mode, n.provenance_code, n.operation_code, n.expr_hash, (n.slice_spec->'window'->>'from')::timestamptz,
           (n.slice_spec->'window'->>'to')::timestamptz, n.last_checkpoint, n.last_pinned,
           jsonb_build_object('watermark', n.slice_spec->'window'->'from'), n.correlation_id
      from next n
    returning id, task_id, plan_id, slice_id, expr_hash, checkpoint, pinned),
  batch as (
    insert into ing_task_run_batch (run_id, task_id, slice_id, plan_id, expr_hash, batch_no, before_token, idempotent_key)
    select run.id, run.task_id, run.slice_id, run.plan_id, run.expr_hash, 1, token.at,
           encode(sha256(convert_to(run.id::text || chr(31) || 't' || chr(31) || token.at, 'UTF8')), 'hex')
      from run, lateral (select coalesce(run.checkpoint->>'token', '') as at) token
    returning id, run_id),
  slice as (
    update ing_plan_slice s set status_code = 'EXECUTING', updated_at = now() from run where s.id = run.slice_id),
  held as (
    update ing_task t
       set status = 'running', attempts = case when t.status in ('dead', 'completed', 'cancelled') then 1 else t.attempts + 1 end,
           started_at = coalesce(t.started_at, now()), finished_at = null, lease_owner = by_worker, leased_at = now(),
           lease_seconds = for_seconds, lease_until = now() + make_interval(secs => for_seconds), fence = n.new_fence,
           last_run_id = run.id, updated_at = now(),
           -- A dead job that an operator set to pending may have a successor which holds the key: then it goes without,
           -- and the lock alone keeps the two apart. Insisting would fail this claim and every later one.
           active_key = case when t.mode = 'incremental' and not exists (
               select from ing_task o where o.active_key = t.repo_id || ':' || t.job_type and o.id <> t.id)
             then t.repo_id || ':' || t.job_type end
      from next n join run on run.task_id = n.id
     where t.id = n.id
    returning t.*, run.id as run_id, n.slice_spec, run.checkpoint, run.pinned)
  select h.id, h.plan_id, h.slice_id, h.repo_id, h.job_type, h.mode, h.provenance_code, h.operation_code, h.expr_hash,
         h.schedule_instance_id, h.attempts, h.max_attempts, h.fence, h.lease_seconds, h.run_id, b.id, h.slice_spec,
         h.checkpoint, h.pinned
    from held h join batch b on b.run_id = h.run_id;
END $$;
--> statement-breakpoint
-- A live lock or a pause stands in the way of a (repo, job type). What cannot be read as a pause is none.
-- A function and no join: joined, whole tables would be read for one row, or planned for when they were empty.
CREATE FUNCTION scm.pair_is_blocked(of_repo bigint, of_type text) RETURNS boolean LANGUAGE plpgsql STABLE
SET search_path = public, pg_catalog SET enable_seqscan = off SET enable_bitmapscan = off AS $$
BEGIN
  return exists (select from scm.sync_locks
                  where repo_id = of_repo and job_type = of_type and locked_at + make_interval(secs => lease_seconds) >= now())
      or exists (select from logbook.kv
                  where namespace = 'scm.sync_pauses' and key = of_repo || ':' || of_type
                    and case when jsonb_typeof(value_json->'paused_until') = 'number'
                             then (value_json->>'paused_until')::numeric > extract(epoch from now()) else false end);
END $$;
--> statement-breakpoint
-- pending | failed, due → running, for up to how_many jobs, within limits that hold at every instant:
--   one claim at a time (transaction lock), and what runs is counted from live leases in a statement after it;
--   lanes (tenant x instance) take turns, the tenant with least running first; priority, then due time inside a lane;
--   a lane at its limit costs nothing, however much waits in it. '' is no instance and no tenant: no limit, any pool.
-- Nothing is claimed while the global breaker is open; a paused or locked (repo, job type) is passed over.
-- A pending job is claimable whatever its attempts: only an operator or a release makes one, and both mean it.
-- running, lease over → running: only with what room is left, since walking the ends of old leases may be long.
CREATE FUNCTION scm.claim_jobs(how_many int, by_worker text, for_seconds int, only_types text[], only_instances text[],
  only_tenants text[], max_running int, per_instance int, per_tenant int)
RETURNS SETOF scm.held_job LANGUAGE plpgsql
SET search_path = public, pg_catalog SET jit = off SET plan_cache_mode = force_generic_plan SET lock_timeout = '2s'
-- Nested loops off: the counts are joined by hash; the lateral part stays nested, there is no other way (queue figures: 2.8 → 1.7 ms).
-- Only plain index scans: with the statistics of a young table a bitmap and a sort of the whole lane looked cheaper
-- (measured: 427 buffers against 6), and the plan is kept.
SET enable_nestloop = off SET enable_seqscan = off SET enable_bitmapscan = off AS $$
DECLARE
  wanted int := how_many;
  room int;
  found bigint[];
  held int;
BEGIN
  perform pg_advisory_xact_lock(7301);
  if exists (select from logbook.kv where namespace = 'scm.sync_health' and key = 'default:global' and value_json->>'state' = 'open') then
    return;
  end if;

  loop
    select least(wanted, max_running - count(*)) into room
      from (select from ing_task where status = 'running' and lease_until > now() limit max_running) live;
    exit when room <= 0;

    with live as materialized (
      select instance_key, tenant_id from ing_task where status = 'running' and lease_until > now()),
    lane as (
      select l.tenant_id, l.instance_key, coalesce(t.n, 0) as running,
             case when l.instance_key = '' then room else per_instance - coalesce(i.n, 0) end as instance_room,
             case when l.tenant_id = '' then room else per_tenant - coalesce(t.n, 0) end as tenant_room
        from scm.lanes l
        left join (select instance_key, count(*) as n from live group by 1) i on i.instance_key = l.instance_key
        left join (select tenant_id, count(*) as n from live group by 1) t on t.tenant_id = l.tenant_id
       where l.ctid >= '(0,0)' -- all of them, page by page: through the key each row would be a page of its own
         and (only_instances is null or l.instance_key = '' or l.instance_key = any(only_instances))
         and (only_tenants is null or l.tenant_id = '' or l.tenant_id = any(only_tenants))),
    turn as (
      select lane.*, count(*) over () as lanes,
             running + row_number() over (partition by tenant_id order by random()) + random() * 0.9 as nth
        from lane where instance_room > 0 and tenant_room > 0),
    candidate as (
      select x.id, x.repo_id, x.job_type, l.*
        from (select * from turn order by nth offset 0) l
       cross join lateral (
         select c.id, c.repo_id, c.job_type from ing_task c
          where c.tenant_id = l.tenant_id and c.instance_key = l.instance_key and c.status in ('pending', 'failed')
            and c.scheduled_at <= now() and (c.status = 'pending' or c.attempts < c.max_attempts)
            and (only_types is null or c.job_type = any(only_types))
            and not scm.pair_is_blocked(c.repo_id, c.job_type)
          order by c.priority, c.scheduled_at, c.id
          limit least(greatest(1, ceil(room::numeric / l.lanes)), l.instance_room, l.tenant_room)
            for update skip locked) x
       limit room)
    select array_agg(id) into found from (
      select id, instance_key, tenant_id, instance_room, tenant_room,
             row_number() over (partition by instance_key order by nth, id) as nth_of_instance,
             row_number() over (partition by tenant_id order by nth, id) as nth_of_tenant,
             row_number() over (partition by repo_id, job_type order by nth, id) as nth_of_pair
        from candidate) ranked
     where nth_of_instance <= instance_room and nth_of_tenant <= tenant_room and nth_of_pair = 1;
    exit when found is null;

    return query select * from scm.hold_jobs(found, by_worker, for_seconds, array['pending', 'failed'], null);
    get diagnostics held = row_count;
    wanted := wanted - held;
    exit when held = 0 or wanted <= 0;
  end loop;

  while wanted > 0 loop
    select array[c.id] into found from ing_task c
     where c.status = 'running' and c.lease_until < now() and c.attempts < c.max_attempts
       and (only_types is null or c.job_type = any(only_types))
       and (only_instances is null or c.instance_key = '' or c.instance_key = any(only_instances))
       and (only_tenants is null or c.tenant_id = '' or c.tenant_id = any(only_tenants))
       and (select count(*) from ing_task o where o.status = 'running' and o.lease_until > now()) < max_running
       and (c.instance_key = '' or (select count(*) from ing_task o where o.status = 'running' and o.lease_until > now()
                                       and o.instance_key = c.instance_key) < per_instance)
       and (c.tenant_id = '' or (select count(*) from ing_task o where o.status = 'running' and o.lease_until > now()
                                    and o.tenant_id = c.tenant_id) < per_tenant)
       and not scm.pair_is_blocked(c.repo_id, c.job_type)
     order by c.lease_until limit 1 for update skip locked;
    exit when found is null;
    return query select * from scm.hold_jobs(found, by_worker, for_seconds, array[]::text[], null);
    get diagnostics held = row_count;
    exit when held = 0;
    wanted := wanted - 1;
  end loop;
END $$;
