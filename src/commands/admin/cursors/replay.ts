import { replayCursors } from '../../../core/app/manage/cursors.ts'
import { someRepoFlag } from '../../../shell/admin-flags.ts'
import { BaseCommand } from '../../../shell/base-command.ts'
import { replayText } from '../../../shell/text/admin.ts'

export default class AdminCursorsReplay extends BaseCommand {
  static override summary = 'Prove that the audited cursors are what their events say'
  static override description = [
    'Folds the FORWARD events in the order of their versions, from nothing, and compares. Changes nothing.',
    '',
    'EXIT STATUS  0 equal · 2 some are not, or it could not be done',
  ].join('\n')
  static override examples = [
    '<%= config.bin %> admin cursors replay',
    "<%= config.bin %> admin cursors replay --repo git:/srv/project.git --json | jq '.differences'",
  ]
  static override flags = { repo: { ...someRepoFlag, exclusive: [] } }

  async run(): Promise<void> {
    const { flags } = await this.read(AdminCursorsReplay)
    await this.report((ctx) => replayCursors(ctx, { repo: flags.repo ?? null }), replayText)
  }
}
