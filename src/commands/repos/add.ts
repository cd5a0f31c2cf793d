import { Args, Flags } from '@oclif/core'
import { registerRepo } from '../../core/app/manage/repos.ts'
import { BaseCommand } from '../../shell/base-command.ts'
import { visible } from '../../shell/output.ts'

export default class ReposAdd extends BaseCommand {
  static override summary = 'Register a repository'
  static override examples = [
    '<%= config.bin %> repos add gitlab:group/project',
    '<%= config.bin %> repos add git:/srv/project.git',
    '<%= config.bin %> repos add git:https://example.com/project.git --project-key team/project',
  ]
  static override args = {
    repo: Args.string({ required: true, ignoreStdin: true, description: '<kind>:<id, path or URL>' }),
  }
  static override flags = {
    'project-key': Flags.string({ summary: 'Project it belongs to; up to the first / it names the tenant' }),
  }

  async run(): Promise<void> {
    const { args, flags } = await this.read(ReposAdd)
    await this.report(
      (ctx) => registerRepo(ctx, { repo: args.repo, projectKey: flags['project-key'] ?? null }),
      (r) =>
        `${visible(r.repo)} is ${r.created ? 'registered' : 'registered already'} as repository ${r.repo_id}`,
    )
  }
}
