import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Dialect } from './wire.ts'

/** A trigger that was accepted and of whose end no admin has heard yet. */
export interface Owed {
  jobId: number
  logId: number
  logDateTime: number
  dialect: Dialect
  acceptedAt: number
  /** null: it waits or runs. */
  end: { code: number; msg: string } | null
}

export interface Journal {
  /** What the last process left. */
  readonly left: readonly Owed[]
  /** Names of files that no process of ours has written. */
  readonly strange: readonly string[]
  /** On the disk when it returns, also when it replaces what was known of the same trigger. */
  keep: (owed: Owed) => void
  drop: (owed: Owed) => void
}

/**
 * One file for each trigger, from the moment it is accepted until an admin has taken its end; so whatever dies, no end
 * is lost. Files and not a table, because a callback is owed above all when the database is what failed.
 */
export function openJournal(folder: string): Journal {
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  const left: Owed[] = []
  const strange: string[] = []
  for (const name of readdirSync(folder).filter((file) => file.endsWith('.json'))) {
    const owed = owedIn(readFileSync(join(folder, name), 'utf8'))
    if (owed !== null && name === nameOf(owed)) left.push(owed)
    else strange.push(name)
  }
  return {
    left,
    strange,
    keep: (owed) => {
      const path = join(folder, nameOf(owed))
      writeFileSync(`${path}.new`, JSON.stringify(owed), { mode: 0o600, flush: true })
      renameSync(`${path}.new`, path)
    },
    drop: (owed) => rmSync(join(folder, nameOf(owed)), { force: true }),
  }
}

export function keyOf({ logId, logDateTime }: { logId: number; logDateTime: number }): string {
  return `${logDateTime}-${logId}`
}

const nameOf = (owed: Owed) => `${keyOf(owed)}.json`

/** null: not one of ours, and nothing is known that could be told of it. */
function owedIn(text: string): Owed | null {
  try {
    const { jobId, logId, logDateTime, dialect, acceptedAt, end } = JSON.parse(text) as Owed
    const whole =
      [jobId, logId, logDateTime, acceptedAt].every(Number.isSafeInteger) &&
      (dialect === '3.4' || dialect === '3.5') &&
      (end === null || (Number.isSafeInteger(end.code) && typeof end.msg === 'string'))
    return whole ? { jobId, logId, logDateTime, dialect, acceptedAt, end } : null
  } catch {
    return null
  }
}
