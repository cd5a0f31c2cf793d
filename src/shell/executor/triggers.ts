import type { Context } from '../../core/app/context.ts'
import { SyncError } from '../../core/domain/errors.ts'
import { maskUserinfo } from '../../core/domain/repo.ts'
import { sayableLines } from '../output.ts'
import type { Callbacks } from './callbacks.ts'
import { type Journal, keyOf, type Owed } from './journal.ts'
import type { TriggerLogs } from './trigger-logs.ts'
import { type Answer, answer, type Dialect, FAILED, OK, TIMED_OUT, type TriggerBody } from './wire.ts'

/** Beyond it a refusal tells the admin more than a longer wait. */
const MOST_WAITING = 1_000

export interface Result {
  exitCode: 0 | 1 | 2
  text: string
}

interface Taken {
  body: TriggerBody
  owed: Owed
  run: (signal: AbortSignal) => Promise<Result>
}

interface Running extends Taken {
  /** Aborted with what the admin is told, unless the work is done by then. */
  stop: AbortController
  ended: Promise<void>
}

/** Why a run was asked to end. */
class Stopped extends SyncError {
  readonly code: number

  constructor(code: number, why: string) {
    super('cancelled', why)
    this.code = code
  }
}

/**
 * XXL-Job's rules: of one job one trigger runs at a time, the next ones wait, are refused (DISCARD_LATER) or end the
 * earlier ones first (COVER_EARLY). Accepted → waits → runs → its end is kept and told. A trigger that was accepted
 * comes to exactly one end, whoever ends it: the work itself, its time, a kill, a later trigger or the process.
 */
export class Triggers {
  private readonly waiting: Taken[] = []
  private readonly running = new Map<number, Running>()
  private stopping = false
  private readonly o: {
    parallelism: number
    journal: Journal
    callbacks: Pick<Callbacks, 'add'>
    logs: TriggerLogs
    log: Context['log']
    now: () => Date
  }
  /** Since the start, by how they ended. */
  readonly counts = { accepted: 0, succeeded: 0, failed: 0, timed_out: 0 }

  constructor(o: Triggers['o']) {
    this.o = o
  }

  /** On the disk before the admin hears that it was accepted. */
  accept(body: TriggerBody, dialect: Dialect, run: Taken['run']): Answer {
    if (this.stopping) return answer(FAILED, 'the executor is stopping')
    // Sent again because the answer was lost: what it asks for is under way, or was done.
    if (this.o.logs.knows(body)) return answer(OK, `trigger ${body.logId} was accepted before`)
    if (this.waiting.length >= MOST_WAITING) return answer(FAILED, `${MOST_WAITING} triggers wait already`)
    if (body.blockStrategy === 'DISCARD_LATER' && this.has(body.jobId))
      return answer(FAILED, 'block strategy effect: Discard Later')

    const { jobId, logId, logDateTime } = body
    const owed = { jobId, logId, logDateTime, dialect, acceptedAt: this.o.now().getTime(), end: null }
    this.o.journal.keep(owed)
    try {
      this.o.logs.begin(body)
    } catch (error) {
      // The admin hears a refusal: what stayed kept, the next process would tell as lost.
      this.o.journal.drop(owed)
      throw error
    }
    this.o.logs.say(body, this.o.now(), maskUserinfo(`${body.handler} ${body.params}`.trim()))
    this.counts.accepted += 1
    if (body.blockStrategy === 'COVER_EARLY') this.endJob(jobId, 'block strategy effect: Cover Early')
    this.waiting.push({ body, owed, run })
    this.startNext()
    return answer(OK)
  }

  kill(jobId: number): Answer {
    const had = this.has(jobId)
    this.endJob(jobId, 'killed by the scheduling center')
    return answer(OK, had ? null : 'nothing of this job runs or waits')
  }

  /** What routing by idleness asks: would a trigger of this job run at once? */
  isBusy(jobId: number): boolean {
    return this.has(jobId) || this.running.size >= this.o.parallelism
  }

  /** Accepts nothing more; ends what runs where it can be taken up again, and what waits at once. */
  async stop(): Promise<void> {
    this.stopping = true
    const ending = [...this.running.values()]
    for (const jobId of new Set([...this.running.keys(), ...this.waiting.map((t) => t.body.jobId)]))
      this.endJob(jobId, 'the executor was stopped')
    await Promise.all(ending.map((r) => r.ended))
  }

  private has(jobId: number): boolean {
    return this.running.has(jobId) || this.waiting.some((t) => t.body.jobId === jobId)
  }

  private endJob(jobId: number, why: string): void {
    for (const taken of this.waiting.filter((t) => t.body.jobId === jobId)) {
      this.waiting.splice(this.waiting.indexOf(taken), 1)
      this.ended(taken, FAILED, `${why}; it had not begun`)
    }
    this.running.get(jobId)?.stop.abort(new Stopped(FAILED, why))
  }

  private startNext(): void {
    for (const taken of [...this.waiting]) {
      if (this.running.size >= this.o.parallelism) return
      if (this.running.has(taken.body.jobId)) continue
      this.waiting.splice(this.waiting.indexOf(taken), 1)
      const stop = new AbortController()
      this.running.set(taken.body.jobId, { ...taken, stop, ended: this.work(taken, stop) })
    }
  }

  private async work(taken: Taken, stop: AbortController): Promise<void> {
    const { jobId, timeoutSeconds: limit } = taken.body
    const late = () => stop.abort(new Stopped(TIMED_OUT, `not done within ${limit} s`))
    const timer = limit > 0 ? setTimeout(late, limit * 1000) : undefined
    const { exitCode, text } = await taken.run(stop.signal)
    clearTimeout(timer)
    const why = stop.signal.aborted ? (stop.signal.reason as Stopped) : null
    if (exitCode === 0) this.ended(taken, OK, text)
    else if (why) this.ended(taken, why.code, `${why.message}; what was stored stays. ${text}`)
    else this.ended(taken, FAILED, exitCode === 1 ? `partial: ${text}` : text)
    this.running.delete(jobId)
    this.startNext()
  }

  private ended({ body, owed }: Taken, code: number, text: string): void {
    const msg = sayableLines(text)
    this.counts[code === OK ? 'succeeded' : code === TIMED_OUT ? 'timed_out' : 'failed'] += 1
    const over = { ...owed, end: { code, msg } }
    try {
      this.o.journal.keep(over)
    } catch (error) {
      // It is told all the same; should this process die first, the next one tells that it was lost.
      this.o.log.error({ err: error, trigger: keyOf(body) }, 'the end of a trigger could not be kept')
    }
    this.o.logs.say(body, this.o.now(), `${code}: ${msg}`)
    this.o.logs.end(body)
    this.o.callbacks.add(over)
    const said = { jobId: body.jobId, logId: body.logId, code }
    if (code === OK) this.o.log.info(said, 'trigger ended')
    else this.o.log.warn({ ...said, end: msg }, 'trigger ended')
  }
}
