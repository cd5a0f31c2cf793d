import { SyncError } from '../core/domain/errors.ts'
import { failureText } from './failure.ts'
import { paint } from './output.ts'
import { rest } from './rounds.ts'

/** The page, again and again in the same place, until stopped. A page that cannot be had is said so; the next one may. */
export async function watch(
  page: () => Promise<string>,
  o: { intervalSeconds: number; now: () => Date; signal: AbortSignal },
): Promise<void> {
  const stopped = new Promise<null>((resolve) => {
    if (o.signal.aborted) resolve(null)
    o.signal.addEventListener('abort', () => resolve(null), { once: true })
  })
  while (!o.signal.aborted) {
    const text = await Promise.race([page().catch(asText), stopped])
    if (text === null) return
    const head = `${o.now().toISOString()}, every ${o.intervalSeconds} s; Ctrl-C ends it`
    paint([head, '', ...text.split('\n')])
    await rest(o.intervalSeconds * 1000, o.signal)
  }
}

function asText(error: unknown): string {
  if (error instanceof SyncError && error.kind !== 'bug') return failureText(error)
  throw error
}
