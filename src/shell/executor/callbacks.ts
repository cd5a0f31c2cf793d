import type { Context } from '../../core/app/context.ts'
import { rest } from '../rounds.ts'
import type { Admins } from './admins.ts'
import { type Journal, keyOf, type Owed } from './journal.ts'
import { callbackBody, type Dialect, FAILED } from './wire.ts'

/** As many as XXL-Job's own executor sends at a time. */
const BATCH = 50
const FIRST_PAUSE_MS = 1_000
/** XXL-Job looks after its unsent callbacks every 30 s. */
const LONGEST_PAUSE_MS = 30_000
/** For all that is still owed at a stop: an admin that never answers costs 3 s a call, and a service manager waits 90. */
const LAST_TRY_MS = 10_000
/** An admin knows each end already when the answer to the first callback was lost. */
const KNOWN = /repeate? callback|already handled/i

const LOST = {
  code: FAILED,
  msg: 'lost: the executor died while it waited or ran; what was stored stays, and a retry goes on from there',
}

/**
 * Every end that is owed, told until an admin takes it: at least once each, and an admin counts the first. A refused
 * batch is sent again one by one, so that one bad end holds up no other.
 */
export class Callbacks {
  private readonly owed: Owed[] = []
  private readonly closing = new AbortController()
  private readonly over = new AbortController()
  private wake: () => void = () => {}
  private readonly done: Promise<void>
  private readonly o: {
    admins: Admins
    journal: Journal
    log: Context['log']
    now: () => Date
    keptDays: number
    firstPauseMs?: number
    lastTryMs?: number
  }

  constructor(o: Callbacks['o']) {
    this.o = o
    this.done = this.deliver()
  }

  get undelivered(): number {
    return this.owed.length
  }

  /** What the process before left: ends that nobody took, and triggers that died with it. Says how many of those. */
  inherit(left: readonly Owed[]): number {
    for (const owed of left) {
      const told = { ...owed, end: owed.end ?? LOST }
      this.o.journal.keep(told)
      this.add(told)
    }
    return left.filter(({ end }) => end === null).length
  }

  add(owed: Owed): void {
    this.owed.push(owed)
    this.wake()
  }

  /** One more try for what is left, for 10 s at most; what then is left the next process tells. */
  async close(): Promise<void> {
    this.closing.abort()
    const end = () => this.over.abort(new Error('the executor stops'))
    const timer = setTimeout(end, this.o.lastTryMs ?? LAST_TRY_MS)
    this.wake()
    await this.done
    clearTimeout(timer)
  }

  private async deliver(): Promise<void> {
    const first = this.o.firstPauseMs ?? FIRST_PAUSE_MS
    let pause = first
    let oneByOne = false
    while (!this.closing.signal.aborted) {
      if (this.owed.length === 0) {
        await new Promise<void>((resolve) => {
          this.wake = resolve
        })
        continue
      }
      const refused = await this.round(oneByOne ? 1 : BATCH, this.closing.signal)
      if (refused === 0) {
        pause = first
        oneByOne = false
        continue
      }
      oneByOne = true
      await rest(pause, this.closing.signal)
      pause = Math.min(2 * pause, LONGEST_PAUSE_MS)
    }
    await this.round(oneByOne ? 1 : BATCH, this.over.signal)
  }

  /** Everything once, unless it is to end before; says how many batches nobody took. */
  private async round(size: number, end: AbortSignal): Promise<number> {
    let refused = 0
    // Whatever is owed is sent: a round without a call would be followed by the next one at once, for ever.
    for (const dialect of new Set(this.owed.map((owed) => owed.dialect))) {
      const waiting = this.owed.filter((owed) => owed.dialect === dialect)
      for (let at = 0; at < waiting.length && !end.aborted; at += size)
        if (!(await this.send(dialect, waiting.slice(at, at + size)))) refused += 1
    }
    return refused
  }

  private async send(dialect: Dialect, batch: Owed[]): Promise<boolean> {
    const endings = batch.map(({ logId, logDateTime, end }) => ({
      logId,
      logDateTime,
      code: end?.code ?? FAILED,
      msg: end?.msg ?? '',
    }))
    const refusal = await this.o.admins.tell('callback', callbackBody(dialect, endings), this.over.signal)
    if (refusal === null || (batch.length === 1 && KNOWN.test(refusal))) {
      for (const owed of batch) this.forget(owed)
      return true
    }
    const logIds = batch.map(({ logId }) => logId)
    this.o.log.warn({ logIds, refusal }, 'no admin takes the callback; it is tried again')
    const oldest = this.o.now().getTime() - this.o.keptDays * 86_400_000
    for (const owed of batch)
      if (owed.acceptedAt < oldest) {
        this.o.log.error({ logId: owed.logId }, 'callback given up: no admin took it for too long')
        this.forget(owed)
      }
    return false
  }

  private forget(owed: Owed): void {
    this.owed.splice(this.owed.indexOf(owed), 1)
    try {
      this.o.journal.drop(owed)
    } catch (error) {
      // The next process tells it again, and an admin counts the first.
      this.o.log.error({ err: error, trigger: keyOf(owed) }, 'what is owed no more could not be removed')
    }
  }
}
