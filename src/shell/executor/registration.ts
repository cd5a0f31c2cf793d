import type { Context } from '../../core/app/context.ts'
import { rest } from '../rounds.ts'
import type { Admins } from './admins.ts'

/** XXL-Job's beat; an executor not heard of for three of them is taken off the list. */
export const BEAT_MS = 30_000
/** Not heard yet, or not any more: an admin that comes back should not wait for its executor. */
const AGAIN_MS = 5_000

/** Registers, and again with every beat; when stopped, takes the address off the list. */
export function keepRegistered(o: {
  admins: Admins
  appName: string
  address: string
  log: Context['log']
}): {
  stop: () => Promise<void>
} {
  const body = { registryGroup: 'EXECUTOR', registryKey: o.appName, registryValue: `${o.address}/` }
  const stopping = new AbortController()
  const beating = beat()
  return {
    stop: async () => {
      stopping.abort()
      await beating
      const refusal = await o.admins.tell('registryRemove', body)
      if (refusal !== null) o.log.warn({ refusal }, 'no admin takes the executor off its list')
    },
  }

  async function beat(): Promise<void> {
    let known: boolean | null = null
    while (!stopping.signal.aborted) {
      const refusal = await o.admins.tell('registry', body)
      // Transitions only: an admin that is down for a night is two lines.
      if (refusal === null && known !== true) o.log.info({ address: o.address }, 'registered')
      if (refusal !== null && known !== false) o.log.warn({ refusal }, 'no admin takes the registration')
      known = refusal === null
      await rest(known ? BEAT_MS : AGAIN_MS, stopping.signal)
    }
  }
}
