import { listBuckets } from '../../../core/app/manage/buckets.ts'
import { BaseCommand } from '../../../shell/base-command.ts'
import { bucketsText } from '../../../shell/text/admin.ts'

export default class AdminBucketsList extends BaseCommand {
  static override summary = 'List the rate limit buckets'
  static override description = [
    'What each host grants as of now, and until when it is silent.',
    '',
    'EXIT STATUS  0 listed, also nothing · 2 refused or failed',
  ].join('\n')
  static override examples = [
    '<%= config.bin %> admin buckets list',
    "<%= config.bin %> admin buckets list --json | jq '.buckets[] | select(.is_paused)'",
  ]

  async run(): Promise<void> {
    await this.read(AdminBucketsList)
    await this.report(listBuckets, bucketsText)
  }
}
