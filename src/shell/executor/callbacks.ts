import type { Context } from '../../core/app/context.ts'
import { rest } from '../rounds.ts'
import type { Admins } from './admins.ts'
import type { Journal, Owed } from './journal.ts'
import { callbackBody, type Dialect, FAILED } from './wire.ts'

/** As many as XXL-Job's own executor sends at a time. */
const BATCH = 50
const FIRST_PAUSE_MS = 1_000
/** XXL-Job looks after its unsent callbacks every 30 s. */
const LONGEST_PAUSE_MS = 30_000
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
  private wake: () => void = () => {}
  private readonly done: Promise<void>
  private readonly o: {
    admins: Admins
    journal: Journal
    log: Context['log']
    now: () => Date
    keptDays: number
    firstPauseMs?: number
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

  /** One more try for what is left; what then is left the next process tells. */
  async close(): Promise<void> {
    this.closing.abort()
    this.wake()
    await this.done
  }

  private async deliver(): Promise<void> {
    const first = this.o.firstPauseMs ?? FIRST_PAUSE_MS
    let pause = first
    let oneByOne = false
    for (;;) {
      const closing = this.closing.signal.aborted
      if (this.owed.length === 0 && !closing) {
        await new Promise<void>((resolve) => {
          this.wake = resolve
        })
        continue
      }
      const refused = await this.round(oneByOne ? 1 : BATCH)
      if (closing) return
      if (refused === 0) {
        pause = first
        oneByOne = false
        continue
      }
      oneByOne = true
      await rest(pause, this.closing.signal)
      pause = Math.min(2 * pause, LONGEST_PAUSE_MS)
    }
  }

  /** Everything once; says how many batches nobody took. */
  private async round(size: number): Promise<number> {
    let refused = 0
    for (const dialect of ['3.4', '3.5'] satisfies Dialect[]) {
      const waiting = this.owed.filter((owed) => owed.dialect === dialect)
      for (let at = 0; at < waiting.length; at += size)
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
    const refusal = await this.o.admins.tell('callback', callbackBody(dialect, endings))
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
    this.o.journal.drop(owed)
    this.owed.splice(this.owed.indexOf(owed), 1)
  }
}
