import { CONFIG } from '../contracts/config.ts'
import { keysOf, type Placed, pathText } from '../contracts/config-key.ts'
import { FILE_NAMES, type Lookup } from './config-file.ts'
import { type Layer, put, type Tree } from './config-layer.ts'
import { quoted } from './config-problem.ts'
import { nearest } from './nearest.ts'

const KEYS = keysOf(CONFIG)

export function envLayer({ env, cwd }: Lookup): Layer {
  const tree: Tree = {}
  const names = new Map<string, string>()
  for (const { path, key } of KEYS) {
    const name = key.env.find((name) => isGiven(key, env[name]))
    if (name === undefined) continue
    put(tree, path, fromText(key, env[name] ?? ''))
    names.set(pathText(path), name)
  }
  const where = (path: readonly string[]) => names.get(pathText(path)) ?? ''
  return { source: 'env', tree, where, blame: where, base: cwd }
}

export function flagLayer(flags: Record<string, unknown>, cwd: string): Layer {
  const tree: Tree = {}
  const names = new Map<string, string>()
  for (const [name, value] of Object.entries(flags)) {
    const placed = KEYS.find(({ path }) => pathText(path) === name)
    if (!placed) throw new TypeError(`no configuration key ${name}`)
    const { path, key } = placed
    if (value === undefined || value === null) continue
    if (typeof value === 'string' && !isGiven(key, value)) continue
    put(tree, path, typeof value === 'string' ? fromText(key, value) : value)
    names.set(name, key.flag ?? `--${(path.at(-1) ?? '').replaceAll('_', '-')}`)
  }
  const where = (path: readonly string[]) => names.get(pathText(path)) ?? ''
  return { source: 'flag', tree, where, blame: where, base: cwd }
}

/** An empty text means unset, but for a list, where it means none. */
function isGiven(key: Placed['key'], text: string | undefined): text is string {
  return text !== undefined && (key.type === 'array' || text.trim() !== '')
}

const BOOLEANS: Record<string, boolean> = {
  true: true,
  1: true,
  yes: true,
  on: true,
  false: false,
  0: false,
  no: false,
  off: false,
}

/** The value a text stands for. One that stands for none is left as it is, and the check refuses it. */
function fromText(key: Placed['key'], text: string): unknown {
  const bare = text.trim()
  switch (key.type) {
    case 'boolean':
      return Object.hasOwn(BOOLEANS, bare.toLowerCase()) ? BOOLEANS[bare.toLowerCase()] : bare
    case 'integer':
      return /^[+-]?\d{1,15}$/.test(bare) ? Number(bare) : bare
    case 'number':
      return /^[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d{1,3})?$/i.test(bare) ? Number(bare) : bare
    case 'array':
      return text
        .split(',')
        .map((item) => item.trim())
        .filter((item) => item !== '')
    case 'string':
      if (key.enum) return key.enum.find((word) => word === bare.toLowerCase()) ?? bare
      return key.secret === true ? text : bare
  }
}

/** Names with our prefix that nothing reads: somebody else's, or a slip of the pen. */
export function strangersIn(env: Lookup['env'], named: ReadonlySet<string>): string[] {
  const known = [...KEYS.flatMap(({ key }) => key.env), ...FILE_NAMES]
  return Object.keys(env)
    .filter((name) => /^(ENGRAM_)?SCM_/.test(name) && !known.includes(name) && !named.has(name))
    .sort()
    .map((name) => {
      const guess = nearest(name, known)
      return `${quoted(name).slice(1, -1)} is set, but no key has that name${guess ? `; did you mean ${guess}?` : ''}`
    })
}
