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

/** 24.8 days; a longer timer would fire at once. */
export const LONGEST_TIMER_MS = 2 ** 31 - 1

/** Also aborted when the process has run so long. */
export function stopWithin(seconds: number): AbortSignal {
  const over = new AbortController()
  const end = () =>
    over.abort(
      new SyncError('deadline', `the deadline of ${seconds} s is over`, {
        hint: 'the same command again goes on behind the last page that was stored',
      }),
    )
  const arm = () => {
    const left = Math.max(0, seconds * 1000 - performance.now())
    if (left > LONGEST_TIMER_MS) setTimeout(arm, LONGEST_TIMER_MS).unref()
    else setTimeout(end, left).unref()
  }
  arm()
  return AbortSignal.any([stopSignal, over.signal])
}

export function stop(why: string): void {
  controller.abort(new SyncError('cancelled', why))
}
