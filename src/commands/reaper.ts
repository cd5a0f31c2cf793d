import { Flags } from '@oclif/core'
import { reap } from '../core/app/queue/reap.ts'
import { BaseCommand } from '../shell/base-command.ts'
import { addressIn, listenFlag } from '../shell/listen.ts'
import { reaperText } from '../shell/text/queue.ts'

export default class Reaper extends BaseCommand {
  static override summary = 'Recover what dead processes left behind'
  static override description =
    'Jobs whose lease is over are tried again, or dead when their attempts are used up; their runs and locks end. Old finished work is removed.'
  static override examples = [
    '<%= config.bin %> <%= command.id %> --once --json',
    '<%= config.bin %> <%= command.id %> --loop --interval-seconds 60',
    '<%= config.bin %> <%= command.id %> --dry-run',
  ]
  static override flags = {
    once: Flags.boolean({ summary: 'One pass; what is done unless --loop is given', exclusive: ['loop'] }),
    loop: Flags.boolean({ summary: 'Pass after pass until stopped' }),
    'interval-seconds': Flags.integer({ summary: 'Rest between passes', helpValue: 'SECONDS' }),
    'grace-seconds': Flags.integer({
      summary: 'Time jobs and locks keep after their lease, instead of the two configured',
      helpValue: 'SECONDS',
    }),
    'max-duration-seconds': Flags.integer({
      summary: 'Longest a run may go without storing a page',
      helpValue: 'SECONDS',
    }),
    policy: Flags.option({
      options: ['to_failed', 'to_pending'] as const,
      default: 'to_failed' as const,
      summary: 'What becomes of a job that has attempts left',
    })(),
    'retry-delay': Flags.integer({
      default: 60,
      min: 0,
      max: 3600,
      summary: 'First wait of a reaped job; doubles with each attempt',
      helpValue: 'SECONDS',
    }),
    'dry-run': Flags.boolean({ summary: 'Count what would be recovered, write nothing' }),
    listen: listenFlag({ dependsOn: ['loop'] }),
  }

  async run(): Promise<void> {
    const { flags } = await this.read(Reaper)
    this.overrides = {
      'scm.reaper.interval_seconds': flags['interval-seconds'],
      'scm.reaper.job_grace_seconds': flags['grace-seconds'],
      'scm.reaper.lock_grace_seconds': flags['grace-seconds'],
      'scm.reaper.run_max_seconds': flags['max-duration-seconds'],
    }
    if (flags.listen)
      this.listening = { at: addressIn(flags.listen), restSeconds: ({ scm }) => scm.reaper.interval_seconds }
    const ask = {
      dryRun: flags['dry-run'] ?? false,
      policy: flags.policy,
      retryDelaySeconds: flags['retry-delay'],
    }
    return this.report(
      (ctx) => reap(ctx, ask),
      reaperText,
      flags.loop
        ? (config) => ({ intervalSeconds: config.scm.reaper.interval_seconds, max: 0, json: flags.json })
        : undefined,
    )
  }
}
