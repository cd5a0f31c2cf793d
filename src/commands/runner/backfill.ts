import { Flags } from '@oclif/core'
import { previewBackfill } from '../../core/app/preview.ts'
import { runBackfill } from '../../core/app/run-backfill.ts'
import { SyncError } from '../../core/domain/errors.ts'
import { MOST_REVISIONS } from '../../core/domain/mark.ts'
import { parseRepoRef } from '../../core/domain/repo.ts'
import { BaseCommand } from '../../shell/base-command.ts'
import { dryRunFlag, jobFlag, lockWaitFlag, repoFlag } from '../../shell/runner-flags.ts'
import { backfillText, previewBackfillText } from '../../shell/text/runner.ts'

const MOST_HOURS = 24 * 366 * 100

const TIMES = ['last-hours', 'last-days', 'since', 'until']

export default class RunnerBackfill extends BaseCommand {
  static override summary = 'Read a window of history again, in chunks of four hours or a hundred revisions'
  static override description = [
    'Commits are taken by committed date in [since, until), revisions by their number. A failed chunk does not stop the',
    'next; the same command again runs what is missing. The cursor moves only with --update-watermark, and only when',
    'every chunk succeeded.',
  ].join('\n')
  static override examples = [
    '<%= config.bin %> runner backfill --repo git:/srv/project.git --last-hours 24',
    '<%= config.bin %> runner backfill --repo git:1 --since 2025-01-01T00:00:00Z --until 2025-02-01T00:00:00Z --json',
    '<%= config.bin %> runner backfill --repo git:1 --last-days 7 --dry-run',
    '<%= config.bin %> runner backfill --repo svn:https://svn.example.com/repo --start-rev 100 --end-rev 500',
  ]
  static override flags = {
    repo: repoFlag,
    job: jobFlag,
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
    'dry-run': dryRunFlag,
    'lock-wait': lockWaitFlag,
  }

  async run(): Promise<void> {
    const { flags } = await this.read(RunnerBackfill)
    refuseRevisions(flags.repo, flags['start-rev'], flags['end-rev'])
    const ask = {
      repo: flags.repo,
      job: flags.job,
      wish: {
        lastHours: flags['last-hours'],
        lastDays: flags['last-days'],
        since: flags.since,
        until: flags.until,
        startRev: flags['start-rev'],
        endRev: flags['end-rev'],
      },
      updateWatermark: flags['update-watermark'],
      lockWaitSeconds: flags['lock-wait'],
    }
    if (flags['dry-run']) return this.report((ctx) => previewBackfill(ctx, ask), previewBackfillText)
    return this.report((ctx) => runBackfill(ctx, ask), backfillText)
  }
}

/** A flag that would go unheard is a mistake. */
function refuseRevisions(repo: string, start: number | undefined, end: number | undefined): void {
  if (start === undefined && end === undefined) return
  const { kind } = parseRepoRef(repo)
  if (kind !== 'svn')
    throw new SyncError('usage', `--start-rev and --end-rev are for svn, and ${kind} has no revisions`, {
      hint: 'say the window with --since and --until',
    })
  if (start !== undefined && end !== undefined && start > end)
    throw new SyncError('usage', `--start-rev ${start} is after --end-rev ${end}`)
}
