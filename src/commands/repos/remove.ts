import { Args } from '@oclif/core'
import { unregisterRepo } from '../../core/app/manage/repos.ts'
import { BaseCommand } from '../../shell/base-command.ts'
import { visible } from '../../shell/output.ts'

export default class ReposRemove extends BaseCommand {
  static override summary = 'Stop syncing a repository'
  static override description =
    'Everything stored of it stays; `repos add` takes it up again where it was left.'
  static override examples = [
    '<%= config.bin %> repos remove git:/srv/project.git',
    '<%= config.bin %> repos remove git:1',
  ]
  static override args = {
    repo: Args.string({ required: true, ignoreStdin: true, description: '<kind>:<id, path or URL>' }),
  }

  async run(): Promise<void> {
    const { args } = await this.read(ReposRemove)
    await this.report(
      (ctx) => unregisterRepo(ctx, { repo: args.repo }),
      (r) => `${visible(r.repo)} is no longer synced; what was stored of it stays`,
    )
  }
}
