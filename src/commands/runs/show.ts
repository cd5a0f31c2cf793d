import { showRun } from '../../core/app/report/show-ledger.ts'
import { BaseCommand } from '../../shell/base-command.ts'
import { idArg, idIn } from '../../shell/ledger-flags.ts'
import { runText } from '../../shell/text/ledger.ts'

export default class RunsShow extends BaseCommand {
  static override summary = 'Show one run: who asked for it, its pages, and how it moved the cursor'
  static override examples = ['<%= config.bin %> runs show 34', '<%= config.bin %> runs show 34 --json']
  static override args = { id: idArg('Number of the run') }

  async run(): Promise<void> {
    const { args } = await this.read(RunsShow)
    await this.report((ctx) => showRun(ctx, idIn(args.id, 'run')), runText)
  }
}
