import { SyncError } from '../core/domain/errors.ts'

const controller = new AbortController()

/** Aborted by the first SIGINT, SIGTERM or SIGHUP, or when nobody reads stdout any more. */
export const stopSignal: AbortSignal = controller.signal

/** First signal: finish or abandon the page, release, exit. A second one exits at once. */
export function listenForStop(): void {
  const codes = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 } as const
  for (const [name, code] of Object.entries(codes)) {
    process.on(name, () => {
      if (controller.signal.aborted) process.exit(code)
      controller.abort(new SyncError('cancelled', `stopped by ${name}`))
    })
  }
}

export function stop(why: string): void {
  controller.abort(new SyncError('cancelled', why))
}
