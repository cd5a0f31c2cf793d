/** Who works on the queue under watch: workers, runners, schedulers, reapers and operators, each on a connection of its own. */
import type pg from 'pg'
import { type Limits as Bounds, Rollback, transaction } from '../../src/core/db/connect.ts'
import { codeOf } from '../../src/core/db/failure.ts'
import { insertPlans, type NewPlan, rollUpPlans } from '../../src/core/db/ledger/plans.ts'
import { type Claiming, claimJobs } from '../../src/core/db/queue/claim.ts'
import { completeJobs } from '../../src/core/db/queue/complete.ts'
import { cancelJob, failJob, type HeldJob, holdJob, renewLeases } from '../../src/core/db/queue/jobs.ts'
import { freeReservations, reapJobs, reapLocks, reapRuns } from '../../src/core/db/queue/reap.ts'
import { sha256 } from '../../src/core/domain/ledger.ts'
import { timeSpan } from '../../src/core/domain/ledger-window.ts'
import type { JobType } from '../../src/core/domain/repo.ts'
import { seeded } from '../helpers/git-repo.ts'
import type { Limits, Watched } from './queue-watch.ts'

/** One operation: what was asked, between which readings of the server's clock, and what was answered. */
export interface Op {
  no: number
  by: string
  kind: Kind
  began: number
  ended: number
  /** An owner's: the fence it shows for each job. */
  shows: Map<number, number>
  /** What it may lock without a change. */
  reaches: Set<string>
  claiming: Claiming | null
  retry: 'never' | 'later' | 'free' | null
  /** A claim's and a hold's. */
  taken: HeldJob[]
  /** An owner's: was it still his? */
  accepted: Map<number, boolean>
  /** SQLSTATE of what the server called off. */
  failed: string | null
}

const WEIGHTS = {
  enqueue: 12,
  claim: 24,
  hold: 3,
  renew: 8,
  'renew all': 4,
  complete: 20,
  'complete bare': 4,
  fail: 12,
  late: 12,
  expire: 7,
  reap: 6,
  pause: 4,
  unpause: 5,
  breaker: 3,
  operator: 8,
  cancel: 1,
}
export type Kind = keyof typeof WEIGHTS

export interface Intent {
  kind: Kind
  seed: number
}

/** The same for the same seed, whatever comes of it. */
export function intents(random: () => number, count: number): Intent[] {
  const all = Object.values(WEIGHTS).reduce((n, w) => n + w, 0)
  return Array.from({ length: count }, () => {
    let left = random() * all
    const kind = (Object.keys(WEIGHTS) as Kind[]).find((k) => {
      left -= WEIGHTS[k]
      return left < 0
    })
    return { kind: kind ?? 'claim', seed: Math.floor(random() * 2 ** 32) }
  })
}

export const REPOS = 14
export const TYPES: JobType[] = ['commits', 'mrs']
const INSTANCES = ['', 'i0', 'i1', 'i2']
const TENANTS = ['', 't0', 't1', 't2', 't3']
const BOUNDS: Bounds = { transactionMs: 10_000, statementMs: 10_000, signal: new AbortController().signal }
const SUMMARY = { error_category: 'network', error_message: 'chaos' }
/** Enough that nothing runs out by itself; leases are aged by hand. */
const LEASE_SECONDS = 600

export class Actor {
  readonly connection: pg.Pool
  /** What it was given and has not ended; others may have it by now. */
  held: HeldJob[] = []
  /** What it has ended, or lost and knows it: it comes back to some of them. */
  private ghosts: HeldJob[] = []
  private random: () => number = Math.random

  readonly name: string
  private readonly queue: Watched
  private readonly limits: Limits
  private readonly ops: Op[]
  private readonly crowded: () => boolean

  /** While it is crowded nothing is enqueued. */
  constructor(name: string, queue: Watched, limits: Limits, ops: Op[], crowded: () => boolean) {
    this.name = name
    this.queue = queue
    this.limits = limits
    this.ops = ops
    this.crowded = crowded
    this.connection = queue.connect(name)
  }

  async act({ kind, seed }: Intent): Promise<void> {
    this.random = seeded(seed)
    await this.does(kind, (op) => this.acts[kind](op))
  }

  async does(kind: Kind, work: (op: Op) => Promise<void>): Promise<Op> {
    const op: Op = {
      no: this.ops.length,
      by: this.name,
      kind,
      began: 0,
      ended: Number.POSITIVE_INFINITY,
      shows: new Map(),
      reaches: new Set(),
      claiming: null,
      retry: null,
      taken: [],
      accepted: new Map(),
      failed: null,
    }
    this.ops.push(op)
    op.began = await this.queue.mark(this.connection, op.no)
    try {
      await work(op)
    } catch (error) {
      op.failed = codeOf((error as Error).cause ?? error)
      // Deadlock, serialization, lock timeout; a key that an enqueue took first. All else is a bug.
      if (!['40P01', '40001', '55P03', '23505'].includes(op.failed)) throw error
    }
    op.ended = await this.queue.mark(this.connection, -1)
    return op
  }

  private readonly acts: Record<Kind, (op: Op) => Promise<void>> = {
    enqueue: async () => {
      if (this.crowded()) return
      const plans = Array.from({ length: this.under(3) + 1 }, () => this.plan())
      await insertPlans(this.connection, TRIGGER, plans)
    },
    claim: (op) =>
      this.claim(op, {
        count: this.pick([1, 1, 1, 2, 3, 5, 10]),
        jobTypes: this.pick([null, null, null, ['commits'], ['mrs'], TYPES]),
        instances: this.pick([null, null, ['i0'], ['i1', 'i2'], []]),
        tenants: this.pick([null, null, ['t0', 't1'], ['t3'], []]),
      }),
    hold: async (op) => {
      const found = await this.connection.query('select id from ing_task order by id desc limit 40')
      const jobId = this.pick<{ id: number }>(found.rows)?.id
      if (jobId === undefined) return
      op.reaches.add(`job ${jobId}`)
      const held = await holdJob(this.connection, {
        jobId,
        worker: `r${this.name}`,
        leaseSeconds: LEASE_SECONDS,
        from: this.pick([['pending', 'failed', 'reserved'], ['dead']]),
        deadOwner: null,
      })
      if (held) this.take(op, [held])
    },
    renew: async (op) => {
      const held = this.one(this.held)
      if (held) await this.renew(op, [held])
    },
    'renew all': (op) => this.renew(op, this.held),
    complete: async (op) => {
      const held = this.one(this.held)
      if (held) await this.complete(op, held)
    },
    'complete bare': async (op) => {
      await this.completeBare(op, this.held.slice(0, this.under(3) + 1))
    },
    fail: async (op) => {
      const held = this.one(this.held)
      if (held) await this.fail(op, held)
    },
    late: async (op) => {
      const ghost = this.one(this.ghosts)
      if (!ghost) return
      const how = this.pick([
        () => this.complete(op, ghost),
        () => this.completeBare(op, [ghost]),
        () => this.fail(op, ghost),
        () => this.renew(op, [ghost]),
      ])
      await how()
    },
    expire: async () => {
      const soon = this.random() < 0.3
      await expireSome(this.connection, this.under(4) + 1, soon ? -0.02 * this.random() : 5000)
    },
    reap: async () => {
      const toPending = this.random() < 0.5
      await reap(this.connection, toPending, this.random() < 0.3 ? 1000 : 0)
    },
    pause: async () => {
      const [repo, type] = this.pair()
      await this.connection.query(
        `insert into logbook.kv (namespace, key, value_json) values ('scm.sync_pauses', $1, replace($2, '"?"', (extract(epoch from clock_timestamp()) + $3)::text)::jsonb)
         on conflict (namespace, key) do update set value_json = excluded.value_json`,
        [
          `${repo}:${type}`,
          this.pick([
            ...Array<string>(6).fill(
              `{"repo_id": ${repo}, "job_type": "${type}", "reason": "manual_pause", "paused_at": 1, "paused_until": "?"}`,
            ),
            '{"paused_until": 1e400}',
            '"paused"',
            '[1]',
            'null',
            '{"reason": "x"}',
            '{"paused_until": "4000000000"}',
            '{"paused_until": null}',
          ]),
          this.pick([3600, 3600, 0.02]),
        ],
      )
    },
    unpause: async () => {
      await this.connection.query(
        `delete from logbook.kv where namespace = 'scm.sync_pauses' and key like $1`,
        [`${this.under(REPOS) + 1}:%`],
      )
    },
    breaker: async () => {
      const value = this.pick([
        '{"state": "open"}',
        '{"state": "open"}',
        '{"state": "closed"}',
        '"open"',
        '{"state": "half_open"}',
        null,
      ])
      await (value === null
        ? this.connection.query(`delete from logbook.kv where namespace = 'scm.sync_health'`)
        : this.connection.query(
            `insert into logbook.kv (namespace, key, value_json) values ('scm.sync_health', 'default:global', $1::jsonb)
             on conflict (namespace, key) do update set value_json = excluded.value_json`,
            [value],
          ))
    },
    operator: async (op) => {
      const [repo, type] = this.pair()
      const at = this.pick(OPERATORS)
      await at(this.connection, repo, type, op)
    },
    cancel: async (op) => {
      const found = await this.connection.query(
        `select id from ing_task where mode = 'incremental' order by random() limit 1`,
      )
      const jobId = found.rows[0]?.id
      if (jobId === undefined) return
      op.reaches.add(`job ${jobId}`)
      await transaction(this.connection, BOUNDS, (tx) => cancelJob(tx, jobId, 'chaos'))
    },
  }

  async claim(op: Op, more: Partial<Claiming>): Promise<void> {
    op.claiming = {
      project: 'default',
      count: 1,
      worker: this.name,
      leaseSeconds: LEASE_SECONDS,
      jobTypes: null,
      instances: null,
      tenants: null,
      limits: this.limits,
      ...more,
    }
    this.take(op, await claimJobs(this.connection, op.claiming))
  }

  async complete(op: Op, held: HeldJob): Promise<void> {
    this.shows(op, held)
    const mine = await transaction(this.connection, BOUNDS, async (tx) => {
      if (!(await renewLeases(tx, [held])).has(held.jobId)) throw new Rollback(false)
      await tx.query(
        `update ing_task_run_batch set status_code = 'SUCCEEDED', committed_at = now() where run_id = $1 and status_code = 'RUNNING'`,
        [held.runId],
      )
      if (!(await completeJobs(tx, [ending(held)])).has(held.jobId)) throw new Rollback(false)
      return true
    }).catch((cause) => {
      if (cause instanceof Rollback) return false
      throw cause
    })
    op.accepted.set(held.jobId, mine)
    this.leave(held)
  }

  /** Several at once, and nothing asked before: the way of those who found nothing new. */
  private async completeBare(op: Op, all: HeldJob[]): Promise<void> {
    for (const held of all) this.shows(op, held)
    const mine = await transaction(this.connection, BOUNDS, (tx) => completeJobs(tx, all.map(ending)))
    for (const held of all) {
      op.accepted.set(held.jobId, mine.has(held.jobId))
      this.leave(held)
    }
  }

  private async fail(op: Op, held: HeldJob): Promise<void> {
    this.shows(op, held)
    op.retry = this.pick(['never', 'later', 'later', 'later', 'free', 'free'])
    const { retry } = op
    const delaySeconds = this.pick([0, 0, 0, 1000])
    const status = await transaction(this.connection, BOUNDS, async (tx) => {
      const ended = await failJob(tx, held, { retry, delaySeconds, summary: SUMMARY })
      if (ended === 'dead') await rollUpPlans(tx, [held.planId])
      return ended
    })
    op.accepted.set(held.jobId, status !== null)
    this.leave(held)
  }

  private async renew(op: Op, all: HeldJob[]): Promise<void> {
    for (const held of all) this.shows(op, held)
    const mine = await renewLeases(this.connection, all)
    for (const held of all) {
      op.accepted.set(held.jobId, mine.has(held.jobId))
      // Half of those who are told so go on nevertheless, and will come again.
      if (!mine.has(held.jobId) && this.random() < 0.5) this.leave(held)
    }
  }

  private take(op: Op, held: HeldJob[]): void {
    op.taken = held
    this.held.push(...held)
  }

  private leave(held: HeldJob): void {
    this.held = this.held.filter((h) => h !== held)
    this.ghosts = [held, ...this.ghosts.filter((h) => h !== held)].slice(0, 12)
  }

  private shows(op: Op, held: HeldJob): void {
    op.shows.set(held.jobId, held.fence)
    op.reaches.add(`job ${held.jobId}`)
    op.reaches.add(`lock ${held.repoId}:${held.jobType}`)
  }

  private plan(): NewPlan {
    const [repo, type] = this.pair()
    const slices = this.random() < 0.3 ? this.under(5) + 2 : 1
    return newPlan({
      key: `${this.name} ${this.ops.length} ${this.random()}`,
      repo,
      type,
      mode: slices > 1 || this.random() < 0.2 ? 'backfill' : 'incremental',
      status: this.random() < 0.1 ? 'reserved' : 'pending',
      priority: this.pick([1, 100, 100, 200]),
      slices,
    })
  }

  private pair(): [number, JobType] {
    return [this.under(REPOS) + 1, this.pick(TYPES)]
  }

  private one(all: HeldJob[]): HeldJob | undefined {
    return all.length === 0 ? undefined : this.pick(all)
  }

  private under(n: number): number {
    return Math.floor(this.random() * n)
  }

  private pick<T>(all: readonly T[]): T {
    return all[this.under(all.length)] as T
  }
}

export const TRIGGER = { id: 1, correlationId: 'chaos' }

export function newPlan(o: {
  key: string
  repo: number
  type: JobType
  mode: 'incremental' | 'backfill'
  status?: 'pending' | 'reserved'
  priority?: number
  slices?: number
  instance?: string
  tenant?: string
}): NewPlan {
  const window = timeSpan(null, '2026-01-01T00:00:00.000Z')
  return {
    planKey: sha256(o.key),
    requestHash: sha256(o.key),
    provenance: `git:${o.repo}`,
    operation: o.mode === 'incremental' ? 'HARVEST' : 'BACKFILL',
    cursorKey: o.type,
    exprProto: {},
    exprProtoHash: sha256('{}'),
    windowSpec: window,
    strategy: 'SINGLE',
    sliceParams: {},
    updateWatermark: false,
    slices: Array.from({ length: o.slices ?? 1 }, (_, no) => ({
      no,
      signature: sha256(`${o.key} ${no} slice`),
      spec: { window },
      expr: {},
      exprHash: sha256('{}'),
      taskKey: sha256(`${o.key} ${no} task`),
    })),
    job: {
      repoId: o.repo,
      mode: o.mode,
      status: o.status ?? 'pending',
      instanceKey: o.instance ?? (INSTANCES[o.repo % INSTANCES.length] as string),
      tenantId: o.tenant ?? (TENANTS[o.repo % TENANTS.length] as string),
      priority: o.priority ?? 100,
      activeKey: o.mode === 'incremental' ? `${o.repo}:${o.type}` : null,
      params: {},
    },
  }
}

const ending = (held: HeldJob) => ({ held, stats: {}, cursorAfter: null })

/**
 * The leases of some running jobs, their locks and their runs ended `seconds` ago (below zero: end soon), and who was
 * parked until then has his turn. What somebody else holds is passed over.
 */
export async function expireSome(connection: pg.Pool, count: number, seconds: number): Promise<void> {
  await connection.query(
    `with due as (select id from ing_task where status = 'running' and lease_until > now() order by random() limit $1 for update skip locked),
     t as (update ing_task t set leased_at = now() - make_interval(secs => lease_seconds + $2::float8), lease_until = now() - make_interval(secs => $2::float8),
            updated_at = clock_timestamp() from due where t.id = due.id returning t.id, fence, repo_id, job_type, lease_seconds),
     p as (update ing_task o set parked_until = now(), updated_at = clock_timestamp() where o.id in (
            select o.id from t join ing_task o on o.repo_id = t.repo_id and o.job_type = t.job_type and o.parked_until > now() for update of o skip locked)),
     r as (update ing_task_run r set last_heartbeat = now() - make_interval(secs => $2::float8) from t where r.task_id = t.id and r.status_code = 'RUNNING')
     update scm.sync_locks l set locked_at = now() - make_interval(secs => t.lease_seconds + $2::float8) from t
      where l.repo_id = t.repo_id and l.job_type = t.job_type and l.fence = t.fence`,
    [count, seconds],
  )
}

/** As core/app/reap.ts does it, kind after kind. */
export async function reap(connection: pg.Pool, toPending: boolean, retryDelaySeconds: number) {
  const ask = { graceSeconds: 0, limit: 50 }
  await transaction(connection, BOUNDS, async (tx) => {
    const jobs = await reapJobs(tx, { ...ask, runMaxSeconds: 86_400, toPending, retryDelaySeconds })
    await rollUpPlans(
      tx,
      jobs.filter((j) => j.status === 'dead').map((j) => j.planId),
    )
  })
  await reapRuns(connection, ask)
  await reapLocks(connection, ask)
  await freeReservations(connection, ask)
}

const reset = `status = 'pending', attempts = 0, not_before = now(), locked_by = null, locked_at = null, error_summary_json = null`
type Operator = (db: pg.Pool, repo: number, type: JobType, op: Op) => Promise<unknown>

/** The runbook's statements, as written. */
const OPERATORS: Operator[] = [
  (db, repo) => db.query(`update scm.sync_jobs set ${reset} where repo_id = $1 and status = 'dead'`, [repo]),
  (db) => db.query(`update scm.sync_jobs set ${reset} where status = 'dead'`),
  (db) =>
    db.query(
      `update scm.sync_jobs set status = 'pending', locked_by = null, locked_at = null, not_before = now()
        where status = 'running' and locked_at < now() - interval '600 seconds'`,
    ),
  (db, repo, type) =>
    db.query(
      `update scm.sync_jobs set status = 'pending', locked_by = null, locked_at = null, not_before = now()
        where status = 'running' and repo_id = $1 and job_type = $2`,
      [repo, type],
    ),
  (db, repo, type) =>
    db.query('delete from scm.sync_locks where repo_id = $1 and job_type = $2', [repo, type]),
  (db) => db.query(`delete from scm.sync_locks where locked_at < now() - interval '300 seconds'`),
  (db, repo) =>
    db.query(
      `update scm.sync_jobs set not_before = now() + interval '1 hour' where repo_id = $1 and status in ('pending', 'failed')`,
      [repo],
    ),
  (db) => db.query(`update scm.sync_jobs set not_before = now() where status in ('pending', 'failed')`),
  (db, repo, type) =>
    db.query(`delete from scm.sync_jobs where status = 'pending' and repo_id = $1 and job_type = $2`, [
      repo,
      type,
    ]),
  (db, repo) =>
    db.query(`update scm.sync_jobs set priority = 5 where repo_id = $1 and status = 'pending'`, [repo]),
]
