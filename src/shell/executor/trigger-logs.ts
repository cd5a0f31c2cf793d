import { appendFileSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { sayableLines } from '../output.ts'
import { keyOf } from './journal.ts'
import { type LogAsk, untagged } from './wire.ts'

/** A log is read by a person in a page of the admin; what a program wants stands in the database. */
const MOST_BYTES = 1_048_576
/** Lines of one answer; the page asks for the next ones by itself. */
const MOST_LINES = 1_000
const LONGEST_LINE = 2_000
const DAY_MS = 86_400_000

type Id = Pick<LogAsk, 'logId' | 'logDateTime'>

export interface LogPart {
  fromLineNum: number
  /** Of the last line that is given; below `fromLineNum` when there is none. */
  toLineNum: number
  logContent: string
  isEnd: boolean
}

/** What each trigger said: `<day of its time, UTC>/<log number>.log`, removed after so many days. */
export class TriggerLogs {
  private readonly folder: string
  private readonly open = new Map<string, { path: string; bytes: number }>()

  constructor(folder: string) {
    this.folder = folder
  }

  /** True also after a restart: this trigger was accepted once. */
  knows(id: Id): boolean {
    return existsSync(this.pathOf(id))
  }

  begin(id: Id): void {
    const path = this.pathOf(id)
    mkdirSync(join(path, '..'), { recursive: true, mode: 0o700 })
    appendFileSync(path, '', { mode: 0o600 })
    this.open.set(keyOf(id), { path, bytes: 0 })
  }

  /** Neither a full disk nor a trigger long over ends a sync. */
  say(id: Id, now: Date, text: string): void {
    const log = this.open.get(keyOf(id))
    if (!log || log.bytes > MOST_BYTES) return
    const said = untagged(sayableLines(text)).split('\n')
    const lines = said.map((line) => `${now.toISOString()} ${line.slice(0, LONGEST_LINE)}\n`).join('')
    log.bytes += Buffer.byteLength(lines)
    const last =
      log.bytes > MOST_BYTES ? `${now.toISOString()} … the rest is in the log of the process\n` : ''
    try {
      appendFileSync(log.path, lines + last)
    } catch {
      // the disk is full; the report and the callback still tell
    }
  }

  end(id: Id): void {
    this.open.delete(keyOf(id))
  }

  read(ask: LogAsk): LogPart {
    const path = this.pathOf(ask)
    if (!existsSync(path))
      return { fromLineNum: ask.fromLine, toLineNum: 0, logContent: 'there is no such log here', isEnd: true }
    // What follows the last newline is a line still being written, or nothing.
    const lines = readFileSync(path, 'utf8').split('\n').slice(0, -1)
    const given = lines.slice(ask.fromLine - 1, ask.fromLine - 1 + MOST_LINES)
    const toLineNum = Math.min(lines.length, ask.fromLine - 1 + given.length)
    return {
      fromLineNum: ask.fromLine,
      toLineNum,
      logContent: given.map((line) => `${line}\n`).join(''),
      isEnd: toLineNum === lines.length && !this.open.has(keyOf(ask)),
    }
  }

  /** Whole days, by their folders. */
  prune(now: Date, keptDays: number): void {
    const oldest = dayOf(now.getTime() - keptDays * DAY_MS)
    if (!existsSync(this.folder)) return
    for (const day of readdirSync(this.folder))
      if (/^\d{4}-\d\d-\d\d$/.test(day) && day < oldest)
        rmSync(join(this.folder, day), { recursive: true, force: true })
  }

  private pathOf({ logId, logDateTime }: Id): string {
    return join(this.folder, dayOf(logDateTime), `${logDateTime}-${logId}.log`)
  }
}

const dayOf = (ms: number) => new Date(ms).toISOString().slice(0, 10)
