import { Args } from '@oclif/core'
import { traceRow } from '../core/app/report/show-ledger.ts'
import { BaseCommand } from '../shell/base-command.ts'
import { repoFlag } from '../shell/runner-flags.ts'
import { lineageText } from '../shell/text/ledger.ts'

export default class Lineage extends BaseCommand {
  static override summary = 'Show which trigger, plan, slice, run and page wrote a row'
  static override description =
    'The row as it is now. Of a run that the reaper has pruned only the numbers are left.'
  static override examples = [
    '<%= config.bin %> <%= command.id %> 473e2fb --repo git:1',
    '<%= config.bin %> <%= command.id %> mr:42 --repo gitlab:7 --json',
    '<%= config.bin %> <%= command.id %> rev:1005 --repo svn:3',
  ]
  static override args = {
    what: Args.string({ required: true, description: 'SHA or its beginning, mr:IID, or rev:NUMBER' }),
  }
  static override flags = { repo: repoFlag }

  async run(): Promise<void> {
    const { args, flags } = await this.read(Lineage)
    await this.report((ctx) => traceRow(ctx, { repo: flags.repo, what: args.what }), lineageText)
  }
}
