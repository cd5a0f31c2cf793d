import { Flags } from '@oclif/core'
import { listPlans } from '../../core/app/report/show-ledger.ts'
import { BaseCommand } from '../../shell/base-command.ts'
import { ledgerAskIn, ledgerFlags } from '../../shell/ledger-flags.ts'
import { plansText } from '../../shell/text/ledger.ts'

export default class PlansList extends BaseCommand {
  static override summary = 'List what was planned, the newest first'
  static override description = 'One plan is one sync, or one backfill with all its chunks (slices).'
  static override examples = [
    '<%= config.bin %> plans list --repo git:1',
    '<%= config.bin %> plans list --scheduler-log-id 4711 --json',
  ]
  static override flags = {
    ...ledgerFlags,
    status: Flags.option({
      options: ['READY', 'PARTIAL', 'FAILED', 'COMPLETED'],
      summary: 'In this state',
    })(),
  }

  async run(): Promise<void> {
    const { flags } = await this.read(PlansList)
    await this.report((ctx) => listPlans(ctx, ledgerAskIn(flags)), plansText)
  }
}
