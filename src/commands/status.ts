import { readStatus } from '../core/app/read-status.ts'
import { BaseCommand } from '../shell/base-command.ts'
import { statusText } from '../shell/text/status.ts'

export default class Status extends BaseCommand {
  static override summary = 'Show repositories, jobs, runs, locks and cursors'
  static override examples = [
    '<%= config.bin %> <%= command.id %>',
    "<%= config.bin %> <%= command.id %> --json | jq '.jobs_by_status'",
  ]

  async run(): Promise<void> {
    await this.read(Status)
    await this.report(readStatus, statusText)
  }
}
