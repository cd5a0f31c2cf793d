import { Flags } from '@oclif/core'
import { resetStuck } from '../../../core/app/manage/jobs.ts'
import {
  changeFlags,
  operatorOf,
  repoIdFlag,
  repoIn,
  someJobFlag,
  someRepoFlag,
} from '../../../shell/admin-flags.ts'
import { BaseCommand } from '../../../shell/base-command.ts'
import { secondsIn } from '../../../shell/duration.ts'
import { resetStuckText } from '../../../shell/text/admin.ts'

export default class AdminJobsResetStuck extends BaseCommand {
  static override summary = 'Take jobs back from holders that are stuck'
  static override description = [
    'Running jobs whose lease was not renewed for so long are pending again, their locks free; the next run goes on after the last',
    'page stored. A holder that lives all the same stores nothing more. Leases are renewed every minute, and a reaper does this',
    'by itself once one is over.',
    '',
    'EXIT STATUS  0 done, also where nothing had to be · 2 refused or failed',
  ].join('\n')
  static override examples = [
    '<%= config.bin %> admin jobs reset-stuck --dry-run',
    '<%= config.bin %> admin jobs reset-stuck --older-than 30m --json',
  ]
  static override flags = {
    'older-than': Flags.string({
      default: '600s',
      summary: 'Not renewed for so long',
      helpValue: 'DURATION',
    }),
    repo: someRepoFlag,
    'repo-id': repoIdFlag,
    job: someJobFlag,
    ...changeFlags,
  }

  async run(): Promise<void> {
    const { flags } = await this.read(AdminJobsResetStuck)
    const olderThanSeconds = secondsIn(flags['older-than'], 'older-than')
    const ask = { ...repoIn(flags), job: flags.job ?? null, olderThanSeconds }
    await this.report((ctx) => resetStuck(ctx, ask, operatorOf(flags)), resetStuckText)
  }
}
