import { isKey, isTable, type Node, type Placed } from './config-key.ts'

const HIDDEN = '[REDACTED]'

export interface Secret extends Placed {
  value: string
}

/** Every secret that is set in a configuration, whole or partial. */
export function secretsIn(node: Node, tree: unknown, path: readonly string[] = []): Secret[] {
  if (isKey(node)) {
    return node.secret && typeof tree === 'string' ? [{ path, key: node, value: tree }] : []
  }
  if (typeof tree !== 'object' || tree === null) return []
  return Object.entries(tree).flatMap(([name, value]) => {
    const child = isTable(node) ? node.entry : node.properties[name]
    return child ? secretsIn(child, value, [...path, name]) : []
  })
}

/** The texts nobody may see: the value, or the password in a URL as it is written and as it is meant. */
export function secretParts(key: Placed['key'], value: string): string[] {
  if (key.secret !== 'userinfo') return value === '' ? [] : [value]
  const parts = [USERINFO.exec(value)?.groups?.password, QUERY.exec(value)?.groups?.password]
  return parts.flatMap((part) => (part ? [...new Set([part, decoded(part)])] : []))
}

// Up to the last @, since people forget to encode one inside a password.
const USERINFO = /:\/\/[^:@/]*:(?<password>.*)@/
const QUERY = /[?&](?:ssl)?password=(?<password>[^&#]*)/

/** What may be shown instead. */
export function hidden(key: Placed['key'], value: string): string {
  return key.secret === 'userinfo' ? withoutPassword(value) : HIDDEN
}

function withoutPassword(url: string): string {
  return url
    .replace(
      USERINFO,
      (whole, password: string) => `${whole.slice(0, whole.length - password.length - 1)}${HIDDEN}@`,
    )
    .replace(QUERY, (whole, password: string) => `${whole.slice(0, whole.length - password.length)}${HIDDEN}`)
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}
