import { Flags } from '@oclif/core'
import { listJobs } from '../../../core/app/manage/jobs.ts'
import { limitFlag, repoIdFlag, repoIn, someJobFlag, someRepoFlag } from '../../../shell/admin-flags.ts'
import { BaseCommand } from '../../../shell/base-command.ts'
import { jobsText } from '../../../shell/text/admin.ts'

export default class AdminJobsList extends BaseCommand {
  static override summary = 'List jobs in one state, the last changed first'
  static override description = [
    'Dead ones, unless another state is asked for.',
    '',
    'EXIT STATUS  0 listed, also nothing · 2 refused or failed',
  ].join('\n')
  static override examples = [
    '<%= config.bin %> admin jobs list',
    "<%= config.bin %> admin jobs list --status failed --repo git:/srv/project.git --json | jq '.jobs[].error_summary_json'",
  ]
  static override flags = {
    status: Flags.option({
      options: ['dead', 'failed', 'pending', 'reserved', 'running', 'completed', 'cancelled'] as const,
      default: 'dead' as const,
      summary: 'In this state',
    })(),
    repo: someRepoFlag,
    'repo-id': repoIdFlag,
    job: someJobFlag,
    limit: limitFlag(100),
  }

  async run(): Promise<void> {
    const { flags } = await this.read(AdminJobsList)
    const ask = { ...repoIn(flags), job: flags.job ?? null, status: flags.status, limit: flags.limit }
    await this.report((ctx) => listJobs(ctx, ask), jobsText)
  }
}
