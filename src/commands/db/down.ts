import type { Config } from '../../core/contracts/config.ts'
import { shutDown } from '../../core/runtime/manage-database.ts'
import { BaseCommand } from '../../shell/base-command.ts'
import { databaseText } from '../../shell/text/database.ts'

export default class DbDown extends BaseCommand {
  static override summary = 'Stop the embedded database'
  static override examples = ['<%= config.bin %> db down']

  async run(): Promise<void> {
    await this.read(DbDown)
    // Not running is what was asked for, so it is no `1` here.
    const down = async (config: Config) => ({ ...(await shutDown(config)), exit_code: 0 as const })
    await this.reportWithout(down, databaseText)
  }
}
