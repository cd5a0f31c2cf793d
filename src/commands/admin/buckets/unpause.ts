import { Args } from '@oclif/core'
import { unpauseBucket } from '../../../core/app/manage/buckets.ts'
import { changeFlags, operatorOf } from '../../../shell/admin-flags.ts'
import { BaseCommand } from '../../../shell/base-command.ts'
import { bucketText } from '../../../shell/text/admin.ts'

export default class AdminBucketsUnpause extends BaseCommand {
  static override summary = 'Let a host be asked again'
  static override description = [
    'Also where it asked for the silence itself. What it has announced as used up stays so until its window ends.',
    '',
    'EXIT STATUS  0 done · 1 part of it was refused, or nothing of it is there · 2 refused or failed',
  ].join('\n')
  static override examples = ['<%= config.bin %> admin buckets unpause gitlab.example.com']
  static override args = {
    key: Args.string({
      required: true,
      ignoreStdin: true,
      description: '<host[:port]>, or <host[:port]>:tenant:<id>',
    }),
  }
  static override flags = changeFlags

  async run(): Promise<void> {
    const { args, flags } = await this.read(AdminBucketsUnpause)
    await this.report((ctx) => unpauseBucket(ctx, { key: args.key }, operatorOf(flags)), bucketText)
  }
}
