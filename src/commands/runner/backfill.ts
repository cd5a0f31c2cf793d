import { previewBackfill } from '../../core/app/sync/preview.ts'
import { runBackfill } from '../../core/app/sync/run-backfill.ts'
import type { BackfillReport } from '../../core/contracts/backfill.ts'
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
import { backfillText, previewBackfillText } from '../../shell/text/runner.ts'
import { handedIn, triggerFlags } from '../../shell/trigger-flags.ts'
import { windowFlags, wishOf } from '../../shell/window-flags.ts'

export default class RunnerBackfill extends BaseCommand {
  static override summary = 'Read a window of history again, in chunks of four hours or a hundred revisions'
  static override description = [
    'Commits are taken by committed date in [since, until), revisions by their number. A failed chunk does not stop the',
    'next; the same command again runs what is missing. The cursor moves only with --update-watermark, and only when',
    'every chunk succeeded.',
  ].join('\n')
  static override examples = [
    '<%= config.bin %> runner backfill --repo git:/srv/project.git --last-hours 24',
    '<%= config.bin %> runner backfill --repo git:1 --since 2025-01-01T00:00:00Z --until 2025-02-01T00:00:00Z --json',
    '<%= config.bin %> runner backfill --repo git:1 --last-days 7 --dry-run',
    '<%= config.bin %> runner backfill --repo svn:https://svn.example.com/repo --start-rev 100 --end-rev 500',
  ]
  static override flags = {
    repo: repoFlag,
    job: jobFlag,
    ...windowFlags,
    'dry-run': dryRunFlag,
    'lock-wait': lockWaitFlag,
    deadline: deadlineFlag,
    'partial-ok': partialOkFlag,
    ...triggerFlags,
  }

  async run(): Promise<void> {
    const { flags } = await this.read(RunnerBackfill)
    const ask = {
      repo: flags.repo,
      job: flags.job,
      wish: wishOf(flags.repo, flags),
      updateWatermark: flags['update-watermark'],
      lockWaitSeconds: flags['lock-wait'],
    }
    if (flags['dry-run']) return this.report((ctx) => previewBackfill(ctx, ask), previewBackfillText)
    this.handed = handedIn(flags)
    if (flags.deadline !== undefined) this.deadlineSeconds = secondsIn(flags.deadline, 'deadline')
    const ended = flags['partial-ok'] ? passing<BackfillReport> : (report: BackfillReport) => report
    return this.report(async (ctx) => ended(await runBackfill(ctx, ask)), backfillText)
  }
}
