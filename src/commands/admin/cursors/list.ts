import { listCursors } from '../../../core/app/manage/cursors.ts'
import { limitFlag, someJobFlag, someRepoFlag } from '../../../shell/admin-flags.ts'
import { BaseCommand } from '../../../shell/base-command.ts'
import { cursorsText } from '../../../shell/text/admin.ts'

export default class AdminCursorsList extends BaseCommand {
  static override summary = 'List the cursors, and the audited ones beside them'
  static override description = [
    'The watermark is where the next sync begins, and may be edited. The audited cursor only moves forward.',
    '',
    'EXIT STATUS  0 listed, also nothing · 2 refused or failed',
  ].join('\n')
  static override examples = [
    '<%= config.bin %> admin cursors list',
    "<%= config.bin %> admin cursors list --json | jq -r '.cursors[] | [.key, .watermark] | @tsv'",
  ]
  static override flags = {
    repo: { ...someRepoFlag, exclusive: [] },
    job: someJobFlag,
    limit: limitFlag(200),
  }

  async run(): Promise<void> {
    const { flags } = await this.read(AdminCursorsList)
    const ask = { repo: flags.repo ?? null, job: flags.job ?? null, limit: flags.limit }
    await this.report((ctx) => listCursors(ctx, ask), cursorsText)
  }
}
