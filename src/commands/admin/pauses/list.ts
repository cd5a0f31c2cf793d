import { Flags } from '@oclif/core'
import { listPauses } from '../../../core/app/manage/pauses.ts'
import { BaseCommand } from '../../../shell/base-command.ts'
import { pausesText } from '../../../shell/text/admin.ts'

export default class AdminPausesList extends BaseCommand {
  static override summary = 'List what is paused, the longest first'
  static override description = [
    'By a person, or by the scheduler (`error_budget`).',
    '',
    'EXIT STATUS  0 listed, also nothing · 2 refused or failed',
  ].join('\n')
  static override examples = [
    '<%= config.bin %> admin pauses list --include-expired',
    "<%= config.bin %> admin pauses list --json | jq '.count'",
  ]
  static override flags = { 'include-expired': Flags.boolean({ summary: 'Also those that are over' }) }

  async run(): Promise<void> {
    const { flags } = await this.read(AdminPausesList)
    await this.report(
      (ctx) => listPauses(ctx, { includeExpired: flags['include-expired'] ?? false }),
      pausesText,
    )
  }
}
