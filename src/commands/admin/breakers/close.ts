import { closeBreaker } from '../../../core/app/manage/breakers.ts'
import { breakerKey, changeFlags, operatorOf } from '../../../shell/admin-flags.ts'
import { BaseCommand } from '../../../shell/base-command.ts'
import { breakerText } from '../../../shell/text/admin.ts'

export default class AdminBreakersClose extends BaseCommand {
  static override summary = 'Let it go on'
  static override description = [
    'Whoever opened it. Only runs that begin from now on are judged.',
    '',
    'EXIT STATUS  0 done · 1 part of it was refused, or nothing of it is there · 2 refused or failed',
  ].join('\n')
  static override examples = [
    '<%= config.bin %> admin breakers close',
    '<%= config.bin %> admin breakers close default:tenant:acme --json',
  ]
  static override args = { key: breakerKey }
  static override flags = changeFlags

  async run(): Promise<void> {
    const { args, flags } = await this.read(AdminBreakersClose)
    await this.report((ctx) => closeBreaker(ctx, { key: args.key ?? null }, operatorOf(flags)), breakerText)
  }
}
