import { Flags } from '@oclif/core'
import { pruneJobs } from '../../../core/app/manage/jobs.ts'
import { changeFlags, operatorOf } from '../../../shell/admin-flags.ts'
import { BaseCommand } from '../../../shell/base-command.ts'
import { confirm, yesFlag } from '../../../shell/confirm.ts'
import { secondsIn } from '../../../shell/duration.ts'
import { pruneText } from '../../../shell/text/admin.ts'

export default class AdminJobsPrune extends BaseCommand {
  static override summary = 'Delete pending jobs nobody will miss'
  static override description = [
    'Old ones of low priority: a greater number comes later, 100 is an incremental job, 150 a chunk of a backfill. Their slices are',
    'cancelled. A thousand at once.',
    '',
    'EXIT STATUS  0 done, also where nothing had to be · 2 refused or failed',
  ].join('\n')
  static override examples = [
    '<%= config.bin %> admin jobs prune --dry-run',
    '<%= config.bin %> admin jobs prune --older-than 7d --priority-above 500 --yes --json',
  ]
  static override flags = {
    'older-than': Flags.string({ default: '7d', summary: 'Made so long ago', helpValue: 'DURATION' }),
    'priority-above': Flags.integer({
      default: 500,
      min: -2_147_483_648,
      max: 2_147_483_647,
      summary: 'Of a greater priority number',
      helpValue: 'N',
    }),
    yes: yesFlag,
    ...changeFlags,
  }

  async run(): Promise<void> {
    const { flags } = await this.read(AdminJobsPrune)
    const ask = {
      olderThanSeconds: secondsIn(flags['older-than'], 'older-than'),
      priorityAbove: flags['priority-above'],
    }
    await confirm(
      `pending jobs older than ${flags['older-than']} and above priority ${ask.priorityAbove} are deleted`,
      flags,
    )
    await this.report((ctx) => pruneJobs(ctx, ask, operatorOf(flags)), pruneText)
  }
}
