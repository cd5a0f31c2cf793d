import { showHistory } from '../../core/app/manage/operate.ts'
import { limitFlag } from '../../shell/admin-flags.ts'
import { BaseCommand } from '../../shell/base-command.ts'
import { historyText } from '../../shell/text/admin.ts'

export default class AdminHistory extends BaseCommand {
  static override summary = 'List what was changed by hand, by whom and why'
  static override description = [
    'Every change that a command of `admin` made, the latest first. Changes made in SQL are not in it.',
    '',
    'EXIT STATUS  0 listed, also nothing · 2 refused or failed',
  ].join('\n')
  static override examples = [
    '<%= config.bin %> admin history',
    "<%= config.bin %> admin history --json | jq '.events[0]'",
  ]
  static override flags = { limit: limitFlag(50) }

  async run(): Promise<void> {
    const { flags } = await this.read(AdminHistory)
    await this.report((ctx) => showHistory(ctx, { limit: flags.limit }), historyText)
  }
}
