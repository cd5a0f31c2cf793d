CREATE SCHEMA IF NOT EXISTS "logbook";
--> statement-breakpoint
CREATE SCHEMA IF NOT EXISTS "scm";
--> statement-breakpoint
CREATE SEQUENCE "scm"."fence" INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START WITH 1 CACHE 1;--> statement-breakpoint
CREATE TABLE "ing_task_run_batch" (
	"id" bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY (sequence name "ing_task_run_batch_id_seq" INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START WITH 1 CACHE 1),
	"run_id" bigint NOT NULL,
	"task_id" bigint NOT NULL,
	"slice_id" bigint NOT NULL,
	"plan_id" bigint NOT NULL,
	"expr_hash" text NOT NULL,
	"batch_no" integer NOT NULL,
	"page_no" integer,
	"page_size" integer,
	"before_token" text,
	"after_token" text,
	"idempotent_key" text NOT NULL,
	"record_count" integer DEFAULT 0 NOT NULL,
	"retry_count" integer DEFAULT 0 NOT NULL,
	"status_code" text DEFAULT 'RUNNING' NOT NULL,
	"committed_at" timestamp with time zone,
	"error" text,
	"stats" jsonb,
	"created_at" timestamp with time zone DEFAULT now() NOT NULL,
	CONSTRAINT "uk_run_batch_no" UNIQUE("run_id","batch_no"),
	CONSTRAINT "uk_run_before_tok" UNIQUE("run_id","before_token"),
	CONSTRAINT "uk_batch_idem" UNIQUE("idempotent_key"),
	CONSTRAINT "ck_batch_status" CHECK (status_code in ('RUNNING', 'SUCCEEDED', 'FAILED', 'SKIPPED')),
	CONSTRAINT "ck_batch_committed" CHECK ((status_code = 'SUCCEEDED') = (committed_at is not null)),
	CONSTRAINT "ck_batch_no" CHECK (batch_no >= 1 and record_count >= 0),
	CONSTRAINT "ck_batch_place" CHECK (before_token is not null or page_no is not null)
);
--> statement-breakpoint
CREATE TABLE "ing_cursor_event" (
	"id" bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY (sequence name "ing_cursor_event_id_seq" INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START WITH 1 CACHE 1),
	"provenance_code" text NOT NULL,
	"operation_code" text NOT NULL,
	"cursor_key" text NOT NULL,
	"namespace_scope_code" text NOT NULL,
	"namespace_key" text NOT NULL,
	"cursor_type_code" text NOT NULL,
	"prev_value" text,
	"new_value" text NOT NULL,
	"observed_max_value" text,
	"prev_instant" timestamp with time zone,
	"new_instant" timestamp with time zone,
	"prev_numeric" bigint,
	"new_numeric" bigint,
	"window_from" timestamp with time zone,
	"window_to" timestamp with time zone,
	"direction_code" text NOT NULL,
	"reason" text DEFAULT 'sync' NOT NULL,
	"cursor_version" bigint,
	"idempotent_key" text NOT NULL,
	"schedule_instance_id" bigint,
	"plan_id" bigint,
	"slice_id" bigint,
	"task_id" bigint,
	"run_id" bigint,
	"batch_id" bigint,
	"expr_hash" text,
	"created_at" timestamp with time zone DEFAULT now() NOT NULL,
	CONSTRAINT "uk_cur_evt_idem" UNIQUE("idempotent_key"),
	CONSTRAINT "ck_cursor_event_direction" CHECK (direction_code in ('FORWARD', 'BACKFILL')),
	CONSTRAINT "ck_cursor_event_version" CHECK ((direction_code = 'FORWARD') = (cursor_version is not null))
);
--> statement-breakpoint
CREATE TABLE "ing_cursor" (
	"id" bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY (sequence name "ing_cursor_id_seq" INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START WITH 1 CACHE 1),
	"provenance_code" text NOT NULL,
	"operation_code" text NOT NULL,
	"cursor_key" text NOT NULL,
	"namespace_scope_code" text DEFAULT 'GLOBAL' NOT NULL,
	"namespace_key" text DEFAULT repeat('0', 64) NOT NULL,
	"cursor_type_code" text NOT NULL,
	"cursor_value" text NOT NULL,
	"observed_max_value" text,
	"normalized_instant" timestamp with time zone,
	"normalized_numeric" bigint,
	"schedule_instance_id" bigint,
	"plan_id" bigint,
	"slice_id" bigint,
	"task_id" bigint,
	"last_run_id" bigint,
	"last_batch_id" bigint,
	"expr_hash" text,
	"version" bigint DEFAULT 0 NOT NULL,
	"created_at" timestamp with time zone DEFAULT now() NOT NULL,
	"updated_at" timestamp with time zone DEFAULT now() NOT NULL,
	CONSTRAINT "uk_cursor_ns" UNIQUE("provenance_code","operation_code","cursor_key","namespace_scope_code","namespace_key"),
	CONSTRAINT "ck_cursor_scope" CHECK (namespace_scope_code in ('GLOBAL', 'EXPR', 'CUSTOM')),
	CONSTRAINT "ck_cursor_type" CHECK (cursor_type_code in ('TIME', 'ID', 'TOKEN')),
	CONSTRAINT "ck_cursor_ns" CHECK (length(namespace_key) = 64)
);
--> statement-breakpoint
CREATE TABLE "ing_plan" (
	"id" bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY (sequence name "ing_plan_id_seq" INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START WITH 1 CACHE 1),
	"schedule_instance_id" bigint NOT NULL,
	"plan_key" text NOT NULL,
	"request_hash" text NOT NULL,
	"provenance_code" text NOT NULL,
	"operation_code" text NOT NULL,
	"cursor_key" text NOT NULL,
	"expr_proto_hash" text NOT NULL,
	"expr_proto_snapshot" jsonb NOT NULL,
	"window_spec" jsonb NOT NULL,
	"window_from" timestamp with time zone,
	"window_to" timestamp with time zone,
	"slice_strategy_code" text NOT NULL,
	"slice_params" jsonb,
	"update_watermark" boolean NOT NULL,
	"status_code" text NOT NULL,
	"record_remarks" jsonb,
	"created_at" timestamp with time zone DEFAULT now() NOT NULL,
	"updated_at" timestamp with time zone DEFAULT now() NOT NULL,
	CONSTRAINT "uk_plan_key" UNIQUE("plan_key"),
	CONSTRAINT "ck_plan_operation" CHECK (operation_code in ('HARVEST', 'BACKFILL', 'UPDATE', 'METRICS')),
	CONSTRAINT "ck_plan_status" CHECK (status_code in ('DRAFT', 'SLICING', 'READY', 'PARTIAL', 'FAILED', 'COMPLETED')),
	CONSTRAINT "ck_plan_strategy" CHECK (slice_strategy_code in ('TIME', 'DATE', 'ID_RANGE', 'CURSOR_LANDMARK', 'VOLUME_BUDGET', 'HYBRID', 'SINGLE')),
	CONSTRAINT "ck_plan_key_length" CHECK (length(plan_key) <= 200)
);
--> statement-breakpoint
CREATE TABLE "ing_task_run" (
	"id" bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY (sequence name "ing_task_run_id_seq" INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START WITH 1 CACHE 1),
	"task_id" bigint NOT NULL,
	"plan_id" bigint NOT NULL,
	"slice_id" bigint NOT NULL,
	"attempt_no" integer DEFAULT 1 NOT NULL,
	"fence" bigint NOT NULL,
	"worker_id" text NOT NULL,
	"repo_id" bigint NOT NULL,
	"job_type" text NOT NULL,
	"mode" text NOT NULL,
	"provenance_code" text NOT NULL,
	"operation_code" text NOT NULL,
	"expr_hash" text NOT NULL,
	"window_from" timestamp with time zone,
	"window_to" timestamp with time zone,
	"status_code" text DEFAULT 'RUNNING' NOT NULL,
	"checkpoint" jsonb,
	"pinned" jsonb,
	"stats" jsonb DEFAULT '{}'::jsonb NOT NULL,
	"cursor_before" jsonb,
	"cursor_after" jsonb,
	"error" text,
	"error_summary_json" jsonb,
	"degradation_json" jsonb,
	"started_at" timestamp with time zone DEFAULT now() NOT NULL,
	"finished_at" timestamp with time zone,
	"last_heartbeat" timestamp with time zone DEFAULT now() NOT NULL,
	"schedule_instance_id" bigint,
	"correlation_id" text,
	"created_at" timestamp with time zone DEFAULT now() NOT NULL,
	CONSTRAINT "uk_run_attempt" UNIQUE("task_id","attempt_no"),
	CONSTRAINT "uk_run_fence" UNIQUE("fence"),
	CONSTRAINT "ck_run_status" CHECK (status_code in ('PLANNED', 'RUNNING', 'SUCCEEDED', 'FAILED', 'CANCELLED')),
	CONSTRAINT "ck_run_end" CHECK ((status_code in ('PLANNED', 'RUNNING')) = (finished_at is null)),
	CONSTRAINT "ck_run_attempt" CHECK (attempt_no > 0 and fence > 0)
);
--> statement-breakpoint
CREATE TABLE "ing_schedule_instance" (
	"id" bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY (sequence name "ing_schedule_instance_id_seq" INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START WITH 1 CACHE 1),
	"scheduler_code" text DEFAULT 'INTERNAL' NOT NULL,
	"scheduler_job_id" text,
	"scheduler_log_id" text,
	"trigger_type_code" text DEFAULT 'MANUAL' NOT NULL,
	"triggered_at" timestamp with time zone DEFAULT now() NOT NULL,
	"trigger_params" jsonb,
	"correlation_id" text,
	"provenance_code" text NOT NULL,
	"cursor_key" text NOT NULL,
	"request_hash" text DEFAULT '' NOT NULL,
	"provenance_config_snapshot" jsonb,
	"created_at" timestamp with time zone DEFAULT now() NOT NULL,
	CONSTRAINT "ck_sched_code" CHECK (scheduler_code in ('XXL', 'QUARTZ', 'CRON', 'INTERNAL')),
	CONSTRAINT "ck_sched_trigger" CHECK (trigger_type_code in ('SCHEDULE', 'MANUAL', 'RETRY', 'API'))
);
--> statement-breakpoint
CREATE TABLE "ing_plan_slice" (
	"id" bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY (sequence name "ing_plan_slice_id_seq" INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START WITH 1 CACHE 1),
	"plan_id" bigint NOT NULL,
	"slice_no" integer NOT NULL,
	"slice_signature_hash" text NOT NULL,
	"slice_spec" jsonb NOT NULL,
	"expr_hash" text NOT NULL,
	"expr_snapshot" jsonb NOT NULL,
	"status_code" text DEFAULT 'PENDING' NOT NULL,
	"created_at" timestamp with time zone DEFAULT now() NOT NULL,
	"updated_at" timestamp with time zone DEFAULT now() NOT NULL,
	CONSTRAINT "uk_slice_unique" UNIQUE("plan_id","slice_no"),
	CONSTRAINT "uk_slice_sig" UNIQUE("plan_id","slice_signature_hash"),
	CONSTRAINT "ck_slice_no" CHECK (slice_no >= 0),
	CONSTRAINT "ck_slice_status" CHECK (status_code in ('PENDING', 'DISPATCHED', 'EXECUTING', 'SUCCEEDED', 'FAILED', 'PARTIAL', 'CANCELLED')),
	CONSTRAINT "ck_slice_hash" CHECK (length(slice_signature_hash) = 64 and length(expr_hash) = 64)
);
--> statement-breakpoint
CREATE TABLE "ing_task" (
	"id" bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY (sequence name "ing_task_id_seq" INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START WITH 1 CACHE 1),
	"schedule_instance_id" bigint NOT NULL,
	"plan_id" bigint NOT NULL,
	"slice_id" bigint NOT NULL,
	"provenance_code" text NOT NULL,
	"operation_code" text NOT NULL,
	"repo_id" bigint NOT NULL,
	"job_type" text NOT NULL,
	"mode" text NOT NULL,
	"instance_key" text DEFAULT '' NOT NULL,
	"tenant_id" text DEFAULT '' NOT NULL,
	"params" jsonb DEFAULT '{}'::jsonb NOT NULL,
	"idempotent_key" text NOT NULL,
	"expr_hash" text NOT NULL,
	"priority" integer DEFAULT 100 NOT NULL,
	"status" text DEFAULT 'pending' NOT NULL,
	"status_code" text GENERATED ALWAYS AS (case status when 'running' then 'RUNNING' when 'completed' then 'SUCCEEDED' when 'dead' then 'FAILED' when 'cancelled' then 'CANCELLED' else 'QUEUED' end) STORED NOT NULL,
	"scheduled_at" timestamp with time zone DEFAULT now(),
	"parked_until" timestamp with time zone,
	"started_at" timestamp with time zone,
	"finished_at" timestamp with time zone,
	"attempts" integer DEFAULT 0 NOT NULL,
	"max_attempts" integer DEFAULT 3 NOT NULL,
	"lease_owner" text,
	"leased_at" timestamp with time zone,
	"lease_seconds" integer DEFAULT 300 NOT NULL,
	"lease_until" timestamp with time zone,
	"fence" bigint DEFAULT 0 NOT NULL,
	"active_key" text,
	"last_run_id" bigint,
	"error_summary_json" jsonb,
	"correlation_id" text,
	"created_at" timestamp with time zone DEFAULT now() NOT NULL,
	"updated_at" timestamp with time zone DEFAULT now() NOT NULL,
	CONSTRAINT "uk_task_idem" UNIQUE("idempotent_key"),
	CONSTRAINT "uk_task_active" UNIQUE("active_key"),
	CONSTRAINT "ck_task_status" CHECK (status in ('pending', 'reserved', 'running', 'failed', 'completed', 'dead', 'cancelled')),
	CONSTRAINT "ck_task_mode" CHECK (mode in ('incremental', 'backfill', 'probe')),
	CONSTRAINT "ck_task_running" CHECK (status <> 'running' or (lease_owner is not null and leased_at is not null and lease_until is not null and fence > 0)),
	CONSTRAINT "ck_task_attempts" CHECK (attempts >= 0 and max_attempts > 0 and lease_seconds > 0),
	CONSTRAINT "ck_task_hash" CHECK (length(idempotent_key) = 64 and length(expr_hash) = 64)
);
--> statement-breakpoint
CREATE TABLE "scm"."git_commits" (
	"repo_id" bigint NOT NULL,
	"commit_sha" text NOT NULL,
	"parent_shas" text[] NOT NULL,
	"author_name" text NOT NULL,
	"author_email" text NOT NULL,
	"authored_at" timestamp with time zone,
	"author_tz_minutes" smallint NOT NULL,
	"committer_name" text NOT NULL,
	"committer_email" text NOT NULL,
	"ts" timestamp with time zone,
	"committer_tz_minutes" smallint NOT NULL,
	"message" text NOT NULL,
	"is_merge" boolean NOT NULL,
	"is_bulk" boolean DEFAULT false NOT NULL,
	"bulk_reason" text,
	"tier" text NOT NULL,
	"degraded_reason" text,
	"files_changed" integer,
	"additions" integer,
	"deletions" integer,
	"paths" jsonb,
	"sanitized" text[],
	"unreachable_since" timestamp with time zone,
	"run_id" bigint NOT NULL,
	"batch_id" bigint NOT NULL,
	"created_at" timestamp with time zone DEFAULT now() NOT NULL,
	"updated_at" timestamp with time zone DEFAULT now() NOT NULL,
	CONSTRAINT "git_commits_pkey" PRIMARY KEY("repo_id","commit_sha"),
	CONSTRAINT "ck_commit_tier" CHECK (tier in ('none', 'paths', 'numstat', 'patch'))
);
--> statement-breakpoint
CREATE TABLE "logbook"."kv" (
	"namespace" text NOT NULL,
	"key" text NOT NULL,
	"value_json" jsonb NOT NULL,
	"updated_at" timestamp with time zone DEFAULT now() NOT NULL,
	CONSTRAINT "kv_pkey" PRIMARY KEY("namespace","key")
);
--> statement-breakpoint
CREATE TABLE "scm"."lanes" (
	"tenant_id" text NOT NULL,
	"instance_key" text NOT NULL,
	"created_at" timestamp with time zone DEFAULT now() NOT NULL,
	CONSTRAINT "lanes_pkey" PRIMARY KEY("tenant_id","instance_key")
);
--> statement-breakpoint
CREATE TABLE "scm"."leaders" (
	"duty" text PRIMARY KEY NOT NULL,
	"term" bigint NOT NULL,
	"held_by" text NOT NULL,
	"elected_at" timestamp with time zone DEFAULT now() NOT NULL,
	"lease_until" timestamp with time zone NOT NULL,
	CONSTRAINT "ck_leader_term" CHECK (term > 0)
);
--> statement-breakpoint
CREATE TABLE "scm"."sync_locks" (
	"lock_id" bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY (sequence name "scm"."sync_locks_lock_id_seq" INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START WITH 1 CACHE 1),
	"repo_id" bigint NOT NULL,
	"job_type" text NOT NULL,
	"locked_by" text NOT NULL,
	"locked_at" timestamp with time zone DEFAULT now() NOT NULL,
	"lease_seconds" integer DEFAULT 300 NOT NULL,
	"fence" bigint NOT NULL,
	"job_id" bigint NOT NULL,
	"created_at" timestamp with time zone DEFAULT now() NOT NULL,
	CONSTRAINT "uk_lock" UNIQUE("repo_id","job_type")
);
--> statement-breakpoint
CREATE TABLE "scm"."mrs" (
	"repo_id" bigint NOT NULL,
	"iid" bigint NOT NULL,
	"source_mr_id" bigint,
	"status" text NOT NULL,
	"title" text NOT NULL,
	"description" text,
	"author_username" text,
	"source_branch" text,
	"target_branch" text,
	"head_sha" text,
	"merge_commit_sha" text,
	"draft" boolean,
	"url" text,
	"user_notes_count" integer,
	"created_at" timestamp with time zone NOT NULL,
	"updated_at" timestamp with time zone NOT NULL,
	"merged_at" timestamp with time zone,
	"closed_at" timestamp with time zone,
	"deleted_at" timestamp with time zone,
	"meta_json" jsonb DEFAULT '{}'::jsonb NOT NULL,
	"digest" text NOT NULL,
	"reviewed_as" text,
	"review_degraded" text,
	"sanitized" text[],
	"run_id" bigint NOT NULL,
	"batch_id" bigint NOT NULL,
	"synced_at" timestamp with time zone DEFAULT now() NOT NULL,
	CONSTRAINT "mrs_pkey" PRIMARY KEY("repo_id","iid"),
	CONSTRAINT "ck_mr_status" CHECK (status in ('open', 'closed', 'merged', 'locked'))
);
--> statement-breakpoint
CREATE TABLE "scm"."operator_events" (
	"id" bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY (sequence name "scm"."operator_events_id_seq" INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START WITH 1 CACHE 1),
	"at" timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
	"actor" text NOT NULL,
	"action" text NOT NULL,
	"target" jsonb NOT NULL,
	"reason" text,
	"before_json" jsonb,
	"after_json" jsonb
);
--> statement-breakpoint
CREATE TABLE "scm"."patch_blobs" (
	"repo_id" bigint NOT NULL,
	"source_key" text NOT NULL,
	"format" text NOT NULL,
	"content" text NOT NULL,
	"sha256" text NOT NULL,
	"size_bytes" bigint NOT NULL,
	"degraded_reason" text,
	"run_id" bigint NOT NULL,
	"created_at" timestamp with time zone DEFAULT now() NOT NULL,
	"updated_at" timestamp with time zone DEFAULT now() NOT NULL,
	CONSTRAINT "patch_blobs_pkey" PRIMARY KEY("repo_id","source_key"),
	CONSTRAINT "ck_patch_format" CHECK (format in ('diff', 'diffstat', 'ministat')),
	CONSTRAINT "ck_patch_hash" CHECK (length(sha256) = 64)
);
--> statement-breakpoint
CREATE TABLE "scm"."sync_rate_limits" (
	"instance_key" text PRIMARY KEY NOT NULL,
	"tokens" double precision NOT NULL,
	"rate" double precision DEFAULT 10 NOT NULL,
	"burst" integer DEFAULT 20 NOT NULL,
	"paused_until" timestamp with time zone,
	"minute_remaining" integer,
	"minute_resets_at" timestamp with time zone,
	"hour_remaining" integer,
	"hour_resets_at" timestamp with time zone,
	"granted" bigint DEFAULT 0 NOT NULL,
	"limited" bigint DEFAULT 0 NOT NULL,
	"meta_json" jsonb DEFAULT '{}'::jsonb NOT NULL,
	"updated_at" timestamp with time zone DEFAULT now() NOT NULL
);
--> statement-breakpoint
CREATE TABLE "scm"."git_ref_events" (
	"ref_event_id" bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY (sequence name "scm"."git_ref_events_ref_event_id_seq" INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START WITH 1 CACHE 1),
	"repo_id" bigint NOT NULL,
	"ref_name" text NOT NULL,
	"event" text NOT NULL,
	"old_sha" text,
	"new_sha" text,
	"run_id" bigint NOT NULL,
	"seen_at" timestamp with time zone DEFAULT now() NOT NULL,
	CONSTRAINT "ck_ref_event" CHECK (event in ('created', 'moved', 'forced', 'deleted'))
);
--> statement-breakpoint
CREATE TABLE "scm"."git_refs" (
	"repo_id" bigint NOT NULL,
	"ref_name" text NOT NULL,
	"kind" text NOT NULL,
	"sha" text NOT NULL,
	"run_id" bigint NOT NULL,
	"updated_at" timestamp with time zone DEFAULT now() NOT NULL,
	CONSTRAINT "git_refs_pkey" PRIMARY KEY("repo_id","ref_name")
);
--> statement-breakpoint
CREATE TABLE "scm"."repos" (
	"repo_id" bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY (sequence name "scm"."repos_repo_id_seq" INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START WITH 1 CACHE 1),
	"repo_type" text NOT NULL,
	"url" text NOT NULL,
	"project_key" text,
	"instance_key" text DEFAULT '' NOT NULL,
	"tenant_id" text DEFAULT '' NOT NULL,
	"enabled" boolean DEFAULT true NOT NULL,
	"settings" jsonb DEFAULT '{}'::jsonb NOT NULL,
	"created_at" timestamp with time zone DEFAULT now() NOT NULL,
	"updated_at" timestamp with time zone DEFAULT now() NOT NULL,
	CONSTRAINT "uk_repo_url" UNIQUE("repo_type","url"),
	CONSTRAINT "ck_repo_type" CHECK (repo_type in ('git', 'gitlab', 'svn')),
	CONSTRAINT "ck_repo_url_without_secret" CHECK (url !~ '://[^/@]*:[^/@]*@')
);
--> statement-breakpoint
CREATE TABLE "scm"."review_events" (
	"repo_id" bigint NOT NULL,
	"iid" bigint NOT NULL,
	"source_event_id" text NOT NULL,
	"kind" text NOT NULL,
	"event_type" text NOT NULL,
	"reviewer_username" text,
	"ts" timestamp with time zone,
	"body" text,
	"payload_json" jsonb DEFAULT '{}'::jsonb NOT NULL,
	"deleted_at" timestamp with time zone,
	"sanitized" text[],
	"run_id" bigint NOT NULL,
	"batch_id" bigint NOT NULL,
	"created_at" timestamp with time zone DEFAULT now() NOT NULL,
	"updated_at" timestamp with time zone DEFAULT now() NOT NULL,
	CONSTRAINT "review_events_pkey" PRIMARY KEY("repo_id","iid","source_event_id"),
	CONSTRAINT "ck_review_kind" CHECK (kind in ('note', 'state', 'approval'))
);
--> statement-breakpoint
CREATE TABLE "scm"."svn_revisions" (
	"repo_id" bigint NOT NULL,
	"rev_num" bigint NOT NULL,
	"author" text,
	"ts" timestamp with time zone,
	"date_raw" text,
	"message" text,
	"visibility" text DEFAULT 'full' NOT NULL,
	"path_count" integer,
	"paths" jsonb,
	"is_bulk" boolean DEFAULT false NOT NULL,
	"bulk_reason" text,
	"tier" text DEFAULT 'paths' NOT NULL,
	"degraded_reason" text,
	"meta_json" jsonb DEFAULT '{}'::jsonb NOT NULL,
	"sanitized" text[],
	"run_id" bigint NOT NULL,
	"batch_id" bigint NOT NULL,
	"created_at" timestamp with time zone DEFAULT now() NOT NULL,
	"updated_at" timestamp with time zone DEFAULT now() NOT NULL,
	CONSTRAINT "svn_revisions_pkey" PRIMARY KEY("repo_id","rev_num"),
	CONSTRAINT "ck_svn_visibility" CHECK (visibility in ('full', 'partial', 'none'))
);
--> statement-breakpoint
CREATE INDEX "batch_by_task" ON "ing_task_run_batch" USING btree ("task_id");--> statement-breakpoint
CREATE INDEX "cursor_event_timeline" ON "ing_cursor_event" USING btree ("provenance_code","operation_code","cursor_key","namespace_scope_code","namespace_key","id");--> statement-breakpoint
CREATE INDEX "plan_by_request" ON "ing_plan" USING btree ("provenance_code","request_hash","id");--> statement-breakpoint
CREATE INDEX "plan_by_trigger" ON "ing_plan" USING btree ("schedule_instance_id");--> statement-breakpoint
CREATE INDEX "run_by_repo" ON "ing_task_run" USING btree ("repo_id","job_type","started_at");--> statement-breakpoint
CREATE INDEX "run_by_start" ON "ing_task_run" USING brin ("started_at");--> statement-breakpoint
CREATE INDEX "run_running" ON "ing_task_run" USING btree ("last_heartbeat") WHERE status_code = 'RUNNING';--> statement-breakpoint
CREATE INDEX "run_with_nothing" ON "ing_task_run" USING btree ("finished_at") WHERE status_code = 'SUCCEEDED' and stats->'pages' = '0';--> statement-breakpoint
CREATE INDEX "idx_sched_src" ON "ing_schedule_instance" USING btree ("scheduler_code","scheduler_job_id","scheduler_log_id");--> statement-breakpoint
CREATE UNIQUE INDEX "uk_sched_log" ON "ing_schedule_instance" USING btree ("scheduler_code","scheduler_job_id","scheduler_log_id","provenance_code","cursor_key","request_hash") WHERE scheduler_log_id is not null;--> statement-breakpoint
CREATE INDEX "task_by_plan" ON "ing_task" USING btree ("plan_id","slice_id");--> statement-breakpoint
CREATE INDEX "task_by_repo" ON "ing_task" USING btree ("repo_id","job_type","id");--> statement-breakpoint
CREATE INDEX "task_ready_by_lane" ON "ing_task" USING btree ("tenant_id","instance_key","job_type","priority","scheduled_at","id") WHERE (status in ('pending', 'failed')) is true and parked_until is null;--> statement-breakpoint
CREATE INDEX "task_parked" ON "ing_task" USING btree ("parked_until") WHERE (status in ('pending', 'failed')) is true and parked_until is not null;--> statement-breakpoint
CREATE INDEX "task_parked_by_pair" ON "ing_task" USING btree ("repo_id","job_type","priority","id") WHERE (status in ('pending', 'failed')) is true and parked_until is not null;--> statement-breakpoint
CREATE INDEX "task_live_lease" ON "ing_task" USING btree ("lease_until") WHERE status = 'running';--> statement-breakpoint
CREATE INDEX "task_by_status_age" ON "ing_task" USING btree ("status","updated_at") WHERE status <> 'running';--> statement-breakpoint
CREATE INDEX "git_commits_by_time" ON "scm"."git_commits" USING btree ("repo_id","ts");--> statement-breakpoint
CREATE INDEX "mrs_by_update" ON "scm"."mrs" USING btree ("repo_id","updated_at","iid");--> statement-breakpoint
CREATE INDEX "git_ref_events_by_ref" ON "scm"."git_ref_events" USING btree ("repo_id","ref_name","ref_event_id");--> statement-breakpoint
CREATE INDEX "review_events_by_time" ON "scm"."review_events" USING btree ("repo_id","ts");--> statement-breakpoint
CREATE INDEX "svn_revisions_by_time" ON "scm"."svn_revisions" USING btree ("repo_id","ts");--> statement-breakpoint
CREATE VIEW "scm"."v_facts" AS (
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
      from scm.review_events);--> statement-breakpoint
CREATE VIEW "scm"."sync_jobs" AS (
    select id as job_id, repo_id, job_type, mode, priority, params as payload_json, status, attempts, max_attempts,
           scheduled_at as not_before, lease_owner as locked_by, leased_at as locked_at, lease_seconds,
           error_summary_json, last_run_id, instance_key as gitlab_instance, tenant_id, created_at, updated_at
      from public.ing_task);--> statement-breakpoint
CREATE VIEW "scm"."sync_runs" AS (
    select id as run_id, task_id as job_id, repo_id, job_type, mode, attempt_no as attempt, worker_id,
           started_at, finished_at, last_heartbeat,
           case status_code when 'RUNNING' then 'running' when 'PLANNED' then 'running'
             when 'SUCCEEDED' then case when coalesce((stats->>'synced_count')::int, 0) = 0 then 'no_data' else 'completed' end
             when 'CANCELLED' then 'cancelled' else 'failed' end as status,
           coalesce((stats->>'synced_count')::int, 0) as synced_count, stats as counts,
           cursor_before, cursor_after, error_summary_json, degradation_json
      from public.ing_task_run);