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
