import type { Usage } from '../../../domain/tally.ts'
import type { Budget } from '../../source.ts'
import type { Shape } from './answer.ts'
import type { Clock } from './clock.ts'
import type { Exchange } from './exchange.ts'
import { endpointOf, type Gate, type Strain } from './gate.ts'
import type { HttpLimits } from './wait.ts'

/** When one client sends, and who else learns what came of it. Whatever waits here ends with the signal. */
export interface Turns {
  /** Sends once the gate and the budget let us, and tells both what came of it. */
  take<S extends Shape>(
    path: string,
    send: () => Promise<Exchange<S>>,
    signal: AbortSignal,
  ): Promise<Exchange<S>>
  rest(ms: number, signal: AbortSignal): Promise<void>
}

export function makeTurns({
  gate,
  budget,
  limits: { backoffBaseMs, backoffMaxMs, maxWaitMs = backoffMaxMs },
  clock,
  usage,
}: {
  gate: Gate
  budget: Budget | null
  limits: HttpLimits
  clock: Clock
  usage: Usage
}): Turns {
  async function take<S extends Shape>(
    path: string,
    send: () => Promise<Exchange<S>>,
    signal: AbortSignal,
  ): Promise<Exchange<S>> {
    const endpoint = endpointOf(path)
    // Not in the doorway: who waits for one endpoint, or for the tokens of one tenant, would keep the others out.
    const lackingMs = await waitForTurn(endpoint, signal)
    if (lackingMs > 0) return noTurn(lackingMs)
    const leave = await gate.enter(signal)
    let strain: Strain = 'unknown'
    try {
      const exchanged = await send()
      strain = strainOf(exchanged)
      await tell(endpoint, exchanged)
      return exchanged
    } finally {
      leave(strain)
    }
  }

  /** 0 once it is our turn; else how long it would still have taken, beyond the longest wait. */
  async function waitForTurn(endpoint: string, signal: AbortSignal): Promise<number> {
    let patienceMs = maxWaitMs
    for (const ask of [() => gate.turn(endpoint, clock.now()), () => budget?.take() ?? 0]) {
      for (let ms = await ask(); ms > 0; ms = await ask()) {
        if (ms > patienceMs) return ms
        patienceMs -= ms
        await rest(ms, signal)
      }
    }
    return 0
  }

  async function tell(endpoint: string, { result, said }: Exchange<Shape>): Promise<void> {
    if (said?.remaining != null && said.resetInMs !== null) {
      gate.heard(said, clock.now())
      await budget?.heard({ limit: said.limit, remaining: said.remaining, resetInMs: said.resetInMs })
    }
    if ('json' in result || result.kind !== 'rate_limited') return

    // Whoever else asked now would only be refused, too.
    const ms = result.askedMs ?? backoffBaseMs
    const until = clock.now() + ms
    if (isEndpointLimit({ result, said })) return gate.pause(until, endpoint)
    gate.pause(until)
    await budget?.pause(ms, `answered ${result.status}`)
  }

  function noTurn<S extends Shape>(ms: number): Exchange<S> {
    const why = `no turn within ${maxWaitMs / 1000} s`
    return { result: { kind: 'rate_limited', why, again: false, askedMs: ms }, said: null }
  }

  async function rest(ms: number, signal: AbortSignal): Promise<void> {
    usage.waitedMs += Math.round(ms)
    await clock.sleep(ms, signal)
  }

  return { take, rest }
}

/** GitLab limits some endpoints on their own account: then the limit of the user, if it is shown, is not used up. */
function isEndpointLimit({ result, said }: Exchange<Shape>): boolean {
  return (said?.remaining ?? 0) > 0 || ('why' in result && /this endpoint/i.test(result.why))
}

function strainOf(exchange: Exchange<Shape>): Strain {
  const { result } = exchange
  if ('json' in result) return 'fine'
  if (result.kind === 'rate_limited') return isEndpointLimit(exchange) ? 'unknown' : 'strained'
  return result.kind === 'timeout' || (result.status ?? 0) >= 500 ? 'strained' : 'unknown'
}
