import { unsetPause } from '../../../core/app/manage/pauses.ts'
import { changeFlags, operatorOf } from '../../../shell/admin-flags.ts'
import { BaseCommand } from '../../../shell/base-command.ts'
import { jobFlag, repoFlag } from '../../../shell/runner-flags.ts'
import { pauseText } from '../../../shell/text/admin.ts'

export default class AdminPausesUnset extends BaseCommand {
  static override summary = 'End a pause'
  static override description = [
    'Also one that the scheduler made. What it held back is due at once.',
    '',
    'EXIT STATUS  0 done · 1 part of it was refused, or nothing of it is there · 2 refused or failed',
  ].join('\n')
  static override examples = [
    '<%= config.bin %> admin pauses unset --repo git:/srv/project.git --job commits',
  ]
  static override flags = { repo: repoFlag, job: jobFlag, ...changeFlags }

  async run(): Promise<void> {
    const { flags } = await this.read(AdminPausesUnset)
    await this.report(
      (ctx) => unsetPause(ctx, { repo: flags.repo, job: flags.job }, operatorOf(flags)),
      pauseText,
    )
  }
}
