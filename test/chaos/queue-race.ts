/** A race on the queue: rounds of operations on many connections at once, looked at from outside, judged after each. */
import type pg from 'pg'
import { seeded } from '../helpers/git-repo.ts'
import { Actor, expireSome, intents, type Op, reap } from './queue-actors.ts'
import { History, type Sample } from './queue-history.ts'
import { type Limits, type Rewrite, watchedQueue } from './queue-watch.ts'

/** What is planted: in the statements that are sent, or in the database. */
export interface Fault {
  rewrite?: Rewrite
  plant?: (db: pg.Pool) => Promise<void>
}

export interface Race extends Fault {
  seed: number
  operations: number
  limits?: Limits
}

export interface Ran {
  broken: string[]
  operations: number
  samples: number
  jobs: number
  counts: History['counts']
}

const ACTORS = 8
const PER_ROUND = 5
const MOST_OPEN = 60
const DUE = `update scm.sync_jobs set not_before = now() where status in ('pending', 'failed') and not_before > now()`
const LIMITS: Limits = { running: 9, perInstance: 4, perTenant: 4 }

/** Until the operations are done, or the first rule is broken. */
export async function race(url: string, { seed, operations, limits = LIMITS, ...fault }: Race): Promise<Ran> {
  const random = seeded(seed)
  const queue = await watchedQueue(url, limits, fault.rewrite)
  try {
    await fault.plant?.(queue.pool)
    const history = new History()
    const ops: Op[] = []
    const actors = Array.from(
      { length: ACTORS },
      (_, n) => new Actor(`w${n}`, queue, limits, ops, () => history.open > MOST_OPEN),
    )
    const operator = new Actor('operator', queue, limits, ops, () => false)
    const watcher = queue.connect('watcher')
    let samples = 0

    const round = async (work: () => Promise<unknown>) => {
      const from = ops.length
      const looking = look(watcher)
      try {
        await work()
      } finally {
        const seen = await looking.stop()
        samples += seen.length
        history.judge(await queue.changes(), ops.slice(from), seen)
      }
      for (const over of await queue.over()) history.say('counted by the claim itself, too many', over)
      for (const { rule, ...what } of await unsettled(queue.pool, history)) history.say(rule, what)
    }
    const byHand = (...statements: string[]) =>
      operator.does('operator', async () => {
        for (const text of statements) await operator.connection.query(text)
      })

    while (ops.length < operations && history.broken.length === 0) {
      const asked = actors.map(() => intents(random, PER_ROUND))
      await round(async () => {
        await Promise.all(
          actors.map(async (actor, n) => {
            for (const intent of asked[n] ?? []) await actor.act(intent)
          }),
        )
        await byHand(`delete from logbook.kv where namespace = 'scm.sync_health'`)
      })
    }
    const done = ops.length

    if (history.broken.length === 0) {
      // Everybody is gone, everything is allowed: whatever has not ended must be had by claiming alone.
      await round(() => byHand('delete from logbook.kv', DUE))
      await round(() => operator.does('expire', () => expireSome(operator.connection, 1000, 5000)))
      await round(() => operator.does('reap', () => reap(operator.connection, false, 0)))
      // What operators took out of running left a lock that is not over yet; and what was reaped is due at once.
      await round(() => byHand('delete from scm.sync_locks', DUE))
      for (let claims = Number.POSITIVE_INFINITY; claims > 0 && history.broken.length === 0; ) {
        const before = history.counts.claims
        await round(() =>
          Promise.all(
            actors.map(async (actor) => {
              const op = await actor.does('claim', (op) => actor.claim(op, { count: 10 }))
              for (const held of op.taken) await actor.does('complete', (op) => actor.complete(op, held))
            }),
          ),
        )
        claims = history.counts.claims - before
      }
      await round(() => operator.does('reap', () => reap(operator.connection, false, 0)))
      for (const { rule, id } of await left(queue.pool)) history.say(`in the end ${rule}`, id)
    }
    return {
      broken: history.broken,
      operations: done,
      samples,
      jobs: (await queue.pool.query('select count(*)::int as n from ing_plan_slice')).rows[0].n,
      counts: history.counts,
    }
  } finally {
    await queue.drop()
  }
}

/** Looks, as fast as it can, at what must hold at every instant. */
function look(connection: pg.Pool): { stop: () => Promise<Sample[]> } {
  const seen: Sample[] = []
  let stopped = false
  const looking = (async () => {
    while (!stopped) {
      const { rows } = await connection.query({
        name: 'look',
        text: `select coalesce((select jsonb_agg(t) from chaos.too_many t), '[]') as over,
                      coalesce((select jsonb_agg(p) from (select repo_id || ':' || job_type as pair, jsonb_agg(fence) as fences
                         from chaos.live group by 1 having count(*) > 1) p), '[]') as pairs`,
      })
      seen.push(rows[0])
      await new Promise((resolve) => setTimeout(resolve, 2))
    }
  })()
  return {
    stop: async () => {
      stopped = true
      await looking
      return seen
    },
  }
}

/** Between two rounds: job, lock and run agree, but for what an operator pulled apart. */
async function unsettled(db: pg.Pool, history: History): Promise<{ rule: string; fence: number }[]> {
  const { rows } = await db.query(
    `select 'a running job has no run of its own' as rule, t.id, t.fence from ing_task t
      where t.status = 'running' and 1 <> (select count(*) from ing_task_run r
        where r.task_id = t.id and r.status_code = 'RUNNING' and r.fence = t.fence and r.id = t.last_run_id)
     union all
     select 'several runs of a job are under way', task_id, max(fence) from ing_task_run where status_code = 'RUNNING'
      group by task_id having count(*) > 1
     union all
     select 'a run is under way, its job is not', t.id, r.fence from ing_task_run r join ing_task t on t.id = r.task_id
      where r.status_code = 'RUNNING' and (t.status <> 'running' or t.fence <> r.fence)
     union all
     select 'a batch is under way, its run failed', r.task_id, r.fence from ing_task_run_batch b join ing_task_run r on r.id = b.run_id
      where b.status_code = 'RUNNING' and r.status_code in ('FAILED', 'CANCELLED')
     union all
     select 'a live job has no lock', t.id, t.fence from chaos.live t
      where not exists (select from scm.sync_locks l where l.fence = t.fence and l.job_id = t.id)
     union all
     select 'a lock is of no running job', l.job_id, l.fence from scm.sync_locks l
      where not exists (select from ing_task t where t.id = l.job_id and t.fence = l.fence and t.status = 'running')
     union all
     select 'a slice is not where its job is: ' || s.status_code || ', ' || t.status, t.id, t.fence
       from ing_task t join ing_plan_slice s on s.id = t.slice_id
      where (t.status = 'completed' and s.status_code <> 'SUCCEEDED') or (t.status = 'running' and s.status_code <> 'EXECUTING')
         or (t.status = 'cancelled' and s.status_code <> 'CANCELLED') or (t.status = 'dead' and s.status_code <> 'FAILED')`,
  )
  return rows.filter((r) => !history.excused(r.fence))
}

/** When all is drained and reaped. */
async function left(db: pg.Pool): Promise<{ rule: string; id: number }[]> {
  const { rows } = await db.query(
    `select 'a job was never reached: ' || status || ' ' || attempts || ' of ' || max_attempts as rule, id from ing_task
      where status not in ('completed', 'dead', 'cancelled')
     union all select 'a run is still under way', id from ing_task_run where status_code = 'RUNNING'
     union all select 'a lock is left', job_id from scm.sync_locks
     union all select 'a batch is still under way', b.id from ing_task_run_batch b join ing_task_run r on r.id = b.run_id
      where b.status_code = 'RUNNING' and r.status_code <> 'SUCCEEDED'
     union all select 'the attempts of a job have a gap', task_id from ing_task_run
      group by task_id having max(attempt_no) <> count(*) or min(attempt_no) <> 1
     union all select 'a slice stands ' || s.status_code || ', its job ' || coalesce(t.status, 'is gone'), s.id
       from ing_plan_slice s left join ing_task t on t.slice_id = s.id
      where s.status_code <> case t.status when 'completed' then 'SUCCEEDED' when 'dead' then 'FAILED' when 'cancelled' then 'CANCELLED'
              else case when s.status_code = 'FAILED' then 'FAILED' else 'CANCELLED' end end -- deleted
     union all select 'a plan stands ' || p.status_code || ' with ' || s.good || ' of ' || s.n || ' slices', p.id
       from ing_plan p join (select plan_id, count(*) as n, count(*) filter (where status_code = 'SUCCEEDED') as good
              from ing_plan_slice group by 1) s on s.plan_id = p.id
      where p.status_code <> case when s.good = s.n then 'COMPLETED' when s.good > 0 then 'PARTIAL' else 'FAILED' end`,
  )
  return rows
}
