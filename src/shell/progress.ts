import { visible } from './output.ts'

const EVERY_MS = 100

/** One line on stderr that rewrites itself; nothing at all unless stderr is a terminal. */
export function progressLine(o: { enabled: boolean }): { say: (line: string) => void; clear: () => void } {
  if (!o.enabled || !process.stderr.isTTY) return { say: () => {}, clear: () => {} }
  let shownAt = 0
  let shown = false
  return {
    say(line) {
      const now = performance.now()
      if (now - shownAt < EVERY_MS) return
      shownAt = now
      shown = true
      process.stderr.write(`\r\x1b[K${visible(line).slice(0, (process.stderr.columns ?? 80) - 1)}`)
    },
    clear() {
      if (shown) process.stderr.write('\r\x1b[K')
      shown = false
    },
  }
}
