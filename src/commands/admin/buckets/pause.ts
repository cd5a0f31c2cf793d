import { Args, Flags } from '@oclif/core'
import { pauseBucket } from '../../../core/app/manage/buckets.ts'
import { changeFlags, operatorOf } from '../../../shell/admin-flags.ts'
import { BaseCommand } from '../../../shell/base-command.ts'
import { secondsIn } from '../../../shell/duration.ts'
import { bucketText } from '../../../shell/text/admin.ts'

export default class AdminBucketsPause extends BaseCommand {
  static override summary = 'Ask a host nothing for a while'
  static override description = [
    'Every process has noticed after five seconds. A pause that is there is replaced, also by a shorter one. A job that meets it is put off',
    "by 15 minutes at most and is dead after its third try: for longer, open the host's breaker.",
    '',
    'EXIT STATUS  0 done, also where nothing had to be · 2 refused or failed',
  ].join('\n')
  static override examples = [
    '<%= config.bin %> admin buckets pause gitlab.example.com --duration 10m --reason 429',
  ]
  static override args = {
    key: Args.string({
      required: true,
      ignoreStdin: true,
      description: '<host[:port]>, or <host[:port]>:tenant:<id>',
    }),
  }
  static override flags = {
    duration: Flags.string({ required: true, summary: 'For so long from now on', helpValue: 'DURATION' }),
    ...changeFlags,
  }

  async run(): Promise<void> {
    const { args, flags } = await this.read(AdminBucketsPause)
    const ask = { key: args.key, seconds: secondsIn(flags.duration, 'duration') }
    await this.report((ctx) => pauseBucket(ctx, ask, operatorOf(flags)), bucketText)
  }
}
