import { verify } from '../../core/app/sync/verify.ts'
import { BaseCommand } from '../../shell/base-command.ts'
import { dryRunFlag, repoFlag } from '../../shell/runner-flags.ts'
import { verifyText } from '../../shell/text/verify.ts'

export default class AdminVerify extends BaseCommand {
  static override summary = 'Hold what is stored of a GitLab project against the project, and queue repairs'
  static override description = [
    'Lists every merge request of the project (a request for each hundred) and compares: missing and stale rows, comments',
    'taken back without a trace, merge requests deleted, numbers never seen. Also finds commits and reviews of which a part',
    'could not be read. Backfill jobs are made for what differs. Once a night is often enough.',
    '',
    'EXIT STATUS  0 all equal · 1 differences were found · 2 it could not be done',
  ].join('\n')
  static override examples = [
    '<%= config.bin %> admin verify --repo gitlab:group/project --dry-run',
    '<%= config.bin %> admin verify --repo gitlab:group/project --json | jq .repairs_queued',
  ]
  static override flags = { repo: repoFlag, 'dry-run': dryRunFlag }

  async run(): Promise<void> {
    const { flags } = await this.read(AdminVerify)
    await this.report(
      (ctx) => verify(ctx, { repo: flags.repo, dryRun: flags['dry-run'] ?? false }),
      verifyText,
    )
  }
}
