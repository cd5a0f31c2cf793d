import { CONFIG } from '../contracts/config.ts'
import {
  childOf,
  isKey,
  keysOf,
  type Node,
  type Placed,
  pathText,
  quotedText,
} from '../contracts/config-key.ts'
import { checkConfig } from './config-check.ts'
import { type Layer, valueAt } from './config-layer.ts'
import { nearest } from './nearest.ts'

/** One thing an operator has to put right. */
export interface Problem {
  text: string
  hint?: string | undefined
  cause?: unknown
  /** The key it is about, by its TOML path, where it is about one. */
  at?: string
}

type Key = Placed['key']

/** Everything the schema has to say against a layer. */
export function problemsIn(layer: Layer): Problem[] {
  if (Object.keys(layer.tree).length === 0) return []

  const seen = new Set<string>()
  return checkConfig(layer.tree).flatMap((error) => {
    const { node, path } = declared(error.path)
    if (error.name !== null && !isKey(node)) return [unknownKey(layer, node, [...path, error.name])]

    const name = pathText(path)
    if (seen.has(name)) return []
    seen.add(name)
    return [{ ...wrongValue(layer, node, path), at: name }]
  })
}

/** The declaration a path leads to; a position in a list belongs to the list. */
function declared(full: readonly string[]): { node: Node; path: string[] } {
  let node: Node = CONFIG
  const path: string[] = []
  for (const part of full) {
    const child = childOf(node, part)
    if (!child) break
    node = child
    path.push(part)
  }
  return { node, path }
}

function unknownKey(layer: Layer, parent: Node, path: string[]): Problem {
  const name = pathText(path)
  if (parent.type === 'table') {
    return {
      text: `${layer.blame(path)}: ${short(name, 200)}: a name here is 1 to 100 letters, digits and . _ : -`,
    }
  }
  const around = path.slice(0, -1)
  const siblings = parent.type === 'group' ? Object.keys(parent.properties) : []
  const close = nearest(path.at(-1) ?? '', siblings)
  const guess = close === null ? likelyPath(name) : pathText([...around, close])
  return {
    text: `${layer.blame(path)}: ${short(name, 200)} is not a key`,
    hint: guess ? `did you mean ${guess}?` : 'config.toml.example lists every key',
  }
}

function likelyPath(name: string): string | null {
  const known = keysOf(CONFIG).flatMap(({ path }) => path.map((_, i) => pathText(path.slice(0, i + 1))))
  return known.find((candidate) => candidate.endsWith(`.${name}`)) ?? nearest(name, known)
}

function wrongValue(layer: Layer, node: Node, path: string[]): Problem {
  const value = valueAt(layer.tree, path)
  const start = `${layer.blame(path)}: ${pathText(path)} must be`
  if (!isKey(node)) return { text: `${start} a table, not ${kindOf(value)}` }

  const close = nearestWord(node, value)
  const leave = node.default === null ? 'leave it out' : `leave it out for ${quoted(node.default)}`
  const remedy = close === null ? leave : `did you mean ${quoted(close)}?`
  return { text: `${start} ${expectation(node)}${node.secret ? '' : `, not ${quoted(value)}`}`, hint: remedy }
}

/** Of a key that takes one of some words, or a list of them: the word that was probably meant. */
function nearestWord(key: Key, value: unknown): string | null {
  const words = key.enum ?? key.items?.enum ?? []
  const given = (Array.isArray(value) ? value : [value]).filter((word) => !words.includes(word))
  const near = given.map((word) => (typeof word === 'string' ? nearest(word.toLowerCase(), words) : null))
  return near.find((word) => word !== null) ?? null
}

/** What a right value is: "a whole number from 1 to 256 (jobs)". */
export function expectation(key: Key): string {
  const range = `from ${key.minimum} to ${key.maximum}${key.unit ? ` (${key.unit})` : ''}`
  switch (key.type) {
    case 'boolean':
      return 'true or false'
    case 'integer':
      return `a whole number ${range}`
    case 'number':
      return `a number ${range}`
    case 'array':
      return key.items?.enum ? `a list of ${key.items.enum.join(', ')}` : 'a list of texts'
    case 'string':
      return key.enum ? `one of ${key.enum.join(', ')}` : (key.expected ?? 'a text')
  }
}

/** What was given, on one line, short, without terminal escapes and without a URL's user name and password. */
export function quoted(value: unknown): string {
  if (typeof value === 'number') return String(value)
  if (value === null || value instanceof Date) return 'a date' // tomlLayer puts null for one
  if (typeof value === 'object' && !Array.isArray(value)) return 'a table'

  const text = Array.isArray(value) ? `[${value.map(quoted).join(', ')}]` : quotedScalar(value)
  return short(text.replace(/:\/\/[^/\s"]*@/g, '://[REDACTED]@'), 60)
}

function quotedScalar(value: unknown): string {
  return typeof value === 'string' ? quotedText(value) : String(value)
}

function short(text: string, most: number): string {
  return text.length > most ? `${text.slice(0, most - 3)}...` : text
}

/** The kind of a value that stands where another kind belongs; its content may be a secret. */
export function kindOf(value: unknown): string {
  if (Array.isArray(value)) return 'a list'
  if (value === null || value instanceof Date) return 'a date'
  return typeof value === 'object' ? 'a table' : `a ${typeof value}`
}
