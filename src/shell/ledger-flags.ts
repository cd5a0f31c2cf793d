import { Args, Flags } from '@oclif/core'
import type { LedgerAsk } from '../core/app/report/show-ledger.ts'
import { SyncError } from '../core/domain/errors.ts'
import { limitFlag, someJobFlag } from './admin-flags.ts'

export const ledgerFlags = {
  repo: Flags.string({ summary: 'Of this repository: <kind>:<id, path or URL>', helpValue: 'KIND:ID' }),
  job: someJobFlag,
  'correlation-id': Flags.string({ summary: 'Of the triggers that carry it', helpValue: 'ID' }),
  'scheduler-log-id': Flags.string({
    summary: 'Of the trigger that the scheduler calls so',
    helpValue: 'ID',
  }),
  limit: limitFlag(50),
}

export function ledgerAskIn(flags: {
  repo: string | undefined
  job: string | undefined
  status: string | undefined
  'correlation-id': string | undefined
  'scheduler-log-id': string | undefined
  limit: number
}): LedgerAsk {
  return {
    repo: flags.repo ?? null,
    job: flags.job ?? null,
    status: flags.status ?? null,
    correlationId: flags['correlation-id'] ?? null,
    logId: flags['scheduler-log-id'] ?? null,
    limit: flags.limit,
  }
}

export const idArg = (of: string) => Args.string({ name: 'id', required: true, description: of })

export function idIn(word: string, of: string): number {
  if (/^\d{1,15}$/.test(word)) return Number(word)
  throw new SyncError('usage', `${JSON.stringify(word)} is not the number of a ${of}`)
}
