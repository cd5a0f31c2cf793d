/**
 * What a queue must do, held against what one did. It knows the statements of the engine not at all: only who did what
 * when, which rows changed in which order, and what was answered.
 */
import type { Op } from './queue-actors.ts'
import type { Change, Row } from './queue-watch.ts'

interface Touch {
  seq: number
  op: Op
  row: Row | null
}

/** One look from outside, in the midst of the race. */
export interface Sample {
  over: { of: string; running: number; most: number }[]
  /** Several live jobs of one (repo, job type). */
  pairs: { pair: string; fences: number[] }[]
}

const OWNERS = new Set(['renew', 'renew all', 'complete', 'complete bare', 'fail', 'late'])
/** What stays as it is when a job is only parked, or comes back. */
const PARKING = [
  'status',
  'attempts',
  'fence',
  'scheduled_at',
  'active_key',
  'lease_until',
  'lease_owner',
  'priority',
]
const TERMINAL = new Set(['completed', 'dead', 'cancelled'])
/** A job of which nothing more is heard, and one that somebody may still take up. */
const isTerminal = (row: Row) => TERMINAL.has(row.status)

export class History {
  readonly broken: string[] = []
  readonly counts = { claims: 0, completed: 0, refused: 0, reaped: 0, ordered: 0, calledOff: 0 }
  private readonly jobs = new Map<number, Row>()
  private readonly issued = new Set<number>()
  /** Fences whose lock an operator deleted: their owners may store nothing more, and others may run beside them. */
  private readonly unlocked = new Map<number, Op>()
  /** Jobs that an operator took out of running: what else they left is for a reaper, or for their next claim. */
  private readonly handled = new Set<number>()
  /** Everything's last state, and this round's. */
  private readonly touched = new Map<string, Touch[]>()

  get open(): number {
    return [...this.jobs.values()].filter((j) => !isTerminal(j)).length
  }

  excused(fence: number): boolean {
    return this.unlocked.has(fence) || this.handled.has(fence)
  }

  job(id: number): Row | undefined {
    return this.jobs.get(id)
  }

  /** One round, after its end: nothing is under way. */
  judge(changes: Change[], ops: Op[], samples: Sample[]): void {
    const byNo = new Map(ops.map((op) => [op.no, op]))
    for (const key of this.touched.keys()) this.touched.set(key, this.touched.get(key)!.slice(-1))
    this.reaching = ops.filter((op) => op.reaches.size > 0)
    // Those that may be claimed in this round.
    const known = new Map([...this.jobs].filter(([, row]) => !isTerminal(row)))
    for (const change of changes) {
      const op = byNo.get(change.op)
      if (!op) {
        this.say('somebody unknown wrote', change)
        continue
      }
      this.touch(keyOf(change), { seq: change.seq, op, row: change.new })
      if (change.of === 'sync_locks') this.lock(change, op)
      if (change.of === 'ing_task_run') this.run(change, op)
      if (change.of === 'ing_task') this.task(change, op)
      if (change.of === 'ing_task' && change.new) known.set(change.new.id, change.new)
    }
    this.counts.calledOff += ops.filter((op) => op.failed !== null).length
    for (const op of ops) this.answers(op, changes)
    for (const op of ops) if (op.claiming) this.claim(op, changes, ops, known)
    for (const sample of samples) this.look(sample)
  }

  private task(change: Change, op: Op): void {
    const { old, new: now } = change
    const what = { op: op.kind, by: op.by, old: brief(old), new: brief(now) }
    const must = (holds: boolean, rule: string) => {
      if (!holds) this.say(rule, what)
    }
    if (!old) {
      must(op.kind === 'enqueue', 'a job was made by something else than an enqueue')
      must(now?.attempts === 0 && ['pending', 'reserved'].includes(now.status), 'a new job is not new')
      this.jobs.set(now?.id, now as Row)
      return
    }
    if (!now) {
      must(op.kind === 'operator', 'a job is gone')
      this.jobs.delete(old.id)
      return
    }
    this.jobs.set(now.id, now)
    must(
      now.status !== 'running' || (now.lease_owner !== null && now.fence > 0),
      'a running job has no owner',
    )

    const byHand = op.kind === 'operator' || op.kind === 'expire'
    if (byHand) {
      if (old.status === 'running' && now.status !== 'running') this.handled.add(old.fence)
      must(now.fence === old.fence, 'an operator changed a fence')
      return
    }
    if (onlyParked(change)) {
      must(['pending', 'failed'].includes(now.status), 'a job was parked that is not waiting')
      return
    }
    if (now.fence !== old.fence) {
      this.taken(change, op, must)
      return
    }

    const owner = OWNERS.has(op.kind)
    if (owner) {
      must(
        op.shows.get(now.id) === old.fence,
        'a write was accepted that showed another fence than the job has',
      )
      must(old.status === 'running', 'an owner changed a job that was not running')
    }
    must(!isTerminal(old) || op.kind === 'cancel', 'a job that had ended went on')

    switch (`${old.status} → ${now.status}`) {
      case 'running → running':
        must(owner, 'a lease was moved by somebody who is not the owner')
        must(old.lease_until > change.began, 'a lapsed lease was renewed')
        must(now.attempts === old.attempts, 'a renewal counted an attempt')
        break
      case 'running → completed':
        this.counts.completed++
        must(owner && op.retry === null, 'a job was completed by somebody who is not its owner')
        must(old.lease_until > change.began, 'a job was completed after its lease')
        must(
          (this.unlocked.get(old.fence)?.ended ?? op.began) >= op.began,
          'a job was completed without its lock',
        )
        break
      case 'running → failed':
      case 'running → dead':
      case 'running → pending':
        if (op.kind === 'reap') {
          this.counts.reaped++
          must(old.lease_until < change.at, 'a live lease was reaped')
          must(
            (now.status === 'dead') === old.attempts >= old.max_attempts,
            'reaped to dead before its attempts were used up, or not then',
          )
          must(now.attempts === old.attempts, 'reaping counted an attempt')
        } else if (op.kind === 'claim') {
          // On its way to a new owner; should it not get there, the reaper ends its run.
          this.handled.add(old.fence)
          must(now.status === 'failed' && old.lease_until < change.at, 'a claim ended a live lease')
          must(old.attempts < old.max_attempts, 'a lapsed job was let go on beyond its attempts')
          must(now.attempts === old.attempts, 'the end of a lease counted an attempt')
        } else {
          must(owner && op.retry !== null, 'a job was failed by somebody who is not its owner')
          const dead = op.retry === 'never' || (op.retry === 'later' && old.attempts >= old.max_attempts)
          must((now.status === 'dead') === dead, 'a failure ended in dead wrongly')
          must(
            (now.status === 'pending') === (op.retry === 'free'),
            'a job that was given back is not pending',
          )
          must(
            now.attempts === (op.retry === 'free' ? Math.max(0, old.attempts - 1) : old.attempts),
            'a failure counted attempts wrongly',
          )
        }
        break
      case 'reserved → pending':
        must(op.kind === 'reap', 'a reserved job was let go by somebody else than the reaper')
        break
      default:
        if (now.status === 'cancelled') must(op.kind === 'cancel', 'a job was cancelled')
        else must(now.status === old.status, 'no such transition')
        must(now.attempts === old.attempts, 'attempts changed beside a transition')
    }
    if (isTerminal(now)) must(now.active_key === null, 'a job that has ended keeps its active key')
    else must(now.active_key === old.active_key, 'an active key was lost or found on the way')
  }

  /** A new fence. */
  private taken(change: Change, op: Op, must: (holds: boolean, rule: string) => void): void {
    const [old, now] = [change.old as Row, change.new as Row]
    const byId = op.kind === 'hold'
    this.counts.claims++
    must(byId || op.kind === 'claim', 'a fence was given out by something else than a claim')
    must(!this.issued.has(now.fence), 'a fence was given out twice')
    must(now.fence > old.fence, 'a job’s fence went back')
    this.issued.add(now.fence)
    must(now.status === 'running', 'a fence was given out for a job that is not running')
    must(now.lease_until > change.at, 'a claim gave a lease that is over')
    const from = byId ? ['pending', 'failed', 'reserved', 'dead'] : ['pending', 'failed']
    if (old.status === 'running') must(old.lease_until < change.at, 'a live lease was taken over')
    else must(from.includes(old.status), 'a job was taken that nobody may have')
    const fresh = old.status === 'dead'
    must(now.attempts === (fresh ? 1 : old.attempts + 1), 'a claim did not count one attempt')
    if (!byId && old.status !== 'pending')
      must(old.attempts < old.max_attempts, 'a job was claimed beyond its attempts')
    if (!byId && old.status !== 'running')
      must(old.scheduled_at <= change.at, 'a job was claimed before its time')
    if (now.mode === 'incremental') {
      const other = [...this.jobs.values()].some(
        (j) => j.id !== now.id && j.active_key === `${now.repo_id}:${now.job_type}`,
      )
      must(now.active_key !== null || other, 'a claimed incremental job is without the active key')
    } else must(now.active_key === null, 'a backfill holds an active key')
  }

  private run(change: Change, op: Op): void {
    const { old, new: now } = change
    const ended = (row: Row) => row.status_code !== 'RUNNING'
    if (!old || !now) return
    if (ended(old) && now.status_code !== old.status_code)
      this.say('a run that had ended went on', { op: op.kind, old: old.status_code, new: now.status_code })
    if (now.status_code === 'SUCCEEDED' && op.shows.get(now.task_id) !== now.fence)
      this.say('a run succeeded whose owner said nothing', { op: op.kind, run: now.id })
  }

  private lock({ old, new: now }: Change, op: Op): void {
    if (!old || now) return
    if (op.kind === 'operator') this.unlocked.set(old.fence, op)
    // By then its owner may be late only; whether the lease was over is judged where the job is.
  }

  /** What was answered, and what was done, must be one. */
  private answers(op: Op, changes: Change[]): void {
    const mine = changes.filter(
      (c) => c.op === op.no && c.of === 'ing_task' && c.old && c.new && !onlyParked(c),
    )
    const taken = mine.filter((c) => c.old?.fence !== c.new?.fence).map((c) => c.new?.fence)
    const told = op.taken.map((h) => h.fence)
    if (op.failed === null && taken.sort().join() !== told.sort().join())
      this.say('a claim answered other jobs than it took', { op: op.kind, taken, told })
    for (const [jobId, mineStill] of op.accepted) {
      const fence = op.shows.get(jobId)
      const wrote = mine.some((c) => c.new?.id === jobId && c.old?.fence === fence)
      if (mineStill !== wrote)
        this.say(
          mineStill ? 'a write was accepted, and nothing was written' : 'a write was refused, and done',
          {
            op: op.kind,
            jobId,
          },
        )
      if (mineStill) continue
      this.counts.refused++
      const job = this.steady(`job ${jobId}`, op)?.row
      const lock = this.steady(`lock ${job?.repo_id}:${job?.job_type}`, op)?.row
      const his =
        job?.status === 'running' &&
        job.fence === fence &&
        job.lease_until > op.ended &&
        lock?.fence === fence
      if (his) this.say('the rightful owner was refused', { op: op.kind, job: brief(job) })
    }
  }

  private claim(op: Op, changes: Change[], ops: Op[], jobs: Map<number, Row>): void {
    const asked = op.claiming
    if (!asked) return
    const taken = changes.filter(
      (c) => c.op === op.no && c.of === 'ing_task' && c.old && c.old.fence !== c.new?.fence,
    )
    if (taken.length > asked.count) this.say('a claim took more than was asked', taken.length)
    const breaker = this.steady('kv scm.sync_health default:global', op)?.row
    if (taken.length > 0 && breaker?.value_json?.state === 'open')
      this.say('a claim while the breaker was open', taken.length)

    for (const { new: row, at, old } of taken) {
      if (!row || !old) continue
      const what = { job: brief(old), asked }
      const fits = (list: string[] | null, value: string) =>
        list === null || value === '' || list.includes(value)
      if (asked.jobTypes && !asked.jobTypes.includes(row.job_type))
        this.say('another job type was claimed', what)
      if (!fits(asked.instances, row.instance_key)) this.say('another instance was claimed', what)
      if (!fits(asked.tenants, row.tenant_id)) this.say('another tenant was claimed', what)
      const pause = this.steady(`kv scm.sync_pauses ${row.repo_id}:${row.job_type}`, op)?.row
      if (pause && pausedUntil(pause) > at / 1e6) this.say('a paused pair was claimed', { ...what, pause })
      if (old.status !== 'running') this.inOrder(op, old, taken, ops, jobs)
    }
  }

  /** Nobody who stood before it in its lane, and could be had all the time, was left. */
  private inOrder(op: Op, chosen: Row, taken: Change[], ops: Op[], jobs: Map<number, Row>): void {
    if (ops.some((o) => o.failed !== null && overlap(o, op))) return
    const asked = op.claiming
    for (const id of jobs.keys()) {
      const touch = this.steady(`job ${id}`, op)
      const row = touch?.row
      if (!row || row.id === chosen.id || !before(row, chosen)) continue
      if (row.tenant_id !== chosen.tenant_id || row.instance_key !== chosen.instance_key) continue
      const due =
        (row.status === 'pending' || (row.status === 'failed' && row.attempts < row.max_attempts)) &&
        row.scheduled_at <= op.began &&
        (row.parked_until ?? 0) <= op.began
      if (!due || (asked?.jobTypes && !asked.jobTypes.includes(row.job_type))) continue
      const pair = `${row.repo_id}:${row.job_type}`
      const lock = this.steady(`lock ${pair}`, op)
      const pause = this.steady(`kv scm.sync_pauses ${pair}`, op)
      if (lock === null || lock.row !== null || pause === null || pause.row !== null) continue
      if (taken.some((t) => `${t.new?.repo_id}:${t.new?.job_type}` === pair)) continue
      this.say('a job was claimed before another of its lane', { chosen: brief(chosen), before: brief(row) })
    }
    this.counts.ordered++
  }

  private look(sample: Sample): void {
    for (const over of sample.over) this.say('seen from outside, too many were running', over)
    for (const { pair, fences } of sample.pairs) {
      const excused = fences.filter((f) => this.unlocked.has(f)).length
      if (fences.length - excused > 1) this.say('seen from outside, one pair ran twice', { pair, fences })
    }
  }

  /** What stood still from before the operation to after it; null when it may not have. */
  private steady(key: string, op: Op): { row: Row | null } | null {
    const touches = this.touched.get(key) ?? []
    if (touches.some((t) => t.op !== op && overlap(t.op, op))) return null
    if (this.reaching.some((o) => o !== op && o.reaches.has(key) && overlap(o, op))) return null
    const last = touches.filter((t) => t.op.ended <= op.began).at(-1)
    return { row: last?.row ?? null }
  }
  private reaching: Op[] = []

  private touch(key: string, touch: Touch): void {
    this.touched.set(key, [...(this.touched.get(key) ?? []), touch])
  }

  /** The same rule three times is enough. */
  say(rule: string, what: unknown): void {
    if (this.broken.filter((line) => line.startsWith(rule)).length < 3)
      this.broken.push(`${rule}: ${JSON.stringify(what)}`)
  }
}

/** Parked, or back again: what goes may wake a job of the same pair, whoever it was that went. */
const onlyParked = ({ old, new: now }: Change) => PARKING.every((column) => now?.[column] === old?.[column])

const overlap = (a: Op, b: Op) => a.began < b.ended && b.began < a.ended

function before(a: Row, b: Row): boolean {
  for (const by of ['priority', 'scheduled_at', 'id']) if (a[by] !== b[by]) return a[by] < b[by]
  return false
}

/** Seconds since 1970; what cannot be read as a pause is none. */
function pausedUntil(kv: Row): number {
  const until = kv.value_json?.paused_until
  return typeof until === 'number' ? until : 0
}

function keyOf({ of, old, new: now }: Change): string {
  const row = (now ?? old) as Row
  if (of === 'ing_task') return `job ${row.id}`
  if (of === 'ing_task_run') return `run ${row.id}`
  if (of === 'sync_locks') return `lock ${row.repo_id}:${row.job_type}`
  return `kv ${row.namespace} ${row.key}`
}

function brief(row: Row | null | undefined): unknown {
  if (!row) return null
  const { id, repo_id, job_type, mode, status, attempts, max_attempts, fence, active_key, priority } = row
  const { lease_until, scheduled_at, lease_owner } = row
  return {
    ...{ id, repo_id, job_type, mode, status, attempts, max_attempts, fence, active_key, priority },
    ...{ lease_until, scheduled_at, lease_owner },
  }
}
