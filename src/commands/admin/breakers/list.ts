import { listBreakers } from '../../../core/app/manage/breakers.ts'
import { BaseCommand } from '../../../shell/base-command.ts'
import { breakersText } from '../../../shell/text/admin.ts'

export default class AdminBreakersList extends BaseCommand {
  static override summary = 'List the circuit breakers'
  static override description = [
    'Those that have a row in logbook.kv; without one a breaker is closed.',
    '',
    'EXIT STATUS  0 listed, also nothing · 2 refused or failed',
  ].join('\n')
  static override examples = [
    '<%= config.bin %> admin breakers list',
    "<%= config.bin %> admin breakers list --json | jq '.breakers[].reason'",
  ]

  async run(): Promise<void> {
    await this.read(AdminBreakersList)
    await this.report(listBreakers, breakersText)
  }
}
