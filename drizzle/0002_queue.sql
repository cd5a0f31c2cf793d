-- The queue. Functions, because each needs several statements in one round trip: a snapshot is older than a lock it
-- waited for, so whoever counts must count in a statement that starts after it. Rows are reached by `= any(ids)` and
-- the planner is told so: with the statistics of a young table it would join by reading all of it, and plans are kept.
-- `order by id + 0`: by the key itself, that table would be walked along it.

-- A bound of a window, where it is one of time: then it says in which zone. Those of revisions are numbers.
CREATE FUNCTION scm.instant_of(span jsonb, bound text) RETURNS timestamptz LANGUAGE sql STABLE AS $$
  select case when span ? 'timezone' then (span->>bound)::timestamptz end
$$;
--> statement-breakpoint
CREATE TYPE scm.held_job AS (
  job_id bigint, plan_id bigint, slice_id bigint, repo_id bigint, job_type text, mode text, provenance text,
  operation text, expr_hash text, schedule_instance_id bigint, attempt int, max_attempts int, fence bigint,
  lease_seconds int, run_id bigint, spec jsonb, checkpoint jsonb, pinned jsonb, correlation_id text,
  repo jsonb, kv_cursor jsonb, circuit text);
--> statement-breakpoint
-- Takes jobs by id: each with its (repo, job type) lock and a new fence, the run left behind failed, the next run opened
-- where the last unfinished one stood. Left out: whatever is not in one of from_states, is held by a live owner, or
-- whose lock is. A run has no batch before it has a page.
CREATE FUNCTION scm.hold_jobs(job_ids bigint[], by_worker text, for_seconds int, from_states text[], gone_owner text)
RETURNS SETOF scm.held_job LANGUAGE plpgsql
SET search_path = public, pg_catalog SET jit = off SET plan_cache_mode = force_generic_plan SET enable_nestloop = on
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
  held bigint[];
  fences bigint[];
  left_runs bigint[];
BEGIN
  with job as (
    select id, repo_id, job_type, priority from ing_task
     where id = any(job_ids)
       and (status = any(from_states) or (status = 'running' and (lease_until < now() or lease_owner = gone_owner)))
     order by id + 0 for update),
  lock as (
    insert into scm.sync_locks (repo_id, job_type, locked_by, locked_at, lease_seconds, fence, job_id)
    select distinct on (repo_id, job_type) repo_id, job_type, by_worker, now(), for_seconds, nextval('scm.fence'), id
      from job order by repo_id, job_type, priority, id
    on conflict (repo_id, job_type) do update
       set locked_by = excluded.locked_by, locked_at = excluded.locked_at, lease_seconds = excluded.lease_seconds,
           fence = excluded.fence, job_id = excluded.job_id
     where sync_locks.locked_at + make_interval(secs => sync_locks.lease_seconds) < now() or sync_locks.locked_by = gone_owner
    returning job_id, fence)
  select array_agg(job_id), array_agg(fence) into held, fences from lock;
  if held is null then return; end if;

  select array_agg(id) into left_runs from ing_task_run where task_id = any(held) and status_code = 'RUNNING';
  if left_runs is not null then
    update ing_task_run set status_code = 'FAILED', finished_at = now(), error = 'lease lost: taken over by ' || by_worker,
           error_summary_json = jsonb_build_object('error_category', 'lease_lost', 'error_message', 'taken over by ' || by_worker)
     where id = any(left_runs) and status_code = 'RUNNING';
    update ing_task_run_batch set status_code = 'FAILED', error = 'the run was taken over'
     where run_id = any(left_runs) and status_code = 'RUNNING';
  end if;

  return query
  with job as (
    update ing_task t
       set status = 'running', attempts = case when t.status in ('dead', 'completed', 'cancelled') then 1 else t.attempts + 1 end,
           started_at = coalesce(t.started_at, now()), finished_at = null, parked_until = null, lease_owner = by_worker,
           leased_at = now(), lease_seconds = for_seconds, lease_until = now() + make_interval(secs => for_seconds),
           fence = ask.fence, last_run_id = nextval('ing_task_run_id_seq'), updated_at = clock_timestamp(),
           -- A dead job that an operator set to pending may have a successor which holds the key: then it goes without,
           -- and the lock alone keeps the two apart. Insisting would fail this claim and every later one.
           active_key = case when t.mode = 'incremental' and (
               select other.id from ing_task other where other.active_key = t.repo_id || ':' || t.job_type and other.id <> t.id) is null
             then t.repo_id || ':' || t.job_type end
      from unnest(held, fences) ask(id, fence)
      join ing_task before on before.id = ask.id
      join ing_plan_slice s on s.id = before.slice_id
      left join lateral (
        select r.attempt_no, r.status_code, r.checkpoint, r.pinned from ing_task_run r
         where r.task_id = before.id order by r.attempt_no desc limit 1) last on true
     where t.id = ask.id
    returning t.*, s.slice_spec, coalesce(last.attempt_no, 0) + 1 as run_no,
              case when last.status_code <> 'SUCCEEDED' then last.checkpoint end as checkpoint,
              case when last.status_code <> 'SUCCEEDED' then last.pinned end as pinned),
  run as (
    insert into ing_task_run (id, task_id, plan_id, slice_id, attempt_no, fence, worker_id, repo_id, job_type, mode,
           provenance_code, operation_code, expr_hash, window_from, window_to, checkpoint, pinned, cursor_before,
           schedule_instance_id, correlation_id)
    overriding system value
    select j.last_run_id, j.id, j.plan_id, j.slice_id, j.run_no, j.fence, by_worker, j.repo_id, j.job_type, j.mode,
           j.provenance_code, j.operation_code, j.expr_hash, scm.instant_of(j.slice_spec->'window', 'from'),
           scm.instant_of(j.slice_spec->'window', 'to'), j.checkpoint, j.pinned,
           jsonb_build_object('watermark', j.slice_spec->'window'->'from'), j.schedule_instance_id, j.correlation_id
      from job j),
  slice as (
    update ing_plan_slice s set status_code = 'EXECUTING', updated_at = now() from job j where s.id = j.slice_id),
  plan as (
    update ing_plan p set status_code = 'READY', updated_at = now() from job j where p.id = j.plan_id and p.status_code <> 'READY')
  select j.id, j.plan_id, j.slice_id, j.repo_id, j.job_type, j.mode, j.provenance_code, j.operation_code, j.expr_hash,
         j.schedule_instance_id, j.attempts, j.max_attempts, j.fence, j.lease_seconds, j.last_run_id, j.slice_spec,
         j.checkpoint, j.pinned, j.correlation_id,
         -- What a worker looks at first. Read here: the statement that called may have waited for its turn, and see less.
         (select jsonb_build_object('repoId', r.repo_id, 'kind', r.repo_type, 'locator', r.url, 'projectKey', r.project_key,
                   'instanceKey', r.instance_key, 'tenantId', r.tenant_id, 'enabled', r.enabled, 'settings', r.settings)
            from scm.repos r where r.repo_id = j.repo_id),
         (select k.value_json from logbook.kv k
           where k.namespace = 'scm.sync' and k.key = split_part(j.provenance_code, ':', 1) ||
                 case j.job_type when 'commits' then '' when 'mrs' then '_mr' else '_reviews' end || '_cursor:' || j.repo_id),
         null::text -- closed, as far as the queue is concerned
    from job j;
END $$;
--> statement-breakpoint
-- running, held under its fence and its lock, the lease not over → completed, with run, slice, plan and lock. Answers the ids that
-- were still the caller's. job_ids, fences, run_ids, run_stats and cursors_after belong together by position.
CREATE FUNCTION scm.complete_jobs(job_ids bigint[], fences bigint[], run_ids bigint[], run_stats jsonb[], cursors_after jsonb[])
RETURNS SETOF bigint LANGUAGE plpgsql
SET search_path = public, pg_catalog SET jit = off SET plan_cache_mode = force_generic_plan SET enable_nestloop = on
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
  mine bigint[];
  my_runs bigint[];
  my_slices bigint[];
  my_plans bigint[];
  my_locks bigint[];
BEGIN
  select array_agg(id), array_agg(lock_id) into mine, my_locks from (
    -- One look-up a lock: joined, so young and so often rewritten a table would be read whole.
    select t.id, (select l.lock_id from scm.sync_locks l
                   where l.repo_id = t.repo_id and l.job_type = t.job_type and l.fence = t.fence) as lock_id
      from ing_task t
     -- A fence is given to one job only, so the two lists cannot be mixed up.
     where t.id = any(job_ids) and t.fence = any(fences) and t.status = 'running' and t.lease_until > clock_timestamp()
     -- In the order of their ids, as everybody who locks several, so that no two wait for each other.
     order by t.id + 0 for update) held
   where lock_id is not null;
  with job as (
    update ing_task set status = 'completed', finished_at = now(), lease_owner = null, leased_at = null, lease_until = null,
           active_key = null, error_summary_json = null, updated_at = clock_timestamp()
     where id = any(mine) returning last_run_id, slice_id, plan_id)
  select array_agg(last_run_id), array_agg(slice_id), array_agg(plan_id) into my_runs, my_slices, my_plans from job;
  if mine is null then return; end if;

  update ing_task_run set status_code = 'SUCCEEDED', finished_at = now(), last_heartbeat = now(),
         stats = run_stats[array_position(run_ids, id)], cursor_after = cursors_after[array_position(run_ids, id)]
   where id = any(my_runs);
  update ing_plan_slice set status_code = 'SUCCEEDED', updated_at = now() where id = any(my_slices);
  perform scm.roll_up_plans(my_plans);
  delete from scm.sync_locks where lock_id = any(my_locks);
  return query select unnest(mine);
END $$;
--> statement-breakpoint
-- The same for syncs that found nothing: no cursor moves; only the operators' kv cursors say that somebody looked.
CREATE FUNCTION scm.complete_polls(job_ids bigint[], fences bigint[], run_ids bigint[], run_stats jsonb[], cursors_after jsonb[], kv_keys text[])
RETURNS SETOF bigint LANGUAGE plpgsql
SET search_path = public, pg_catalog SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off AS $$
DECLARE
  done bigint[];
BEGIN
  select array_agg(id) into done from scm.complete_jobs(job_ids, fences, run_ids, run_stats, cursors_after) id;
  update logbook.kv
     set updated_at = clock_timestamp(), value_json = case when jsonb_typeof(value_json) <> 'object' then value_json else
           jsonb_set(value_json, '{updated_at}', to_jsonb(to_char(now() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'))) end
   where namespace = 'scm.sync' and key = any(array(
           select ask.key from unnest(job_ids, kv_keys) ask(id, key) where ask.id = any(done)));
  return query select unnest(done);
END $$;
--> statement-breakpoint
-- The heads of repositories, and (without a name) those that runs since the last landed sync were held against. That sync
-- is looked up once for each repository: once for each run it took 39 s where a month of runs had been kept.
CREATE FUNCTION scm.heads_known(repo_ids bigint[]) RETURNS TABLE (repo_id bigint, name text, sha text) LANGUAGE plpgsql STABLE
SET search_path = public, pg_catalog SET jit = off SET plan_cache_mode = force_generic_plan SET enable_nestloop = on
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
BEGIN
  return query
  with landed as materialized (
    select asked.id as repo, last.id, last.started_at
      from unnest(repo_ids) asked(id)
      left join lateral (
        select r.id, r.started_at from ing_task_run r
         where r.repo_id = asked.id and r.job_type = 'commits' and r.mode = 'incremental' and r.status_code = 'SUCCEEDED'
         order by r.started_at desc limit 1) last on true)
  select h.repo_id, h.ref_name, h.sha from scm.git_refs h where h.repo_id = any(repo_ids)
  union all
  select distinct landed.repo, null, head.value
    from landed
   -- offset 0: looked up for each, never the other way round.
   cross join lateral (
     select r.pinned from ing_task_run r
      where r.repo_id = landed.repo and r.job_type = 'commits' and r.started_at >= coalesce(landed.started_at, '-infinity')
        and r.id + 0 > coalesce(landed.id, 0) and r.pinned is not null offset 0) later
   cross join lateral jsonb_each_text(later.pinned) head;
END $$;
--> statement-breakpoint
-- Slices' ends → their plans'. A plan of one slice ends with it; of several the row is locked first and the slices are
-- counted in a statement after that, so that of two slices ending at once the later one sees the earlier.
CREATE FUNCTION scm.roll_up_plans(plan_ids bigint[]) RETURNS void LANGUAGE plpgsql
SET search_path = public, pg_catalog SET jit = off SET plan_cache_mode = force_generic_plan SET enable_nestloop = on
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
BEGIN
  perform from ing_plan where id = any(plan_ids) order by id + 0 for update;
  update ing_plan p set updated_at = now(), status_code = (
      select case when bool_or(s.status_code in ('PENDING', 'DISPATCHED', 'EXECUTING')) then 'READY'
                  when bool_and(s.status_code = 'SUCCEEDED') then 'COMPLETED'
                  when bool_or(s.status_code = 'SUCCEEDED') then 'PARTIAL' else 'FAILED' end
        from ing_plan_slice s where s.plan_id = p.id)
   where id = any(plan_ids);
END $$;
--> statement-breakpoint
-- A job is ready when it is pending or failed and not parked, and a ready job has a lane (tenant x instance): the claim
-- walks lanes. Kept by triggers, so that it holds whoever writes. A claim that finds lanes empty removes them, but only
-- while nobody is on the way to fill one (7302: shared here, alone there).
CREATE FUNCTION scm.open_lane() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_catalog AS $$
BEGIN
  perform pg_advisory_xact_lock_shared(7302);
  insert into scm.lanes (tenant_id, instance_key) values (NEW.tenant_id, NEW.instance_key) on conflict do nothing;
  return null;
END $$;
--> statement-breakpoint
CREATE TRIGGER job_becomes_ready AFTER UPDATE ON public.ing_task FOR EACH ROW
  WHEN (NEW.status IN ('pending', 'failed') AND NEW.parked_until IS NULL
    AND (OLD.status NOT IN ('pending', 'failed') OR OLD.parked_until IS NOT NULL
      OR NEW.tenant_id <> OLD.tenant_id OR NEW.instance_key <> OLD.instance_key))
  EXECUTE FUNCTION scm.open_lane();
--> statement-breakpoint
CREATE FUNCTION scm.open_lanes() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_catalog AS $$
BEGIN
  perform pg_advisory_xact_lock_shared(7302);
  insert into scm.lanes (tenant_id, instance_key)
  select distinct tenant_id, instance_key from made where status in ('pending', 'failed') order by 1, 2 on conflict do nothing;
  return null;
END $$;
--> statement-breakpoint
CREATE TRIGGER jobs_made AFTER INSERT ON public.ing_task REFERENCING NEW TABLE AS made
  FOR EACH STATEMENT EXECUTE FUNCTION scm.open_lanes();
--> statement-breakpoint
-- A slice whose job somebody deletes will never be read: CANCELLED, and its plan says so.
CREATE FUNCTION scm.jobs_are_gone() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_catalog AS $$
BEGIN
  update ing_plan_slice set status_code = 'CANCELLED', updated_at = now()
   where id = any(array(select slice_id from gone)) and status_code in ('PENDING', 'DISPATCHED', 'EXECUTING');
  if found then
    perform scm.roll_up_plans(array(select distinct plan_id from gone));
  end if;
  return null;
END $$;
--> statement-breakpoint
CREATE TRIGGER jobs_are_gone AFTER DELETE ON public.ing_task REFERENCING OLD TABLE AS gone
  FOR EACH STATEMENT EXECUTE FUNCTION scm.jobs_are_gone();
--> statement-breakpoint
-- What was parked and is changed by somebody who does not speak of parking is looked at afresh.
CREATE FUNCTION scm.unpark() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
  NEW.parked_until := NULL;
  RETURN NEW;
END $$;
--> statement-breakpoint
CREATE TRIGGER parked_job_changes BEFORE UPDATE ON public.ing_task FOR EACH ROW
  WHEN (NEW.parked_until = OLD.parked_until AND (NEW.status <> OLD.status OR NEW.scheduled_at IS DISTINCT FROM OLD.scheduled_at
    OR NEW.attempts <> OLD.attempts OR NEW.max_attempts <> OLD.max_attempts OR NEW.repo_id <> OLD.repo_id
    OR NEW.job_type <> OLD.job_type OR NEW.tenant_id <> OLD.tenant_id OR NEW.instance_key <> OLD.instance_key))
  EXECUTE FUNCTION scm.unpark();
--> statement-breakpoint
-- Seconds since 1970, as far as calendars go: a person may have written any number.
CREATE FUNCTION scm.instant_at(seconds numeric) RETURNS timestamptz LANGUAGE sql IMMUTABLE AS $$
  select to_timestamp(least(greatest(seconds, -62135596800), 253402300799)::float8)
$$;
--> statement-breakpoint
-- ISO 8601, without a zone in UTC, or seconds since 1970, as text; null for what is neither.
CREATE FUNCTION scm.instant_written(text) RETURNS timestamptz LANGUAGE plpgsql STABLE SET timezone = 'UTC' SET datestyle = 'ISO' AS $$
BEGIN
  if btrim($1) ~ '^-?[0-9]+([.][0-9]+)?$' then return scm.instant_at(btrim($1)::numeric); end if;
  if btrim($1) ~* '^[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9]{2}:[0-9]{2}(:[0-9]{2}([.,][0-9]{1,9})?)?)?\s*(Z|[+-][0-9]{2}(:?[0-9]{2})?)?$' then
    return replace($1, ',', '.')::timestamptz;
  end if;
  return null;
EXCEPTION WHEN data_exception THEN
  return null; -- a 31st of February
END $$;
--> statement-breakpoint
-- The end of a pause as a person may have written it, over or not; null for what cannot be read.
CREATE FUNCTION scm.pause_end(pause jsonb) RETURNS timestamptz LANGUAGE sql STABLE AS $$
  select case jsonb_typeof(pause->'paused_until')
    when 'number' then scm.instant_at((pause->>'paused_until')::numeric)
    when 'string' then scm.instant_written(pause->>'paused_until') end
$$;
--> statement-breakpoint
-- The same while it lasts.
CREATE FUNCTION scm.paused_until(pause jsonb) RETURNS timestamptz LANGUAGE sql STABLE AS $$
  select case when scm.pause_end(pause) > now() then scm.pause_end(pause) end
$$;
--> statement-breakpoint
-- Ready jobs that may not run now → parked until the latest of what stands in their way. The lock or pause row is held
-- while that is written: its removal waits, and then wakes what it finds parked. Answers how many were parked.
CREATE FUNCTION scm.park_jobs(job_ids bigint[]) RETURNS int LANGUAGE plpgsql
SET search_path = public, pg_catalog SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off AS $$
DECLARE
  parked int;
BEGIN
  with obstacle as materialized (
    select id, greatest(
        case when scheduled_at > now() then scheduled_at end,
        case when status = 'failed' and attempts >= max_attempts then 'infinity'::timestamptz end,
        (select l.locked_at + make_interval(secs => l.lease_seconds) from scm.sync_locks l
          where l.repo_id = t.repo_id and l.job_type = t.job_type for share skip locked),
        (select scm.paused_until(k.value_json) from logbook.kv k
          where k.namespace = 'scm.sync_pauses' and k.key = t.repo_id || ':' || t.job_type for share skip locked)) as until
      from ing_task t where id = any(job_ids))
  update ing_task t set parked_until = obstacle.until, updated_at = clock_timestamp()
    from obstacle where t.id = obstacle.id and t.id = any(job_ids) and obstacle.until > now();
  get diagnostics parked = row_count;
  return parked;
END $$;
--> statement-breakpoint
-- A lock that goes lets the next parked job of its (repo, job type) in; a pause that is changed or removed, all of them.
-- They come back by the same way as those whose time has come. Should this miss one, its time comes too.
CREATE FUNCTION scm.lock_is_gone() RETURNS trigger LANGUAGE plpgsql
SET search_path = public, pg_catalog SET enable_seqscan = off SET enable_bitmapscan = off AS $$
BEGIN
  update ing_task set parked_until = greatest(now(), scheduled_at), updated_at = clock_timestamp()
   where id in (select (
       select t.id from ing_task t
        where t.repo_id = gone.repo_id and t.job_type = gone.job_type and (t.status in ('pending', 'failed')) is true
          and t.parked_until > greatest(now(), t.scheduled_at) and t.parked_until < 'infinity'
        order by t.priority, t.id limit 1) from gone)
     -- Said again: by the time the row is ours, it may have become something else.
     and (status in ('pending', 'failed')) is true and parked_until > greatest(now(), scheduled_at) and parked_until < 'infinity';
  return null;
END $$;
--> statement-breakpoint
CREATE TRIGGER lock_is_gone AFTER DELETE ON scm.sync_locks REFERENCING OLD TABLE AS gone
  FOR EACH STATEMENT EXECUTE FUNCTION scm.lock_is_gone();
--> statement-breakpoint
CREATE FUNCTION scm.pause_has_changed() RETURNS trigger LANGUAGE plpgsql
SET search_path = public, pg_catalog SET enable_seqscan = off SET enable_bitmapscan = off AS $$
BEGIN
  if OLD.key ~ '^[0-9]{1,18}:' then
    update ing_task set parked_until = greatest(now(), scheduled_at), updated_at = clock_timestamp()
     where repo_id = split_part(OLD.key, ':', 1)::bigint and job_type = split_part(OLD.key, ':', 2)
       and (status in ('pending', 'failed')) is true and parked_until > greatest(now(), scheduled_at) and parked_until < 'infinity';
  end if;
  return null;
END $$;
--> statement-breakpoint
CREATE TRIGGER pause_has_changed AFTER UPDATE OR DELETE ON logbook.kv
  FOR EACH ROW WHEN (OLD.namespace = 'scm.sync_pauses') EXECUTE FUNCTION scm.pause_has_changed();
--> statement-breakpoint
-- A host, or a tenant of it, that may be asked sooner than was said (its row changed or removed): what was put off
-- because of it is due then.
CREATE FUNCTION scm.silence_is_shorter() RETURNS trigger LANGUAGE plpgsql
SET search_path = public, pg_catalog SET enable_seqscan = off SET enable_bitmapscan = off AS $$
DECLARE
  due timestamptz := greatest(now(), NEW.paused_until); -- NEW is null where it was removed
BEGIN
  if coalesce(NEW.paused_until >= OLD.paused_until, OLD.paused_until is null) then return null; end if;
  update ing_task set scheduled_at = due, parked_until = due, updated_at = clock_timestamp()
   where id = any(array(
     select id from ing_task
      where (status in ('pending', 'failed')) is true and parked_until > due and parked_until < 'infinity' and scheduled_at > due
        and OLD.instance_key in (instance_key, instance_key || ':tenant:' || tenant_id)
        and error_summary_json->>'error_category' = 'rate_limit'
      order by id + 0 for update));
  return null;
END $$;
--> statement-breakpoint
CREATE TRIGGER silence_is_shorter AFTER UPDATE OF paused_until OR DELETE ON scm.sync_rate_limits
  FOR EACH ROW EXECUTE FUNCTION scm.silence_is_shorter();
--> statement-breakpoint
-- The state of a breaker as a person may have written it: "OPEN", "open ", the bare word. Without one it is closed;
-- `unknown`, what nobody can read, holds everything as one opened by hand.
CREATE FUNCTION scm.breaker_state(breaker jsonb) RETURNS text LANGUAGE sql IMMUTABLE AS $$
  select case coalesce(lower(btrim(case jsonb_typeof(breaker) when 'object' then breaker->>'state' else breaker #>> '{}' end, E' \t\r\n')), 'closed')
    when 'closed' then 'closed' when 'open' then 'open' when 'half_open' then 'half_open' else 'unknown' end
$$;
--> statement-breakpoint
-- Breakers that are not closed. Of a hundred tenants with a row each, a claim reads the few.
CREATE INDEX breaker_not_closed ON logbook.kv (key)
 WHERE namespace = 'scm.sync_health' AND scm.breaker_state(value_json) <> 'closed';
--> statement-breakpoint
-- What an open breaker lets through is looked for where there may be a million others.
CREATE INDEX task_ready_repairs ON ing_task (tenant_id, instance_key, job_type, priority, scheduled_at, id)
 WHERE mode = 'backfill' AND (status IN ('pending', 'failed')) IS TRUE AND parked_until IS NULL;
--> statement-breakpoint
-- As scm.claim_jobs has it, which asks for thousands at a time and so spells it out: not due, its attempts used up, its pair locked or paused.
CREATE FUNCTION scm.is_blocked(t ing_task) RETURNS boolean LANGUAGE sql STABLE AS $$
  select t.scheduled_at > now() or (t.status = 'failed' and t.attempts >= t.max_attempts)
      or exists (select from scm.sync_locks s where s.repo_id = t.repo_id and s.job_type = t.job_type
                    and s.locked_at + make_interval(secs => s.lease_seconds) >= now())
      or exists (select from logbook.kv p where p.namespace = 'scm.sync_pauses' and p.key = t.repo_id || ':' || t.job_type
                    and scm.paused_until(p.value_json) is not null)
$$;
--> statement-breakpoint
-- Jobs behind breakers that are not closed: one for each credit of all of them, repairs while one is open, else probes, of
-- the types that are fit for it while there are such. The least tried first: a repository that fails by itself would
-- come back as the oldest, and answer for all. A breaker that is being judged at this moment lets nobody through.
-- Called by scm.claim_jobs, which holds the queue.
CREATE FUNCTION scm.claim_past_breakers(project text, how_many int, by_worker text, for_seconds int, job_types text[],
  only_instances text[], only_tenants text[], max_running int, per_instance int, per_tenant int)
RETURNS SETOF scm.held_job LANGUAGE plpgsql
SET search_path = public, pg_catalog SET jit = off SET enable_seqscan = off AS $$
DECLARE
  most_rounds constant int := 20;
  most_at_once constant int := 2; -- each takes up to 0.16 s of the queue's time with 300 breakers half open
  taken int := 0;
  heads bigint[];
  passing bigint;
  paid text[];
  circuit text;
  job scm.held_job;
BEGIN
  for round in 1..most_rounds loop
    exit when taken >= least(how_many, most_at_once);
    with gate as materialized (
      select key, substr(key, length(project) + 2) as scope, scm.breaker_state(value_json) as state,
             case when jsonb_typeof(value_json->'credits') = 'number' then (value_json->>'credits')::numeric else 0 end >= 1
               and (scm.breaker_state(value_json) = 'half_open'
                 or (scm.breaker_state(value_json) = 'open' and value_json->>'opened_by' = 'scheduler')) as lets_pass,
             coalesce(value_json->'probe_job_types', '[]') as fit
        from logbook.kv
       where namespace = 'scm.sync_health' and scm.breaker_state(value_json) <> 'closed' and starts_with(key, project || ':')
         for update skip locked),
    known as materialized (
      select substr(key, length(project) + 2) as scope from logbook.kv
       where namespace = 'scm.sync_health' and scm.breaker_state(value_json) <> 'closed' and starts_with(key, project || ':')),
    live as materialized (select instance_key, tenant_id from ing_task where status = 'running' and lease_until > now()),
    lane as materialized (
      select l.tenant_id, l.instance_key, g.keys, g.state, g.fit
        from scm.lanes l cross join lateral (
          select array_agg(key order by key) as keys, min(case gate.state when 'open' then 'open' else 'probe' end) as state,
                 bool_and(lets_pass) as lets_pass, count(*) as n, (array_agg(fit))[1] as fit
            from gate where scope in ('global', 'instance:' || l.instance_key, 'tenant:' || l.tenant_id)) g
       where g.lets_pass
         and g.n = (select count(*) from known where scope in ('global', 'instance:' || l.instance_key, 'tenant:' || l.tenant_id))
         and (only_instances is null or l.instance_key = '' or l.instance_key = any(only_instances))
         and (only_tenants is null or l.tenant_id = '' or l.tenant_id = any(only_tenants))
         and (select count(*) from live) < max_running
         and (l.instance_key = '' or (select count(*) from live where live.instance_key = l.instance_key) < per_instance)
         and (l.tenant_id = '' or (select count(*) from live where live.tenant_id = l.tenant_id) < per_tenant)),
    share as materialized (select greatest(5, 200 / greatest(1, count(*))) as n from lane),
    head as (
      select lane.keys, lane.state, lane.fit, t.*
        from lane cross join unnest(job_types) as k(job_type) cross join lateral (
          (select x.id, x.attempts, x.priority, x.scheduled_at, x.job_type from ing_task x
            where lane.state <> 'open' and x.tenant_id = lane.tenant_id and x.instance_key = lane.instance_key
              and x.job_type = k.job_type and (x.status in ('pending', 'failed')) is true and x.parked_until is null
            order by x.priority, x.scheduled_at, x.id limit (select n from share))
          union all
          (select x.id, x.attempts, x.priority, x.scheduled_at, x.job_type from ing_task x
            where lane.state = 'open' and x.mode = 'backfill' and x.tenant_id = lane.tenant_id
              and x.instance_key = lane.instance_key and x.job_type = k.job_type
              and (x.status in ('pending', 'failed')) is true and x.parked_until is null
            order by x.priority, x.scheduled_at, x.id limit (select n from share))) t),
    -- Who is blocked is asked of the foremost alone: of all of 300 tenants it took a second, with the queue held.
    front as materialized (
      select id, keys, state, nth, (select scm.is_blocked(t) from ing_task t where t.id = f.id) as is_blocked
        from (select head.*, row_number() over (order by fit ? job_type desc, attempts, priority, scheduled_at, random()) as nth
                from head order by nth limit 200) f),
    best as (select id, keys, state from front where not is_blocked order by nth limit 1)
    select (select id from best), (select keys from best), (select case state when 'open' then 'open' else 'half_open' end from best),
           array_agg(id) filter (where is_blocked)
      into passing, paid, circuit, heads from front;

    if passing is null then
      exit when heads is null or scm.park_jobs(heads) = 0; -- else what they hid comes to the front
      continue;
    end if;
    select * into job from scm.hold_jobs(array[passing], by_worker, for_seconds, array['pending', 'failed'], null);
    exit when not found;
    update logbook.kv set value_json = jsonb_set(value_json, '{credits}', to_jsonb((value_json->>'credits')::numeric - 1))
     where namespace = 'scm.sync_health' and key = any(paid);
    taken := taken + 1;
    job.circuit := circuit;
    return next job;
  end loop;
END $$;
--> statement-breakpoint
-- pending | failed, due → running, for up to how_many jobs, within limits that hold at every instant:
--   one claim at a time (transaction lock), and what runs is counted from live leases in a statement after it;
--   lanes take turns, the tenant with least running first; priority, then due time inside a lane;
--   a lane at its limit costs nothing, however much waits in it. '' is no instance and no tenant: no limit, any pool.
-- Behind a breaker that is not closed nothing is claimed but what it lets through. What is met and may not run now is parked, so that the next claim
-- does not meet it again. A pending job is claimable whatever its attempts: only an operator or a release makes one, and
-- both mean it.
-- running, lease over → failed, due at once, and claimed like any other: only with room that is left, since walking the
-- ends of old leases may be long.
CREATE FUNCTION scm.claim_jobs(project text, how_many int, by_worker text, for_seconds int, job_types text[], only_instances text[],
  only_tenants text[], max_running int, per_instance int, per_tenant int)
RETURNS SETOF scm.held_job LANGUAGE plpgsql
SET search_path = public, pg_catalog SET jit = off SET plan_cache_mode = force_generic_plan SET lock_timeout = '2s'
-- Nested loops off: the counts are joined by hash; the lateral part stays nested, there is no other way (queue figures: 2.8 → 1.7 ms).
-- Only plain index scans: with the statistics of a young table a bitmap and a sort of the whole lane looked cheaper
-- (measured: 427 buffers against 6), and the plan is kept.
SET enable_nestloop = off SET enable_seqscan = off SET enable_bitmapscan = off AS $$
DECLARE
  most_rounds constant int := 20;
  wanted int := how_many;
  at_once int := 1; -- jobs looked at per lane; more once some were met that may not run
  room int;
  chosen bigint[];
  blocked bigint[];
  parked int;
  held int;
  revived boolean := false;
  shut_all boolean;
  shut_instances text[];
  shut_tenants text[];
BEGIN
  if current_setting('transaction_isolation') <> 'read committed' then
    raise 'jobs are claimed in read committed transactions only: others count what ran before they waited'
      using errcode = 'invalid_transaction_state', hint = 'reset default_transaction_isolation';
  end if;
  perform pg_advisory_xact_lock(7301);
  select coalesce(bool_or(scope = 'global'), false), coalesce(array_agg(substr(scope, 10)) filter (where starts_with(scope, 'instance:')), '{}'),
         coalesce(array_agg(substr(scope, 8)) filter (where starts_with(scope, 'tenant:')), '{}')
    into shut_all, shut_instances, shut_tenants
    from (select substr(key, length(project) + 2) as scope from logbook.kv
           where namespace = 'scm.sync_health' and scm.breaker_state(value_json) <> 'closed' and starts_with(key, project || ':')) gate;
  -- In the order of the one index that is meant: another would be read whole.
  if (select id from ing_task where (status in ('pending', 'failed')) is true and parked_until <= now() order by parked_until limit 1) is not null then
    update ing_task set parked_until = null, updated_at = clock_timestamp()
     where id = any(array(
       select id from ing_task where (status in ('pending', 'failed')) is true and parked_until <= now()
        order by parked_until limit 200 for update skip locked));
  end if;

  for round in 1..most_rounds loop
    with live as materialized (
      select instance_key, tenant_id from ing_task where status = 'running' and lease_until > now() limit max_running),
    space as materialized (select least(wanted, max_running - count(*)) as room from live),
    lane as (
      select l.tenant_id, l.instance_key, coalesce(t.n, 0) as running, space.room,
             case when l.instance_key = '' then space.room else per_instance - coalesce(i.n, 0) end as instance_room,
             case when l.tenant_id = '' then space.room else per_tenant - coalesce(t.n, 0) end as tenant_room
        from space join scm.lanes l on space.room > 0
        left join (select instance_key, count(*) as n from live group by 1) i on i.instance_key = l.instance_key
        left join (select tenant_id, count(*) as n from live group by 1) t on t.tenant_id = l.tenant_id
       where l.ctid >= '(0,0)' -- all of them, page by page: through the key each row would be a page of its own
         and (only_instances is null or l.instance_key = '' or l.instance_key = any(only_instances))
         and (only_tenants is null or l.tenant_id = '' or l.tenant_id = any(only_tenants))
         and not shut_all and l.instance_key <> all(shut_instances) and l.tenant_id <> all(shut_tenants)),
    turn as materialized (
      select lane.*, running + row_number() over (partition by tenant_id order by random()) + random() * 0.9 as nth
        from lane where instance_room > 0 and tenant_room > 0),
    candidate as (
      select x.*, l.nth, l.instance_key, l.tenant_id, l.instance_room, l.tenant_room
        from (select turn.*, (select count(*) from turn) as lanes from turn order by nth offset 0) l
       cross join lateral (
         select c.* from unnest(job_types) as k(job_type) cross join lateral (
           select t.id, t.repo_id, t.job_type, t.priority, t.scheduled_at,
                  t.scheduled_at > now() or (t.status = 'failed' and t.attempts >= t.max_attempts)
                    or (select true from scm.sync_locks s where s.repo_id = t.repo_id and s.job_type = t.job_type
                           and s.locked_at + make_interval(secs => s.lease_seconds) >= now()) is not null
                    or (select scm.paused_until(p.value_json) from logbook.kv p
                         where p.namespace = 'scm.sync_pauses' and p.key = t.repo_id || ':' || t.job_type) is not null as is_blocked
             from ing_task t
            where t.tenant_id = l.tenant_id and t.instance_key = l.instance_key and t.job_type = k.job_type
              and (t.status in ('pending', 'failed')) is true and t.parked_until is null
            order by t.priority, t.scheduled_at, t.id
            limit greatest(at_once, least(ceil(l.room::numeric / l.lanes), l.instance_room, l.tenant_room))
              for update skip locked) c
          order by c.priority, c.scheduled_at, c.id
          limit greatest(at_once, least(ceil(l.room::numeric / l.lanes), l.instance_room, l.tenant_room))) x
       limit greatest((select space.room from space), at_once)),
    ranked as (
      select id, is_blocked, instance_room, tenant_room,
             row_number() over (partition by is_blocked order by nth, priority, scheduled_at, id) as nth_of_all,
             row_number() over (partition by is_blocked, instance_key order by nth, priority, scheduled_at, id) as nth_of_instance,
             row_number() over (partition by is_blocked, tenant_id order by nth, priority, scheduled_at, id) as nth_of_tenant,
             row_number() over (partition by is_blocked, repo_id, job_type order by nth, priority, scheduled_at, id) as nth_of_pair
        from candidate)
    select (select space.room from space),
           array_agg(id) filter (where not is_blocked and nth_of_all <= (select space.room from space) and nth_of_instance <= instance_room
                                   and nth_of_tenant <= tenant_room and nth_of_pair = 1),
           array_agg(id) filter (where is_blocked)
      into room, chosen, blocked from ranked;
    exit when room <= 0;

    held := 0;
    parked := 0;
    if chosen is not null then
      return query select * from scm.hold_jobs(chosen, by_worker, for_seconds, array['pending', 'failed'], null);
      get diagnostics held = row_count;
      wanted := wanted - held;
    end if;
    if blocked is not null then
      parked := scm.park_jobs(blocked);
    end if;
    exit when wanted <= 0;
    if blocked is not null and at_once < 500 then
      -- What an owner is storing to at this moment cannot be parked: look past it.
      at_once := least(500, at_once * 50);
      continue;
    end if;

    if held = 0 and parked = 0 then
      exit when revived;
      revived := true;
      update ing_task
         set status = 'failed', scheduled_at = now(), parked_until = null, lease_owner = null, leased_at = null,
             lease_until = null, updated_at = clock_timestamp(), error_summary_json = jsonb_build_object('error_category', 'lease_lost',
               'error_message', 'the lease of ' || lease_owner || ' ended without a word')
       where id = any(array(
         select id from ing_task
          where status = 'running' and lease_until < now() and attempts < max_attempts and job_type = any(job_types)
            and (only_instances is null or instance_key = '' or instance_key = any(only_instances))
            and (only_tenants is null or tenant_id = '' or tenant_id = any(only_tenants))
          order by lease_until limit wanted for update skip locked));
      get diagnostics held = row_count;
      exit when held = 0;
    end if;
  end loop;

  if shut_all or shut_instances <> '{}' or shut_tenants <> '{}' then
    return query select * from scm.claim_past_breakers(project, wanted, by_worker, for_seconds, job_types, only_instances, only_tenants,
                                                       max_running, per_instance, per_tenant);
  end if;

  if wanted > 0 and room > 0 and pg_try_advisory_xact_lock(7302) then
    delete from scm.lanes l
     where l.ctid >= '(0,0)'
       and (select t.id from ing_task t where t.tenant_id = l.tenant_id and t.instance_key = l.instance_key
               and (t.status in ('pending', 'failed')) is true and t.parked_until is null limit 1) is null;
  end if;
END $$;
