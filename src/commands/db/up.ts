import { bringUp } from '../../core/runtime/manage-database.ts'
import { BaseCommand } from '../../shell/base-command.ts'
import { databaseText } from '../../shell/text/database.ts'

export default class DbUp extends BaseCommand {
  static override summary = 'Start the embedded database, or find it running'
  static override examples = ['<%= config.bin %> db up']

  async run(): Promise<void> {
    await this.read(DbUp)
    await this.reportWithout(bringUp, databaseText)
  }
}
