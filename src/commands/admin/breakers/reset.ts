import { resetBreaker } from '../../../core/app/manage/breakers.ts'
import { breakerKey, changeFlags, operatorOf } from '../../../shell/admin-flags.ts'
import { BaseCommand } from '../../../shell/base-command.ts'
import { breakerText } from '../../../shell/text/admin.ts'

export default class AdminBreakersReset extends BaseCommand {
  static override summary = 'Forget a breaker: as if there had never been one'
  static override description = [
    'Its row is removed, and so it is closed.',
    '',
    'EXIT STATUS  0 done · 1 part of it was refused, or nothing of it is there · 2 refused or failed',
  ].join('\n')
  static override examples = ['<%= config.bin %> admin breakers reset']
  static override args = { key: breakerKey }
  static override flags = changeFlags

  async run(): Promise<void> {
    const { args, flags } = await this.read(AdminBreakersReset)
    await this.report((ctx) => resetBreaker(ctx, { key: args.key ?? null }, operatorOf(flags)), breakerText)
  }
}
