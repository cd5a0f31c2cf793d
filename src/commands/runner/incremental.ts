import { Flags } from '@oclif/core'
import { previewIncremental } from '../../core/app/sync/preview.ts'
import { runIncremental } from '../../core/app/sync/run-incremental.ts'
import type { Config } from '../../core/contracts/config.ts'
import type { IncrementalReport } from '../../core/contracts/incremental.ts'
import { BaseCommand } from '../../shell/base-command.ts'
import { secondsIn } from '../../shell/duration.ts'
import {
  deadlineFlag,
  dryRunFlag,
  jobFlag,
  lockWaitFlag,
  partialOkFlag,
  passing,
  repoFlag,
} from '../../shell/runner-flags.ts'
import { incrementalText, previewIncrementalText } from '../../shell/text/runner.ts'
import { handedIn, triggerFlags } from '../../shell/trigger-flags.ts'

export default class RunnerIncremental extends BaseCommand {
  static override summary = 'Sync one repository from its cursor to now'
  static override description =
    'Stores what is new page by page; the cursor moves with the last page. An interrupted sync is finished first.'
  static override examples = [
    '<%= config.bin %> runner incremental --repo git:/srv/project.git',
    '<%= config.bin %> runner incremental --repo git:https://example.com/project.git --dry-run',
    '<%= config.bin %> runner incremental --repo git:1 --loop --loop-interval 60 --json',
  ]
  static override flags = {
    repo: repoFlag,
    job: jobFlag,
    loop: Flags.boolean({ summary: 'Go on, round after round' }),
    'loop-interval': Flags.integer({
      dependsOn: ['loop'],
      min: 1,
      max: 86_400,
      summary: 'Rest between rounds; 60 if not configured',
      helpValue: 'SECONDS',
    }),
    'max-iterations': Flags.integer({
      min: 0,
      max: 1_000_000_000,
      dependsOn: ['loop'],
      summary: 'Stop after so many rounds; 0 = never',
    }),
    'dry-run': dryRunFlag,
    'lock-wait': lockWaitFlag,
    deadline: deadlineFlag,
    'partial-ok': partialOkFlag,
    ...triggerFlags,
  }

  async run(): Promise<void> {
    const { flags } = await this.read(RunnerIncremental)
    const ask = { repo: flags.repo, job: flags.job, lockWaitSeconds: flags['lock-wait'] }
    if (flags['dry-run']) return this.report((ctx) => previewIncremental(ctx, ask), previewIncrementalText)

    const rounds = ({ scm }: Config) => ({
      intervalSeconds: flags['loop-interval'] ?? scm.incremental.loop_interval_seconds,
      max: flags['max-iterations'] ?? scm.incremental.max_iterations,
      json: flags.json,
    })
    if (!flags.loop) this.handed = handedIn(flags)
    if (flags.deadline !== undefined) this.deadlineSeconds = secondsIn(flags.deadline, 'deadline')
    const ended = flags['partial-ok'] ? passing<IncrementalReport> : (report: IncrementalReport) => report
    return this.report(
      async (ctx) => ended(await runIncremental(ctx, ask)),
      incrementalText,
      flags.loop ? rounds : undefined,
    )
  }
}
