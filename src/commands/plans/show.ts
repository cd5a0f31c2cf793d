import { showPlan } from '../../core/app/report/show-ledger.ts'
import { BaseCommand } from '../../shell/base-command.ts'
import { idArg, idIn } from '../../shell/ledger-flags.ts'
import { planText } from '../../shell/text/ledger.ts'

export default class PlansShow extends BaseCommand {
  static override summary = 'Show one plan: who asked for it, its slices, and what of it is missing'
  static override examples = ['<%= config.bin %> plans show 12', '<%= config.bin %> plans show 12 --json']
  static override args = { id: idArg('Number of the plan') }

  async run(): Promise<void> {
    const { args } = await this.read(PlansShow)
    await this.report((ctx) => showPlan(ctx, idIn(args.id, 'plan')), planText)
  }
}
