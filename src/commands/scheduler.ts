import { Flags } from '@oclif/core'
import { stopLeading, tickScheduler } from '../core/app/queue/tick-scheduler.ts'
import { BaseCommand } from '../shell/base-command.ts'
import { addressIn, listenFlag } from '../shell/listen.ts'
import { schedulerText } from '../shell/text/queue.ts'
import { handedIn, triggerFlags } from '../shell/trigger-flags.ts'

export default class Scheduler extends BaseCommand {
  static override summary = 'Make jobs for the repositories that are due'
  static override description =
    'One scan, or one after the other with --loop. Of several schedulers one leads; the others stand by and take over.'
  static override examples = [
    '<%= config.bin %> <%= command.id %> --once --json',
    '<%= config.bin %> <%= command.id %> --loop --interval-seconds 60',
    '<%= config.bin %> <%= command.id %> --dry-run',
  ]
  static override flags = {
    once: Flags.boolean({ summary: 'One scan; what is done unless --loop is given', exclusive: ['loop'] }),
    loop: Flags.boolean({ summary: 'Scan after scan until stopped' }),
    'interval-seconds': Flags.integer({ summary: 'Rest between scans', helpValue: 'SECONDS' }),
    'dry-run': Flags.boolean({ summary: 'Show what would be enqueued, write nothing' }),
    listen: listenFlag({ dependsOn: ['loop'] }),
    ...triggerFlags,
  }

  async run(): Promise<void> {
    const { flags } = await this.read(Scheduler)
    if (flags['interval-seconds'] !== undefined)
      this.overrides['scm.scheduler.scan_interval_seconds'] = flags['interval-seconds']

    if (flags.listen)
      this.listening = {
        at: addressIn(flags.listen),
        restSeconds: ({ scm }) => scm.scheduler.scan_interval_seconds,
      }

    if (!flags.loop) this.handed = handedIn(flags)
    const ask = { dryRun: flags['dry-run'] ?? false, keepLeading: flags.loop ?? false }
    let leaving: Promise<void> | undefined
    this.lastly = () => leaving
    await this.report(
      async (ctx) => {
        const leave = () => {
          leaving = stopLeading(ctx).catch(() => {}) // then its lease ends it
        }
        if (ask.keepLeading && !leaving) {
          leaving = Promise.resolve()
          ctx.signal.addEventListener('abort', leave)
        }
        try {
          return await tickScheduler(ctx, ask)
        } finally {
          // Asked to stop while it became the leader, it has left too early.
          if (ask.keepLeading && ctx.signal.aborted) leave()
        }
      },
      schedulerText,
      flags.loop
        ? (config) => ({
            intervalSeconds: config.scm.scheduler.scan_interval_seconds,
            max: 0,
            json: flags.json,
          })
        : undefined,
    )
  }
}
