import { Parser } from '@oclif/core'
import { SyncError } from '../../core/domain/errors.ts'
import { nearest } from '../../core/runtime/nearest.ts'

type Flags = NonNullable<NonNullable<Parameters<typeof Parser.parse>[1]>['flags']>

/** `executorParams`: the flags as they are typed in a terminal, or a JSON object of them. No shell ever sees them. */
export async function flagsIn(params: string, flags: Flags): Promise<Record<string, unknown>> {
  const text = params.trim()
  const argv = text.startsWith('{') ? wordsOfObject(text) : wordsIn(text)
  for (const word of argv) requireKnown(word, Object.keys(flags))
  const parsed = await Parser.parse(argv, { flags, strict: true })
  return parsed.flags
}

/** Words between blanks; quotes of both kinds keep blanks together, a backslash keeps what follows. */
export function wordsIn(text: string): string[] {
  const words: string[] = []
  const pattern = /((?:[^\s"'\\]|"(?:[^"\\]|\\.)*"|'[^']*'|\\.)+)|(\S)/gs
  for (const [, word, broken] of text.matchAll(pattern)) {
    if (broken !== undefined || word === undefined)
      throw new SyncError('usage', 'executorParams has a quote that does not close')
    words.push(word.replace(/"((?:[^"\\]|\\.)*)"|'([^']*)'|\\(.)/gs, unquoted))
  }
  return words
}

function unquoted(_: string, double?: string, single?: string, escaped?: string): string {
  return double?.replace(/\\(["\\])/g, '$1') ?? single ?? escaped ?? ''
}

/** A list is the flag several times; true is the flag alone, false and null are none. */
function wordsOfObject(text: string): string[] {
  return Object.entries(objectIn(text)).flatMap(([name, value]) =>
    (Array.isArray(value) ? value : [value]).flatMap((one) => {
      if (one === true) return [`--${name}`]
      if (one === false || one === null) return []
      if (typeof one === 'string' || typeof one === 'number') return [`--${name}=${one}`]
      throw new SyncError('usage', `executorParams: ${JSON.stringify(name)} is neither a text nor a number`)
    }),
  )
}

function objectIn(text: string): object {
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw new SyncError('usage', 'executorParams begins like JSON and is none', {
      hint: 'for example {"repo": "gitlab:123", "job": "mrs"} or --repo gitlab:123 --job mrs',
      cause,
    })
  }
}

function requireKnown(word: string, names: readonly string[]): void {
  const name = /^--([^=]*)/s.exec(word)?.[1]
  if (name === undefined || names.includes(name)) return
  const near = nearest(name, names)
  throw new SyncError('usage', `executorParams: ${name.slice(0, 80)} is not known`, {
    hint: near === null ? `there are: ${names.join(', ')}` : `did you mean ${near}?`,
  })
}
