import { Flags } from '@oclif/core'
import { readHealth } from '../core/app/report/read-health.ts'
import { readMetrics } from '../core/app/report/read-metrics.ts'
import { readStatus } from '../core/app/report/read-status.ts'
import { SyncError } from '../core/domain/errors.ts'
import { BaseCommand } from '../shell/base-command.ts'
import { print, printMade } from '../shell/output.ts'
import { stopSignal } from '../shell/stop.ts'
import { healthText } from '../shell/text/health.ts'
import { exposition } from '../shell/text/metrics.ts'
import { statusText } from '../shell/text/status.ts'
import { watch } from '../shell/watch.ts'

export default class Status extends BaseCommand {
  static override summary = 'Show repositories, jobs, runs, locks and cursors'
  static override description =
    'A page for a person; --json for scripts, --prometheus for a scraper, --health for an exit code: 0 healthy, 1 warnings, 2 critical.'
  static override examples = [
    '<%= config.bin %> <%= command.id %>',
    "<%= config.bin %> <%= command.id %> --json | jq '.jobs_by_status'",
    '<%= config.bin %> <%= command.id %> --health --include-details',
  ]
  static override flags = {
    prometheus: Flags.boolean({
      summary: 'Print the figures as metrics in Prometheus text format',
      exclusive: ['json', 'health', 'watch'],
    }),
    health: Flags.boolean({
      summary: 'Check what can be wrong; exit 0 healthy, 1 warnings, 2 critical',
      exclusive: ['watch'],
    }),
    'include-details': Flags.boolean({
      summary: 'Name up to ten of what each check found',
      dependsOn: ['health'],
    }),
    'grace-seconds': Flags.integer({
      min: 0,
      max: 2_592_000,
      summary: 'Time a lease or heartbeat may be over before a check counts it; 60',
      helpValue: 'SECONDS',
      dependsOn: ['health'],
    }),
    watch: Flags.boolean({
      summary: 'Show the page again and again until Ctrl-C, on a terminal',
      exclusive: ['json', 'quiet'],
    }),
    'interval-seconds': Flags.integer({
      min: 1,
      max: 86_400,
      summary: 'Rest between pages; 2',
      helpValue: 'SECONDS',
      dependsOn: ['watch'],
    }),
  }

  private asIs = false
  private isAnswer = false

  async run(): Promise<void> {
    const { flags } = await this.read(Status)
    if (flags.prometheus) {
      this.asIs = true
      return this.report(readMetrics, (report) => exposition(report.metrics))
    }
    if (flags.health) {
      this.isAnswer = true
      const ask = {
        graceSeconds: flags['grace-seconds'],
        includeDetails: flags['include-details'] ?? false,
      }
      return this.report((ctx) => readHealth(ctx, ask), healthText)
    }
    if (flags.watch) return this.watch(flags['interval-seconds'] ?? 2)
    return this.report(readStatus, statusText)
  }

  private async watch(intervalSeconds: number): Promise<void> {
    if (!process.stdout.isTTY)
      throw new SyncError('usage', '--watch needs a terminal, and stdout is none', {
        hint: 'leave it out; what is to be scraped is printed by --prometheus, or served by worker --listen',
      })
    return this.report(
      async (ctx) => {
        const page = async () => statusText(await readStatus(ctx))
        await watch(page, { intervalSeconds, now: ctx.now, signal: stopSignal })
        return { exit_code: 0 as const }
      },
      () => '',
    )
  }

  /** A bad state of health is what was asked for, and no failure of the asking. */
  protected override tell(text: string, exitCode: 0 | 1 | 2): void {
    if (this.asIs) printMade(text)
    else if (this.isAnswer) print(text)
    else super.tell(text, exitCode)
  }
}
