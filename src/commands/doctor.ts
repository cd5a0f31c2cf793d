import { examine } from '../core/app/examine/examine.ts'
import type { DoctorReport } from '../core/contracts/doctor.ts'
import { openExamination } from '../core/runtime/examination.ts'
import { redactorOf } from '../core/runtime/open.ts'
import { BaseCommand } from '../shell/base-command.ts'
import { print, redactWith } from '../shell/output.ts'
import { stopSignal } from '../shell/stop.ts'
import { doctorText } from '../shell/text/doctor.ts'

export default class Doctor extends BaseCommand {
  static override summary = 'Look whether everything a sync needs is there and in order'
  static override description = [
    'Configuration, database, clocks, privileges, disk, git and svn, GitLab and its tokens, queue and processes: one line',
    'each, with what to do about it. Writes nothing, starts nothing, and waits at most 10 s for each.',
    '',
    'EXIT STATUS  0 all well · 1 warnings · 2 something failed',
  ].join('\n')
  static override examples = [
    '<%= config.bin %> doctor',
    '<%= config.bin %> doctor --json | jq \'.checks[] | select(.status != "ok")\'',
  ]

  async run(): Promise<void> {
    await this.read(Doctor)
    const { of, close } = await openExamination({ ...this.request, signal: stopSignal })
    if (of.config) redactWith(redactorOf(of.config))
    try {
      this.print<DoctorReport>(await examine(of), doctorText)
    } finally {
      await close()
    }
  }

  /** A bad state is what was asked for, and no failure of the asking. */
  protected override tell(text: string): void {
    print(text)
  }
}
