-- The request budget that all processes share: by instance key, and `<instance>:tenant:<id>` for a tenant's own. Every
-- time is the database's. `updated_at` is the instant `tokens` was true; windows and pauses leave it alone.

-- A row is rewritten for each request: room on its page, so that no index is touched and the page cleans itself.
ALTER TABLE scm.sync_rate_limits SET (fillfactor = 50);
--> statement-breakpoint
-- 0 when there is none or it is over; somebody may have written `infinity`, which is never that long.
CREATE FUNCTION scm.seconds_left(until timestamptz, at timestamptz) RETURNS float8 LANGUAGE sql STABLE AS $$
  select case when until > at then least(1e9, extract(epoch from until) - extract(epoch from at))::float8 else 0 end
$$;
--> statement-breakpoint
CREATE FUNCTION scm.bucket_refilled(b scm.sync_rate_limits, at timestamptz) RETURNS float8 LANGUAGE sql STABLE AS $$
  select least(b.burst, greatest(0, b.tokens) + b.rate * scm.seconds_left(at, b.updated_at))
$$;
--> statement-breakpoint
-- Requests it grants at once: what the bucket holds, and no more than the upstream said it still grants.
CREATE FUNCTION scm.bucket_tokens(b scm.sync_rate_limits, at timestamptz) RETURNS float8 LANGUAGE sql STABLE AS $$
  select least(scm.bucket_refilled(b, at),
               case when b.minute_resets_at > at then b.minute_remaining end,
               case when b.hour_resets_at > at then b.hour_remaining end)
$$;
--> statement-breakpoint
-- Seconds until the upstream may be asked at all: a pause, or a window it has announced as used up.
CREATE FUNCTION scm.upstream_wait(b scm.sync_rate_limits, at timestamptz) RETURNS float8 LANGUAGE sql STABLE AS $$
  select greatest(scm.seconds_left(b.paused_until, at),
                  case when b.minute_remaining < 1 then scm.seconds_left(b.minute_resets_at, at) end,
                  case when b.hour_remaining < 1 then scm.seconds_left(b.hour_resets_at, at) end)
$$;
--> statement-breakpoint
-- The same, and until the bucket holds a token.
CREATE FUNCTION scm.bucket_wait(b scm.sync_rate_limits, at timestamptz) RETURNS float8 LANGUAGE sql STABLE AS $$
  select greatest(scm.upstream_wait(b, at),
                  case when scm.bucket_refilled(b, at) < 1
                       then least(1e9, (1 - scm.bucket_refilled(b, at)) / nullif(greatest(0, b.rate), 0)) end)
$$;
--> statement-breakpoint
-- One token from each of these buckets, or from none: 0, or the seconds to wait and the bucket that asks for them.
-- Whoever calls names an instance before its tenant: in any other order two would wait for each other.
CREATE FUNCTION scm.take_turn(keys text[], rates float8[], bursts int[]) RETURNS TABLE (wait float8, bucket text)
LANGUAGE plpgsql SET search_path = pg_catalog SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
DECLARE
  at timestamptz;
BEGIN
  -- Not worth a wait for the disk, under a lock that all requests of an instance want: a server that crashes forgets
  -- the turns of its last half second.
  perform set_config('synchronous_commit', 'off', true);

  -- A bucket nobody has used begins full, and the configuration's rate and burst hold, whatever a row says. A row that
  -- needs no change is not written, but it is locked.
  insert into scm.sync_rate_limits as b (instance_key, tokens, rate, burst)
  select key, burst, rate, burst from unnest(keys, rates, bursts) with ordinality as asked(key, rate, burst, nth) order by nth
      on conflict (instance_key) do update set rate = excluded.rate, burst = excluded.burst
   where (b.rate, b.burst) is distinct from (excluded.rate, excluded.burst);

  -- Read once all locks are held, and so never earlier than the turn before.
  at := clock_timestamp();
  select scm.bucket_wait(b, at), b.instance_key into wait, bucket
    from scm.sync_rate_limits b where b.instance_key = any(keys) order by 1 desc limit 1;
  if wait = 0 then
    update scm.sync_rate_limits b
       set tokens = scm.bucket_refilled(b, at) - 1, updated_at = at, granted = granted + 1,
           minute_remaining = case when minute_resets_at > at then minute_remaining - 1 end,
           hour_remaining = case when hour_resets_at > at then hour_remaining - 1 end
     where b.instance_key = any(keys);
  else
    -- A clock that was set back must not keep a bucket from filling until it is that late again.
    update scm.sync_rate_limits b set updated_at = at where b.instance_key = any(keys) and b.updated_at > at;
  end if;
  return next;
END $$;
