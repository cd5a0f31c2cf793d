import { Args } from '@oclif/core'
import { markDead } from '../../../core/app/manage/jobs.ts'
import { changeFlags, jobIdsIn, operatorOf } from '../../../shell/admin-flags.ts'
import { BaseCommand } from '../../../shell/base-command.ts'
import { markDeadText } from '../../../shell/text/admin.ts'

export default class AdminJobsMarkDead extends BaseCommand {
  static override summary = 'End jobs that shall not be tried again'
  static override description = [
    'What runs loses its lease with it: its holder stores nothing more. A dead incremental job does not keep the next scan from making',
    'another one; `repos remove` or a pause does.',
    '',
    'EXIT STATUS  0 done · 1 part of it was refused, or nothing of it is there · 2 refused or failed',
  ].join('\n')
  static override examples = ['<%= config.bin %> admin jobs mark-dead 17 --reason obsolete']
  static override strict = false
  static override args = {
    job_id: Args.string({
      required: true,
      ignoreStdin: true,
      description: 'Number of a job that has not ended; any number of them',
    }),
  }
  static override flags = changeFlags

  async run(): Promise<void> {
    const { flags, argv } = await this.read(AdminJobsMarkDead)
    await this.report((ctx) => markDead(ctx, { jobIds: jobIdsIn(argv) }, operatorOf(flags)), markDeadText)
  }
}
