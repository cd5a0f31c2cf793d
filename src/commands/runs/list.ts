import { Flags } from '@oclif/core'
import { listRuns } from '../../core/app/report/show-ledger.ts'
import { BaseCommand } from '../../shell/base-command.ts'
import { ledgerAskIn, ledgerFlags } from '../../shell/ledger-flags.ts'
import { runsText } from '../../shell/text/ledger.ts'

export default class RunsList extends BaseCommand {
  static override summary = 'List what ran, the newest first'
  static override description =
    'One run is one try at a job. A try that follows goes on behind its last page.'
  static override examples = [
    '<%= config.bin %> runs list --repo git:1 --status FAILED',
    '<%= config.bin %> runs list --correlation-id nightly-7 --json',
  ]
  static override flags = {
    ...ledgerFlags,
    plan: Flags.integer({ min: 1, max: Number.MAX_SAFE_INTEGER, summary: 'Of this plan', helpValue: 'N' }),
    status: Flags.option({
      options: ['RUNNING', 'SUCCEEDED', 'FAILED', 'CANCELLED'],
      summary: 'In this state',
    })(),
  }

  async run(): Promise<void> {
    const { flags } = await this.read(RunsList)
    const ask = { ...ledgerAskIn(flags), planId: flags.plan ?? null }
    await this.report((ctx) => listRuns(ctx, ask), runsText)
  }
}
