CREATE TABLE "scm"."leaders" (
	"duty" text PRIMARY KEY NOT NULL,
	"term" bigint NOT NULL,
	"held_by" text NOT NULL,
	"elected_at" timestamp with time zone DEFAULT now() NOT NULL,
	"lease_until" timestamp with time zone NOT NULL,
	CONSTRAINT "ck_leader_term" CHECK (term > 0)
);
--> statement-breakpoint
DROP INDEX "task_by_status_age";--> statement-breakpoint
CREATE INDEX "task_by_status_age" ON "ing_task" USING btree ("status","updated_at") WHERE status <> 'running';