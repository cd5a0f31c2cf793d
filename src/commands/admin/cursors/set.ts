import { Flags } from '@oclif/core'
import { setCursor } from '../../../core/app/manage/cursors.ts'
import { changeFlags, operatorOf } from '../../../shell/admin-flags.ts'
import { BaseCommand } from '../../../shell/base-command.ts'
import { yesFlag } from '../../../shell/confirm.ts'
import { jobFlag, repoFlag } from '../../../shell/runner-flags.ts'
import { cursorChangeText } from '../../../shell/text/admin.ts'

export default class AdminCursorsSet extends BaseCommand {
  static override summary = 'Let the next sync begin at another place'
  static override description = [
    'Earlier: what has changed since is read again, nothing is stored twice. Later than the audited cursor: what lies between is skipped,',
    'and the audited one follows for good, so that needs --yes. A sync that runs meanwhile leaves the edit alone.',
    '',
    'EXIT STATUS  0 done, also where nothing had to be · 2 refused or failed',
  ].join('\n')
  static override examples = [
    '<%= config.bin %> admin cursors set --repo git:/srv/project.git --watermark 2024-01-01T00:00:00Z',
    '<%= config.bin %> admin cursors set --repo svn:https://svn.example.com/repo --watermark 1200 --dry-run',
  ]
  static override flags = {
    repo: repoFlag,
    job: jobFlag,
    watermark: Flags.string({
      required: true,
      summary: 'A time, or a revision of Subversion',
      helpValue: 'T|REV',
    }),
    yes: { ...yesFlag, summary: 'Skip what lies between the audited cursor and a later place' },
    ...changeFlags,
  }

  async run(): Promise<void> {
    const { flags } = await this.read(AdminCursorsSet)
    const ask = { repo: flags.repo, job: flags.job, watermark: flags.watermark, skip: flags.yes ?? false }
    await this.report((ctx) => setCursor(ctx, ask, operatorOf(flags)), cursorChangeText)
  }
}
