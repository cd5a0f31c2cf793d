import { Socket } from 'node:net'
import type pg from 'pg'

/** How much of a write still reaches the server when the line breaks: nothing, half of it, all (and no answer comes back). */
export type Cut = 'before' | 'half' | 'after'
export const CUTS: readonly Cut[] = ['before', 'half', 'after']

export interface Plan {
  /** Which write of the whole incarnation, from 1. */
  at: number
  /** Counts from the first write that has this in its text. */
  from?: string
  /** `hold`: the bytes wait, and with them whatever this process wants to send later, until `release`. */
  how: Cut | 'hold'
  /** The process is gone with its line: all connections break, none comes up again. Otherwise only this one breaks. */
  dies: boolean
}

/**
 * All lines of one process to the server. Counts what node-postgres really hands to the socket (statements sent
 * together are one write), and breaks or holds one of them. The server cannot tell this from a SIGKILL, a lost cable
 * or a SIGSTOP.
 */
export class Wire {
  /** The beginning of every write that went out: the statement's name is in it. */
  readonly sent: string[] = []
  writes = 0
  /** True once the planned write was reached. */
  hit = false
  dead = false
  readonly reached: Promise<void>
  private letGo: () => void = () => {}
  private frozen = false
  private counting: boolean
  private readonly sockets = new Set<Socket>()
  private tell: () => void = () => {}
  private readonly plan: Plan | null
  readonly released: Promise<void>

  constructor(plan: Plan | null) {
    this.plan = plan
    this.counting = plan?.from === undefined
    this.reached = new Promise((resolve) => {
      this.tell = resolve
    })
    this.released = new Promise((resolve) => {
      this.letGo = resolve
    })
  }

  /** Every connection this pool makes from now on runs over this wire. */
  carry(pool: pg.Pool): pg.Pool {
    Object.assign(pool.options, { stream: () => new Line(this) })
    return pool
  }

  release(): void {
    this.frozen = false
    this.letGo()
  }

  /** The open transaction has asked whose job it is, and was told: ours. */
  get fenced(): boolean {
    const begun = this.sent.findLastIndex((text) => text.includes('begin;'))
    return begun >= 0 && this.sent.slice(begun).some((text) => text.includes('job_renew'))
  }

  add(line: Socket): void {
    this.sockets.add(line)
    line.once('close', () => this.sockets.delete(line))
  }

  /** What becomes of the next write. */
  next(bytes: Buffer): Plan['how'] | 'pass' {
    if (this.frozen) return 'hold'
    this.counting ||= bytes.includes(this.plan?.from ?? '')
    this.writes += Number(this.counting)
    if (this.plan === null || this.writes !== this.plan.at) return 'pass'
    this.hit = true
    this.frozen = this.plan.how === 'hold'
    this.tell()
    return this.plan.how
  }

  broken(line: Socket): void {
    if (!this.plan?.dies) {
      line.destroy(reset())
      return
    }
    this.dead = true
    for (const each of this.sockets) each.destroy(gone())
  }
}

class Line extends Socket {
  private readonly wire: Wire

  constructor(wire: Wire) {
    super()
    this.wire = wire
    wire.add(this)
  }

  override connect(...args: never[]): this {
    if (this.wire.dead) {
      this.destroy(gone())
      return this
    }
    return (super.connect as (...a: never[]) => this)(...args)
  }

  override _writev(chunks: { chunk: Buffer }[], done: (error?: Error | null) => void): void {
    this.send(Buffer.concat(chunks.map((c) => c.chunk)), done)
  }

  override _write(chunk: Buffer, _: BufferEncoding, done: (error?: Error | null) => void): void {
    this.send(chunk, done)
  }

  private send(bytes: Buffer, done: (error?: Error | null) => void): void {
    if (this.wire.dead) return
    const put = (part: Buffer, then: (error?: Error | null) => void) =>
      super._write(part, 'buffer' as BufferEncoding, then)
    const cut = () => this.wire.broken(this)
    switch (this.wire.next(bytes)) {
      case 'pass':
        this.wire.sent.push(bytes.toString('latin1', 0, 400))
        put(bytes, done)
        return
      case 'before':
        cut()
        return
      case 'half':
        put(bytes.subarray(0, Math.ceil(bytes.length / 2)), cut)
        return
      case 'after':
        put(bytes, cut)
        return
      case 'hold':
        void this.wire.released.then(() => {
          if (!this.destroyed) put(bytes, done)
        })
    }
  }
}

const reset = () => Object.assign(new Error('read ECONNRESET'), { code: 'ECONNRESET' })
/** No code of a lost connection: a process that is gone tries nothing again. */
const gone = () => Object.assign(new Error('the process is gone'), { code: 'EGONE' })
