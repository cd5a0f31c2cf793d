import { visible } from './output.ts'

const EVERY_MS = 100

/** One line on stderr that rewrites itself; nothing at all unless stderr is a terminal. */
export function progressLine(o: { enabled: boolean }): { say: (line: string) => void; clear: () => void } {
  if (!o.enabled || !process.stderr.isTTY) return { say: () => {}, clear: () => {} }
  let timer: NodeJS.Timeout | null = null
  let latest = ''
  let shown = false
  return {
    say(line) {
      latest = line
      // Shown a little later, so that the last of several quick words is the one that stands while work goes on.
      timer ??= setTimeout(show, EVERY_MS).unref()
    },
    clear() {
      if (timer) clearTimeout(timer)
      timer = null
      if (shown) process.stderr.write('\r\x1b[K')
      shown = false
    },
  }

  function show() {
    timer = null
    shown = true
    process.stderr.write(`\r\x1b[K${visible(latest).slice(0, (process.stderr.columns ?? 80) - 1)}`)
  }
}
