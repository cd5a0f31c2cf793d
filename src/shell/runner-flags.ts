import { Flags } from '@oclif/core'
import { JOB_TYPES } from '../core/domain/repo.ts'

export const repoFlag = Flags.string({
  required: true,
  summary: 'Repository as registered: <kind>:<id, path or URL>',
  helpValue: 'KIND:ID',
})

export const jobFlag = Flags.option({
  options: JOB_TYPES,
  default: 'commits' as const,
  summary: 'What of it',
})()

export const dryRunFlag = Flags.boolean({ summary: 'Ask the upstream, print the plan, write nothing' })

export const lockWaitFlag = Flags.integer({
  default: 30,
  min: 0,
  max: 86_400,
  summary: 'How long to wait for another sync of the same thing',
  helpValue: 'SECONDS',
})

export const deadlineFlag = Flags.string({
  summary: 'Stop after so long, resumable; 1 if part of it is done, else 2',
  helpValue: 'DURATION',
  exclusive: ['loop'],
})

export const partialOkFlag = Flags.boolean({ summary: 'Exit with 0, not 1, when part of it is done' })

/** For a scheduler that knows only good and bad. */
export function passing<R extends { status: string; exit_code: 0 | 1 | 2 }>(report: R): R {
  return report.status === 'partial' ? { ...report, exit_code: 0 } : report
}
