import { Flags, type Interfaces } from '@oclif/core'
import { SyncError } from '../core/domain/errors.ts'
import { MOST_REVISIONS } from '../core/domain/mark.ts'
import { parseRepoRef } from '../core/domain/repo.ts'
import type { WindowWish } from '../core/domain/window.ts'

const MOST_HOURS = 24 * 366 * 100

const TIMES = ['last-hours', 'last-days', 'since', 'until']

/** The window of a backfill, by times or by revisions, and what becomes of the cursor. */
export const windowFlags = {
  'last-hours': Flags.integer({
    min: 1,
    max: MOST_HOURS,
    exclusive: ['last-days', 'since', 'until'],
    summary: 'The last N hours',
  }),
  'last-days': Flags.integer({
    min: 1,
    max: MOST_HOURS / 24,
    exclusive: ['last-hours', 'since', 'until'],
    summary: 'The last N days',
  }),
  since: Flags.string({ summary: 'From this time on (ISO 8601; without a zone: UTC)', helpValue: 'TIME' }),
  until: Flags.string({ summary: 'Up to, not including, this time; now if not given', helpValue: 'TIME' }),
  'start-rev': Flags.integer({
    min: 1,
    max: MOST_REVISIONS,
    exclusive: TIMES,
    summary: 'First revision (Subversion); 1 if only the last is given',
  }),
  'end-rev': Flags.integer({
    min: 1,
    max: MOST_REVISIONS,
    exclusive: TIMES,
    summary: 'Last revision, included (Subversion); the newest if only the first is given',
  }),
  'update-watermark': Flags.boolean({
    summary: 'Move the cursor to the end of the window if all chunks succeed',
    default: false,
  }),
}

/** What the flags say of it. A flag that would go unheard is a mistake. */
export function wishOf(repo: string, flags: Interfaces.InferredFlags<typeof windowFlags>): WindowWish {
  const { 'start-rev': startRev, 'end-rev': endRev } = flags
  if (startRev !== undefined || endRev !== undefined) requireRevisions(repo)
  if (startRev !== undefined && endRev !== undefined && startRev > endRev)
    throw new SyncError('usage', `--start-rev ${startRev} is after --end-rev ${endRev}`)
  const { 'last-hours': lastHours, 'last-days': lastDays, since, until } = flags
  return { lastHours, lastDays, since, until, startRev, endRev }
}

function requireRevisions(repo: string): void {
  const { kind } = parseRepoRef(repo)
  if (kind !== 'svn')
    throw new SyncError('usage', `--start-rev and --end-rev are for svn, and ${kind} has no revisions`, {
      hint: 'say the window with --since and --until',
    })
}
