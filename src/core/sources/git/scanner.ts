import { createHash } from 'node:crypto'
import { SyncError } from '../../domain/errors.ts'
import type { Child } from '../child.ts'

export interface Token {
  /** The whole of it, or as much as was asked for. */
  head: Buffer
  size: number
  /** Of the whole, in hex; null when `head` is the whole. */
  sha256: string | null
}

/** A child's stdout to be read by the piece. Everything throws what ended the child when there is no more. */
export class Scanner {
  private readonly child: Child
  private bytes: Buffer = Buffer.alloc(0)
  private at = 0

  constructor(child: Child) {
    this.child = child
  }

  async peek(): Promise<number> {
    if (this.at === this.bytes.length) await this.more()
    return this.bytes[this.at] as number
  }

  /** Up to the next NUL, which is swallowed. What lies beyond `max` bytes is counted and hashed as it goes by. */
  async token(max: number): Promise<Token> {
    let end = this.bytes.indexOf(0, this.at)
    while (end < 0 && this.bytes.length - this.at <= max) {
      await this.more()
      end = this.bytes.indexOf(0, this.at)
    }
    if (end >= 0 && end - this.at <= max) {
      const head = this.bytes.subarray(this.at, end)
      this.at = end + 1
      return { head, size: head.length, sha256: null }
    }

    const head = this.bytes.subarray(this.at, this.at + max)
    const hash = createHash('sha256')
    let size = 0
    const take = (to: number): void => {
      hash.update(this.bytes.subarray(this.at, to))
      size += to - this.at
      this.at = to
    }
    for (; end < 0; end = this.bytes.indexOf(0, this.at)) {
      take(this.bytes.length)
      await this.more()
    }
    take(end)
    this.at++
    return { head, size, sha256: hash.digest('hex') }
  }

  async skip(size: number): Promise<void> {
    while (this.bytes.length - this.at < size) await this.more()
    this.at += size
  }

  /** Up to the mark, which is swallowed: what of it fits in `max` bytes, and its true size. */
  async until(mark: Buffer, max: number): Promise<{ parts: Buffer[]; size: number }> {
    const parts: Buffer[] = []
    let size = 0
    const take = (end: number): void => {
      if (size < max) parts.push(this.bytes.subarray(this.at, end))
      size += end - this.at
      this.at = end
    }
    for (;;) {
      const found = this.bytes.indexOf(mark, this.at)
      if (found >= 0) {
        take(found)
        this.at += mark.length
        return { parts, size }
      }
      take(Math.max(this.at, this.bytes.length - mark.length))
      await this.more()
    }
  }

  private async more(): Promise<void> {
    const chunk = await this.child.chunk()
    if (chunk === null) {
      await this.child.finish()
      throw new SyncError('upstream', 'reading changes: git ended too early')
    }
    this.bytes = this.at === this.bytes.length ? chunk : Buffer.concat([this.bytes.subarray(this.at), chunk])
    this.at = 0
  }
}
