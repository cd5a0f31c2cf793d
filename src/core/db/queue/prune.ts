import { type Db, row, rows } from '../connect.ts'

export interface Pruned {
  /** Jobs looked at: as many as were asked for, then there may be more. */
  due: number
  plans: number
  jobs: number
  runs: number
  batches: number
}

/** Jobs whose plans may go: ended so long ago, or ended with nothing found (a run without a page). */
const ENDED = {
  long_ago: `select plan_id from ing_task where status in ('completed', 'cancelled') and updated_at < now() - make_interval(hours => $1)`,
  with_nothing: `select plan_id from ing_task_run where status_code = 'SUCCEEDED' and stats->'pages' = '0'
                    and finished_at < now() - make_interval(hours => $1)`,
}

/**
 * Plans that ended more than `hours` ago and all of whose jobs are completed or cancelled → gone, with slices, jobs,
 * runs and batches; of at most `limit` jobs. Dead jobs stay until somebody decides, and their plans with them; cursor
 * events stay for ever. All jobs of a plan are locked first: one that is being run again keeps its plan.
 */
export async function prunePlans(
  db: Db,
  ask: { ended: keyof typeof ENDED; hours: number; limit: number },
): Promise<Pruned> {
  const pruned = await row<Pruned>(
    db,
    `prune_${ask.ended}`,
    `with due as materialized (
       select old.plan_id from (${ENDED[ask.ended]}) old
        where not exists (select from ing_task t where t.plan_id = old.plan_id and t.status not in ('completed', 'cancelled'))
        limit $2),
     finished as materialized (
       select t.plan_id from ing_task t
        where t.plan_id in (select plan_id from due) and t.status in ('completed', 'cancelled') for update skip locked),
     plan as (
       select p.id from ing_plan p join (select plan_id, count(*) as jobs from finished group by plan_id) f on f.plan_id = p.id
        where (select count(*) from ing_task t where t.plan_id = p.id) = f.jobs
          for update of p skip locked),
     job as (delete from ing_task t using plan where t.plan_id = plan.id returning t.id),
     run as (delete from ing_task_run r using job where r.task_id = job.id returning r.id),
     batch as (delete from ing_task_run_batch b using run where b.run_id = run.id returning 1),
     slice as (delete from ing_plan_slice s using plan where s.plan_id = plan.id),
     gone as (delete from ing_plan p using plan where p.id = plan.id returning 1)
     select (select count(*) from due) as due, (select count(*) from gone) as plans, (select count(*) from job) as jobs, (select count(*) from run) as runs,
            (select count(*) from batch) as batches`,
    [ask.hours, ask.limit],
  )
  return pruned as Pruned
}

/** Triggers older than `hours` that have no plan (any more) → gone. */
export async function pruneTriggers(db: Db, ask: { hours: number; limit: number }): Promise<number> {
  const gone = await rows(
    db,
    'prune_triggers',
    `delete from ing_schedule_instance where id = any(array(
       select i.id from ing_schedule_instance i
        where i.triggered_at < now() - make_interval(hours => $1)
          and not exists (select from ing_plan p where p.schedule_instance_id = i.id)
        order by i.id limit $2)) returning 1`,
    [ask.hours, ask.limit],
  )
  return gone.length
}
