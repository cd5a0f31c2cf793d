import { Flags } from '@oclif/core'
import { TRIGGER_ENV, type TriggerFlag, type TriggerFlags } from '../core/runtime/trigger.ts'

/** What an external scheduler hands over. A loop is its own scheduler, so it takes none of it. */
const said = (flag: TriggerFlag, summary: string, helpValue: string) =>
  Flags.string({
    summary: `${summary} ($${TRIGGER_ENV[flag]})`,
    helpValue,
    helpGroup: 'TRIGGER',
    exclusive: ['loop'],
  })

export const triggerFlags = {
  'scheduler-code': said('scheduler-code', 'Who triggers: XXL, QUARTZ, CRON or INTERNAL', 'CODE'),
  'scheduler-job-id': said('scheduler-job-id', "The scheduler's job", 'ID'),
  'scheduler-log-id': said('scheduler-log-id', 'This firing of it; sent again, it is answered again', 'ID'),
  'trigger-type': said('trigger-type', 'SCHEDULE, MANUAL, RETRY or API', 'TYPE'),
  'triggered-at': said('triggered-at', 'ISO 8601, or milliseconds since 1970', 'TIME'),
  'trigger-params': said('trigger-params', 'Kept with the trigger: JSON of at most 64 KiB', 'JSON|@FILE'),
  'correlation-id': said('correlation-id', 'On every line of the log, and in the ledger', 'ID'),
  shard: said('shard', 'The i-th of n that were triggered at once, from 0', 'I/N'),
}

export function handedIn(flags: { [name: string]: unknown }): TriggerFlags {
  return Object.fromEntries(Object.keys(triggerFlags).map((name) => [name, flags[name]])) as TriggerFlags
}
