import { writeSync } from 'node:fs'
import { stop } from './stop.ts'

const STDOUT = 1
const STDERR = 2

/** Set once the configuration is known; until then there is no secret to hide. */
let redact: (text: string) => string = (text) => text

export function redactWith(fn: (text: string) => string): void {
  redact = fn
}

/** The one writer to stdout. No text, no line. */
export function print(text: string): void {
  if (text !== '') writeAll(harmless(redact(text)))
}

/** One line, whatever is in it. Texts are redacted one by one: a secret that reads `true` must not break the JSON. */
export function printJson(value: unknown): void {
  writeAll(harmless(JSON.stringify(value, (_, v) => (typeof v === 'string' ? redact(v) : v))))
}

/** A text made of `sayable` values, as it is: redacted as a whole, a secret that reads `gauge` would break its form. */
export function printMade(text: string): void {
  writeAll(text)
}

/** The screen from its top left corner; what does not fit is left out. */
export function paint(lines: string[]): void {
  const fitting = lines.slice(0, (process.stdout.rows ?? 24) - 1)
  const width = process.stdout.columns ?? 80
  const painted = fitting.map((line) => `${sayable(line).slice(0, width)}\x1b[K`)
  writeAll(`\x1b[H${painted.join('\n')}\n\x1b[J`, '')
}

/** The one writer to stderr, logs and progress aside. A closed stderr ends nothing. */
export function complain(text: string): void {
  try {
    writeSync(STDERR, `${harmless(redact(text))}\n`)
  } catch {
    // there is nobody left to tell
  }
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

/** An upstream value inside a text whose form must hold. */
export function sayable(value: string): string {
  return visible(redact(value))
}

/** The last door: whatever forgot to use `visible`. JSON leaves C1 and bidi as they are; as escapes they mean the same. */
function harmless(text: string): string {
  return text.split('\n').map(visible).join('\n')
}

/** The same of several lines, which stay lines. */
export function sayableLines(text: string): string {
  return harmless(redact(text))
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: these are what it is about
const UNSAFE = /[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g

/** A pipe may be full (EAGAIN): nothing may be cut off because a reader is slow. */
function writeAll(text: string, end = '\n'): void {
  const bytes = Buffer.from(text + end, 'utf8')
  let at = 0
  while (at < bytes.length) {
    try {
      at += writeSync(STDOUT, bytes, at)
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

export function count(n: number): string {
  return n.toLocaleString('en')
}
