import { Flags } from '@oclif/core'
import { releaseLocks } from '../../../core/app/manage/locks.ts'
import { changeFlags, operatorOf, repoIdFlag, repoIn, someRepoFlag } from '../../../shell/admin-flags.ts'
import { BaseCommand } from '../../../shell/base-command.ts'
import { confirm, yesFlag } from '../../../shell/confirm.ts'
import { jobFlag } from '../../../shell/runner-flags.ts'
import { releaseText } from '../../../shell/text/admin.ts'

export default class AdminLocksForceRelease extends BaseCommand {
  static override summary = 'Take a lock away from its holder'
  static override description = [
    'The former holder stores nothing more: it notices with its next page, or when it renews. Its job stays as it is; one that is still',
    'running is put back by `admin jobs reset-stuck`, or when its lease is over.',
    '',
    'EXIT STATUS  0 done · 1 part of it was refused, or nothing of it is there · 2 refused or failed',
  ].join('\n')
  static override examples = [
    '<%= config.bin %> admin locks force-release --repo git:/srv/project.git --job commits',
    '<%= config.bin %> admin locks force-release --expired --yes --json',
  ]
  static override flags = {
    repo: someRepoFlag,
    'repo-id': repoIdFlag,
    job: jobFlag,
    expired: Flags.boolean({ summary: 'Every lock whose lease is over', exclusive: ['repo', 'repo-id'] }),
    'grace-seconds': Flags.integer({
      min: 0,
      max: 2_592_000,
      summary: 'Over for so long; 0',
      helpValue: 'SECONDS',
      dependsOn: ['expired'],
    }),
    yes: yesFlag,
    ...changeFlags,
  }

  async run(): Promise<void> {
    const { flags } = await this.read(AdminLocksForceRelease)
    const expired = flags.expired ? { graceSeconds: flags['grace-seconds'] ?? 0 } : null
    if (expired) await confirm('every lock whose lease is over is released', flags)
    await this.report(
      (ctx) => releaseLocks(ctx, { ...repoIn(flags), job: flags.job, expired }, operatorOf(flags)),
      releaseText,
    )
  }
}
