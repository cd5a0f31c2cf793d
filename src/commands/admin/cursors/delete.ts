import { deleteCursor } from '../../../core/app/manage/cursors.ts'
import { changeFlags, operatorOf } from '../../../shell/admin-flags.ts'
import { BaseCommand } from '../../../shell/base-command.ts'
import { confirm, yesFlag } from '../../../shell/confirm.ts'
import { jobFlag, repoFlag } from '../../../shell/runner-flags.ts'
import { cursorChangeText } from '../../../shell/text/admin.ts'

export default class AdminCursorsDelete extends BaseCommand {
  static override summary = 'Let the next sync read everything'
  static override description = [
    'Nothing is stored twice, but all of it is asked for. The audited cursor stays where it is.',
    '',
    'EXIT STATUS  0 done · 1 part of it was refused, or nothing of it is there · 2 refused or failed',
  ].join('\n')
  static override examples = ['<%= config.bin %> admin cursors delete --repo git:/srv/project.git --yes']
  static override flags = { repo: repoFlag, job: jobFlag, yes: yesFlag, ...changeFlags }

  async run(): Promise<void> {
    const { flags } = await this.read(AdminCursorsDelete)
    await confirm(`the ${flags.job} cursor of ${flags.repo} is deleted, and everything is read again`, flags)
    await this.report(
      (ctx) => deleteCursor(ctx, { repo: flags.repo, job: flags.job }, operatorOf(flags)),
      cursorChangeText,
    )
  }
}
