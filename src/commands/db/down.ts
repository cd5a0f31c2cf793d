import { shutDown } from '../../core/runtime/manage-database.ts'
import { BaseCommand } from '../../shell/base-command.ts'
import { databaseText } from '../../shell/text/database.ts'

export default class DbDown extends BaseCommand {
  static override summary = 'Stop the embedded database'
  static override examples = ['<%= config.bin %> db down']

  async run(): Promise<void> {
    await this.read(DbDown)
    await this.reportWithout((config) => shutDown(config), databaseText)
  }
}
