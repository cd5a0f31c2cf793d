import { CONFIG } from '../contracts/config.ts'
import { childOf, isKey, type Node, pathText } from '../contracts/config-key.ts'
import { type ConfigFile, folderOf } from './config-file.ts'
import type { Layer, Tree } from './config-layer.ts'
import type { Problem } from './config-problem.ts'

const RESERVED = new Set(['__proto__', 'constructor', 'prototype'])

export function tomlLayer(file: ConfigFile, problems: Problem[]): Layer {
  const spelled = new Map<string, string>()
  return {
    source: 'toml',
    tree: copied(file.tree, CONFIG, []),
    where: (path) => `${file.shown}:${spelled.get(pathText(path)) ?? pathText(path)}`,
    blame: () => file.shown,
    base: folderOf(file),
  }

  /** A fresh object under the names we know, so that nothing of the parser's objects lives on. */
  function copied(raw: Tree, node: Node, path: readonly string[]): Tree {
    const fresh: Tree = {}
    for (const [name, value] of Object.entries(raw)) {
      const here = [...path, name]
      if (RESERVED.has(name)) {
        problems.push({ text: `${file.shown}: ${pathText(here)}: no key may be called ${name}` })
        continue
      }
      const known = canonical(node, name)
      if (Object.hasOwn(fresh, known)) {
        const both = pathText([...path, known])
        problems.push({
          text: `${file.shown}: ${both} and its other name are both given`,
          hint: `keep ${both}`,
        })
      }
      if (known !== name) spelled.set(pathText([...path, known]), pathText(here))

      const child = childOf(node, known)
      const isGroup =
        typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Date)
      if (isGroup && child && !isKey(child)) fresh[known] = copied(value as Tree, child, [...path, known])
      // ajv takes a Date for a table; null is no table for anyone.
      else fresh[known] = value instanceof Date ? null : value
    }
    return fresh
  }
}

function canonical(node: Node, name: string): string {
  if (node.type !== 'group') return name
  for (const [known, child] of Object.entries(node.properties)) {
    if (isKey(child) && child.alias === name) return known
  }
  return name
}
