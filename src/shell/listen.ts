import { Flags } from '@oclif/core'
import { databaseAnswers } from '../core/app/ask-database.ts'
import { readMetrics } from '../core/app/report/read-metrics.ts'
import type { Config } from '../core/contracts/config.ts'
import { SyncError } from '../core/domain/errors.ts'
import type { Opened } from '../core/runtime/open.ts'
import { pulseOf } from '../core/runtime/pulse.ts'
import { type Address, serve } from './http.ts'
import { exposition } from './text/metrics.ts'

/** `--listen`: nothing is reachable from another machine unless its own address is asked for. */
export const listenFlag = Flags.custom<string>({
  summary: 'Answer GET /metrics, /healthz and /readyz here; a port alone is on 127.0.0.1',
  helpValue: 'HOST:PORT',
})

/** `9100`, `:9100`, `127.0.0.1:9100`, `[::1]:9100`, `localhost:9100`. */
export function addressIn(text: string): Address {
  const [, v6, host, digits] = /^(?:(?:\[([0-9a-f:.]+)\]|([^:[\]\s/]*)):)?(\d{1,5})$/i.exec(text) ?? []
  const port = Number(digits)
  if (digits === undefined || port > 65_535)
    throw new SyncError('usage', `--listen ${JSON.stringify(text)} is not HOST:PORT`, {
      hint: 'for example 9100, 127.0.0.1:9100 or [::1]:9100; port 0 takes a free one',
    })
  return { host: v6 ?? (host || '127.0.0.1'), port }
}

export interface Listening {
  at: Address
  /** The longest the loop rests between two turns. */
  restSeconds: (config: Config) => number
}

/** Beside three rests, for a turn that takes its time: a full pool answers nobody for ten seconds. */
const STILL_SECONDS = 60

/** A visitor's reading has connections of its own and is no turn of the loop. */
export async function startListening(
  { ctx, openOnlooker }: Opened,
  { at, restSeconds }: Listening,
): Promise<() => Promise<void>> {
  const sinceTurn = pulseOf(ctx.db)
  const onlooker = openOnlooker()
  const stillFor = STILL_SECONDS + 3 * restSeconds(ctx.config)
  try {
    const { address, close } = await serve(at, {
      alive: () => sinceTurn() < stillFor,
      ready: () => databaseAnswers(onlooker.ctx),
      metrics: async () => exposition((await readMetrics(onlooker.ctx)).metrics),
    })
    ctx.log.info({ address }, 'listening')
    return async () => {
      close()
      await onlooker.close()
    }
  } catch (error) {
    await onlooker.close()
    throw error
  }
}
