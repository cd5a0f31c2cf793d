import { migrateNow } from '../../core/runtime/manage-database.ts'
import { BaseCommand } from '../../shell/base-command.ts'
import { databaseText } from '../../shell/text/database.ts'

export default class DbMigrate extends BaseCommand {
  static override summary = 'Bring the schema up to date'
  static override description =
    'For an external database this is the only way; the embedded one is migrated by itself.'
  static override examples = [
    '<%= config.bin %> db migrate',
    'POSTGRES_DSN=postgresql://… <%= config.bin %> db migrate',
  ]

  async run(): Promise<void> {
    await this.read(DbMigrate)
    await this.reportWithout(migrateNow, databaseText)
  }
}
