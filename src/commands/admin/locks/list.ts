import { listLocks } from '../../../core/app/manage/locks.ts'
import { limitFlag, repoIdFlag, repoIn, someRepoFlag } from '../../../shell/admin-flags.ts'
import { BaseCommand } from '../../../shell/base-command.ts'
import { locksText } from '../../../shell/text/admin.ts'

export default class AdminLocksList extends BaseCommand {
  static override summary = 'List the locks, the oldest first'
  static override description = [
    'A lock is held by whoever syncs one kind of thing of one repository. It ends by itself when it is not renewed for its lease.',
    '',
    'EXIT STATUS  0 listed, also nothing · 2 refused or failed',
  ].join('\n')
  static override examples = [
    '<%= config.bin %> admin locks list',
    "<%= config.bin %> admin locks list --json | jq -r '.locks[].locked_by'",
  ]
  static override flags = { repo: someRepoFlag, 'repo-id': repoIdFlag, limit: limitFlag(100) }

  async run(): Promise<void> {
    const { flags } = await this.read(AdminLocksList)
    const ask = { ...repoIn(flags), limit: flags.limit }
    await this.report((ctx) => listLocks(ctx, ask), locksText)
  }
}
