import { Args, Flags } from '@oclif/core'
import type { Operator } from '../core/app/manage/operate.ts'
import { SyncError } from '../core/domain/errors.ts'
import { JOB_TYPES } from '../core/domain/repo.ts'
import { operatorHere } from '../core/runtime/operator.ts'

/** Of every command that changes something by hand. */
export const changeFlags = {
  'dry-run': Flags.boolean({ summary: 'Say what would change, change nothing' }),
  reason: Flags.string({ summary: 'Why; kept in the history', helpValue: 'TEXT' }),
  by: Flags.string({
    summary: 'Who; kept in the history, SUDO_USER or USER at this host',
    helpValue: 'NAME',
  }),
}

export function operatorOf(flags: {
  'dry-run': boolean
  reason: string | undefined
  by: string | undefined
}): Operator {
  const by = bounded('by', flags.by ?? operatorHere())
  const reason = flags.reason === undefined ? null : bounded('reason', flags.reason)
  return { by, reason, dryRun: flags['dry-run'] ?? false }
}

/** It is kept, and printed by every `admin history`. */
const MOST_CHARS = 500

function bounded(flag: string, text: string): string {
  if (text.length <= MOST_CHARS) return text
  throw new SyncError('usage', `--${flag} is longer than ${MOST_CHARS} characters`, {
    hint: 'say it shorter',
  })
}

export const breakerKey = Args.string({
  ignoreStdin: true,
  description: 'default:instance:<host>, default:tenant:<id>; else the one of everything, default:global',
})

export const someRepoFlag = Flags.string({
  summary: 'Of this repository: <kind>:<id, path or URL>',
  helpValue: 'KIND:ID',
  exclusive: ['repo-id'],
})

export const repoIdFlag = Flags.integer({
  min: 1,
  max: Number.MAX_SAFE_INTEGER,
  summary: 'Of the repository with this number',
  helpValue: 'N',
})

export const someJobFlag = Flags.option({ options: JOB_TYPES, summary: 'Of this kind' })()

export const limitFlag = (most: number) =>
  Flags.integer({ default: most, min: 1, max: 100_000, summary: 'At most so many', helpValue: 'N' })

/** `repo` and `repo-id`, as the use-cases ask for them. */
export function repoIn(flags: { repo: string | undefined; 'repo-id': number | undefined }) {
  return { repo: flags.repo ?? null, repoId: flags['repo-id'] ?? null }
}

/** Each once, however often it was said. */
export function jobIdsIn(words: unknown[]): number[] {
  const ids = words.map((word) => {
    if (!/^\d{1,15}$/.test(String(word)))
      throw new SyncError('usage', `${JSON.stringify(word)} is not the number of a job`, {
        hint: 'engram-scm-sync admin jobs list shows the numbers',
      })
    return Number(word)
  })
  return [...new Set(ids)]
}
