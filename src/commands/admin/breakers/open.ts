import { openBreaker } from '../../../core/app/manage/breakers.ts'
import { breakerKey, changeFlags, operatorOf } from '../../../shell/admin-flags.ts'
import { BaseCommand } from '../../../shell/base-command.ts'
import { breakerText } from '../../../shell/text/admin.ts'

export default class AdminBreakersOpen extends BaseCommand {
  static override summary = 'Stop everything, one host or one tenant, until a person closes it'
  static override description = [
    'No job is made and none is claimed; what runs is finished. `runner` obeys a person and looks at no breaker.',
    '',
    'EXIT STATUS  0 done, also where nothing had to be · 2 refused or failed',
  ].join('\n')
  static override examples = [
    '<%= config.bin %> admin breakers open --reason maintenance',
    '<%= config.bin %> admin breakers open default:instance:gitlab.example.com --dry-run',
  ]
  static override args = { key: breakerKey }
  static override flags = changeFlags

  async run(): Promise<void> {
    const { args, flags } = await this.read(AdminBreakersOpen)
    await this.report((ctx) => openBreaker(ctx, { key: args.key ?? null }, operatorOf(flags)), breakerText)
  }
}
