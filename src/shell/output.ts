import { writeSync } from 'node:fs'
import { stop } from './stop.ts'

const STDOUT = 1

/** Set once the configuration is known; until then there is no secret to hide. */
let redact: (text: string) => string = (text) => text

export function redactWith(fn: (text: string) => string): void {
  redact = fn
}

/** The one writer to stdout. */
export function print(text: string): void {
  writeAll(STDOUT, `${redact(text)}\n`)
}

/** One line, whatever is in it. */
export function printJson(value: unknown): void {
  print(escaped(JSON.stringify(value)))
}

export function complain(text: string): void {
  writeAll(2, `${redact(text)}\n`)
}

/**
 * Upstream text for a person's terminal: control characters, C1 (a terminal takes U+009B for ESC [), bidirectional
 * overrides and line separators are shown as escapes, so a commit message can neither move the cursor nor reorder a line.
 */
export function visible(text: string): string {
  return text.replace(UNSAFE, (c) =>
    c === '\n' ? '\\n' : c === '\t' ? ' ' : `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
}

/** JSON leaves C1 and bidi characters as they are; as \u escapes they mean the same and do nothing to a terminal. */
function escaped(json: string): string {
  return json.replace(UNSAFE, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: these are what it is about
const UNSAFE = /[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g

/** A pipe may be full (EAGAIN): nothing may be cut off because a reader is slow. */
function writeAll(fd: number, text: string): void {
  const bytes = Buffer.from(text, 'utf8')
  let at = 0
  while (at < bytes.length) {
    try {
      at += writeSync(fd, bytes, at)
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException
      // A reader that has seen enough (| head) is no failure, but a loop has nothing left to talk to.
      if (code === 'EPIPE') {
        stop('nobody reads the output')
        return
      }
      if (code !== 'EAGAIN') throw error
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5)
    }
  }
}
