import { writeSync } from 'node:fs'
import { type Logger, levels, pino } from 'pino'

const STDERR = 2

/** One JSON object per line on stderr, written at once: a line must not be lost with the process. */
export function openLog(o: {
  level: string
  redact: (text: string) => string
  base: Record<string, unknown>
  /** Hears every transition, also those that the level keeps from stderr. */
  overhear?: ((line: string) => void) | undefined
}): Logger {
  // Text by text: a secret that reads `true` or `1234` must not break the line it is cut out of.
  const clean = (line: { level: number }) =>
    JSON.stringify(line, (_key, v) => (typeof v === 'string' ? o.redact(v) : v))
  const shown = levels.values[o.level] ?? Number.POSITIVE_INFINITY
  const heard = o.overhear && shown > (levels.values.info as number) ? 'info' : o.level
  const sink = {
    write(written: string) {
      const line = JSON.parse(written) as { level: number }
      const text = clean(line)
      o.overhear?.(text)
      if (line.level < shown) return
      try {
        writeSync(STDERR, `${text}\n`)
      } catch {
        // A closed stderr must not end a sync.
      }
    },
  }
  return pino(
    {
      level: heard,
      base: o.base,
      timestamp: pino.stdTimeFunctions.isoTime,
      serializers: { err: shortError },
    },
    sink,
  )
}

/** Kind and message; a stack only for what nobody foresaw. */
function shortError(error: Error & { kind?: string; code?: string }) {
  const known = error.kind !== undefined && error.kind !== 'bug'
  return {
    kind: error.kind ?? error.name,
    code: error.code,
    message: error.message,
    ...(known ? {} : { stack: error.stack }),
  }
}
