import { Args, Flags } from '@oclif/core'
import { resetDead } from '../../../core/app/manage/jobs.ts'
import {
  changeFlags,
  jobIdsIn,
  operatorOf,
  repoIdFlag,
  repoIn,
  someJobFlag,
  someRepoFlag,
} from '../../../shell/admin-flags.ts'
import { BaseCommand } from '../../../shell/base-command.ts'
import { confirm, yesFlag } from '../../../shell/confirm.ts'
import { resetDeadText } from '../../../shell/text/admin.ts'

export default class AdminJobsResetDead extends BaseCommand {
  static override summary = 'Try dead jobs again'
  static override description = [
    'Mend the cause first. They are pending, due at once and as if never tried; what they had stored stays, and they go on after it.',
    '',
    'EXIT STATUS  0 done · 1 part of it was refused, or nothing of it is there · 2 refused or failed',
  ].join('\n')
  static override examples = [
    '<%= config.bin %> admin jobs reset-dead 17 18 --reason token-renewed',
    '<%= config.bin %> admin jobs reset-dead --repo git:/srv/project.git --dry-run',
    '<%= config.bin %> admin jobs reset-dead --all --yes --json',
  ]
  static override strict = false
  static override args = {
    job_id: Args.string({ ignoreStdin: true, description: 'Number of a dead job; any number of them' }),
  }
  static override flags = {
    repo: someRepoFlag,
    'repo-id': repoIdFlag,
    job: someJobFlag,
    all: Flags.boolean({ summary: 'Every dead job there is', exclusive: ['repo', 'repo-id', 'job'] }),
    yes: yesFlag,
    ...changeFlags,
  }

  async run(): Promise<void> {
    const { flags, argv } = await this.read(AdminJobsResetDead)
    const ask = { ...repoIn(flags), job: flags.job ?? null, jobIds: jobIdsIn(argv), all: flags.all ?? false }
    if (ask.all) await confirm('every dead job is tried again', flags)
    await this.report((ctx) => resetDead(ctx, ask, operatorOf(flags)), resetDeadText)
  }
}
