import { readFileSync, statSync } from 'node:fs'
import { CONFIG } from '../contracts/config.ts'
import { type Placed, pathText } from '../contracts/config-key.ts'
import { secretParts, secretsIn } from '../contracts/config-secret.ts'
import { absolutePath, type ConfigFile, type Lookup, whyUnreadable } from './config-file.ts'
import { type Layer, valueAt } from './config-layer.ts'
import { expectation, type Problem } from './config-problem.ts'

const MAX_BYTES = 65_536 // no token is longer; a larger file is the wrong one

export interface Found {
  value: string
  where: string
}

/** The secret a layer gives: itself, or through a variable or file it names. A file's trailing newline is not part of it. */
export function findSecret(
  layer: Layer,
  path: readonly string[],
  key: Placed['key'],
  env: Lookup['env'],
): Found | Problem | null {
  const beside = (name: string | null) => name && [...path.slice(0, -1), name]
  const ways = [
    () => {
      const value = valueAt(layer.tree, path)
      return typeof value === 'string' ? { value, where: layer.where(path) } : null
    },
    () => {
      const at = beside(key.from_file)
      const file = at && valueAt(layer.tree, at)
      return at && typeof file === 'string'
        ? readSecret(layer, at, absolutePath(file, layer.base, env), key)
        : null
    },
    () => {
      const at = beside(key.from_env)
      const name = at && valueAt(layer.tree, at)
      const value = typeof name === 'string' ? env[name] : undefined
      return at && value
        ? checked({ value, where: String(name) }, key, `${layer.blame(at)}: ${pathText(at)}: ${name}`)
        : null
    },
  ]
  // In a file the reference goes before the text, which an operator may have left behind.
  if (layer.source === 'toml') ways.reverse()
  for (const way of ways) {
    const found = way()
    if (found) return found
  }
  return null
}

function readSecret(layer: Layer, at: readonly string[], file: string, key: Placed['key']): Found | Problem {
  const start = `${layer.blame(at)}: ${pathText(at)}: ${file}`
  try {
    const stat = statSync(file)
    if (!stat.isFile()) return { text: `${start} is not a file` }
    if (stat.size > MAX_BYTES) return { text: `${start} is larger than ${MAX_BYTES} bytes` }
    const value = readFileSync(file, 'utf8').replace(/\r?\n$/, '')
    return checked({ value, where: layer.where(at) }, key, start)
  } catch (cause) {
    return { text: `${start}: ${whyUnreadable(cause)}`, cause }
  }
}

function checked(found: Found, key: Placed['key'], start: string): Found | Problem {
  if (found.value === '') return { text: `${start} is empty` }
  const isRight = key.pattern === undefined || new RegExp(key.pattern, 'u').test(found.value)
  return isRight ? found : { text: `${start} must hold ${expectation(key)}` }
}

/** A secret written into the configuration file itself is allowed only where nobody else can read that file. */
export function exposedSecret(file: ConfigFile, layer: Layer): Problem | null {
  if (file.mode === null || (file.mode & 0o077) === 0) return null
  for (const { path, key, value } of secretsIn(CONFIG, layer.tree)) {
    if (secretParts(key, value).length === 0) continue
    return {
      text: `${file.shown}: ${pathText(path)} is a secret, and the file can be read by others (mode ${file.mode.toString(8).padStart(4, '0')})`,
      hint: `chmod 600 ${file.shown}, or take the secret from the environment`,
    }
  }
  return null
}
