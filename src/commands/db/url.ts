import { describe } from '../../core/runtime/manage-database.ts'
import { BaseCommand } from '../../shell/base-command.ts'

export default class DbUrl extends BaseCommand {
  static override summary = 'Print the URL of the database'
  static override description = 'Without a password. Exit 1 and no output when no server runs.'
  static override examples = ['psql "$(<%= config.bin %> db url)"']

  async run(): Promise<void> {
    await this.read(DbUrl)
    await this.reportWithout(
      (config) => describe(config),
      (r) => r.url ?? '',
    )
  }
}
