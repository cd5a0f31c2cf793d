import { cursorHistory } from '../../../core/app/manage/cursors.ts'
import { limitFlag } from '../../../shell/admin-flags.ts'
import { BaseCommand } from '../../../shell/base-command.ts'
import { jobFlag, repoFlag } from '../../../shell/runner-flags.ts'
import { cursorHistoryText } from '../../../shell/text/admin.ts'

export default class AdminCursorsHistory extends BaseCommand {
  static override summary = 'List every move of a cursor, the latest first'
  static override description = [
    'FORWARD moved the audited cursor; BACKFILL says that something was read again, and moved none.',
    '',
    'EXIT STATUS  0 listed · 1 nothing has ever moved it · 2 refused or failed',
  ].join('\n')
  static override examples = [
    '<%= config.bin %> admin cursors history --repo git:/srv/project.git --job commits --limit 20',
  ]
  static override flags = { repo: repoFlag, job: jobFlag, limit: limitFlag(50) }

  async run(): Promise<void> {
    const { flags } = await this.read(AdminCursorsHistory)
    await this.report(
      (ctx) => cursorHistory(ctx, { repo: flags.repo, job: flags.job, limit: flags.limit }),
      cursorHistoryText,
    )
  }
}
