export type Tree = { [name: string]: unknown }

/** What one source of values says, in the shape of the configuration. */
export interface Layer {
  source: 'preset' | 'toml' | 'env' | 'flag'
  tree: Tree
  /** Where the value of a key stands: file:key, ENV_NAME, --flag or the preset's name. */
  where: (path: readonly string[]) => string
  /** Begins a message about that key. */
  blame: (path: readonly string[]) => string
  /** Relative paths start here. */
  base: string
}

export function valueAt(tree: unknown, path: readonly string[]): unknown {
  let at = tree
  for (const part of path) {
    if (typeof at !== 'object' || at === null || !Object.hasOwn(at, part)) return undefined
    at = (at as Tree)[part]
  }
  return at
}

export function put(tree: Tree, path: readonly string[], value: unknown): void {
  let at = tree
  for (const part of path.slice(0, -1)) {
    at[part] ??= {}
    at = at[part] as Tree
  }
  at[path.at(-1) ?? ''] = value
}

/** Where a value in force came from. */
export interface Origin {
  source: 'default' | 'preset' | 'toml' | 'env' | 'flag'
  /** file:key, ENV_NAME, --flag or the preset's name; empty for a default. */
  where: string
}
