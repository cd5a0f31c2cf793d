import { Flags } from '@oclif/core'
import { setPause } from '../../../core/app/manage/pauses.ts'
import { changeFlags, operatorOf } from '../../../shell/admin-flags.ts'
import { BaseCommand } from '../../../shell/base-command.ts'
import { secondsIn } from '../../../shell/duration.ts'
import { jobFlag, repoFlag } from '../../../shell/runner-flags.ts'
import { pauseText } from '../../../shell/text/admin.ts'

export default class AdminPausesSet extends BaseCommand {
  static override summary = 'Pause one kind of thing of a repository'
  static override description = [
    'No job is made or claimed until it is over; what runs is finished. A pause that is there is replaced.',
    '',
    'EXIT STATUS  0 done, also where nothing had to be · 2 refused or failed',
  ].join('\n')
  static override examples = [
    '<%= config.bin %> admin pauses set --repo git:/srv/project.git --job commits --duration 1h --reason maintenance',
  ]
  static override flags = {
    repo: repoFlag,
    job: jobFlag,
    duration: Flags.string({ required: true, summary: 'For so long from now on', helpValue: 'DURATION' }),
    ...changeFlags,
  }

  async run(): Promise<void> {
    const { flags } = await this.read(AdminPausesSet)
    const ask = { repo: flags.repo, job: flags.job, seconds: secondsIn(flags.duration, 'duration') }
    await this.report((ctx) => setPause(ctx, ask, operatorOf(flags)), pauseText)
  }
}
