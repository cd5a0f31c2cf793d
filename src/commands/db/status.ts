import { describe } from '../../core/runtime/manage-database.ts'
import { BaseCommand } from '../../shell/base-command.ts'
import { databaseText } from '../../shell/text/database.ts'

export default class DbStatus extends BaseCommand {
  static override summary = 'Say which database is used and whether it is ready'
  static override description = 'Starts nothing. Exit 1 when no server runs.'
  static override examples = ['<%= config.bin %> db status', '<%= config.bin %> db status --json']

  async run(): Promise<void> {
    await this.read(DbStatus)
    await this.reportWithout((config) => describe(config), databaseText)
  }
}
