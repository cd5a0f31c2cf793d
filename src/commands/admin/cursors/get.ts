import { getCursor } from '../../../core/app/manage/cursors.ts'
import { BaseCommand } from '../../../shell/base-command.ts'
import { jobFlag, repoFlag } from '../../../shell/runner-flags.ts'
import { cursorText } from '../../../shell/text/admin.ts'

export default class AdminCursorsGet extends BaseCommand {
  static override summary = 'Show one cursor'
  static override description = [
    'EXIT STATUS  0 it is there · 1 it is not: the next sync reads everything · 2 refused or failed',
  ].join('\n')
  static override examples = [
    "<%= config.bin %> admin cursors get --repo git:/srv/project.git --json | jq -r '.cursor.watermark'",
  ]
  static override flags = { repo: repoFlag, job: jobFlag }

  async run(): Promise<void> {
    const { flags } = await this.read(AdminCursorsGet)
    await this.report((ctx) => getCursor(ctx, { repo: flags.repo, job: flags.job }), cursorText)
  }
}
