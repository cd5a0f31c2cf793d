import { Flags } from '@oclif/core'
import { listExpiredLocks } from '../../../core/app/manage/locks.ts'
import { limitFlag } from '../../../shell/admin-flags.ts'
import { BaseCommand } from '../../../shell/base-command.ts'
import { expiredLocksText } from '../../../shell/text/admin.ts'

export default class AdminLocksListExpired extends BaseCommand {
  static override summary = 'List the locks whose lease is over'
  static override description = [
    'Their holders are dead or hang. A reaper removes them by itself.',
    '',
    'EXIT STATUS  0 listed, also nothing · 2 refused or failed',
  ].join('\n')
  static override examples = ['<%= config.bin %> admin locks list-expired --grace-seconds 60 --json']
  static override flags = {
    'grace-seconds': Flags.integer({
      default: 0,
      min: 0,
      max: 2_592_000,
      summary: 'Over for so long',
      helpValue: 'SECONDS',
    }),
    limit: limitFlag(100),
  }

  async run(): Promise<void> {
    const { flags } = await this.read(AdminLocksListExpired)
    const ask = { graceSeconds: flags['grace-seconds'], limit: flags.limit }
    await this.report((ctx) => listExpiredLocks(ctx, ask), expiredLocksText)
  }
}
