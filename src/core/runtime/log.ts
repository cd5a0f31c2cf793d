import { writeSync } from 'node:fs'
import { type Logger, pino } from 'pino'

const STDERR = 2

/** One JSON object per line on stderr, written at once: a line must not be lost with the process. */
export function openLog(o: {
  level: string
  redact: (text: string) => string
  base: Record<string, unknown>
}): Logger {
  // Text by text: a secret that reads `true` or `1234` must not break the line it is cut out of.
  const clean = (line: string) =>
    JSON.stringify(JSON.parse(line), (_key, v) => (typeof v === 'string' ? o.redact(v) : v))
  const sink = {
    write(line: string) {
      try {
        writeSync(STDERR, `${clean(line)}\n`)
      } catch {
        // A closed stderr must not end a sync.
      }
    },
  }
  return pino(
    {
      level: o.level,
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
